"""Snapshots: the whole state of a training, so that one that was killed goes on and ends bit for bit as if nothing had happened.

A snapshot is one `.npz` file: the variables in order (weights, optimizer, seeds of Dropout, running means of the epoch), and as JSON the
place in the training and what the callbacks remember. The order of the clips follows from the place alone. The training waits only
while its state is copied; a thread writes the copy to the disk.
"""

import concurrent.futures
import json
import pathlib
import sys
import time
import zipfile

import keras
import numpy as np
import tensorflow as tf

from egokeras import __version__
from egokeras.errors import InputError
from egokeras.files import atomic, full_disk_said

FOLDER = "snapshots"  # in the run folder
SECONDS = 50.0
REMEMBERED = {  # by callbacks, of what they have seen of the training
    keras.callbacks.EarlyStopping: ("wait", "stopped_epoch", "best", "best_epoch"),
    keras.callbacks.ReduceLROnPlateau: ("wait", "cooldown_counter", "best"),
}
VERSIONS = {"egokeras": __version__, "keras": keras.__version__, "tensorflow": tf.__version__}
ANEW = "give what it began with, or train anew without --resume"


class Snapshots(keras.callbacks.Callback):
    """Writes snapshots while a `Distiller` trains, and brings back the last good one; must be the last of the callbacks.

    Args:
        folder: of the snapshots, `epoch-000012-step-000000340.npz` and the like; the last two are kept.
        made_of: JSON values that a snapshot must agree with; otherwise it is of another training.
        history: the csv file that grows by a line per epoch; it is put back with the rest.
        memory: those callbacks of the same training that look back at its epochs, kinds of `REMEMBERED`.
        seconds: between two snapshots.

    Attributes:
        epoch, step: where the training begins or goes on, counted from 0.
        stopped: whether it had ended before its last epoch.
    """

    def __init__(self, folder, made_of, *, history=None, memory=(), seconds=SECONDS):
        super().__init__()
        self.folder, self.made_of, self.seconds = pathlib.Path(folder), made_of, seconds
        self.history, self.memory = history, {type(one).__name__: (one, REMEMBERED[type(one)]) for one in memory}
        self.epoch = self.step = 0
        self.stopped = False
        self._restored: tuple[dict, dict, list] | None = None
        self._newest: pathlib.Path | None = None
        self._writer = concurrent.futures.ThreadPoolExecutor(1, "snapshots")
        self._writing: concurrent.futures.Future | None = None

    @property
    def found(self):
        """Whether a snapshot was found to go on from."""
        return self._newest is not None

    def restore(self, distiller):
        """Find the last good snapshot, if there is any; `fit` with this callback then brings `distiller`, which is compiled, to its state.

        Raises:
            InputError: it is of another training, or all are damaged.
        """
        damaged: list[str] = []
        for file in reversed(_files(self.folder)):
            try:
                about, variables, best = _read(file)
            except Exception as error:  # whatever a damaged file makes the reader raise
                damaged.append(f"{file} is damaged ({error})")
                continue
            self._check(file, about, variables, distiller)
            self._restored, self._newest = (about, variables, best), file
            self.epoch, self.step, self.stopped = about["epoch"], about["step"], about["stopped"]
            for sentence in damaged:
                print(f"{sentence}; going on from the snapshot before it.", file=sys.stderr, flush=True)
            return
        if damaged:
            raise InputError(f"{'; '.join(damaged)}; no snapshot is left, train anew without --resume.")

    def restore_history(self):
        """Put back `history` as it was at the snapshot."""
        if self._restored is not None and self.history is not None:
            with atomic(self.history) as stream:
                stream.write(self._restored[0]["history"].encode())

    def _check(self, file, about, variables, distiller):
        for key, value in self.made_of.items():
            if about["made_of"].get(key) != value:
                raise InputError(f"{file} is of a training with other {key}; {ANEW}.")
        distiller.build_trackers(about["trackers"])
        if {name: array.shape for name, array in variables.items()} != {n: tuple(v.shape) for n, v in distiller.state_variables().items()}:
            raise InputError(f"{file} does not fit the network that this version of egokeras builds; {ANEW}.")
        if about["versions"] != VERSIONS:
            then = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
            print(f"{file} was written with {then}: the rest may differ in the last bits.", file=sys.stderr, flush=True)

    def on_train_begin(self, logs=None):
        self._last = time.monotonic()
        for left in self.folder.glob(".epoch-*.npz.*"):
            left.unlink()  # half written when its process was killed
        if self._restored is None:
            return
        about, variables, best = self._restored
        self._assign(variables)
        for kind, (callback, names) in self.memory.items():
            for name in names:
                setattr(callback, name, about["memory"][kind][name])
            if hasattr(callback, "best_weights"):
                callback.best_weights = best or None

    def on_epoch_begin(self, epoch, logs=None):
        self._place = (epoch, 0)
        if self._restored is not None and self.step:
            self._assign(self._restored[1])  # Keras has just reset the running means of the epoch
            self._place = (epoch, self.step)
            self._skip(self.step)
        self._restored = None

    def _assign(self, values):
        for name, variable in self.model.state_variables().items():
            variable.assign(values[name])

    def _skip(self, steps):
        """Let Keras count the first `steps` of the epoch, which the state contains, without taking them again."""
        train_function, left = self.model.train_function, iter(range(steps))

        def skipping(iterator):
            return train_function(iterator) if next(left, None) is None else self.model.get_metrics_result()

        self.model.train_function = skipping

    def on_train_batch_end(self, batch, logs=None):
        if self._writing is not None and self._writing.done():
            self.finish()  # a full disk is told of at once
        place = (self._place[0], batch + 1)
        new = place > self._place and batch + 1 < self.params["steps"]  # the last batch belongs to what ends the epoch
        if new and not self.model.stop_training and time.monotonic() - self._last >= self.seconds:
            self._save(*place)

    def on_epoch_end(self, epoch, logs=None):
        last = epoch + 1 == self.params["epochs"] or self.model.stop_training
        if np.isfinite(logs["loss"]) and (last or time.monotonic() - self._last >= self.seconds):
            self._save(epoch + 1, 0)

    def finish(self):
        """Wait until the last snapshot is on the disk, and raise what kept it from there; whoever called `fit` ends with this."""
        writing, self._writing = self._writing, None
        if writing is not None:
            with full_disk_said(self.folder, "run the same command again with --resume to go on"):
                writing.result()

    def _save(self, epoch, step):
        self.finish()  # at most one copy is in memory
        best = next((one.best_weights or [] for one, _ in self.memory.values() if hasattr(one, "best_weights")), [])
        variables = {name: keras.ops.convert_to_numpy(variable) for name, variable in self.model.state_variables().items()}
        about = {
            "made_of": self.made_of,
            "versions": VERSIONS,
            "epoch": epoch,
            "step": step,
            "stopped": self.model.stop_training,
            "trackers": self.model.tracked,
            "variables": list(variables),
            "memory": {kind: {name: getattr(callback, name) for name in names} for kind, (callback, names) in self.memory.items()},
            "history": self.history and self.history.read_bytes().decode(),
        }
        file = self.folder / f"epoch-{epoch:06d}-step-{step:09d}.npz"
        self._writing = self._writer.submit(self._write, file, [*variables.values(), *best], about)
        self._last = time.monotonic()

    def _write(self, file, arrays, about):
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic(file) as stream:
            np.savez(stream, *arrays, about=np.frombuffer(json.dumps(about).encode(), np.uint8))
        for old in set(_files(self.folder)) - {file, self._newest}:
            old.unlink()
        self._newest = file


def _files(folder):
    """Snapshots in a folder, the oldest first."""
    return sorted(pathlib.Path(folder).glob("epoch-*.npz"))


def names(folder):
    """Names of the snapshots in a folder, the oldest first."""
    return [file.name for file in _files(folder)]


def _read(file):
    """(about, variables by name, best weights) of a snapshot; the archive's checksums are checked."""
    if not zipfile.is_zipfile(file):
        raise ValueError("it is not a whole archive")
    with np.load(file, allow_pickle=False) as archive:
        about = json.loads(archive["about"].tobytes())
        arrays = [archive[f"arr_{number}"] for number in range(len(archive.files) - 1)]
    named = dict(zip(about["variables"], arrays, strict=False))
    return about, named, arrays[len(named) :]
