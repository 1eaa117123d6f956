"""A run with what its exports are judged by: held-out clips and the Keras model's answers to them.

A model of clips answers each clip at once. One that anticipates is exported as the step of a stream: the Keras model sees a held-out
window of observations at once, the file one observation after another, and every anticipation time is judged as a head of its own.
"""

import functools
import os

import numpy as np

import egokeras
from egokeras.data.cropped import cropped
from egokeras.data.joined import folders
from egokeras.device.manifest import INPUT
from egokeras.errors import InputError
from egokeras.files import read_json
from egokeras.gate import Limits, judge
from egokeras.progress import track
from egokeras.protocol import ANTICIPATION
from egokeras.recipe import Data

GATE_CLIPS = 2000  # of a split at most: more take long and change no answer
GATE_WINDOWS = 500  # the same for a step, which runs 14 times a window
BATCH = 4  # clips in memory at once


def open_run(path, shards=None):
    """The `Run` in a run folder.

    Args:
        path: the folder.
        shards: open data to calibrate and judge on; None opens that of the run.

    Raises:
        InputError: the run or the data cannot be used.
    """
    recipe, model = read_json(path / "recipe.json"), egokeras.load_model(path / "model.keras")
    anticipates = any(len(logits.shape) == 3 for logits in model.output.values())
    if not anticipates and any(len(tensor.shape) != 5 or tensor.dtype != "uint8" for tensor in model.input.values()):
        raise InputError(f"{path} takes {', '.join(model.input)}; export ships models of clips of pictures, and those that anticipate.")
    data = Data.of_run(recipe)
    shards = _own_shards(data, path) if shards is None else cropped(shards, data.crop)
    if INPUT in model.input and shards.channels != "RGB":
        found = f"{path} reads {shards.channels} in the place of RGB pictures, which no artifact takes"
        raise InputError(f"{found}; prepare it as an input of its own, with --flow-stack.")
    return (StepRun if anticipates else Run)(path, recipe, shards, model)


def _own_shards(data, path):
    missing = [folder for folder in folders(data.shards) if not os.path.isdir(folder)] if data.shards else [None]
    if missing:
        raise InputError(f"{path / 'recipe.json'}: the data {missing[0]!r} is not here; give its folder with --data.")
    return data.open()


class Run:
    """A run whose model takes clips.

    Attributes:
        path: the run folder.
        shards: the open data.
        model: the `keras.Model`.
        classes: head to class names in the order of their ids.
        train: rows of the training clips.
        counts: `clips` and `windows` that judge, and the number of their `videos`.
    """

    anticipates, most = False, GATE_CLIPS

    def __init__(self, path, recipe, shards, model):
        self.path, self.shards, self.model = path, shards, model
        classes = read_json(path / "classes.json")
        self.classes = {head: names for head, names in classes.items() if head in model.output}
        shards.check_fits(model, self.classes)
        self.train, validation = Data.of_run(recipe).rows(shards)
        windows = shards.rows("windows") if "windows" in shards.splits else validation[:0]
        video = shards.clips["video"]
        windows = windows[~np.isin(video[windows], video[self.train])]  # of several splits, one trains on what another holds out
        validation, windows = self._some(validation), self._some(windows)
        self._rows = np.concatenate([validation, windows])
        self._videos = video[self._rows]
        self.counts = {"clips": len(validation), "windows": len(windows), "videos": len(np.unique(self._videos))}
        unlabelled = np.full(len(windows), -1, np.int32)
        labels = {head: np.concatenate([shards.labels(head, validation), unlabelled]) for head in self.classes}
        self._labels = {name: labels[head] for name, head, _ in self._judged()}

    @functools.cached_property
    def _logits(self):
        return self._answers(self.model.predict_on_batch, "Keras")

    def _some(self, rows):
        """At most `most` of `rows`, the same ones every time."""
        return rows if len(rows) <= self.most else np.sort(np.random.default_rng(0).permutation(rows)[: self.most])

    def _judged(self):
        """What is judged: (its name, its head, which part of that head's logits)."""
        return [(head, head, np.s_[:]) for head in self.classes]

    def _answers(self, predict, label):
        """Logits by name, (clips, classes) float32, for all clips that judge; a few clips are in memory at a time."""
        judged = self._judged()
        parts = {name: [np.zeros((0, len(self.classes[head])), np.float32)] for name, head, _ in judged}
        for start in track(range(0, len(self._rows), BATCH), f"gate, {label}", unit="batch"):
            inputs = self.shards.inputs(self._rows[start : start + BATCH])
            outputs = predict({name: inputs[name] for name in self.model.input})
            for name, head, part in judged:
                parts[name].append(np.asarray(outputs[head])[part])
        return {name: np.concatenate(found) for name, found in parts.items()}

    def gate(self, export, answers):
        """What the gate measures on an artifact, with `counts`.

        Args:
            export: the `egokeras.export.Export`.
            answers: function of the inputs of one clip, by name, to logits by head.
        """
        limits = Limits(lost_points=export.max_lost_points, agreement=export.min_agreement)

        def predict(inputs):
            outputs = [
                answers({name: clips[number] for name, clips in inputs.items()}) for number in range(len(next(iter(inputs.values()))))
            ]
            return {head: np.stack([output[head] for output in outputs]) for head in self.classes}

        exact = export.quantization == "float32"
        return {**self.counts, **judge(self._logits, self._answers(predict, export.name), self._labels, self._videos, limits, exact=exact)}


class StepRun(Run):
    """A run whose model anticipates; every anticipation time is judged as a head of its own."""

    anticipates, most = True, GATE_WINDOWS

    def _judged(self):
        times = enumerate(ANTICIPATION)
        return [(f"{head} {time:g} s", head, np.s_[:, row]) for row, time in times for head in self.classes]
