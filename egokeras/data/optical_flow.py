"""Optical flow as pictures, so that the networks and shards that take RGB take motion too.

As in TSN (Wang et al., 2016, arXiv 1608.00859) a displacement is clipped to a bound and quantised to 8 bits. The channels are
u (to the right), v (down) and their length: backbones for pictures take three, and the length is what remains of a motion where
its direction does not matter, which no first convolution can make of u and v. Grey, 128 in all three, is no motion. TSN's own form,
a stack of several u and v, is an input beside RGB and not in its place.
"""

import dataclasses
import itertools
import math

import cv2
import numpy as np

from egokeras.data import snippets
from egokeras.errors import InputError

METHODS = ("dis", "farneback", "tvl1")
FLOW = "flow"  # what the channels are, where pictures of the camera have `RGB`; and the name of a stack as an input
STILL = 128  # the value of no motion
LEVELS = 127  # values from there to the bound, on either side


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flow:
    """How the flow of a frame is made.

    Attributes:
        method: `dis` (Kroeger et al., 2016, arXiv 1603.03590), `farneback` (2003) or `tvl1` (Zach et al., 2007, TSN's own; needs
            opencv-contrib).
        bound: the motion, in pixels of the resized picture, that the values end at; TSN's is 20.
        seconds: over which motion is measured: from the frame on show about so long before. The frames need not lie so exactly:
            their flow is scaled to this time, so that videos of all frame rates are alike.
        stack: None is a picture of u, v and length; else how many flows one after another up to the frame, each u and v, the latest last
            (TSN's is 5, so 10 channels).
    """

    method: str = "dis"
    bound: float = 20.0
    seconds: float = 0.1
    stack: int | None = None

    def __post_init__(self):
        if self.method not in METHODS:
            raise InputError(f"flow method {self.method!r} is unknown; there are {', '.join(METHODS)}.")
        for field in ("bound", "seconds"):
            if not 0 < getattr(self, field) < math.inf:
                raise InputError(f"flow {field} is {getattr(self, field):g}; give more than 0.")
        if self.stack is not None and self.stack < 1:
            raise InputError(f"flow stack is {self.stack}; give at least 1, or leave it out.")
        if self.method == "tvl1" and not hasattr(cv2, "optflow"):
            raise InputError("flow method 'tvl1' needs opencv-contrib-python-headless in the place of opencv; or take 'dis'.")

    @property
    def channels(self):
        """Of a picture: number."""
        return 2 * self.stack if self.stack else 3

    @property
    def modality(self):
        """Pictures stand in the place of RGB; a stack is an input of its own."""
        return FLOW if self.stack else "rgb"

    def along(self, seconds, numbers, decode):
        """Yield the flow (height, width, channels) uint8 of each frame.

        Args:
            seconds: (frames,) times of all frames of the video.
            numbers: of the frames, ascending, each once.
            decode: function from ascending numbers to a generator of RGB pictures (height, width, 3) uint8.
        """
        chosen = snippets.snippets(seconds, numbers, self.seconds, self.stack or 1)
        for frames, shown in zip(chosen, snippets.pictures(chosen, decode, grey), strict=True):
            pairs = zip(itertools.pairwise(shown), np.diff(seconds[frames]), strict=True)
            pictures = [self.picture(before, after, passed) for (before, after), passed in pairs]
            yield np.dstack([picture[..., :2] for picture in pictures]) if self.stack else pictures[0]

    def picture(self, before, after, seconds):
        """The motion from one grey picture (height, width) uint8 to another, `seconds` later: (height, width, 3) uint8."""
        if seconds == 0:
            return np.full((*before.shape, 3), STILL, np.uint8)
        return quantised(displacement(self.method, before, after) * (self.seconds / seconds), self.bound)


def quantised(displacement, bound):
    """A displacement (height, width, 2) in pixels as (height, width, 3) uint8: right, down, length; `bound` pixels are 127 values."""
    length = np.hypot(displacement[..., 0], displacement[..., 1])
    values = np.dstack([displacement, length]) * (LEVELS / bound)
    return (STILL + np.clip(np.rint(values), -LEVELS, LEVELS)).astype(np.uint8)


def pixels(picture, bound):
    """The displacement in pixels, (..., 3) float32, that a picture of `quantised` stands for."""
    return (np.asarray(picture, np.float32) - STILL) * (bound / LEVELS)


def grey(picture):
    """An RGB picture as flow is computed of it: (height, width) uint8."""
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)


def displacement(method, before, after):
    """Where each pixel of `before` is in `after`: (height, width, 2) float32 pixels to the right and down."""
    if method == "farneback":
        return cv2.calcOpticalFlowFarneback(before, after, np.empty((*before.shape, 2), np.float32), 0.5, 3, 15, 3, 5, 1.2, 0)
    # A new one for each: DIS, once shown a small picture, finds other flow in the same pictures the next time.
    if method == "tvl1":
        return cv2.optflow.createOptFlow_DualTVL1().calc(before, after, None)  # type: ignore[attr-defined]  # of opencv-contrib
    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(before, after, None)  # type: ignore[call-overload]
