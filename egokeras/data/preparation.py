"""How clips are cut from videos and stored: what `prepare` may be told."""

import dataclasses
import math
import os

from egokeras.data import clip_sampling, shards
from egokeras.data.coded_clips import WHOLE, Coded
from egokeras.data.continuous import Continuous
from egokeras.data.optical_flow import FLOW, Flow
from egokeras.data.rgb_differences import RGBDifference
from egokeras.errors import InputError

RESIZES = ("squash", "crop", "pad")
ENCODINGS = ("raw", "jpeg")
JPEG_LIMIT = 65500  # rows; libjpeg's own


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preparation:
    """How clips are cut from videos and stored.

    Attributes:
        frames: of a clip.
        size: height of the picture in pixels.
        width: of the picture; None is a square.
        rule: which frames: `uniform`, `dense`, or `report` (see `clip_sampling`).
        stride: of `dense`, from one frame of the clip to the next.
        resize: `squash`, `crop` or `pad` (see `video.resize`).
        continuous: a `Continuous` for windows that slide over the videos, in the place of the segments themselves (see `continuous`).
        flow: a `Flow` for clips that show motion (see `optical_flow`) and not the pictures themselves.
        difference: an `RGBDifference` for clips that show what changes (see `rgb_differences`).
        coded: a `Coded` for clips of what compressed video holds (see `coded_clips`); `frames` are then segments of the clip.
        frame_rate: frames per second of videos that are there as folders or tars of frames; None takes it from a table beside the
            annotations (see `frame_rates.find`).
        checksums: file of checksums of the videos, as `sha256sum` writes it (also MD5 and SHA-1); a video of another goes to quarantine.
        encoding: `raw`, or `jpeg` (a fifteenth of the size, slower to read, slightly lossy).
        quality: of the JPEG, 1 to 100.
        windows: unlabelled windows cut from the held-out videos; None fills the labelled held-out clips up to 600, as far as the
            videos are long enough for windows that differ.
        shard_bytes: bytes of a shard.
        workers: processes; None is one per processor.
        timeout: seconds that up to 16 clips of one video may take.
        seed: of what is drawn: repeated frames, windows, held-out groups.
    """

    frames: int = 20
    size: int = 256
    width: int | None = None
    rule: str = "uniform"
    stride: int = 1
    resize: str = "squash"
    continuous: Continuous | None = None
    flow: Flow | None = None
    difference: RGBDifference | None = None
    coded: Coded | None = None
    frame_rate: float | None = None
    checksums: str | None = None
    encoding: str = "raw"
    quality: int = 90
    windows: int | None = None
    shard_bytes: int = 256 << 20
    workers: int | None = None
    timeout: float = 600.0
    seed: int = 0

    def __post_init__(self):
        for field, known in (("rule", (*clip_sampling.RULES, "dense")), ("resize", RESIZES), ("encoding", ENCODINGS)):
            if getattr(self, field) not in known:
                raise InputError(f"{field} {getattr(self, field)!r} is unknown; there are {', '.join(known)}.")
        for field, least in (("frames", 1), ("size", 1), ("width", 1), ("stride", 1), ("windows", 0), ("workers", 1), ("quality", 1)):
            value = getattr(self, field)
            if value is not None and value < least:
                raise InputError(f"{field} is {value}; it must be at least {least}.")
        if self.stride > 1 and self.rule != "dense":
            raise InputError(f"stride is {self.stride}, but rule {self.rule!r} takes frames from all of a segment; give rule 'dense'.")
        if self.continuous and self.rule != "uniform":
            raise InputError(f"rule is {self.rule!r}, but windows of one length have their frames evenly spaced; give rule 'uniform'.")
        if self.quality > 100:
            raise InputError(f"quality is {self.quality}; it must be at most 100.")
        if self.frame_rate is not None and not 0 < self.frame_rate < math.inf:
            raise InputError(f"frame_rate is {self.frame_rate:g}; give the number of frames in a second.")
        if not self.timeout > 0:
            raise InputError(f"timeout is {self.timeout:g} s; give more than 0.")
        given = [field for field in ("flow", "difference", "coded") if getattr(self, field)]
        if len(given) > 1:
            raise InputError(f"clips show one kind of thing, not {' and '.join(given)}; leave all but one of them out.")
        if self.encoding == "jpeg" and shards.tall(self.shape)[0] > JPEG_LIMIT:
            found = f"{self.frames} frames of {self.size} pixels and {self.shape[3]} channels"
            raise InputError(f"{found} do not fit one tall JPEG of {JPEG_LIMIT} rows; use encoding 'raw'.")

    @property
    def shape(self):
        """Of a clip: (frames, height, width, channels)."""
        return (self.frames, *self.picture, self.shown.channels if self.shown else 3)

    @property
    def picture(self):
        """(height, width)."""
        return self.size, self.width or self.size

    @property
    def shown(self):
        """What clips show: the `Flow`, `RGBDifference` or `Coded`; None is the pictures themselves."""
        return self.flow or self.difference or self.coded

    @property
    def channels(self):
        """What the channels of a picture are: `RGB`, `flow`, `rgb_difference`, `residual` or `motion_vector`."""
        return FLOW if self.flow else "RGB" if self.modality in ("rgb", WHOLE) else self.modality

    @property
    def modality(self):
        """Name of the clips as an input."""
        return self.shown.modality if self.shown else "rgb"

    @property
    def processes(self):
        """Worker processes."""
        return self.workers or os.cpu_count() or 1
