"""Snippets, as TSN calls them: a frame on show and the frames before it, each so many seconds before the next, to show motion by."""

import collections
import contextlib

import numpy as np


def before(seconds, numbers, apart):
    """The frame that lies nearest to so many seconds before each; the first has itself.

    Args:
        seconds: (frames,) times of all frames, ascending.
        numbers: (n,) of some.
        apart: seconds.

    Returns:
        (n,) int64, ascending if `numbers` are; all but the first frame of the video have an earlier one.
    """
    numbers = np.asarray(numbers, np.int64)
    wanted = seconds[numbers] - apart
    after = np.minimum(np.searchsorted(seconds, wanted), numbers)
    nearer = np.abs(seconds[np.maximum(after - 1, 0)] - wanted) <= np.abs(seconds[after] - wanted) + 1e-9
    return np.clip(np.where(nearer, after - 1, after), 0, np.maximum(numbers - 1, 0))


def snippets(seconds, numbers, apart, steps):
    """The snippet of each frame: (n, steps + 1) int64, ascending to the frame itself; arguments as for `before`."""
    found = [np.asarray(numbers, np.int64)]
    for _ in range(steps):
        found.append(before(seconds, found[-1], apart))
    return np.stack(found[::-1], axis=1)


def pictures(snippets, decode, keep):
    """Yield a list of the pictures of each snippet; every frame is decoded once.

    Args:
        snippets: as `snippets` gives them for ascending numbers.
        decode: function from ascending numbers to a generator of RGB pictures (height, width, 3) uint8, each in memory of the one before.
        keep: function of such a picture to what is wanted of it, in memory of its own.
    """
    waiting = collections.deque(snippets.tolist())
    needed = np.unique(snippets).tolist()
    kept: dict[int, np.ndarray] = {}
    with contextlib.closing(decode(needed)) as decoded:
        for number, picture in zip(needed, decoded, strict=True):
            kept[number] = keep(picture)
            if number == waiting[0][-1]:
                yield [kept[other] for other in waiting.popleft()]
                kept = {other: one for other, one in kept.items() if waiting and other >= waiting[0][0]}
