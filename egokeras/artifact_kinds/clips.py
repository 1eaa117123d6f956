"""Artifacts of clips, the first of the kinds."""

import dataclasses
import typing

import numpy as np

from egokeras import early_exits, soft_targets
from egokeras.compress.conversion import Conversion
from egokeras.compress.quantize import write_calibration
from egokeras.compress.tflite import WEIGHT_ONLY
from egokeras.compress.twin import inference_twin
from egokeras.device.manifest import EMBEDDING, INPUT, STREAM
from egokeras.errors import InputError
from egokeras.models import streaming

MIXED = "mixed"
QUANTIZATIONS = ("int8", MIXED, "dynamic_range", WEIGHT_ONLY, "float16", "float32")  # from the smallest artifact to the most faithful
FILES = {"tflite": "{}.tflite", "onnx": "{}.onnx", "savedmodel": "{}/saved_model.pb"}  # format to the file of a part
HALVES = ("features", "head")


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
    reference: typing.ClassVar[str] = "clips"  # kinds of one reference are judged by the same answers of Keras

    @staticmethod
    def fits(run):
        """Whether a run can become this."""
        return not run.anticipates and len(run.networks) == 1

    def conversions(self, work):
        """The `Conversion`s of the artifact's files, in the order in which they run.

        Args:
            work: folder for what must be made before; the files go into its folder `export.name`.

        Raises:
            InputError: the model has no such parts, or int8 has no training clips.
        """
        if self.export.quantization != MIXED and self.export.qat is None:
            return [self._conversion(work, "model", streaming.embedded(self.run.model), self._answers, self.export.quantization)]
        return self._halves(work, *streaming.halves(self.run.model))

    @property
    def _answers(self):
        """Names of what a clip is answered with."""
        return [*self.run.classes, *([EMBEDDING] if self.export.embedding else [])]

    @property
    def _quantizations(self):
        """Of what is computed of frames, and of the head over time."""
        return ("int8", "float32") if self.export.quantization == MIXED else (self.export.quantization,) * 2

    def _halves(self, work, features, head, state=()):
        outputs = ["features"], [*self._answers, *state]
        parts = list(zip(HALVES, (features, head), outputs, self._quantizations, strict=True))
        if self.export.qat is None:
            return [self._conversion(work, *part) for part in parts]
        clips, name = self.run.inputs[INPUT], self.export.name
        training = soft_targets.training(self.run, self.export, work, time=None if self.export.kind == STREAM else clips.shape[1])
        calibration = None
        if self.export.quantization == "int8":
            (inside := work / f"{name}.inside").mkdir()
            twins = [inference_twin(features), inference_twin(head, self._answers)]
            calibration = early_exits.write_calibrations(twins, self._calibration(work), inside)[1]
        return [self._conversion(work, *parts[0], training=training), self._conversion(work, *parts[1], calibration=calibration)]

    def _conversion(self, work, name, model, outputs, quantization, calibration=None, training=None):
        saved = work / f"{self.export.name}.{name}.keras"
        model.save(saved)
        file = work / self.export.name / FILES[self.export.format].format(name)
        file.parent.mkdir(exist_ok=True)
        if quantization == "int8" and not (calibration or training):
            calibration = self._calibration(work)
        return Conversion(
            model=str(saved),
            outputs=tuple(outputs),
            kind=quantization,
            file=str(file),
            calibration=calibration,
            training=training,
        )

    def _calibration(self, work, apart=False):
        """Input to the file of its examples."""
        run, export = self.run, self.export
        if not len(run.train):
            raise InputError(f"{run.shards.path} has no training clips to calibrate {export.name} on; give the data of the training.")
        files = {name: str(work / f"{export.name}.{name}.npy") for name in run.inputs}
        labels = run.shards.labels(next(iter(run.classes)), run.train)
        write_calibration(run.shards, run.train, labels, files, count=export.calibration_clips, seed=export.seed, apart=apart)
        return files

    def describe(self):
        """What artifact.json says about inputs and outputs."""
        inputs = {name: self._pictures(name) for name in self.run.inputs}
        index = self.run.shards.indexes[next(iter(inputs))]
        return {
            "inputs": inputs,
            "outputs": self.run.classes,
            **({EMBEDDING: self.run.model.output["features"].shape[-1]} if self.export.embedding else {}),
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

    def judged(self):
        """What is judged: (its name, its head, which output, which part of that output)."""
        return [(head, head, head, np.s_[:]) for head in self.run.classes]

    def expected(self, inputs):
        """What Keras answers to a batch: outputs by name."""
        outputs = self.run.model.predict_on_batch(inputs)
        return {**outputs, EMBEDDING: outputs["features"]} if self.export.embedding else outputs

    def decided(self, found):
        """What artifact.json says of the artifact's own answers, `found` by what is judged: (clips, classes)."""
        return {}
