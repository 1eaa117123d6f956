"""How the frames of a stretch of a video were coded, a letter each: I, P, B, OTHER, or BROKEN for one that cannot be had."""

import contextlib

import numpy as np
from av.video.frame import PictureType

from egokeras.data import video
from egokeras.data.video import VideoError

BROKEN, OTHER = "x", "?"
NAMES = {"I": "I", "P": "P", "B": "B", OTHER: "other", BROKEN: "broken"}
PATIENCE = 4


def of_frame(frame):
    """The letter of an `av.VideoFrame`."""
    name = PictureType(frame.pict_type).name
    return name if name in ("I", "P", "B") else OTHER


def of_frames(index, numbers):
    """The letters of a range of frames.

    After damage every frame is tried alone, for it may not be made from what is damaged; once PATIENCE in a row cannot be had, none is
    tried up to the next key frame.

    Args:
        index: a `VideoIndex`.
        numbers: range of frame numbers.
    """
    letters = ""
    while len(letters) < len(numbers):
        at = len(letters)
        for wanted in (numbers[at:], numbers[at : at + 1]):
            with contextlib.suppress(VideoError):
                for frame in video.frames(index, wanted):
                    letters += of_frame(frame)
            if len(letters) > at:
                break
        else:
            letters += BROKEN
            if letters.endswith(PATIENCE * BROKEN):
                following = index.keys[np.searchsorted(index.keys, numbers[at], side="right") :].tolist()
                letters += BROKEN * (min([*following, numbers.stop]) - numbers[at] - 1)
    return letters
