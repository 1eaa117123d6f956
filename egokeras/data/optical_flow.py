"""Optical flow as pictures, so that the networks and shards that take RGB take motion too.

As in TSN (Wang et al., 2016, arXiv 1608.00859) a displacement is clipped to a bound and quantised to 8 bits. The channels are
u (to the right), v (down) and their length: backbones for pictures take three, and the length is what remains of a motion where
its direction does not matter, which no first convolution can make of u and v. Grey, 128 in all three, is no motion.
"""

import collections
import contextlib
import dataclasses
import math

import cv2
import numpy as np

from egokeras.errors import InputError

METHODS = ("dis", "farneback", "tvl1")
CHANNELS = "flow"  # where pictures of the camera have `RGB`
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
    """

    method: str = "dis"
    bound: float = 20.0
    seconds: float = 0.1

    def __post_init__(self):
        if self.method not in METHODS:
            raise InputError(f"flow method {self.method!r} is unknown; there are {', '.join(METHODS)}.")
        for field in ("bound", "seconds"):
            if not 0 < getattr(self, field) < math.inf:
                raise InputError(f"flow {field} is {getattr(self, field):g}; give more than 0.")
        if self.method == "tvl1" and not hasattr(cv2, "optflow"):
            raise InputError("flow method 'tvl1' needs opencv-contrib-python-headless in the place of opencv; or take 'dis'.")

    def before(self, seconds, numbers):
        """The frame that each frame's motion is measured from: the one nearest to `self.seconds` earlier, the first has itself.

        Args:
            seconds: (frames,) times of all frames, ascending.
            numbers: (n,) of some.

        Returns:
            (n,) int64, ascending if `numbers` are.
        """
        numbers = np.asarray(numbers, np.int64)
        wanted = seconds[numbers] - self.seconds
        after = np.minimum(np.searchsorted(seconds, wanted), numbers)
        nearer = np.abs(seconds[np.maximum(after - 1, 0)] - wanted) <= np.abs(seconds[after] - wanted) + 1e-9
        return np.clip(np.where(nearer, after - 1, after), 0, np.maximum(numbers - 1, 0))

    def along(self, seconds, numbers, decode):
        """Yield the flow picture (height, width, 3) uint8 of each frame.

        Args:
            seconds: (frames,) times of all frames of the video.
            numbers: of the frames, ascending, each once.
            decode: function from ascending numbers to a generator of RGB pictures (height, width, 3) uint8.
        """
        pairs = collections.deque(zip(numbers, self.before(seconds, numbers).tolist(), strict=True))
        needed = sorted({number for pair in pairs for number in pair})
        grey: dict[int, np.ndarray] = {}
        with contextlib.closing(decode(needed)) as pictures:
            for number, picture in zip(needed, pictures, strict=True):
                grey[number] = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
                if number == pairs[0][0]:
                    _, earlier = pairs.popleft()
                    yield self.picture(grey[earlier], grey[number], seconds[number] - seconds[earlier])
                    grey = {other: kept for other, kept in grey.items() if pairs and other >= pairs[0][1]}

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


def displacement(method, before, after):
    """Where each pixel of `before` is in `after`: (height, width, 2) float32 pixels to the right and down."""
    if method == "farneback":
        return cv2.calcOpticalFlowFarneback(before, after, np.empty((*before.shape, 2), np.float32), 0.5, 3, 15, 3, 5, 1.2, 0)
    # A new one for each: DIS, once shown a small picture, finds other flow in the same pictures the next time.
    if method == "tvl1":
        return cv2.optflow.createOptFlow_DualTVL1().calc(before, after, None)  # type: ignore[attr-defined]  # of opencv-contrib
    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(before, after, None)  # type: ignore[call-overload]
