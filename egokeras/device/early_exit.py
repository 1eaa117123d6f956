"""Early exits on the device: a clip is computed no further than the exit that is sure of it.

Needs numpy and ai-edge-litert. Soufleri et al., https://arxiv.org/abs/2407.02713: exit j answers with Z_j = sum over i <= j of w_ji z_i.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from egokeras.device.manifest import CLIP, exit_output
from egokeras.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """What a clip got.

    Attributes:
        exit: at which it left, from 0.
        name: of that exit.
        logits: head to Z (classes,) float64.
    """

    exit: int
    name: str
    logits: Mapping[str, np.ndarray]


class StagedArtifact:
    """Runs an artifact with `exits`, part after part.

    Attributes:
        names: of the exits, in the order of their computation.
        thresholds: head to what its largest probability must exceed for a clip to leave.

    Raises:
        InputError: the artifact has no exits.
    """

    def __init__(self, artifact):
        about = artifact.manifest.get("exits")
        if about is None:
            raise InputError(f"{artifact.folder} has no early exits; export the run with early_exit.")
        artifact.expect(CLIP)
        self.artifact, self.names, self.thresholds = artifact, tuple(about["names"]), about.get("thresholds", {})
        self._weights = weights_of(artifact)

    def steps(self, inputs):
        """Compute a clip exit by exit; what is not asked for is not computed.

        Args:
            inputs: name to a clip with an axis for the batch.

        Returns:
            Iterator of head to Z (classes,) float64 of each exit.
        """
        return weighed(self._weights, self.artifact.parts.steps(inputs))

    def answer(self, inputs, thresholds=None):
        """The `Answer` to a clip, which leaves at the first exit that is sure in all heads, or at the last.

        Args:
            inputs: as for `steps`.
            thresholds: others than the artifact's.
        """
        return leave(self.steps(inputs), self.names, thresholds or self.thresholds)


def weights_of(artifact):
    """Head to WISE's weights (exits, exits) float64, of an artifact with `exits`."""
    return {head: np.array(values, np.float64) for head, values in artifact.manifest["exits"]["weights"].items()}


def weighed(weights, outputs):
    """Yield head to Z (classes,) float64 of each exit; `outputs` gives what each exit's part gave, name to array."""
    z: dict[str, list] = {head: [] for head in weights}
    for number, given in enumerate(outputs):
        for head, found in z.items():
            found.append(given[exit_output(head, number)][0])
        yield {head: rows[number, : number + 1] @ np.stack(z[head]) for head, rows in weights.items()}


def leave(steps, names, thresholds):
    """The `Answer` to a clip, which leaves at the first exit that is sure in all heads, or at the last that there is.

    Args:
        steps: iterator of head to Z (classes,), exit by exit; none is taken behind the one that is sure.
        names: of the exits.
        thresholds: head to what the largest probability must exceed.
    """
    for number, logits in enumerate(steps):
        answer = Answer(exit=number, name=names[number], logits=logits)
        if all(_surest(logits[head]) > threshold for head, threshold in thresholds.items()):
            break
    return answer


def _surest(logits):
    """The largest probability."""
    return 1 / np.exp(logits - logits.max()).sum()
