"""Artifacts that are computed no further than the exit that is sure."""

import functools

import numpy as np

from egokeras import early_exits, wise
from egokeras.artifact_kinds.clips import QUANTIZATIONS, Clips
from egokeras.artifact_kinds.streams import Stream, of_frames, tensor_of
from egokeras.device.manifest import WINDOW, exit_output
from egokeras.errors import InputError
from egokeras.exit_ensemble import Ensemble
from egokeras.models import streaming
from egokeras.staged import exits_of


class EarlyExits(Clips):
    """A file for each exit, which goes on where the one before it stopped: a clip pays for nothing behind the exit at which it leaves.

    Exits answer with WISE's weighted sums (`egokeras wise`), and every exit is judged. The thresholds are chosen on the artifact's own
    answers to the validation clips.
    """

    quantizations = (*QUANTIZATIONS[:1], *QUANTIZATIONS[2:])
    reference = "exits"

    @staticmethod
    def fits(run):
        """Whether a run can become this."""
        return not run.anticipates and all(any("_exit_" in name for name in network.output) for network in run.networks.values())

    @functools.cached_property
    def _weights(self):
        """Head to WISE's weights (exits, exits)."""
        run = self.run
        if run.weighed is None:
            raise InputError(f"{run.path}: its exits are not weighed yet; run `egokeras wise {run.path}` first.")
        heads = run.weighed["heads"]
        missing = [head for head in run.classes if head not in heads]
        if missing or run.weighed["exits"] != self._ensemble.names:
            raise InputError(f"{run.path}: its wise.json is of other exits; run `egokeras wise {run.path}` again.")
        return {head: np.array(heads[head]["weights"], np.float64) for head in run.classes}

    @functools.cached_property
    def _ensemble(self):
        return Ensemble(networks=self.run.networks, data=self.run.data, shards=self.run.shards, spaces=tuple(self.run.classes))

    def conversions(self, work):
        parts = early_exits.parts(self.run.networks, list(self._weights))
        return self._in_order(work, "exit", parts, self.export.quantization)

    def _in_order(self, work, name, parts, quantization):
        """The `Conversion`s of parts each of which goes on where those before it stopped."""
        calibrations: list = [None] * len(parts)
        if quantization == "int8":
            inside = work / f"{self.export.name}.inside"
            inside.mkdir()
            calibrations = early_exits.write_calibrations(parts, self._calibration(work), inside)
        return [
            self._conversion(work, f"{name}_{number}", part, part.output, quantization, calibration)
            for number, (part, calibration) in enumerate(zip(parts, calibrations, strict=True), 1)
        ]

    def describe(self):
        weights = {head: values.tolist() for head, values in self._weights.items()}
        return {**super().describe(), "exits": {"names": self._ensemble.names, "weights": weights}}

    def judged(self):
        exits = enumerate(self._ensemble.names)
        return [(f"{head} {name}", head, exit_output(head, number), np.s_[:]) for number, name in exits for head in self.run.classes]

    def expected(self, inputs):
        z: dict[str, list] = {head: [] for head in self.run.classes}
        for network in self.run.networks.values():
            outputs = network.predict_on_batch({name: inputs[name] for name in network.input})
            for names in exits_of(network, tuple(z)):
                for head, name in names.items():
                    z[head].append(outputs[name])
        combined = {head: wise.combined(self._weights[head], np.stack(found)) for head, found in z.items()}
        return {exit_output(head, number): values for head in z for number, values in enumerate(combined[head])}

    def decided(self, found):
        """Thresholds, and what leaving by them reaches on the clips that chose them."""
        costs, names = self._ensemble.costs(), self._ensemble.names
        wish, described = wise.Wish(lost=self.export.lost_by_leaving), self.describe()["exits"]
        answers = {head: np.stack([found[f"{head} {name}"] for name in names]) for head in self.run.classes}
        labels = {head: self.run.labels(head) for head in answers}
        for head in answers:
            known = labels[head] >= 0
            if not known.any():
                raise InputError(
                    f"{self.run.path}: no validation clip has a label of {head!r}, so no threshold can be chosen; give --data."
                )
            curve = wise.trade_off(answers[head][:, known], labels[head][known], costs)
            described.setdefault("thresholds", {})[head] = wish.threshold(curve)
        judged = np.all([labels[head] >= 0 for head in answers], axis=0)
        taken = wise.leave_together(answers, described["thresholds"])
        return {"exits": {**described, "chosen_on": self._reached(answers, labels, costs, taken, judged)}}

    def _reached(self, answers, labels, costs, taken, judged):
        """Accuracy by head of leaving and of all exits, the share of the cost, and of the clips that left at each exit."""
        rows = np.flatnonzero(judged)
        accuracy = {
            head: [100 * float((z[at, rows].argmax(axis=1) == labels[head][rows]).mean()) for at in (taken[rows], len(costs) - 1)]
            for head, z in answers.items()
        }
        left = wise.shares(taken[rows], len(costs))
        return {"clips": len(rows), "accuracy": accuracy, "cost": float(left @ costs / costs[-1]), "left": left.tolist()}


class StreamEarlyExits(EarlyExits):
    """`EarlyExits` of a stream: for each exit a file for a frame, which goes on where the one before stopped, and one for the last frames.

    Thresholds are chosen as for clips. What leaving saves in a stream depends on how its frames follow one another, and is not foretold.
    """

    quantizations = Stream.quantizations

    @staticmethod
    def fits(run):
        """Whether a run can become this."""
        if not EarlyExits.fits(run) or len(run.networks) > 1:
            return False
        try:
            streaming.exit_unfoldings(run.model, [tuple(names.values()) for names in exits_of(run.model, tuple(run.classes))])
        except InputError:
            return False
        return True

    @functools.cached_property
    def _parts(self):
        return early_exits.frame_parts(self.run.model, list(self._weights))

    def conversions(self, work):
        stages, heads = self._parts
        models = zip(("stage", "head"), (stages, heads), self._quantizations, strict=True)
        parts = [self._in_order(work, *each) for each in models]
        return [each for pair in zip(*parts, strict=True) for each in pair]

    def _calibration(self, work, apart=True):
        return super()._calibration(work, apart)

    def describe(self):
        state = {name: tensor_of(tensor) for head in self._parts[1] for name, tensor in head.input.items()}
        return {**of_frames(super().describe()), "state": state, "memory": WINDOW}

    def _reached(self, *args):
        found = super()._reached(*args)
        del found["cost"]  # of clips that have no frames in common
        return found
