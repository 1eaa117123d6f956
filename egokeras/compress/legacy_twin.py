"""The twin of a Keras 3 model in tf_keras, which tensorflow-model-optimization knows alone: the same layers by name, the same weights."""

import inspect

import numpy as np

from egokeras.errors import InputError

EQUAL = 1e-5  # relative to the largest value, at least 1
RENAMED = {("LeakyReLU", "negative_slope"): "alpha"}
INITIAL = ("_initializer", "_regularizer", "_constraint")  # how a training began is of no use any more


def legacy_twin(model):
    """Build `model` again in tf_keras.

    Args:
        model: functional `keras.Model` of layers that are each used once, none of them a model.

    Returns:
        `tf_keras.Model` with the same names of layers, inputs and outputs, in float32; `NormalizePixels` is a 1x1 convolution.

    Raises:
        InputError: a layer that tf_keras has not, or has with other settings.
    """
    import tf_keras

    config, tensors = model.get_config(), {}
    for described in config["layers"]:
        name, settings = described["name"], described["config"]
        if described["class_name"] == "InputLayer":
            tensors[name] = tf_keras.Input(settings["batch_shape"][1:], name=name)
            continue
        own = model.get_layer(name)
        if len(described["inbound_nodes"]) != 1:
            raise InputError(f"layer {name} is used more than once; quantization-aware training cannot rebuild that.")
        layer, weights = _normalization(own) if described["class_name"] == "NormalizePixels" else (_layer(described), own.get_weights())
        tensors[name] = layer(*_linked(described["inbound_nodes"][0]["args"], tensors))
        layer.set_weights(weights)
    inputs = {tensor.name: tensors[tensor.name] for tensor in model.inputs}
    return tf_keras.Model(inputs if isinstance(model.input, dict) else next(iter(inputs.values())), _ends(config["output_layers"], tensors))


def check_equal(name, expected, found):
    """Refuse a twin that does not compute the same.

    Args:
        name: of what was computed.
        expected, found: arrays.

    Raises:
        InputError: they differ by more than EQUAL.
    """
    difference = float(np.abs(np.asarray(expected) - np.asarray(found)).max())
    if not difference <= EQUAL * max(1.0, float(np.abs(expected).max())):
        found = f"the twin's {name} differ from the Keras model's by {difference:.2g}"
        raise InputError(f"{found}: tf_keras computes a layer of it in another way; export it without qat.")


def _layer(described):
    import tf_keras

    kind, settings = described["class_name"], described["config"]
    layer = getattr(tf_keras.layers, kind, None) if described["module"].startswith("keras") else None
    if layer is None:
        raise InputError(f"layer {described['name']} is a {kind}, which tf_keras has not; export without qat.")
    known = {"name"}.union(*(inspect.signature(base.__init__).parameters for base in layer.__mro__[:-1]))
    renamed = {RENAMED.get((kind, key), key): value for key, value in settings.items()}
    kept = {key: value for key, value in renamed.items() if key in known - {"dtype", "trainable"} and not key.endswith(INITIAL)}
    try:
        return layer(**kept)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"layer {described['name']}: tf_keras has no such {kind} ({str(error).splitlines()[0]}); export without qat."
        ) from error


def _normalization(layer):
    """`(pixels - mean) / deviation` as a 1x1 convolution, which is quantized as any other."""
    import tf_keras

    deviation, mean = np.array(layer.deviation, np.float32), np.array(layer.mean, np.float32)
    channels = layer.output.shape[-1]
    kernel = np.diag(np.broadcast_to(1 / deviation, channels))
    bias = np.broadcast_to(-mean / deviation, channels)
    return tf_keras.layers.Conv2D(channels, 1, name=layer.name), [(kernel[::-1] if layer.bgr else kernel)[None, None], bias]


def _linked(arguments, tensors):
    """The arguments of a layer's call, with the twin's tensors in the place of those that the configuration names."""
    if isinstance(arguments, list | tuple):
        return [_linked(item, tensors) for item in arguments]
    if isinstance(arguments, dict) and arguments.get("class_name") == "__keras_tensor__":
        return tensors[arguments["config"]["keras_history"][0]]
    return arguments


def _ends(described, tensors):
    """The outputs, as the configuration nests them."""
    if isinstance(described, dict):
        return {name: _ends(item, tensors) for name, item in described.items()}
    if isinstance(described[0], str):
        return tensors[described[0]]
    ends = [_ends(item, tensors) for item in described]
    return ends[0] if len(ends) == 1 else ends
