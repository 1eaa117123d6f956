"""The student of a recipe: fits its data, is built, and may begin with weights that an earlier training has left."""

import inspect
import pathlib

import keras
import numpy as np
import tensorflow as tf

import egokeras
from egokeras.compress.cost import cost
from egokeras.compress.pruned import Pruned
from egokeras.distill.base import leaves
from egokeras.errors import InputError
from egokeras.features import cached
from egokeras.files import sha256
from egokeras.models import FrameModel


def untrained(recipe, shards, classes, run_dir):
    """The recipe's model for these clips; equal seeds give equal weights, and the precision is the model's alone.

    A `Pruned` has what is left of the model of an earlier stage, which lies beside `run_dir`, in that model's precision.
    """
    if recipe.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(recipe.seed)
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_global_policy("mixed_float16" if recipe.mixed_precision else "float32")
    try:
        if isinstance(recipe.model, Pruned):
            return pruned(recipe.model, earlier(recipe.model.of, run_dir, "model.of"), classes, shards.modalities)
        check_vocabulary(recipe.model, shards)
        return build(recipe.model, classes, shards.modalities)
    finally:
        keras.mixed_precision.set_global_policy(before)


def on_source(recipe, model, shards, folder, single):
    """What is trained, on what: the whole model on frames, or its head on the cached features of a frozen backbone.

    Args:
        recipe: the `Recipe`.
        model: its model.
        shards: its data.
        folder: of the cached features.
        single: function of a model to the same on one device.
    """
    augment, method = recipe.data.augment, recipe.method
    fixed = isinstance(recipe.model, FrameModel) and recipe.model.backbone.frozen and list(shards.modalities) == ["rgb"]
    views = recipe.feature_views if augment is not None else 0
    changing = (augment is not None and not views) or recipe.data.crop is not None
    needs_clips = getattr(method, "views", 1) > 1 or getattr(method, "reads_clips", False)
    if not recipe.cache_features or not fixed or changing or needs_clips:
        return model, shards
    train_rows, validation_rows = recipe.data.rows(shards)
    copied = np.concatenate([train_rows, validation_rows]) if recipe.folds else train_rows
    backbone = single(model.get_layer("backbone"))
    source = cached(backbone, shards, folder, augment=augment, views=views, rows=copied if views else (), seed=recipe.seed)
    return model.get_layer("head"), source


def build(model, classes, shapes):
    """The Keras model of a recipe's `model` for clips of `shapes`, by modality."""
    check_kind(model, shapes)
    if _takes_rgb(model):
        frames, size, *_ = shapes["rgb"]
        return model.build(classes=classes, frames=frames, size=size)
    return model.build(classes=classes, shapes=shapes)


def pruned(spec, file, classes, shapes):
    """What a `Pruned` leaves of the model in `file`, and a line that says how much that is.

    Raises:
        InputError: the model takes other clips, or has other answers.
    """
    model = egokeras.load_model(file)
    takes = {name: tensor.shape[1:] for name, tensor in model.input.items()} if isinstance(model.input, dict) else {}
    for name, shape in takes.items():
        if shapes.get(name) != shape:
            raise InputError(f"model.of: {file} takes {name} of {shape}, the data has {shapes}; give the data that it was trained on.")
    answers = {name: tensor.shape[-1] for name, tensor in model.output.items()} if isinstance(model.output, dict) else {}
    for space, count in classes.items():
        if answers.get(space) != count:
            raise InputError(f"model.of: {file} answers {answers}, the data has {count} classes of {space}; give a model of these labels.")
    smaller = spec.prune(model)
    macs, weights = (
        [count(one) for one in (smaller, model)] for count in (lambda one: cost(one)["macs"]["whole"], keras.Model.count_params)
    )
    print(f"pruned {file}: {_share(macs)} of its multiply-accumulates and {_share(weights)} of its weights are left")
    return smaller


def _share(counts):
    return f"{counts[0] / counts[1]:.1%}"


def made_of(recipe, run_dir):
    """What a snapshot of a training must agree with beside its method's: the model that a `Pruned` is left of."""
    return {"model.of": sha256(earlier(recipe.model.of, run_dir, "model.of"))} if isinstance(recipe.model, Pruned) else {}


def check_kind(model, shapes):
    """Refuse data that a recipe's `model` cannot take; of a `Pruned` the model that is pruned will tell.

    Raises:
        InputError: it takes clips and the data has observations, or the other way round.
    """
    if isinstance(model, Pruned):
        return
    model = getattr(model, "model", model)  # what exits are put on
    named = getattr(model, "modalities", ())
    fits = "rgb" in shapes if _takes_rgb(model) or "rgb" in named else "rgb" not in shapes or set(named) & set(shapes)
    if not fits:
        takes, maker = ("rgb clips", "prepare") if _takes_rgb(model) or "rgb" in named else ("features or labels", "observe")
        takes = takes if maker == "prepare" or hasattr(model, "modalities") else "labels"
        found = f"the recipe's {type(model).__name__} takes {takes}, the data has {', '.join(shapes)}"
        raise InputError(f"{found}; make a set for it with `egokeras {maker}`.")


def _takes_rgb(model):
    """Whether clips of `rgb` are all that it takes."""
    return "frames" in inspect.signature(getattr(model, "model", model).build).parameters


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


def earlier(name, run_dir, field="start_from"):
    """`model.keras` of an earlier stage, which lies beside this one, or of a run folder.

    Raises:
        InputError: there is none; `field` of the recipe names it.
    """
    for folder in (run_dir.parent / name, pathlib.Path(name)) if name else ():
        if (folder / "model.keras").is_file():
            return folder / "model.keras"
    found = f"neither {run_dir.parent / name} nor {name} has a model.keras" if name else "it is not set"
    raise InputError(f"{field}: {found}; name an earlier stage or a run folder.")


def take_weights(model, files):
    """Give the layers of `model` the weights of layers of the same name, in trained models.

    Where a trained model and this one have none in common, it is the layers of the models nested in them that are compared.

    Args:
        model: a `keras.Model`, changed in place.
        files: `model.keras` files.

    Raises:
        InputError: a layer has another shape there, or no layer has the name of one here.
    """
    for file in files:
        trained = egokeras.load_model(file)
        own, common = _common(trained.layers, model.layers)
        if not common:
            own, common = _common(leaves(trained), leaves(model))
        for layer in common:
            shapes = [[weight.shape for weight in one.get_weights()] for one in (layer, own[layer.name])]
            if shapes[0] != shapes[1]:
                raise InputError(f"start_from: layer {layer.name!r} of {file} has the shapes {shapes[0]}, this model's {shapes[1]}.")
            own[layer.name].set_weights(layer.get_weights())
        if not common:
            raise InputError(f"start_from: no layer of {file} has the name of a layer here; they are {', '.join(own)}.")


def _common(trained, layers):
    """Name to layer with weights, of `layers`; and those of the `trained` that have the name of one."""
    own = {layer.name: layer for layer in layers if layer.weights}
    return own, [layer for layer in trained if layer.weights and layer.name in own]
