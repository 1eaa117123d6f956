"""RGB differences as pictures, TSN's cheap stand-in for optical flow (Wang et al., 2016, arXiv 1608.00859).

A difference of two frames is stored as 128 + d / 2, rounded, so that all of -255 to 255 fits 8 bits: 128 is no change.
"""

import dataclasses
import itertools
import math
import typing

import cv2
import numpy as np

from egokeras.data import snippets
from egokeras.errors import InputError

MODALITY = "rgb_difference"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RGBDifference:
    """The last changes up to a frame, one after another: channels are the RGB of each, the latest last.

    Attributes:
        stack: how many changes; TSN's is 5.
        seconds: from one frame of a snippet to the next, as nearly as the video has frames; TSN's are in a row, at 25 a second.
    """

    stack: int = 5
    seconds: float = 0.04
    modality: typing.ClassVar[str] = MODALITY

    def __post_init__(self):
        if self.stack < 1:
            raise InputError(f"difference stack is {self.stack}; give at least 1.")
        if not 0 < self.seconds < math.inf:
            raise InputError(f"difference seconds is {self.seconds:g}; give more than 0.")

    @property
    def channels(self):
        """Of a picture: number."""
        return 3 * self.stack

    def along(self, seconds, numbers, decode):
        """Yield (height, width, 3 stack) uint8 for each frame; arguments as for `Flow.along`."""
        chosen = snippets.snippets(seconds, numbers, self.seconds, self.stack)
        for pictures in snippets.pictures(chosen, decode, np.copy):
            yield np.dstack([cv2.addWeighted(after, 0.5, before, -0.5, 128) for before, after in itertools.pairwise(pictures)])
