"""A set whose clips are longer or larger than those that a model sees: it reads as if it held the middle of each."""

from egokeras.data.clip_table import ClipTable
from egokeras.errors import InputError


class Cropped(ClipTable):
    """Shards, or several sets joined, cut by a `Crop`; training cuts the stored clips itself, at random.

    Attributes (beside those of `ClipTable`):
        stored: the `Shards` or `Joined`.
        crop: the `Crop`.
        shape: of a clip of the one modality as it is read.
    """

    def __init__(self, stored, crop):
        self.stored, self.crop = stored, crop
        self.path, self.clips, self.classes, self.splits = stored.path, stored.clips, stored.classes, stored.splits
        self.dtypes, self.sha256 = stored.dtypes, stored.sha256
        self._modalities = {modality: crop.check(shape) for modality, shape in stored.modalities.items()}
        self.index = next(iter(self.indexes.values()))

    def _index(self, modality):
        """Of a set, with the frames and seconds of the clips that are cut out."""
        stored, frames = self.stored.indexes[modality], self.modalities[modality][0]
        share = 1 if self.crop.segments else frames / self.stored.modalities[modality][0]
        return {**stored, "clip_seconds": stored["clip_seconds"] * share, "sampling": {**stored["sampling"], "frames": frames}}

    @property
    def modalities(self):
        """Name of each input to the shape of a clip."""
        return self._modalities

    @property
    def indexes(self):
        """Name of each input to the content of its `index.json`."""
        return {modality: self._index(modality) for modality in self.modalities}

    @property
    def shape(self):
        """See the class."""
        (shape,) = self.modalities.values()
        return shape

    def only(self, modalities):
        """The same clips with these inputs alone."""
        return Cropped(self.stored.only(modalities), self.crop)

    def read(self, rows, out=None):
        """The middle of the clips of `rows`, of the one modality; into the array `out` if given."""
        (modality,) = self.modalities
        return self.inputs(rows, out=None if out is None else {modality: out})[modality]

    def inputs(self, rows, out=None):
        """Modality to the middle of the clips of `rows`, each checked against its checksum; into the arrays `out` by modality if given."""
        found = {modality: self.crop.centre(clips) for modality, clips in self.stored.inputs(rows).items()}
        if out is None:
            return {modality: clips.copy() for modality, clips in found.items()}
        for modality, clips in found.items():
            out[modality][:] = clips
        return out

    def spread(self, rows, count):
        """`count` clips of each of `rows`, evenly spaced in time: modality to (rows, count, *shape)."""
        return {modality: self.crop.spread(clips, count) for modality, clips in self.stored.inputs(rows).items()}


def cropped(shards, crop):
    """`shards` as they are, or cut by a `Crop`.

    Raises:
        InputError: a set holds no pictures, or they are too small.
    """
    if crop is None:
        return shards
    if "observations" in shards.index or any(len(shape) != 4 for shape in shards.modalities.values()):
        raise InputError(f"data.crop cuts clips of pictures, {shards.path} has {', '.join(shards.modalities)}; leave it out.")
    return Cropped(shards, crop)
