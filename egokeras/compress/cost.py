"""What one clip costs: multiply-accumulates of convolutions and matrix products, and memory of activations."""

import math

import keras


def cost(model):
    """Cost of one clip.

    Args:
        model: a functional `keras.Model` from clips; models nested in it take clips or their features, batch by batch.

    Returns:
        `macs`: part to multiply-accumulates (the nested models by name, and `whole`); biases, BatchNorm and activations do not count.
        `activation_bytes`: float32 bytes of the inputs and outputs of the layer where both together are largest.
    """
    one = for_one_clip(model)
    macs = _by_layer(one)
    parts = {layer.name: macs[layer.name] for layer in one.layers if isinstance(layer, keras.Model)}
    computed = [layer for _, layer in walk(one) if not isinstance(layer, keras.layers.InputLayer)]
    widest = max([0, *(4 * (_elements(layer.input) + _elements(layer.output)) for layer in computed)])
    return {"macs": {**parts, "whole": sum(macs.values())}, "activation_bytes": widest}


def cost_by_layer(model):
    """Layer name to multiply-accumulates for one clip, in the order of computation; `model` as for `cost`."""
    return _by_layer(for_one_clip(model))


def cost_by_path(model):
    """Path of every layer (see `walk`) to its multiply-accumulates for one clip; `model` as for `cost`."""
    return {path: _macs(layer) for path, layer in walk(for_one_clip(model))}


def walk(model, path=()):
    """(path, layer) of the layers of a model and of those nested in it: the path is the names of the models around it, and its own."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from walk(layer, (*path, layer.name))
        else:
            yield (*path, layer.name), layer


def _by_layer(one):
    macs = {layer.name: 0 for layer in one.layers}
    for (name, *_), layer in walk(one):
        macs[name] += _macs(layer)
    return macs


def for_one_clip(model):
    """The model with random weights and a batch of one, so that all its shapes are known; `model` as for `cost`."""
    return type(model).from_config(_batch_of_one(model.get_config()))


def _batch_of_one(config):
    """A model's configuration with static shapes all through, so that frames folded into the batch are counted."""
    if isinstance(config, list | tuple):
        return type(config)(_batch_of_one(item) for item in config)
    if not isinstance(config, dict):
        return config
    changed = {key: _batch_of_one(value) for key, value in config.items()}
    if config.get("class_name") == "InputLayer":
        changed["config"]["batch_shape"] = (1, *changed["config"]["batch_shape"][1:])
    return changed


def _macs(layer):
    """Every kernel element meets every position of the output once; a recurrent layer does so at every step of time. Looking up is free."""
    kernels = sum(math.prod(weight.shape) for weight in layer.weights if len(weight.shape) >= 2 and weight.name != "embeddings")
    if not kernels:
        return 0
    if hasattr(layer, "cell_steps"):  # a recurrent layer of ours
        return layer.cell_steps * kernels
    positions = math.prod(keras.tree.flatten(layer.output)[0].shape[:-1])
    if not isinstance(layer, keras.layers.RNN):
        return positions * kernels
    return kernels * (positions if layer.return_sequences else positions * keras.tree.flatten(layer.input)[0].shape[1])


def _elements(tensors):
    return sum(math.prod(tensor.shape) for tensor in keras.tree.flatten(tensors))
