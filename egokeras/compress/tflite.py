"""A SavedModel to TFLite, for `egokeras.compress.conversion`."""

import numpy as np

from egokeras.compress.conversion import SIGNATURE, ConversionError

WEIGHT_ONLY = "weight_only"
KINDS = ("int8", "dynamic_range", WEIGHT_ONLY, "float16", "float32")  # from the smallest file to the most faithful


def content(saved_model, conversion):
    """The bytes of the TFLite file.

    Args:
        saved_model: folder of the inference twin with its one signature.
        conversion: the `egokeras.compress.conversion.Conversion`.

    Raises:
        ConversionError: a device could not run the file.
    """
    import tensorflow as tf

    from egokeras.compress.quantize import representative

    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model), signature_keys=[SIGNATURE])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if conversion.kind not in ("float32", WEIGHT_ONLY):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if conversion.kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if conversion.kind == "int8":
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = representative(conversion.calibration)
        pixels = [np.load(path, mmap_mode="r", allow_pickle=False).dtype == np.uint8 for path in conversion.calibration.values()]
        converter.inference_input_type = tf.uint8 if all(pixels) else tf.float32
    made = converter.convert()
    if conversion.kind == WEIGHT_ONLY:
        made = _weight_only(made)
    if converter.inference_input_type == tf.uint8:
        check_pixels(made)
    check_builtin(made)
    return made


def _weight_only(content):
    """A float32 file with its weights in int8, channel by channel; it computes in float32."""
    from ai_edge_quantizer import quantizer, recipe

    return bytes(quantizer.Quantizer(bytearray(content), recipe.weight_only_wi8_afp32()).quantize().quantized_model)


def check_pixels(content):
    """Refuse an int8 file whose uint8 pixels are not their own codes: every device would have to rescale its frames.

    Raises:
        ConversionError: names the input.
    """
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
