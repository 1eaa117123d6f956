"""What one set of shards and several joined ones have in common: a table of clips with splits, labels and checks against a model."""

import itertools
import typing

import numpy as np

from egokeras.data.segments import DISCARDED
from egokeras.errors import InputError


class ClipTable:
    """Base of `Shards` and `Joined`.

    Attributes:
        path: the folder, or what the folders were given as.
        index: the content of `index.json`, of the first set if there are several.
        clips: structured array, a record per clip (see `shard_index.table_dtype`).
        classes: label space to class names in the order of their ids.
        splits: names of the splits.
        modalities: name of each input to the shape of one clip of it.
        sha256: names this very data.
    """

    path: typing.Any
    index: dict
    clips: np.ndarray
    classes: dict[str, tuple[str, ...]]
    splits: tuple[str, ...]
    sha256: str

    @property
    def modalities(self):
        """See the class."""
        raise NotImplementedError

    @property
    def indexes(self):
        """Name of each input to the content of the `index.json` of its set."""
        raise NotImplementedError

    @property
    def channels(self):
        """What the input `rgb` shows: `RGB`, or `flow` in its place; None where there is no such input."""
        return self.indexes["rgb"].get("channels") if "rgb" in self.indexes else None

    def only(self, modalities):
        """The same set, without inputs that are not among `modalities`, where it has several."""
        return self

    def __len__(self):
        return len(self.clips)

    def rows(self, split):
        """Rows of a split, ascending, int64; without those that are in the split `discarded` too, see `discarded`.

        Raises:
            InputError: the set has no such split.
        """
        left_out = np.uint32(0) if split == DISCARDED else self._bit(DISCARDED)
        return np.flatnonzero((self.clips["splits"] & self._named(split) > 0) & (self.clips["splits"] & left_out == 0))

    def discarded(self, split=None, near=None):
        """Rows of the segments before which nothing was observed, ascending, int64: no clips to train on or to judge by.

        Args:
            split: only those of a split; none is one that all of `near` are in.
            near: rows; only segments of their videos.

        Raises:
            InputError: the set has no such split.
        """
        splits = self.clips["splits"]
        wanted = np.bitwise_and.reduce(splits[near]) if split is None else self._named(split)
        found = (splits & self._bit(DISCARDED) > 0) & (splits & wanted & ~self._bit(DISCARDED) > 0)
        if near is not None:
            found &= np.isin(self.clips["video"], np.unique(self.clips["video"][near]))
        return np.flatnonzero(found)

    def _named(self, split):
        if split not in self.splits:
            raise InputError(f"{self.path} has no split {split!r}; it has {', '.join(self.splits)}.")
        return self._bit(split)

    def _bit(self, split):
        return np.uint32(1 << self.splits.index(split) if split in self.splits else 0)

    def labels(self, space, rows):
        """Class ids of `rows` in a label space, int32; -1 is none.

        Raises:
            InputError: the set has no such label space.
        """
        if space not in self.classes:
            raise InputError(f"{self.path} has no labels {space!r}; it has {', '.join(self.classes) or 'none'}.")
        return self.clips[f"label_{space}"][rows]

    def check_fits(self, model, classes):
        """Refuse a model of other clips, or of other classes: ids must mean the same names.

        Args:
            model: a `keras.Model` with inputs named like the modalities.
            classes: label space to class names in the order of their ids, as the model has them.

        Raises:
            InputError: names the first difference.
        """
        for modality, tensor in model.input.items():
            found, wanted = self.modalities.get(modality), tuple(tensor.shape[1:])
            if found is None:
                raise InputError(f"{self.path} has no {modality}, which the model takes; it has {', '.join(self.modalities)}.")
            if found != wanted:
                raise InputError(f"{self.path} has clips of {found}, the model takes {wanted}; give data like that it was trained on.")
        for space, names in classes.items():
            theirs = self.classes.get(space, ())
            pairs = itertools.zip_longest(names, theirs, fillvalue="nothing")
            for number, (name, other) in enumerate(pairs):
                if name != other:
                    found = f"{space} {number} is {name!r} for the model and {other!r} in the shards"
                    raise InputError(f"{self.path}: {found}; give data with the classes that it was trained on.")
