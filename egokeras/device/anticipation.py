"""Anticipate on a stream: one observation every 0.25 s in, what happens 2, 1.75 ... 0.25 s from now out.

Needs numpy and ai-edge-litert. All that is known of a stream is in its `State`, which is given and returned and never written to: one
`Anticipator` serves any number of streams (from one thread at a time), and an old state may be gone back to.
"""

import numpy as np

from egokeras.device.artifact import Artifact
from egokeras.device.manifest import LABELS, STEP
from egokeras.device.state import State, check_state, new_state
from egokeras.errors import InputError

HUNDREDTHS, MICROSECONDS = 100, 1_000_000
OLDEST = 32767  # hundredths of a second at which ages stop in the training data


class Anticipator:
    """Runs an artifact of the kind `anticipation_step`.

    Attributes:
        artifact: the `egokeras.device.artifact.Artifact`.
        seconds: between two observations.
        times: anticipation times in seconds, (8,), in the order of the predictions.

    Raises:
        InputError: the artifact is of another kind, or its file cannot be run.
    """

    def __init__(self, artifact):
        artifact.expect(STEP)
        self.artifact = artifact
        about = artifact.manifest["anticipation"]
        self.seconds, self.times, self._steps = float(about["step"]), tuple(about["times"]), about["steps"]
        self._inputs = {name: (tuple(entry["shape"]), entry["dtype"]) for name, entry in artifact.manifest["inputs"].items()}
        self._parts = artifact.parts

    @classmethod
    def open(cls, path, threads=1):
        """Of an artifact's folder, its checksums verified."""
        return cls(Artifact.open(path, threads=threads))

    def open_stream(self):
        """The `State` of a stream before its first observation."""
        return new_state(self.artifact)

    def step(self, observation, state):
        """The predictions `seconds` after the last step.

        The first observation of a stream stands for those before it, too, as the first frame of a video does in training; so the first
        step takes as long as 14.

        Args:
            observation: modality to features `(F,)`; to `labels`, if the model takes it, the actions that became known since the last
                step, oldest first, as (verb id, noun id, seconds since). None need be named.
            state: what `open_stream` or the last `step` of this stream gave.

        Returns:
            Head to logits `(8, classes)` float32, and the new `State`.

        Raises:
            InputError: a modality is missing or unknown, has another shape, or is not finite.
        """
        inputs, tensors = self._check(observation), state.tensors
        check_state(self.artifact, state)
        if not state.seen:
            quiet = {name: np.zeros_like(value) if name == LABELS else value for name, value in inputs.items()}
            for _ in range(self._steps - 1):
                _, tensors = self._run(quiet, tensors)
        logits, tensors = self._run(inputs, tensors)
        return logits, State(tensors=tensors, seen=state.seen + 1)

    def window(self, observations):
        """What the trained model predicts for a window of its data, step by step from a zero state.

        Args:
            observations: modality to `(14, F)`; `labels` to `(past, 3)` integers: verb id + 1, noun id + 1, and hundredths of a second
                from the moment when it became known to the end of the window and one step more; zeros are none.

        Returns:
            Head to logits `(8, classes)`: row i after observation 7 + i.
        """
        tensors, found = self.open_stream().tensors, []
        for number in range(self._steps):
            inputs = {
                name: self._news(value, number) if name == LABELS else self._features(name, value[number])
                for name, value in observations.items()
            }
            logits, tensors = self._run(inputs, tensors)
            found.append(logits)
        found = found[self._steps - len(self.times) :]
        return {head: np.stack([logits[head][row] for row, logits in enumerate(found)]) for head in self.artifact.classes}

    def top(self, logits, k=1):
        """For each anticipation time the `k` most probable answers: [(seconds from now, [(name, probability)])]."""
        rows = [{head: values[row] for head, values in logits.items()} for row in range(len(self.times))]
        return [(time, self.artifact.top(row, k)) for time, row in zip(self.times, rows, strict=True)]

    def _run(self, inputs, tensors):
        outputs = self._parts.run({**inputs, **tensors})
        return {head: outputs[head][0] for head in self.artifact.classes}, {name: outputs[name] for name in tensors}

    def _check(self, observation):
        """The file's inputs for an observation."""
        observation = {LABELS: (), **observation} if LABELS in self._inputs else observation
        if set(observation) != set(self._inputs):
            raise InputError(f"{self.artifact.folder} takes {', '.join(self._inputs)}, this observation has {', '.join(observation)}.")
        return {name: self._labels(value) if name == LABELS else self._features(name, value) for name, value in observation.items()}

    def _features(self, name, value):
        shape, dtype = self._inputs[name]
        value = np.asarray(value, dtype)
        if value.shape != shape[1:]:
            raise InputError(f"{self.artifact.folder} takes {name} of the shape {shape[1:]}, this observation is {value.shape}.")
        if not np.isfinite(value).all():
            raise InputError(f"{name}: the observation is not finite; leave it out and give the last one again.")
        return value[None]

    def _labels(self, actions):
        shape, dtype = self._inputs[LABELS]
        value = np.zeros(shape, dtype)
        verbs, nouns = (len(self.artifact.manifest["vocabulary"][space]) for space in ("verb", "noun"))
        for row, action in enumerate(list(actions)[-shape[1] :]):
            try:
                verb, noun, seconds = action
                fits = 0 <= verb < verbs and 0 <= noun < nouns and 0 <= seconds < float("inf")
            except (TypeError, ValueError):  # no triple, or not of numbers
                fits = False
            if not fits:
                wanted = f"a verb id under {verbs}, a noun id under {nouns}, and the seconds since it became known"
                raise InputError(f"{LABELS} has the action {action!r}; give {wanted}.")
            value[0, row] = verb + 1, noun + 1, min(round(seconds * MICROSECONDS) // (MICROSECONDS // HUNDREDTHS), OLDEST)
        return value

    def _news(self, past, number):
        """Of a window's past actions those that become known with observation `number`; with the first, all that are known."""
        shape, dtype = self._inputs[LABELS]
        step = round(HUNDREDTHS * self.seconds)
        past, left = np.asarray(past, dtype), step * (self._steps - number)  # until the start of the action
        new = (past[:, 0] > 0) & (past[:, 2] >= left) & ((past[:, 2] < left + step) | (number == 0))
        value = np.zeros(shape, dtype)
        value[0, : new.sum()] = past[new] - [0, 0, left]
        return value
