"""Several sets of shards of the same segments as one: the modalities of a model with several branches."""

import copy
import hashlib
import pathlib
import sys

import numpy as np

from egokeras.data.clip_table import ClipTable
from egokeras.data.segments import DISCARDED
from egokeras.data.shards import Shards
from egokeras.errors import InputError


class Joined(ClipTable):
    """Sets of different modalities, joined by uid; reads like one `Shards` with several inputs.

    A segment that some set has not, or has discarded, is in the split `discarded` too: it counts in statistics of labels and is no
    clip to train on or to judge by. What the first set has not is not there.

    Args:
        sets: open `Shards` with different modalities.

    Raises:
        InputError: two sets have one modality, other classes, frames or labels, or no segment in common.
    """

    def __init__(self, sets):
        first = sets[0]
        self.path = ",".join(str(one.path) for one in sets)
        self.index = first.index
        self.sets = {modality: one for one in sets for modality in one.modalities}
        if len(self.sets) < len(sets):
            raise InputError(f"{self.path}: two of them are {' and '.join(one.modality for one in sets)}; join different modalities.")
        self.classes, self.splits = first.classes, first.splits
        self.clips = first.clips.copy()
        self.sha256 = self._digest()
        self._at = {modality: self._places(one) for modality, one in self.sets.items()}
        self._leave_out()

    @property
    def modalities(self):
        """Name of each input to the shape of a clip of it."""
        return {modality: one.shape for modality, one in self.sets.items()}

    @property
    def dtypes(self):
        """Name of each input to its dtype."""
        return {modality: one.dtype for modality, one in self.sets.items()}

    @property
    def indexes(self):
        """Name of each input to the content of its `index.json`."""
        return {modality: one.index for modality, one in self.sets.items()}

    def only(self, modalities):
        """The same segments with these inputs alone."""
        view = copy.copy(self)
        view.sets = {modality: one for modality, one in self.sets.items() if modality in modalities}
        return view

    def inputs(self, rows, out=None):
        """Modality to the clips of `rows`, each checked against its checksum; into the arrays `out` by modality if given.

        Raises:
            InputError: a set lacks one of them.
        """
        out = out or dict.fromkeys(self.sets)
        return {modality: one.read(self._found(modality, rows), out=out[modality]) for modality, one in self.sets.items()}

    def _found(self, modality, rows):
        at = self._at[modality][rows]
        if (at < 0).any():
            uid = str(self.clips["uid"][rows][at < 0][0])
            raise InputError(f"{self.sets[modality].path} has no segment {uid!r}; take the rows of a split, which leave it out.")
        return at

    def _digest(self):
        """The same for the same segments of the same sets, in whatever order the sets are given."""
        parts = [*(self.sets[modality].sha256 for modality in sorted(self.sets)), *sorted(self.clips["uid"].tolist())]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _places(self, one):
        """The row of `one` for each clip, -1 where it has none."""
        first = next(iter(self.sets.values()))
        if one.classes != self.classes:
            raise InputError(f"{one.path} has other classes than {first.path}; make both from the same annotations.")
        shows = [other.index.get("sampling") for other in (first, one)]
        if "observations" not in self.index and shows[0] != shows[1]:
            raise InputError(f"{one.path} has the frames {shows[1]} of a segment, {first.path} {shows[0]}; prepare both alike.")
        place = {uid: row for row, uid in enumerate(one.clips["uid"].tolist())}
        at = np.array([place.get(uid, -1) for uid in self.clips["uid"].tolist()], np.int64)
        found = at >= 0
        for column in ("video", "start", *(f"label_{space}" for space in self.classes)):
            same = self.clips[column][found] == one.clips[column][at[found]]
            if not same.all():
                uid = self.clips["uid"][found][~same][0]
                raise InputError(f"{one.path}: {column} of segment {uid} differs from {self.path.split(',')[0]}; make both anew.")
        return at

    def _leave_out(self):
        usable = np.ones(len(self), bool)
        for modality, one in self.sets.items():
            at = self._at[modality]
            usable &= at >= 0
            if DISCARDED in one.splits:
                usable &= ~np.isin(at, one.rows(DISCARDED))
        if not usable.any():
            raise InputError(f"{self.path} have no segment in common; make them from the same annotations.")
        if DISCARDED not in self.splits:
            self.splits = (*self.splits, DISCARDED)
        discarded = self._bit(DISCARDED)
        left = np.count_nonzero(self.clips["splits"][~usable] & discarded == 0)
        self.clips["splits"][~usable] |= discarded
        if left:
            print(f"{self.path}: {left} of {len(self)} segments are left out, some set has nothing of them", file=sys.stderr, flush=True)


def folders(paths):
    """The folder that `paths` names, or the several that it names with commas between them."""
    return [paths] if pathlib.Path(paths).exists() else [path.strip() for path in paths.split(",")]


def open_sets(paths):
    """The `Shards` in a folder, or in several folders with commas between them as one `Joined`."""
    sets = [Shards(folder) for folder in folders(paths)]
    return sets[0] if len(sets) == 1 else Joined(sets)
