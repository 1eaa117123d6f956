"""A model without some of its channels, as `channels` has found them: smaller dense layers, computed like any other."""

import numpy as np

from egokeras.compress.cost import walk


def narrowed(model, channels, removed):
    """A model without some of its channels: a functional `keras.Model` with copies of all other weights.

    It is there to be trained: nothing of it is frozen, and a layer that computed in float16 alone computes in float32.

    Args:
        model: as for `channels_of`.
        channels: of it.
        removed: roots of channels of its groups, any of them but not all of a group.
    """
    keep = ~np.isin(channels.roots, removed)
    smaller = type(model).from_config(_edited(model.get_config(), channels.edits, keep, ()))
    own = dict(walk(model))

    def left(path, weight, values):
        for axis, roots in channels.axes.get((path, weight.name), {}).items():
            values = values.compress(keep[roots], axis)
        return values

    for path, layer in walk(smaller):
        whole = zip(own[path].weights, own[path].get_weights(), strict=True)
        layer.set_weights([left(path, weight, values) for weight, values in whole])
    return smaller


def _edited(config, edits, keep, path):
    """The configuration of the smaller model."""
    entries = []
    for entry in config["layers"]:
        place = (*path, entry["name"])
        inner = entry["config"]
        if "input_layers" in inner:
            inner = _edited(inner, edits, keep, place)
        if place in edits:
            inner = edits[place](inner, keep)
        if isinstance(inner.get("dtype"), dict) and inner["dtype"]["config"] == {"name": "float16"}:
            inner = {**inner, "dtype": "float32"}
        inner = {**inner, "trainable": True} if "trainable" in inner else inner
        entries.append({key: value for key, value in entry.items() if key != "build_config"} | {"config": inner})  # shapes of before
    return {**config, "trainable": True, "layers": entries}
