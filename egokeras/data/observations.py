"""When there is something to see and when to predict: RU-LSTM's protocol as index maths.

Before an action that starts at s, observation j of 14 is at t_j = s - 0.25 (14 - j) seconds, j = 0 .. 13: from 3.5 s to 0.25 s before it.
Predictions follow the last eight of them. Furnari and Farinella, "What Would You Expect? Anticipating Egocentric Actions with
Rolling-Unrolling LSTMs and Modality Attention", https://arxiv.org/abs/1905.09035, section 3, and the sampler of their code.
"""

import numpy as np

from egokeras.protocol import OBSERVATIONS, STEP

SECOND = 1_000_000  # microseconds
LATEST = 1e8  # seconds; later, such as the stop of a segment without one, is never
RATE = 30.0  # frames per second of RU-LSTM's lists and features


def times(starts):
    """t_j: (segments, 14) seconds, ascending in each row, for segments that start at `starts` (segments,) seconds."""
    return np.asarray(starts, np.float64)[:, None] - STEP * np.arange(OBSERVATIONS, 0, -1)


def frames(starts, rate=RATE):
    """The last frame at or before each observation.

    Frames count from 1, and frame f has seen the video up to f / rate seconds: frame files at 30 per second, or rows of a grid whose
    first is at 1 / rate (0.25 s: a rate of 4). An observation before the first frame takes the earliest one that the others have.

    Args:
        starts: (segments,) seconds.
        rate: frames per second.

    Returns:
        (segments, 14) int64, and (segments,) bool, whether there is any frame; where not, all are 0.
    """
    found = np.floor(times(starts) * rate).astype(np.int64)
    seen = found[:, -1] >= 1
    earliest = np.where(found >= 1, found, found[:, -1:]).min(axis=1, keepdims=True)
    return np.where(seen[:, None], np.maximum(found, earliest), 0), seen


def discarded(starts):
    """(segments,) bool: those that RU-LSTM leaves out, as no frame at 30 per second is there 0.25 s before they start.

    The same for every modality, whatever the rate of its features.
    """
    return ~frames(starts)[1]


def microseconds(seconds):
    """Whole numbers, int64, so that what is known at a time does not hang on the last digit of a float."""
    return np.rint(np.clip(seconds, 0, LATEST) * SECOND).astype(np.int64)
