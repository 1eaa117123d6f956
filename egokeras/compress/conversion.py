"""Keras to files for a device, in a child process: a converter may crash, and then takes its whole process with it.

`convert` runs `python -m egokeras.compress.conversion JOB.json`. TensorFlow takes seconds to start, so one child makes several files;
what it leaves undone is tried again alone, and only what fails alone has failed.
"""

import dataclasses
import functools
import hashlib
import pathlib
import sys
import tempfile
import typing
from collections.abc import Mapping

import egokeras
from egokeras.compress import child
from egokeras.errors import InputError
from egokeras.files import atomic, read_json

SIGNATURE = "serving_default"
SECONDS = 1800.0  # 100 clips of 20 frames at 224 px calibrate in about 5 minutes on two busy cores
CONVERTER = {"called": "converter", "environment": {"CUDA_VISIBLE_DEVICES": "-1"}}


class ConversionError(InputError):
    """No file could be made of this model; the message ends with the converter's last lines."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conversion:
    """One file to make.

    Attributes:
        model: path of the saved Keras model.
        outputs: names of the outputs that the file shall have.
        kind: of the numbers in it: `float32`, `int8`, or for TFLite also `float16`, `weight_only` or `dynamic_range`.
        file: where it is written, a `.tflite` or `.onnx` file, or the `saved_model.pb` of a SavedModel in a folder that is there.
        calibration: input to the `.npy` of what it shall be calibrated on, (examples, ...) without an axis for the batch; int8 needs it.
        training: the `egokeras.compress.qat.Training` of int8 features that are trained before, in the place of a calibration.
    """

    model: str
    outputs: tuple[str, ...]
    kind: str
    file: str
    calibration: Mapping[str, str] | None = None
    training: typing.Any = None


def convert(conversions, seconds=SECONDS):
    """Make files of saved models.

    Args:
        conversions: `Conversion`s with different files.
        seconds: time for each of them; one that is trained has its own.

    Returns:
        For each conversion None (the file is there) or its `ConversionError`.
    """
    plain = [conversion for conversion in conversions if conversion.training is None]
    together = _child(plain, seconds) if plain else ""
    results = []
    for conversion in conversions:
        reason = together if conversion.training is None else _trained(conversion)
        if conversion.training is None and not pathlib.Path(conversion.file).exists() and len(plain) > 1:
            reason = _child([conversion], seconds)
        done = pathlib.Path(conversion.file).exists()
        results.append(None if done else ConversionError(f"{conversion.model} could not be converted to {conversion.kind}: {reason}"))
    return results


def _child(conversions, seconds):
    """Run one child over `conversions`; returns how it ended with the last lines of its log."""
    job = [dataclasses.asdict(item) for item in conversions]
    return child.run("egokeras.compress.conversion", job, conversions[0].file, seconds * len(conversions), **CONVERTER)


def _trained(conversion):
    """The same for one that is trained."""
    training, job = conversion.training, [dataclasses.asdict(conversion)]
    seconds, called = 3600 * training.qat.hours, "quantization-aware training"
    return child.run("egokeras.compress.qat", job, conversion.file, seconds, called=called, steps=training.steps)


def main(job):
    """The child: load the models and make the files of a job."""
    from egokeras.compress import onnx, savedmodel, tflite

    formats = {".onnx": onnx.content, ".pb": savedmodel.content, ".tflite": tflite.content}
    load = functools.cache(egokeras.load_model)
    with tempfile.TemporaryDirectory() as folder:
        for fields in read_json(job):
            conversion = Conversion(**{**fields, "outputs": tuple(fields["outputs"])})
            content = formats[pathlib.Path(conversion.file).suffix](_saved_model(load, conversion, folder), conversion)
            with atomic(conversion.file) as file:
                file.write(content)


def _saved_model(load, conversion, folder):
    """Write the inference twin with its one signature, unless `folder` has it; ExportArchive is the road that keeps the weights.

    For int8 in TFLite the pixels are float32 in the graph, and the converter makes the input uint8: a cast inside would end the quantized
    part. In ONNX they are cast before all else: TensorRT can do nothing else with uint8. Only what is to stay a SavedModel has a free batch
    size: a server gathers clips of several callers, and TFLite and TensorRT compile for one size.
    """
    import keras
    import tensorflow as tf

    from egokeras.compress.twin import inference_twin

    onnx, batch = conversion.file.endswith(".onnx"), None if conversion.file.endswith(".pb") else 1
    int8 = conversion.kind == "int8" and not onnx
    pixels = "float32" if onnx or int8 else "uint8"
    path = pathlib.Path(folder, hashlib.sha256(repr((conversion.model, conversion.outputs, pixels, onnx, batch)).encode()).hexdigest())
    if path.exists():
        return path
    model = load(conversion.model)
    twin = inference_twin(model, conversion.outputs, batch, pixels, int8)
    dtypes = {tensor.name: tensor.dtype for tensor in (model if onnx else twin).inputs}
    inputs = {tensor.name: tf.TensorSpec(tensor.shape, dtypes[tensor.name], name=tensor.name) for tensor in twin.inputs}

    def answer(inputs):
        outputs = twin({name: tf.cast(value, twin.input[name].dtype) for name, value in inputs.items()}, training=False)
        for name, values in outputs.items():
            values.set_shape(twin.output[name].shape)  # TensorFlow loses sizes that Keras knows where that of the batch is free
        return outputs

    archive = keras.export.ExportArchive()
    archive.track(twin)
    archive.add_endpoint(SIGNATURE, answer, input_signature=[inputs])
    archive.write_out(path, verbose=False)
    return path


if __name__ == "__main__":
    main(sys.argv[1])
