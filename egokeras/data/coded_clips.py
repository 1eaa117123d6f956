"""Clips of what compressed video holds: whole pictures (I-frames), and motion and residuals of the frames that were made from them.

Wu et al., CoViAR, https://arxiv.org/abs/1712.00636; the three modalities of a clip show the same frames, as Soufleri et al.
(https://arxiv.org/abs/2407.02713) take them: per segment a frame that was made from others, and the whole picture that it goes back to.
"""

import dataclasses
import hashlib
import os
import pathlib

import numpy as np

from egokeras.data import compressed_video, motion_vectors, video
from egokeras.errors import InputError

MODALITIES = ("iframe", "residual", "motion_vector")
WHOLE, RESIDUAL, MOTION = MODALITIES


@dataclasses.dataclass(frozen=True, kw_only=True)
class Coded:
    """What is shown of a frame.

    Attributes:
        modality: `iframe`, the whole picture it goes back to, RGB; `residual`, 128 + r; or `motion_vector`, 128 + 127.5 / 20 m, in pixels
            of the picture that is stored.
        traced: motion and residual since the whole picture, as CoViAR's; otherwise since the frame before.
        copies: folder for videos that had to be encoded anew, because their files do not tell the motion; it is none of what is made.
    """

    modality: str
    traced: bool = True
    copies: str = dataclasses.field(default="", repr=False, compare=False)

    def __post_init__(self):
        if self.modality not in MODALITIES:
            raise InputError(f"modality {self.modality!r} is unknown; there are {', '.join(MODALITIES)}.")

    @property
    def channels(self):
        """Of a picture: number."""
        return 2 if self.modality == MOTION else 3

    def readable(self, path):
        """The file to read for a video: itself, or a copy that was encoded anew (kept in `copies`).

        Raises:
            VideoError: the video cannot be read.
        """
        if compressed_video.tells(path):
            return path
        about = os.stat(path)
        known = f"{pathlib.Path(path).resolve()} {about.st_size} {about.st_mtime_ns}"
        copy = pathlib.Path(self.copies) / f"{hashlib.sha256(known.encode()).hexdigest()[:32]}.mkv"
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            compressed_video.encode_anew(path, copy)
        return copy

    def along(self, index, numbers, size, resize):
        """Yield a picture (height, width, channels) uint8 for every frame of ascending `numbers`.

        A whole picture has neither motion nor residual: the frame before it stands for it, as in CoViAR, and at the start the one after.

        Args:
            index: a `VideoIndex` of what `readable` gave.
            numbers: of the frames.
            size: (height, width).
            resize: `squash`, `crop` or `pad`.
        """
        groups = {group.start for group in compressed_video.gops(index)}
        shown, last = np.zeros(0), -1
        for number in numbers:
            number = self._coded(index, groups, number)
            if number != last:
                shown, last = self._shown(index, number, size, resize), number
            yield shown

    def _coded(self, index, groups, number):
        """The frame that is shown in the place of a whole picture."""
        if number not in groups:
            return number
        before, after = number - 1, number + 1
        if before >= 0 and before not in groups:
            return before
        return after if after < len(index.ticks) and after not in groups else number

    def _shown(self, index, number, size, resize):
        """What is stored of a frame."""
        if self.modality == WHOLE:
            return video.resize(compressed_video.whole_picture(index, number).rgb, size, resize)
        found = compressed_video.traced(index, number)
        if found.coded is found.whole:  # nothing but whole pictures around
            return np.full((*size, self.channels), 128, np.uint8)
        if self.modality == MOTION:
            motion = found.trace.motion if self.traced else found.motion
            picture = motion_vectors.as_bytes(self._scaled(motion, size, resize))
        else:
            picture = motion_vectors.as_bytes(residual=found.traced_residual if self.traced else found.residual)
        return video.resize(picture, size, resize, filling=128)

    def _scaled(self, motion, size, resize):
        """Motion in pixels of the stored picture."""
        rows, columns = motion.shape[:2]
        height, width = video.fitted(rows, columns, size, resize)
        return motion * np.array([width / columns, height / rows], np.float32)
