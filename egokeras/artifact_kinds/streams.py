"""Artifacts that take one frame, or one observation, after another and keep a state."""

import functools

import numpy as np

from egokeras.artifact_kinds.clips import QUANTIZATIONS, Clips
from egokeras.device.manifest import CARRIED, INPUT, LABELS, STEP, STREAM, WINDOW
from egokeras.errors import InputError
from egokeras.models import streaming
from egokeras.models.anticipation_step import step_model
from egokeras.protocol import ANTICIPATION


class Stream(Clips):
    """A frame and a state in, logits and the new state out: a file for the frame's features, and one for the head over time."""

    quantizations = QUANTIZATIONS[1:]  # a state that is fed back needs more than 8 bits

    @staticmethod
    def fits(run):
        """Whether a run can become this."""
        if not Clips.fits(run) or set(run.inputs) != {INPUT}:
            return False
        try:
            streaming.features_step(run.model)
        except InputError:
            return False
        return True

    @functools.cached_property
    def _step(self):
        return {WINDOW: streaming.window_step, CARRIED: streaming.carried_step}[self.export.memory](self.run.model)

    def conversions(self, work):
        return self._halves(work, streaming.features_step(self.run.model), self._step, state_of(self._step))

    def _calibration(self, work, apart=True):
        return super()._calibration(work, apart)

    def describe(self):
        reset = {"reset_frames": self.export.reset_frames} if self.export.reset_frames else {}
        return {
            **of_frames(super().describe()),
            "state": tensors_of(self._step),
            "memory": self.export.memory,
            **reset,
        }


class Step(Clips):
    """The step of a stream of observations, for a run that anticipates; every anticipation time is judged as a head of its own."""

    quantizations = QUANTIZATIONS[2:]
    reference = "steps"

    @staticmethod
    def fits(run):
        """Whether a run can become this."""
        return run.anticipates

    @functools.cached_property
    def _step(self):
        return step_model(self.run.model)

    def conversions(self, work):
        outputs = [*self.run.classes, *state_of(self._step)]
        return [self._conversion(work, "model", self._step, outputs, self.export.quantization)]

    def describe(self):
        run, step = self.run, self._step
        sets = getattr(run.shards, "sets", None) or {run.shards.modality: run.shards}
        observed = {name: {**tensor_of(step.input[name]), "observed": sets[name].index["observations"]} for name in run.model.input}
        spaces = ("verb", "noun") if LABELS in observed else ()
        about = next(iter(observed.values()))["observed"]
        return {
            "kind": STEP,
            "inputs": observed,
            "state": tensors_of(step),
            "outputs": run.classes,
            "anticipation": {"step": about["step"], "steps": about["steps"], "times": list(ANTICIPATION)},
            **({"vocabulary": {space: list(run.shards.classes[space]) for space in spaces}} if spaces else {}),
        }

    def judged(self):
        times = enumerate(ANTICIPATION)
        return [(f"{head} {time:g} s", head, head, np.s_[:, row]) for row, time in times for head in self.run.classes]


def of_frames(described):
    """What is said of clips, said of one frame of them."""
    pictures = described["inputs"][INPUT]
    frames = pictures["shape"].pop(1)
    return {"kind": STREAM, **described, "sampling": {**described["sampling"], "frames": frames}}


def state_of(step):
    return [name for name in step.input if name in step.output]


def tensors_of(step):
    return {name: tensor_of(step.input[name]) for name in state_of(step)}


def tensor_of(tensor):
    return {"shape": [1, *tensor.shape[1:]], "dtype": tensor.dtype}
