"""A set whose clips are longer or larger than those that a model sees: it reads as if it held the middle of each."""

from egokeras.data.clip_table import ClipTable
from egokeras.errors import InputError


class Cropped(ClipTable):
    """Shards, cut by a `Crop`; training cuts the stored clips itself, at random.

    Attributes:
        stored: the `Shards`.
        crop: the `Crop`.
        shape: of a clip as it is read.
    """

    def __init__(self, stored, crop):
        self.stored, self.crop = stored, crop
        self.path, self.clips, self.classes, self.splits = stored.path, stored.clips, stored.classes, stored.splits
        self.modality, self.dtype, self.dtypes, self.sha256 = stored.modality, stored.dtype, stored.dtypes, stored.sha256
        self.shape = crop.check(stored.shape)
        seconds = stored.index["clip_seconds"] * self.shape[0] / stored.shape[0]
        sampling = {**stored.index["sampling"], "frames": self.shape[0]}
        self.index = {**stored.index, "clip_seconds": seconds, "sampling": sampling}

    @property
    def modalities(self):
        """Name of the input to the shape of a clip."""
        return {self.modality: self.shape}

    def read(self, rows, out=None):
        """The middle of the clips of `rows`, each checked against its checksum; into the array `out` if given."""
        clips = self.crop.centre(self.stored.read(rows))
        if out is None:
            return clips.copy()
        out[:] = clips
        return out

    def inputs(self, rows, out=None):
        """As `read`, by the name of the modality."""
        return {self.modality: self.read(rows, None if out is None else out[self.modality])}

    def spread(self, rows, count):
        """`count` clips of each of `rows`, evenly spaced in time: (rows, count, *shape)."""
        return self.crop.spread(self.stored.read(rows), count)


def cropped(shards, crop):
    """`shards` as they are, or cut by a `Crop`.

    Raises:
        InputError: the set holds no pictures, or they are too small.
    """
    if crop is None:
        return shards
    if "rgb" not in shards.modalities or "observations" in shards.index:
        raise InputError(f"data.crop cuts clips of pictures, {shards.path} has {', '.join(shards.modalities)}; leave it out.")
    return Cropped(shards, crop)
