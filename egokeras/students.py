"""The student of a recipe: fits its data, is built, and may begin with weights that an earlier training has left."""

import inspect
import pathlib

import egokeras
from egokeras.errors import InputError


def build(model, classes, shapes):
    """The Keras model of a recipe's `model` for clips of `shapes`, by modality."""
    check_kind(model, shapes)
    if "rgb" in shapes:
        frames, size, *_ = shapes["rgb"]
        return model.build(classes=classes, frames=frames, size=size)
    return model.build(classes=classes, shapes=shapes)


def check_kind(model, shapes):
    """Refuse data that a recipe's `model` cannot take.

    Raises:
        InputError: it takes clips and the data has observations, or the other way round.
    """
    takes_clips = "frames" in inspect.signature(model.build).parameters
    if takes_clips != ("rgb" in shapes):
        takes, maker = ("rgb clips", "prepare") if takes_clips else ("features or labels", "observe")
        takes = takes if takes_clips or hasattr(model, "modalities") else "labels"
        found = f"the recipe's {type(model).__name__} takes {takes}, the data has {', '.join(shapes)}"
        raise InputError(f"{found}; make a set for it with `egokeras {maker}`.")


def check_vocabulary(model, shards):
    """Refuse verbs and nouns that a model which reads labels does not know: on a GPU TensorFlow would take zeros for them.

    Raises:
        InputError: the data has more of them.
    """
    vocabulary = getattr(model, "labels", model)
    for field in ("verbs", "nouns") if "labels" in shards.modalities and hasattr(vocabulary, "verbs") else ():
        known, there = getattr(vocabulary, field), len(shards.classes[field[:-1]])
        if known < there:
            prefix = "model" if vocabulary is model else "model.labels"
            raise InputError(f"{prefix}.{field} is {known}, {shards.path} has {there} {field}; set {prefix}.{field}={there}.")


def earlier(name, run_dir):
    """`model.keras` of an earlier stage, which lies beside this one, or of a run folder.

    Raises:
        InputError: there is none.
    """
    for folder in (run_dir.parent / name, pathlib.Path(name)):
        if (folder / "model.keras").is_file():
            return folder / "model.keras"
    raise InputError(f"start_from: neither {run_dir.parent / name} nor {name} has a model.keras; name an earlier stage or a run folder.")


def take_weights(model, files):
    """Give the layers of `model` the weights of layers of the same name, in trained models.

    Args:
        model: a `keras.Model`, changed in place.
        files: `model.keras` files.

    Raises:
        InputError: a layer has another shape there, or no layer has the name of one here.
    """
    own = {layer.name: layer for layer in model.layers if layer.weights}
    for file in files:
        common = [layer for layer in egokeras.load_model(file).layers if layer.weights and layer.name in own]
        for layer in common:
            shapes = [[weight.shape for weight in one.get_weights()] for one in (layer, own[layer.name])]
            if shapes[0] != shapes[1]:
                raise InputError(f"start_from: layer {layer.name!r} of {file} has the shapes {shapes[0]}, this model's {shapes[1]}.")
            own[layer.name].set_weights(layer.get_weights())
        if not common:
            raise InputError(f"start_from: no layer of {file} has the name of a layer here; they are {', '.join(own)}.")
