"""How a run becomes an artifact of each kind: which files are made of its model, what artifact.json says, how the files answer a clip."""

import dataclasses
import functools
import typing

from egokeras.compress.quantize import write_calibration
from egokeras.compress.tflite import Conversion
from egokeras.device.anticipation import Anticipator
from egokeras.device.frame_stream import FrameStream
from egokeras.device.manifest import CARRIED, CLIP, INPUT, LABELS, STEP, STREAM, WINDOW
from egokeras.errors import InputError
from egokeras.models import streaming
from egokeras.models.anticipation_step import step_model
from egokeras.protocol import ANTICIPATION

MIXED = "mixed"
QUANTIZATIONS = ("int8", MIXED, "dynamic_range", "float16", "float32")  # from the smallest artifact to the most faithful
HALVES = ("features", "head")


def made_of(run):
    """The kinds of artifact that a run can become."""
    return tuple(name for name, kind in KINDS.items() if kind.fits(run))


@dataclasses.dataclass(frozen=True)
class Clips:
    """A clip in, its logits out: one file, or with mixed quantization the features in int8 and the head in float32.

    Attributes:
        run: the `egokeras.gated_run.Run`.
        export: the `egokeras.export.Export`.
    """

    run: typing.Any
    export: typing.Any
    quantizations: typing.ClassVar[tuple[str, ...]] = QUANTIZATIONS

    @staticmethod
    def fits(run):
        """Whether a run can become this."""
        return not run.anticipates

    def conversions(self, work):
        """The `Conversion`s of the artifact's files, in the order in which they run.

        Args:
            work: folder for what must be made before; the files go into its folder `export.name`.

        Raises:
            InputError: the model has no such parts, or int8 has no training clips.
        """
        if self.export.quantization != MIXED:
            return [self._conversion(work, "model", self.run.model, self.run.classes, self.export.quantization)]
        return self._halves(work, *streaming.halves(self.run.model))

    def _halves(self, work, features, head, state=()):
        quantizations = ("int8", "float32") if self.export.quantization == MIXED else (self.export.quantization,) * 2
        outputs = ["features"], [*self.run.classes, *state]
        parts = zip(HALVES, (features, head), outputs, quantizations, strict=True)
        return [self._conversion(work, *part) for part in parts]

    def _conversion(self, work, name, model, outputs, quantization):
        saved = work / f"{self.export.name}.{name}.keras"
        model.save(saved)
        calibration = self._calibration(work) if quantization == "int8" else None
        file = str(work / self.export.name / f"{name}.tflite")
        return Conversion(model=str(saved), outputs=tuple(outputs), kind=quantization, file=file, calibration=calibration)

    def _calibration(self, work, apart=False):
        """Input to the file of its examples."""
        run, export = self.run, self.export
        if not len(run.train):
            raise InputError(f"{run.shards.path} has no training clips to calibrate {export.name} on; give the data of the training.")
        files = {name: str(work / f"{export.name}.{name}.npy") for name in run.model.input}
        labels = run.shards.labels(next(iter(run.classes)), run.train)
        write_calibration(run.shards, run.train, labels, files, count=export.calibration_clips, seed=export.seed, apart=apart)
        return files

    def describe(self):
        """What artifact.json says about inputs and outputs."""
        inputs = {name: self._pictures(name) for name in self.run.model.input}
        index = self.run.shards.indexes[next(iter(inputs))]
        return {
            "inputs": inputs,
            "outputs": self.run.classes,
            "sampling": {**index["sampling"], "clip_seconds": index["clip_seconds"]},
        }

    def _pictures(self, name):
        """One input of clips, with how its pictures were made of frames."""
        shards = self.run.shards
        index, shape = shards.indexes[name], shards.modalities[name]
        made = {key: index[key] for key in ("flow", "difference", "traced") if key in index}
        stored = getattr(shards, "stored", shards).modalities[name]
        cut = {"cut_from": list(stored[1:3])} if stored[1:3] != shape[1:3] else {}
        return {"shape": [1, *shape], "dtype": "uint8", "channels": index["channels"], "resize": index["resize"], **cut, **made}

    def answers(self, artifact):
        """Function of the inputs of one clip to logits by head, from the artifact's files."""
        return artifact.predict


class Stream(Clips):
    """A frame and a state in, logits and the new state out: a file for the frame's features, and one for the head over time."""

    quantizations = QUANTIZATIONS[1:]  # a state that is fed back needs more than 8 bits

    @staticmethod
    def fits(run):
        """Whether a run can become this."""
        if run.anticipates or set(run.model.input) != {INPUT}:
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
        return self._halves(work, streaming.features_step(self.run.model), self._step, _state(self._step))

    def _calibration(self, work, apart=True):
        return super()._calibration(work, apart)

    def describe(self):
        described = super().describe()
        pictures = described["inputs"][INPUT]
        frames = pictures["shape"].pop(1)
        reset = {"reset_frames": self.export.reset_frames} if self.export.reset_frames else {}
        return {
            "kind": STREAM,
            **described,
            "sampling": {**described["sampling"], "frames": frames},
            "state": _tensors(self._step),
            "memory": self.export.memory,
            **reset,
        }

    def answers(self, artifact):
        stream = FrameStream(artifact)
        return lambda clips: stream.clip(clips[INPUT])


class Step(Clips):
    """The step of a stream of observations, for a run that anticipates."""

    quantizations = QUANTIZATIONS[2:]

    @staticmethod
    def fits(run):
        """Whether a run can become this."""
        return run.anticipates

    @functools.cached_property
    def _step(self):
        return step_model(self.run.model)

    def conversions(self, work):
        outputs = [*self.run.classes, *_state(self._step)]
        return [self._conversion(work, "model", self._step, outputs, self.export.quantization)]

    def describe(self):
        run, step = self.run, self._step
        sets = getattr(run.shards, "sets", None) or {run.shards.modality: run.shards}
        observed = {name: {**_tensor(step.input[name]), "observed": sets[name].index["observations"]} for name in run.model.input}
        spaces = ("verb", "noun") if LABELS in observed else ()
        about = next(iter(observed.values()))["observed"]
        return {
            "kind": STEP,
            "inputs": observed,
            "state": _tensors(step),
            "outputs": run.classes,
            "anticipation": {"step": about["step"], "steps": about["steps"], "times": list(ANTICIPATION)},
            **({"vocabulary": {space: list(run.shards.classes[space]) for space in spaces}} if spaces else {}),
        }

    def answers(self, artifact):
        return Anticipator(artifact).window


KINDS = {CLIP: Clips, STREAM: Stream, STEP: Step}


def _state(step):
    return [name for name in step.input if name in step.output]


def _tensors(step):
    return {name: _tensor(step.input[name]) for name in _state(step)}


def _tensor(tensor):
    return {"shape": [1, *tensor.shape[1:]], "dtype": tensor.dtype}
