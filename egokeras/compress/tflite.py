"""Keras to TFLite, in a child process: the converter may crash, and then takes its whole process with it.

`convert` runs `python -m egokeras.compress.tflite JOB.json`. TensorFlow takes seconds to start, so one child makes several files;
what it leaves undone is tried again alone, and only what fails alone has failed.
"""

import dataclasses
import functools
import hashlib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping

import numpy as np

import egokeras
from egokeras.errors import InputError
from egokeras.files import atomic, read_json, write_json

KINDS = ("int8", "dynamic_range", "float16", "float32")  # from the smallest file to the most faithful
SIGNATURE = "serving_default"
SECONDS = 1800.0  # 100 clips of 20 frames at 224 px calibrate in about 5 minutes on two busy cores
LOG_LINES = 5


class ConversionError(InputError):
    """TFLite could not be made of this model; the message ends with the converter's last lines."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conversion:
    """One TFLite file to make.

    Attributes:
        model: path of the saved Keras model.
        outputs: names of the outputs that the file shall have.
        kind: one of `KINDS`.
        file: where it is written.
        calibration: input to the `.npy` of what it shall be calibrated on, (examples, ...) without an axis for the batch; int8 needs it.
    """

    model: str
    outputs: tuple[str, ...]
    kind: str
    file: str
    calibration: Mapping[str, str] | None = None


def convert(conversions, seconds=SECONDS):
    """Make TFLite files of saved models.

    Args:
        conversions: `Conversion`s with different files.
        seconds: time for each of them.

    Returns:
        For each conversion None (the file is there) or its `ConversionError`.
    """
    reason = _child(conversions, seconds)
    results = []
    for conversion in conversions:
        if not pathlib.Path(conversion.file).exists() and len(conversions) > 1:
            reason = _child([conversion], seconds)
        done = pathlib.Path(conversion.file).exists()
        results.append(None if done else ConversionError(f"{conversion.model} could not be converted to {conversion.kind}: {reason}"))
    return results


def _child(conversions, seconds):
    """Run one child over `conversions`; returns how it ended with the last lines of its log."""
    job = [dataclasses.asdict(item) for item in conversions]
    return run_child("egokeras.compress.tflite", job, pathlib.Path(conversions[0].file), seconds * len(conversions))


def run_child(module, job, beside, seconds):
    """Run `python -m MODULE JOB.json` and wait.

    Args:
        module: dotted name.
        job: what it reads, JSON values.
        beside: a path beside which job and log lie meanwhile.
        seconds: time that it has.

    Returns:
        How it ended, with the last lines of its log.
    """
    file, log = beside.with_suffix(".job.json"), beside.with_suffix(".log")
    write_json(file, job)
    path = [str(pathlib.Path(egokeras.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    try:
        with open(log, "wb") as output:
            command = [sys.executable, "-m", module, str(file)]
            code = subprocess.run(command, env=environment, stdout=output, stderr=output, timeout=seconds, check=False).returncode
        ended = f"the converter crashed ({signal.Signals(-code).name})" if code < 0 else f"the converter ended with exit code {code}"
    except subprocess.TimeoutExpired:
        ended = f"the converter was stopped after {seconds:.0f} s"
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    file.unlink()
    log.unlink()
    return "; ".join([ended, *lines[-LOG_LINES:]])


def main(job):
    """The child: load the models and make the files of a job."""
    load = functools.cache(egokeras.load_model)
    with tempfile.TemporaryDirectory() as folder:
        for fields in read_json(job):
            conversion = Conversion(**{**fields, "outputs": tuple(fields["outputs"])})
            content = _convert(_saved_model(load, conversion, folder), conversion)
            check_builtin(content)
            with atomic(conversion.file) as file:
                file.write(content)


def _saved_model(load, conversion, folder):
    """Write the inference twin with its one signature, unless `folder` has it; ExportArchive is the road that keeps the weights.

    For int8 the pixels are float32 in the graph, and the converter makes the input uint8: a cast inside would end the quantized part.
    """
    import keras
    import tensorflow as tf

    from egokeras.compress.twin import inference_twin

    pixels = "float32" if conversion.kind == "int8" else "uint8"
    path = pathlib.Path(folder, hashlib.sha256(repr((conversion.model, conversion.outputs, pixels)).encode()).hexdigest())
    if path.exists():
        return path
    twin = inference_twin(load(conversion.model), conversion.outputs, pixels=pixels)
    inputs = {tensor.name: tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.name) for tensor in twin.inputs}
    archive = keras.export.ExportArchive()
    archive.track(twin)
    archive.add_endpoint(SIGNATURE, lambda inputs: twin(inputs, training=False), input_signature=[inputs])
    archive.write_out(path, verbose=False)
    return path


def _convert(saved_model, conversion):
    """The bytes of the TFLite file."""
    import tensorflow as tf

    from egokeras.compress.quantize import representative

    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model), signature_keys=[SIGNATURE])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if conversion.kind != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if conversion.kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if conversion.kind == "int8":
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = representative(conversion.calibration)
        pixels = [np.load(path, mmap_mode="r", allow_pickle=False).dtype == np.uint8 for path in conversion.calibration.values()]
        converter.inference_input_type = tf.uint8 if all(pixels) else tf.float32
    content = converter.convert()
    if converter.inference_input_type == tf.uint8:
        _check_input(content)
    return content


def _check_input(content):
    """A uint8 pixel must be its own code, or every device would have to rescale its frames."""
    from ai_edge_litert.interpreter import Interpreter

    for name, pixels in Interpreter(model_content=content).get_signature_runner(SIGNATURE).get_input_details().items():
        if pixels["quantization"] != (1.0, 0):
            raise ConversionError(f"the int8 input {name} takes pixels as {pixels['quantization']}, not as they are: a defect of egokeras.")


def check_builtin(content):
    """Refuse a TFLite file that needs more than the runtime's own operations.

    Raises:
        ConversionError: names the operations (such as `FlexErf`) that no device has.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(bytes(content), 0)
    codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
    foreign = sorted(code.CustomCode().decode() for code in codes if code.BuiltinCode() == schema.BuiltinOperator.CUSTOM)
    if foreign:
        raise ConversionError(f"the file needs operations that TFLite on a device lacks: {', '.join(foreign)}.")


if __name__ == "__main__":
    main(sys.argv[1])
