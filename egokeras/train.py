"""Train a recipe: data -> student -> Distiller -> run folder."""

import contextlib
import dataclasses
import pathlib
import re
import sys
import time

import keras
import numpy as np
import tensorflow as tf

from egokeras import recipe as recipes
from egokeras.data import selection
from egokeras.data.input_pipeline import batches, default_heads, stream
from egokeras.data.shards import Shards
from egokeras.distill import Distiller
from egokeras.errors import InputError
from egokeras.features import cached
from egokeras.files import write_json

FEW_CLIPS = 1000  # below this, one held-out set says too little and grouped folds are worth their time


def fit(recipe, run_dir, *, quiet=False):
    """Train one stage into `run_dir`: `model.keras`, `recipe.json`, `classes.json`, `history.csv` and `tensorboard/`.

    Args:
        recipe: a `Recipe` whose `data.shards` is set.
        run_dir: an existing folder.
        quiet: show no progress; else a bar on a terminal, and lines elsewhere.

    Returns:
        The trained student, a `keras.Model` from `rgb`.

    Raises:
        InputError: the recipe and the data do not fit, or a clip is damaged.
    """
    run_dir = pathlib.Path(run_dir)
    shards = open_shards(recipe)
    classes = class_counts(recipe, shards)
    _, validation_rows = recipe.data.rows(shards)  # a mistake in the data shows before the work begins
    if recipe.early_stopping is not None and not len(validation_rows):
        raise InputError(
            f"early_stopping: {shards.path} has no clips in split {recipe.data.validation!r}; hold some out: data.hold_out=0.2."
        )
    model = _build(recipe, shards, classes)
    found = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, shards=str(shards.path.resolve())))  # from any working folder
    write_json(run_dir / "recipe.json", {**recipes.as_json(found), "data_sha256": shards.sha256})
    write_json(run_dir / "classes.json", {space: shards.classes[space] for space in classes})
    student, source = _student_and_source(recipe, model, shards, run_dir.parent)
    with _plain_errors():
        train_rows, validation_rows = recipe.data.rows(source)
        _fit(recipe, student, source, train_rows, validation_rows, _callbacks(recipe, run_dir, quiet), quiet)
    save(model, run_dir / "model.keras")
    return model


def _build(recipe, shards, classes):
    """The recipe's model for these clips; equal seeds give equal weights, and the precision is the model's alone."""
    keras.utils.set_random_seed(recipe.seed)
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_global_policy("mixed_float16" if recipe.mixed_precision else "float32")
    try:
        return recipe.model.build(classes=classes, frames=shards.shape[0], size=shards.shape[1])
    finally:
        keras.mixed_precision.set_global_policy(before)


def _fit(recipe, student, source, train_rows, validation_rows, callbacks, quiet):
    """Train `student` on `train_rows` of `source`, and validate on `validation_rows` after every epoch."""
    heads = [space for space in student.output if f"label_{space}" in source.clips.dtype.names]
    labels = {space: source.labels(space, train_rows) for space in heads}
    method = recipe.method.bind(labels, {space: len(source.classes[space]) for space in heads})
    steps = max(1, round(len(train_rows) / recipe.batch_size))
    distiller = Distiller(student, method)
    distiller.compile(recipe.optim.build(steps, recipe.epochs))
    data = stream(
        source,
        train_rows,
        heads=heads,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        augment=recipe.data.augment,
        balanced=recipe.data.balanced,
    )
    validation = None
    if len(validation_rows):
        order = tf.data.Dataset.from_tensor_slices(validation_rows).batch(recipe.batch_size)
        validation = batches(source, order, heads)
    history = distiller.fit(
        data,
        epochs=recipe.epochs,
        steps_per_epoch=steps,
        validation_data=validation,
        callbacks=[_MethodHook(), *callbacks, keras.callbacks.TerminateOnNaN()],
        shuffle=False,
        verbose=int(sys.stdout.isatty() and not quiet),
    ).history
    if not np.isfinite(history["loss"][-1]):
        raise InputError(f"the loss is not finite in epoch {len(history['loss'])}; give a lower optim.learning_rate or an optim.clip_norm.")


def folds(recipe, run_dir):
    """Grouped k-fold over all labelled clips: train anew without each fold in turn.

    Args:
        recipe: of the run.
        run_dir: of the run.

    Yields:
        For every fold the trained student, the shards that it reads, the rows it has not seen and the rows it learned from; fewer folds
        where there are fewer groups, and nothing where `recipe.folds` is 0 or there are 1,000 clips or more. Every fold trains all
        epochs: one that stopped early would choose its epoch on the clips that judge it.
    """
    shards = open_shards(recipe)
    classes = class_counts(recipe, shards)
    if not recipe.folds or sum(map(len, recipe.data.rows(shards))) >= FEW_CLIPS:
        return
    for fold in range(recipe.folds):
        model = _build(recipe, shards, classes)
        student, source = _student_and_source(recipe, model, shards, pathlib.Path(run_dir).parent)
        rows = np.concatenate(recipe.data.rows(source))
        fold_of = selection.grouped_folds(
            selection.groups(source, rows), source.labels(next(iter(classes)), rows), recipe.folds, recipe.seed
        )
        train, test = rows[fold_of != fold], rows[fold_of == fold]
        if not len(train) or not len(test):
            continue  # fewer groups than folds
        with _plain_errors():
            _fit(recipe, student, source, train, test[:0], [], quiet=True)
        yield student, source, test, train


def open_shards(recipe):
    """The shards of a recipe.

    Raises:
        InputError: the recipe names none.
    """
    if not recipe.data.shards:
        raise InputError(f"recipe {recipe.name!r} has no data; give data.shards=FOLDER, a folder made by `egokeras prepare`.")
    return Shards(recipe.data.shards)


def class_counts(recipe, shards):
    """Label space to number of classes for the heads of a recipe, checked against what the recipe expects."""
    counts = {}
    for space in default_heads(shards, recipe.data.heads):
        if space not in shards.classes:
            raise InputError(f"data.heads: {shards.path} has no labels {space!r}; it has {', '.join(shards.classes)}.")
        counts[space] = len(shards.classes[space])
        expected = recipe.data.classes.get(space, counts[space])
        if expected != counts[space]:
            raise InputError(
                f"data.classes: recipe {recipe.name!r} expects {expected} classes of {space}, {shards.path} has {counts[space]}."
            )
    return counts


def _student_and_source(recipe, model, shards, runs):
    """What is trained, on what: the whole model on frames, or its head on the cached features of a frozen backbone."""
    backbone = getattr(recipe.model, "backbone", None)
    if recipe.cache_features and recipe.data.augment is None and backbone is not None and backbone.frozen:
        return model.get_layer("head"), cached(model.get_layer("backbone"), shards, runs / ".features")
    return model, shards


def save(model, path):
    """Write a model whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp.keras")
    try:
        model.save(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class _LearningRate(keras.callbacks.Callback):
    """Adds the learning rate of the epoch, which is constant in it, to the logs."""

    def on_epoch_begin(self, epoch, logs=None):
        self.rate = float(self.model.optimizer.learning_rate)

    def on_epoch_end(self, epoch, logs=None):
        logs["learning_rate"] = self.rate


class _Lines(keras.callbacks.Callback):
    """A short line after an epoch, at most every few seconds: for logs and pipes, where a bar would be noise."""

    SECONDS = 5.0
    shown = 0.0

    def on_epoch_end(self, epoch, logs=None):
        now = time.monotonic()
        if now - self.shown < self.SECONDS and epoch + 1 < self.params["epochs"]:
            return
        self.shown = now
        top1 = {name.removesuffix("_top1"): f"{100 * value:.1f}%" for name, value in sorted(logs.items()) if name.endswith("_top1")}
        seen = ", ".join(f"{name} {share}" for name, share in top1.items() if not name.startswith("val_"))
        held_out = ", ".join(f"{name.removeprefix('val_')} {share}" for name, share in top1.items() if name.startswith("val_"))
        print(f"epoch {epoch + 1}/{self.params['epochs']}: loss {logs['loss']:.3f}, {seen}; held out: {held_out or 'none'}", flush=True)


class _MethodHook(keras.callbacks.Callback):
    """Counts epochs in the Distiller and tells the method that one has ended."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.epoch.assign(epoch + 1)
        if hasattr(self.model.method, "on_epoch_end"):
            self.model.method.on_epoch_end(self.model.nets, epoch, logs)


def _callbacks(recipe, run_dir, quiet):
    lines = [] if quiet or sys.stdout.isatty() else [_Lines()]
    callbacks = [
        *lines,
        _LearningRate(),
        keras.callbacks.CSVLogger(run_dir / "history.csv"),
        keras.callbacks.TensorBoard(run_dir / "tensorboard"),
    ]
    if recipe.early_stopping is not None:
        callbacks.append(keras.callbacks.EarlyStopping("val_loss", patience=recipe.early_stopping, restore_best_weights=True, verbose=1))
    return callbacks


@contextlib.contextmanager
def _plain_errors():
    """An InputError inside `tf.data` arrives as an operation's error; give it back its sentence."""
    try:
        yield
    except tf.errors.OpError as error:
        found = re.search(r"InputError: (.*)", error.message)
        if found is None:
            raise
        raise InputError(found[1]) from None
