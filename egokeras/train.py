"""Train a recipe: data -> student -> Distiller -> run folder."""

import contextlib
import dataclasses
import functools
import hashlib
import math
import pathlib
import re
import shutil
import sys

import keras
import numpy as np
import tensorflow as tf

from egokeras import recipe as recipes
from egokeras import resumption, snapshots, students
from egokeras.callbacks import HISTORY, callbacks, watchers
from egokeras.compress.prune import Pruner
from egokeras.data import selection
from egokeras.data.input_pipeline import batches, default_heads, stream
from egokeras.data.joined import folders
from egokeras.data.transforms import PICTURES
from egokeras.distill import Distiller
from egokeras.distill.training_set import training_set
from egokeras.errors import InputError
from egokeras.features import view_rows
from egokeras.files import sha256, write_json
from egokeras.snapshots import FOLDER, Snapshots

CHECKSUMS = "checksums.json"  # of what a finished training has written
FEW_CLIPS = 1000  # below this, one held-out set says too little and grouped folds are worth their time


def fit(recipe, run_dir, *, quiet=False, resume=False, snapshot_seconds=snapshots.SECONDS, strategy=None):
    """Train one stage into `run_dir`: `model.keras`, `recipe.json`, `classes.json`, `history.csv`, `snapshots/` and `tensorboard/`.

    Args:
        recipe: a `Recipe` whose `data.shards` is set.
        run_dir: an existing folder.
        quiet: show no progress; else a bar on a terminal, and lines elsewhere.
        resume: go on from the last snapshot, if there is one.
        snapshot_seconds: between two snapshots.
        strategy: a `tf.distribute.MirroredStrategy`, or None for one device.

    Returns:
        The trained student, a `keras.Model` from its inputs by modality to logits by label space.

    Raises:
        InputError: the recipe and the data do not fit, a clip is damaged, or a training is to be resumed that differs.
    """
    run_dir, conduct = pathlib.Path(run_dir), _Conduct(quiet, resume, snapshot_seconds, strategy)
    shards = open_shards(recipe)
    classes = class_counts(recipe, shards)
    augment = recipe.data.augment
    if shards.channels == "flow" and augment and augment.recolours:
        raise InputError(f"data.augment.{augment.recolours[0]} means nothing to optical flow; keep shift alone.")
    _, validation_rows = recipe.data.rows(shards)  # a mistake in the data shows before the work begins
    if recipe.watched_by and not len(validation_rows):
        raise InputError(
            f"{recipe.watched_by[0]}: {shards.path} has no clips in split {recipe.data.validation!r}; hold some out: data.hold_out=0.2."
        )
    check_conduct(recipe, snapshot_seconds, strategy.num_replicas_in_sync if strategy else 1)
    if conduct.resume:
        resumption.check(recipe, shards, run_dir)
    elif snapshots.names(run_dir / FOLDER):
        raise InputError(f"{run_dir} holds the snapshots of another training; resume it, or give another folder.")
    with conduct.scope():
        model = students.untrained(recipe, shards, classes, run_dir)
        students.take_weights(model, [students.earlier(name, run_dir) for name in recipe.start_from])
    if recipe.pruning:
        recipe.pruning.check(model)
    student, source = students.on_source(recipe, model, shards, run_dir.parent / ".features", conduct.off_strategy)

    def begin():
        """Say what is trained, once nothing stands in the way any more."""
        found = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, shards=_resolved(recipe.data.shards)))  # from any folder
        write_json(run_dir / "recipe.json", {**recipes.as_json(found), "data_sha256": shards.sha256, "channels": shards.channels})
        write_json(run_dir / "classes.json", {space: shards.classes[space] for space in classes})

    with conduct.scope(), _plain_errors():
        _fit(recipe, student, source, recipe.data.rows(source), conduct, run_dir, begin=begin)
    save(model, run_dir / "model.keras")
    files = [run_dir / name for name in ("model.keras", "recipe.json", "classes.json", HISTORY)]
    files += [run_dir / FOLDER / name for name in snapshots.names(run_dir / FOLDER)]
    write_json(run_dir / CHECKSUMS, {file.relative_to(run_dir).as_posix(): sha256(file) for file in files})
    return conduct.off_strategy(model)


@dataclasses.dataclass(frozen=True)
class _Conduct:
    """How a training runs on this machine, see `fit`; what it gives does not depend on it."""

    quiet: bool
    resume: bool
    snapshot_seconds: float
    strategy: tf.distribute.Strategy | None

    def scope(self):
        """The strategy's scope, in which variables are made."""
        return contextlib.nullcontext() if self.strategy is None else self.strategy.scope()

    def off_strategy(self, model):
        """The model on one device, where it can be asked batch by batch."""
        if self.strategy is None:
            return model
        single = keras.models.clone_model(model)
        single.set_weights(model.get_weights())
        return single


def check_conduct(recipe, snapshot_seconds, devices):
    """Refuse what cannot work, before there is a folder.

    Raises:
        InputError: times of snapshots that never come, or a batch that the devices cannot share.
    """
    if not 0 <= snapshot_seconds < math.inf:
        raise InputError(f"snapshot_seconds is {snapshot_seconds:g}; give at least 0 and less than forever.")
    if devices < 1 or recipe.batch_size % devices:
        raise InputError(f"batch_size is {recipe.batch_size}, which {devices} devices cannot share; give a multiple of the devices.")


def _fit(recipe, student, source, rows, conduct, run_dir, *, fold=None, begin=lambda: None):
    """Train `student` on `source`.

    Args:
        rows: of `source`, to train on and to validate on after every epoch.
        conduct: a `_Conduct`.
        run_dir: the run folder.
        fold: number of a fold, which leaves no logs and trains all epochs; None is the training itself.
        begin: called when the training is known to fit what it goes on from.
    """
    train_rows, validation_rows = rows
    logs = run_dir if fold is None else None
    heads = [space for space in student.output if f"label_{space}" in source.clips.dtype.names]
    steps = max(1, round(len(train_rows) / recipe.batch_size))
    distiller = _distiller(recipe, student, source, rows, heads, steps, run_dir)
    memory = watchers(recipe, steps) if logs else []
    pruner = [Pruner(recipe.pruning)] if recipe.pruning else []
    state = Snapshots(
        run_dir / FOLDER / ("" if fold is None else f"fold-{fold}"),
        {
            "clips": _digest(*rows),
            "data or features": source.sha256,
            **getattr(distiller.method, "made_of", {}),
            **students.made_of(recipe, run_dir),
        },
        history=logs and logs / HISTORY,
        memory=memory,
        seconds=conduct.snapshot_seconds,
    )
    if conduct.resume:
        state.restore(distiller)
        if logs:
            place = f"going on in epoch {state.epoch + 1} after {state.step} of {steps} steps"
            print(place if state.found else f"no snapshot in {state.folder}: from the beginning")
    begin()
    state.restore_history()
    data = _endless(recipe, source, train_rows, heads, distiller.inputs, first_step=state.epoch * steps + state.step)
    order = tf.data.Dataset.from_tensor_slices(validation_rows).batch(recipe.batch_size)
    try:
        losses = distiller.fit(
            data,
            epochs=recipe.epochs,
            initial_epoch=recipe.epochs if state.stopped else state.epoch,
            steps_per_epoch=steps,
            validation_data=batches(source, order, heads, distiller.inputs) if len(validation_rows) else None,
            callbacks=[*pruner, *callbacks(logs, conduct.quiet, state.found), *memory, keras.callbacks.TerminateOnNaN(), state],
            shuffle=False,
            verbose=int(sys.stdout.isatty() and not conduct.quiet),
        ).history.get("loss", [0.0])
    finally:
        state.finish()
    if not np.isfinite(losses[-1]):
        epoch = state.epoch + len(losses)
        raise InputError(f"the loss is not finite in epoch {epoch}; give a lower optim.learning_rate or an optim.clip_norm.")


def _endless(recipe, source, rows, heads, inputs, first_step):
    """Batches to learn from, from a step on."""
    return stream(
        source,
        view_rows(source, rows) if source.index.get("made_from", {}).get("views") else rows,
        heads=heads,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        first_step=first_step,
        augment=recipe.data.augment if set(source.modalities) & set(PICTURES) else None,
        balanced=recipe.data.balanced,
        inputs=inputs,
        views=getattr(recipe.method, "views", 1),
        two_clips=recipe.data.two_clips,
    )


def _distiller(recipe, student, source, rows, heads, steps, run_dir):
    train_rows, validation_rows = rows
    training = training_set(source, train_rows, heads, recipe.data.train)
    find = functools.partial(students.earlier, run_dir=run_dir, field="method.teacher")
    training = dataclasses.replace(training, held_out=len(validation_rows), find=find)
    method = recipe.method.bind(training) if hasattr(recipe.method, "bind") else recipe.method
    distiller = Distiller(student, method, masked=recipe.pruning.kernels(student).values() if recipe.pruning else ())
    distiller.compile(recipe.optim.build(steps, recipe.epochs), l2=recipe.optim.l2)
    scores = {"val_loss", *(f"val_{space}_top{k}" for space in heads for k in distiller.top if k < student.output[space].shape[-1])}
    if recipe.watched_by and recipe.monitor not in scores:
        raise InputError(f"monitor is {recipe.monitor!r}; this training has {', '.join(sorted(scores))}.")
    return distiller


def _digest(*rows):
    return hashlib.sha256(b"".join(np.asarray(part, np.int64).tobytes() + b"|" for part in rows)).hexdigest()


def folds(recipe, run_dir, *, resume=False, snapshot_seconds=snapshots.SECONDS, strategy=None):
    """Grouped k-fold over all labelled clips: train anew without each fold in turn.

    Args:
        recipe: of the run.
        run_dir: of the run; folds that an interruption left finished or half-way are gone on with.
        resume, snapshot_seconds, strategy: as for `fit`.

    Yields:
        For every fold the trained student, the shards that it reads, the rows it has not seen and the rows it learned from; fewer folds
        where there are fewer groups, and nothing where `recipe.folds` is 0 or there are 1,000 clips or more. Every fold trains all
        epochs: one that stopped early would choose its epoch on the clips that judge it.
    """
    run_dir, conduct = pathlib.Path(run_dir), _Conduct(True, resume, snapshot_seconds, strategy)
    shards = open_shards(recipe)
    classes = class_counts(recipe, shards)
    if not recipe.folds or sum(map(len, recipe.data.rows(shards))) >= FEW_CLIPS:
        return
    for fold in range(recipe.folds):
        with conduct.scope():
            model = students.untrained(recipe, shards, classes, run_dir)
        student, source = students.on_source(recipe, model, shards, run_dir.parent / ".features", conduct.off_strategy)
        rows = np.concatenate(recipe.data.rows(source))
        fold_of = selection.grouped_folds(
            selection.groups(source, rows), source.labels(next(iter(classes)), rows), recipe.folds, recipe.seed
        )
        train, test = rows[fold_of != fold], rows[fold_of == fold]
        if not len(train) or not len(test):
            continue  # fewer groups than folds
        with conduct.scope(), _plain_errors():
            _fit(recipe, student, source, (train, test[:0]), conduct, run_dir, fold=fold)
        yield conduct.off_strategy(student), source, test, train


def forget_folds(run_dir):
    """Remove the snapshots of the folds, whose scores are written."""
    for folder in (pathlib.Path(run_dir) / FOLDER).glob("fold-*"):
        shutil.rmtree(folder)


def open_shards(recipe):
    """The shards of a recipe.

    Raises:
        InputError: the recipe names none, or its model takes others.
    """
    if not recipe.data.shards:
        raise InputError(f"recipe {recipe.name!r} has no data; give data.shards=FOLDER, a folder made by `egokeras prepare`.")
    shards = recipe.data.open()
    students.check_kind(recipe.model, shards.modalities)
    return shards


def _resolved(paths):
    """The folders of `data.shards`, as they are from anywhere."""
    return ",".join(str(pathlib.Path(folder).resolve()) for folder in folders(paths))


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


def save(model, path):
    """Write a model whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp.keras")
    try:
        model.save(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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
