"""Networks with early exits, computed one exit after another: a clip that leaves pays for nothing behind its exit.

Soufleri et al., https://arxiv.org/abs/2407.02713, with the weighted sums of `egokeras.wise`.
"""

import functools
import itertools
import time
import warnings

import keras
import numpy as np
import tensorflow as tf

from egokeras.device.early_exit import leave

# of an operation's call; `input` of a model that is nested in another is what it was built on
INPUT, OUTPUT = keras.Operation.input.fget, keras.Operation.output.fget


def exits_of(model, spaces):
    """Label space to name of the output, of each exit of a network; its last answer comes last.

    Args:
        model: a `keras.Model` with outputs `{space}_exit_1` ... and `{space}`.
        spaces: label spaces.
    """
    inside = itertools.takewhile(model.output.__contains__, (f"{spaces[0]}_exit_{number}" for number in itertools.count(1)))
    return [
        *({space: f"{space}_exit_{number}" for space in spaces} for number, _ in enumerate(inside, 1)),
        {space: space for space in spaces},
    ]


def segments(model, groups):
    """Models that together compute a model's outputs, group by group, and none of its layers twice.

    Args:
        model: functional, with named inputs and outputs; models nested in it are not cut.
        groups: names of outputs, of each group.

    Returns:
        A `keras.Model` for each group, on the layers of `model`: from inputs of the model, and tensors that earlier segments hand on,
        to the outputs of the group and the tensors that it hands on, all by name.
    """
    wanted = [{name: model.output[name] for name in group} for group in groups]
    taken: list[dict] = [{} for _ in groups]
    given = [dict(outputs) for outputs in wanted]
    made = {tensor.name: -1 for tensor in keras.tree.flatten(model.input)}  # by which group
    for number in range(len(groups)):
        so_far = {name: tensor for outputs in wanted[: number + 1] for name, tensor in outputs.items()}
        for operation in keras.Model(model.input, so_far).operations:
            results = keras.tree.flatten(OUTPUT(operation))
            if results[0].name in made:
                continue
            made |= {tensor.name: number for tensor in results}
            for tensor in keras.tree.flatten(INPUT(operation)):
                if (maker := made[tensor.name]) < number:
                    taken[number][tensor.name] = tensor
                    if maker >= 0:
                        given[maker][tensor.name] = tensor
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that what is handed on is called ...CLONE where it comes in
        return [keras.Model(*ends) for ends in zip(taken, given, strict=True)]


class Staged:
    """The exits of several networks in order, for one clip at a time.

    Attributes:
        names: of the exits: name of the network and number.

    Args:
        networks: name to `keras.Model` with exits, in the order in which they are computed.
        weights: label space to WISE's weights (exits, exits), see `egokeras.wise.fit_wise`.
    """

    def __init__(self, networks, weights):
        self._weights = {space: np.asarray(values, np.float64) for space, values in weights.items()}
        self._networks = []
        self.names = []
        for name, model in networks.items():
            exits = exits_of(model, tuple(weights))
            parts = segments(model, [tuple(names.values()) for names in exits])
            computed = [tf.function(functools.partial(part, training=False)) for part in parts]
            self._networks.append((tuple(model.input), list(zip(exits, map(tuple, (part.input for part in parts)), computed, strict=True))))
            self.names += [f"{name} {number}" for number in range(1, len(exits) + 1)]

    def steps(self, clip):
        """Compute a clip exit by exit; what is not asked for is not computed.

        Args:
            clip: modality to what the networks read of one clip, without an axis for the batch.

        Yields:
            Label space to Z_j = sum over i <= j of w_ji z_i, (classes,) float64, for each exit j.
        """
        z: dict[str, list] = {space: [] for space in self._weights}
        for modalities, parts in self._networks:
            known = {modality: tf.constant(clip[modality][None]) for modality in modalities}
            for names, inputs, compute in parts:
                known |= compute({name: known[name] for name in inputs})
                for space, name in names.items():
                    z[space].append(known[name].numpy()[0])
                yield {space: self._weights[space][len(found) - 1, : len(found)] @ np.stack(found) for space, found in z.items()}

    def answer(self, clip, thresholds):
        """The `Answer` to a clip, which leaves at the first exit that is sure, or at the last.

        Args:
            clip: as for `steps`.
            thresholds: label space to what the largest probability must exceed; of several, in all of them.
        """
        return leave(self.steps(clip), self.names, thresholds)

    def milliseconds(self, clip):
        """Time from the start to the answer of each exit of a clip that leaves at none: (exits,) float64."""
        started = time.perf_counter()
        return 1000 * np.array([time.perf_counter() - started for _ in self.steps(clip)])
