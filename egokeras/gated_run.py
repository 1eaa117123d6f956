"""A run with what its exports are judged by: held-out clips and the Keras model's answers to them.

A model of clips answers each clip at once. One that anticipates is exported as the step of a stream: the Keras model sees a held-out
window of observations at once, the file one observation after another, and every anticipation time is judged as a head of its own.
"""

import dataclasses
import functools
import os
import pathlib
import typing

import keras
import numpy as np

import egokeras
from egokeras.data.cropped import cropped
from egokeras.data.joined import folders
from egokeras.device.manifest import EMBEDDING, INPUT
from egokeras.errors import InputError
from egokeras.exit_ensemble import FILE, networks_of
from egokeras.files import read_json, sha256
from egokeras.gate import Limits, judge
from egokeras.progress import track
from egokeras.recipe import Data

GATE_CLIPS = 2000  # of a split at most: more take long and change no answer
GATE_WINDOWS = 500  # the same for a step, which runs 14 times a window
BATCH = 4  # clips in memory at once


def open_run(path, shards=None):
    """The `Run` in a run folder: of one network, or of several with exits that `egokeras wise` has weighed.

    Args:
        path: the folder.
        shards: open data to calibrate and judge on; None opens that of the run.

    Raises:
        InputError: the run or the data cannot be used.
    """
    weighed = read_json(path / FILE) if (path / FILE).is_file() else None
    if weighed and not (path / "model.keras").exists():
        folders = networks_of(path, tuple(weighed["order"]))
    else:
        model = egokeras.load_model(path / "model.keras")
        folders = {",".join(model.input): (path, model)}
    folder, model = next(iter(folders.values()))
    networks = {name: network for name, (_, network) in folders.items()}
    anticipates = any(len(logits.shape) == 3 for logits in model.output.values())
    inputs = {name: tensor for network in networks.values() for name, tensor in network.input.items()}
    if not anticipates and any(len(tensor.shape) != 5 or tensor.dtype != "uint8" for tensor in inputs.values()):
        raise InputError(f"{path} takes {', '.join(inputs)}; export ships models of clips of pictures, and those that anticipate.")
    data = Data.of_run(read_json(folder / "recipe.json"))
    shards = _own_shards(data, path) if shards is None else cropped(shards, data.crop)
    if INPUT in inputs and shards.channels != "RGB":
        found = f"{path} reads {shards.channels} in the place of RGB pictures, which no artifact takes"
        raise InputError(f"{found}; prepare it as an input of its own, with --flow-stack.")
    classes = read_json(folder / "classes.json")
    classes = {head: names for head, names in classes.items() if all(head in network.output for network in networks.values())}
    sources = [sha256(place / "model.keras") for place, _ in folders.values()]
    return Run(
        path=path, data=data, shards=shards, networks=networks, classes=classes, anticipates=anticipates, weighed=weighed, sources=sources
    )


def _own_shards(data, path):
    missing = [folder for folder in folders(data.shards) if not os.path.isdir(folder)] if data.shards else [None]
    if missing:
        raise InputError(f"{path / 'recipe.json'}: the data {missing[0]!r} is not here; give its folder with --data.")
    return data.open()


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """A run, and the held-out clips and windows that judge its exports.

    Attributes:
        path: the run folder.
        data: the `egokeras.recipe.Data` of its training.
        shards: the open data.
        networks: name to `keras.Model`, in the order of their computation; nearly always one.
        classes: head to class names in the order of their ids.
        anticipates: whether it answers for several anticipation times.
        weighed: what `egokeras wise` has found, or None.
        sources: sha256 of each network's `model.keras`.
    """

    path: pathlib.Path
    data: Data
    shards: typing.Any
    networks: dict[str, keras.Model]
    classes: dict[str, list]
    anticipates: bool
    weighed: dict | None
    sources: list

    def __post_init__(self):
        for network in self.networks.values():
            self.shards.check_fits(network, self.classes)

    @property
    def model(self):
        """The network, of several the first."""
        return next(iter(self.networks.values()))

    @property
    def inputs(self):
        """Name to tensor, of all networks."""
        return {name: tensor for network in self.networks.values() for name, tensor in network.input.items()}

    @functools.cached_property
    def train(self):
        """Rows of the training clips."""
        return self.data.rows(self.shards)[0]

    @functools.cached_property
    def _parts(self):
        """Rows of the validation clips, and of the windows, that judge."""
        shards, (train, validation) = self.shards, self.data.rows(self.shards)
        windows = shards.rows("windows") if "windows" in shards.splits else validation[:0]
        video = shards.clips["video"]
        windows = windows[~np.isin(video[windows], video[train])]  # of several splits, one trains on what another holds out
        return self._some(validation), self._some(windows)

    @functools.cached_property
    def rows(self):
        """Rows that judge, validation clips first."""
        return np.concatenate(self._parts)

    @property
    def counts(self):
        """`clips` and `windows` that judge, and the number of their `videos`."""
        clips, windows = map(len, self._parts)
        return {"clips": clips, "windows": windows, "videos": len(np.unique(self.shards.clips["video"][self.rows]))}

    def labels(self, head):
        """Class ids of the rows that judge, -1 where there is none."""
        clips, windows = self._parts
        return np.concatenate([self.shards.labels(head, clips), np.full(len(windows), -1, np.int32)])

    def _some(self, rows):
        """At most so many of `rows`, the same ones every time."""
        most = GATE_WINDOWS if self.anticipates else GATE_CLIPS
        return rows if len(rows) <= most else np.sort(np.random.default_rng(0).permutation(rows)[:most])

    def answers(self, kind, predict, label):
        """Logits by what `kind` has judged, (clips, classes) float32, and, if it has one, the `embedding`, for all rows that judge.

        A few clips are in memory at a time.

        Args:
            kind: one of `egokeras.artifact_kinds`.
            predict: function of a batch of inputs by name to outputs by name.
            label: for the progress.
        """
        wanted = {name: (len(self.classes[head]), output, part) for name, head, output, part in kind.judged()}
        if kind.export.embedding:
            wanted[EMBEDDING] = kind.describe()[EMBEDDING], EMBEDDING, np.s_[:]
        parts = {name: [np.zeros((0, width), np.float32)] for name, (width, _, _) in wanted.items()}
        for start in track(range(0, len(self.rows), BATCH), f"gate, {label}", unit="batch"):
            inputs = self.shards.inputs(self.rows[start : start + BATCH])
            outputs = predict({name: inputs[name] for name in self.inputs})
            for name, (_, output, part) in wanted.items():
                parts[name].append(np.asarray(outputs[output])[part])
        return {name: np.concatenate(found) for name, found in parts.items()}

    @functools.cached_property
    def _expected(self):
        return {}

    def gate(self, kind, found):
        """What the gate measures on an artifact, with `counts`.

        Args:
            kind: one of `egokeras.artifact_kinds`.
            found: the artifact's `answers`.
        """
        known = kind.reference, kind.export.embedding
        if known not in self._expected:
            self._expected[known] = self.answers(kind, kind.expected, "Keras")
        expected = self._expected[known]
        limits = Limits(lost_points=kind.export.max_lost_points, agreement=kind.export.min_agreement)
        labels = {name: self.labels(head) for name, head, _, _ in kind.judged()}
        embeddings = (expected[EMBEDDING], found[EMBEDDING]) if kind.export.embedding else None
        videos, exact = self.shards.clips["video"][self.rows], kind.export.quantization == "float32"
        return {**self.counts, **judge(expected, found, labels, videos, limits, exact=exact, embeddings=embeddings)}
