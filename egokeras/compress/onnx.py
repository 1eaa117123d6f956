"""A SavedModel to ONNX, for `egokeras.compress.conversion`: what onnxruntime runs on a CPU and TensorRT on a Jetson's GPU."""

import pathlib
import tempfile

from egokeras.compress.conversion import SIGNATURE, ConversionError
from egokeras.compress.quantize import examples

OPSET = 17  # the newest that TensorRT 8.5 reads; those before it take no uint8


def content(saved_model, conversion):
    """The bytes of the ONNX file; its graph has the name of the signature.

    Args:
        saved_model: folder of the inference twin with its one signature.
        conversion: the `egokeras.compress.conversion.Conversion`.

    Raises:
        ConversionError: the model has operations that ONNX lacks.
    """
    import tensorflow as tf
    import tf2onnx

    loaded = tf.saved_model.load(str(saved_model))  # its variables live no longer than this does
    answer = loaded.signatures[SIGNATURE]
    inputs = {name: tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in answer.structured_input_signature[1].items()}
    model, _ = tf2onnx.convert.from_function(tf.function(lambda inputs: answer(**inputs)), [inputs], opset=OPSET)
    model.graph.name = SIGNATURE
    _check(model)
    return _quantized(model, conversion.calibration) if conversion.kind == "int8" else model.SerializeToString()


def _check(model):
    """tf2onnx leaves TensorFlow's own operations where it finds no others."""
    import onnx

    foreign = sorted({node.op_type for node in model.graph.node if not onnx.defs.has(node.op_type, node.domain)})
    if foreign:
        raise ConversionError(f"the file needs operations that ONNX lacks: {', '.join(foreign)}.")


def _quantized(model, calibration):
    """Q/DQ nodes as TensorRT wants them, the bytes: symmetric int8 around what goes into each layer with weights, and around the weights.

    The weights stay float32 before their own Q/DQ nodes, and biases have none: TensorRT 8 refuses all else. Outputs have none either, so
    that a layer and the activation behind it become one.
    """
    from onnxruntime import quantization

    layers = ["Conv", "ConvTranspose", "Gemm", "MatMul"]
    options = {
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "AddQDQPairToWeight": True,
        "QuantizeBias": False,
        "OpTypesToExcludeOutputQuantization": layers,
    }
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "model.onnx")
        quantization.quantize_static(
            model,
            file,
            _reader(calibration),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=layers,
            per_channel=True,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            extra_options=options,
        )
        return file.read_bytes()


def _reader(calibration):
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self):
            self._examples = examples(calibration)

        def get_next(self):
            return next(self._examples, None)

    return Reader()
