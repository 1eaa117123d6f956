"""What a training shows, records and reports to its method, epoch by epoch, and what its monitor decides."""

import sys
import time

import keras

from egokeras.optim import Plateau

HISTORY = "history.csv"
SECONDS = "seconds.csv"


class LearningRate(keras.callbacks.Callback):
    """Adds the learning rate of the epoch, which is constant in it, to the logs."""

    def on_epoch_begin(self, epoch, logs=None):
        self.rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))

    def on_epoch_end(self, epoch, logs=None):
        logs["learning_rate"] = self.rate


class EpochTensorBoard(keras.callbacks.TensorBoard):
    """Writes epochs alone. Keras' own asks a writer for every log of every batch, up to a millisecond a step, and writes nothing."""

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch)


class Lines(keras.callbacks.Callback):
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


class MethodHook(keras.callbacks.Callback):
    """Counts epochs in the Distiller and tells the method that one has ended."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.epoch.assign(epoch + 1)
        if hasattr(self.model.method, "on_epoch_end"):
            self.model.method.on_epoch_end(self.model.student, self.model.nets, epoch, logs)


class Stopwatch(keras.callbacks.Callback):
    """Says what a training takes: a line of epoch and seconds after every epoch, and every few seconds of a long one.

    The lines add up to all of the time, validation and snapshots included, whatever interruptions there were: a kill loses at most
    `BETWEEN` seconds. The time before the first step is not in it.

    Args:
        file: where the lines go.
        goes_on: after those that are there.
    """

    BETWEEN = 10.0

    def __init__(self, file, goes_on):
        super().__init__()
        self.file = file
        if not goes_on:
            file.unlink(missing_ok=True)

    def on_train_begin(self, logs=None):
        self.since = time.monotonic()

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if time.monotonic() - self.since >= self.BETWEEN:
            self._note()

    def on_epoch_end(self, epoch, logs=None):
        self._note()

    def _note(self):
        now = time.monotonic()
        with open(self.file, "a", encoding="utf-8") as file:
            file.write(f"{self.epoch},{now - self.since:.3f}\n")
        self.since = now


def callbacks(run_dir, quiet, goes_on):
    """Those of every training.

    Args:
        run_dir: where `history.csv`, `seconds.csv` and `tensorboard/` go; None for none.
        quiet: show nothing.
        goes_on: append to what is there.
    """
    shown = [] if quiet or sys.stdout.isatty() else [Lines()]
    if run_dir is None:
        return [MethodHook(), *shown]
    csv = keras.callbacks.CSVLogger(run_dir / HISTORY, append=goes_on)
    logs = [csv, Stopwatch(run_dir / SECONDS, goes_on), EpochTensorBoard(run_dir / "tensorboard")]
    return [MethodHook(), *shown, LearningRate(), *logs]


def watchers(recipe, steps):
    """The callbacks that follow the recipe's `monitor`: early stopping, and a learning rate that falls on a plateau.

    While weights are still pruned away, no epoch is the best, and stopping waits.
    """
    found: list[keras.callbacks.Callback] = []
    mode = "min" if recipe.monitor == "val_loss" else "max"
    if recipe.early_stopping is not None:
        how = {"start_from_epoch": recipe.pruning.full_after(steps, recipe.epochs)} if recipe.pruning else {}
        patience = recipe.early_stopping
        found.append(
            keras.callbacks.EarlyStopping(recipe.monitor, patience=patience, mode=mode, restore_best_weights=True, verbose=1, **how)
        )
    if isinstance(recipe.optim.schedule, Plateau):
        plateau = recipe.optim.schedule
        found.append(
            keras.callbacks.ReduceLROnPlateau(recipe.monitor, plateau.factor, plateau.patience, verbose=1, mode=mode, min_delta=0.0)
        )
    return found
