"""The inference twin of a model: the same weights in a graph that TFLite can compile.

Every shape is static, recurrent layers are unrolled (in int8 the converter crashes on their loops), 3D convolutions and poolings are
computed in 2D (see `lowering`), all is float32, and only the wanted outputs are there.
"""

import keras

from egokeras.compress.lowering import lowered
from egokeras.errors import InputError


def inference_twin(model, outputs=None, batch=1, pixels="uint8", int8=False):
    """Copy a functional model for inference.

    Args:
        model: functional `keras.Model` with named inputs and dict outputs; models may be nested in it to any depth.
        outputs: names of the outputs to keep; None keeps all.
        batch: the batch size of inputs that have no static one; None leaves it free.
        pixels: dtype in which uint8 inputs arrive, with the same values 0..255; int8 wants `float32` (see `tflite`).
        int8: whether TFLite is to compute it in int8, for which more is lowered.

    Returns:
        `keras.Model` from `{name: (batch, ...)}` to `{name: (batch, ...)}`, with a copy of the weights.

    Raises:
        InputError: `model` has no such output, or a 3D layer that cannot be lowered.
    """
    config = _for_inference(model.get_config(), pixels, int8)
    for layer in config["layers"]:
        if layer["class_name"] == "InputLayer":
            size, *shape = layer["config"]["batch_shape"]
            layer["config"]["batch_shape"] = (size or batch, *shape)
    twin = type(model).from_config(config)
    twin.set_weights(model.get_weights())
    wanted = list(twin.output) if outputs is None else outputs
    missing = [name for name in wanted if name not in twin.output]
    if missing:
        raise InputError(f"the model has no output {missing[0]!r}; it has {', '.join(twin.output)}.")
    return keras.Model({tensor.name: tensor for tensor in twin.inputs}, {name: twin.output[name] for name in wanted})


def _for_inference(config, pixels, int8):
    """A copy of a layer's or model's configuration: unrolled, lowered, all in float32, uint8 inputs as `pixels`."""
    if isinstance(config, list | tuple):
        return type(config)(_for_inference(item, pixels, int8) for item in config)
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == "DTypePolicy":
        name = config["config"]["name"]
        return "float32" if name.endswith("float16") else pixels if name == "uint8" else config
    changed = {key: _for_inference(value, pixels, int8) for key, value in config.items()}
    if config.get("class_name") in ("InputLayer", "ConvertToTensor") and config["config"]["dtype"] == "uint8":
        changed["config"]["dtype"] = pixels
    return {**changed, "unroll": True} if "unroll" in config else lowered(changed, int8)
