"""Which frames of a segment make a clip: index maths alone, numbers from 0 to `count` - 1, repeatable by seed."""

import numpy as np


def uniform(count, frames, rng=None):
    """The middle frames of `frames` equal parts of a segment of `count` frames.

    A shorter segment keeps all its frames, and distinct ones drawn by `rng` are shown twice (three times ... where it is shorter
    than half of that), as in the report.

    Args:
        count: frames of the segment, at least 1.
        frames: frames of the clip.
        rng: `numpy.random.Generator`; None is seed 0.

    Returns:
        Frame numbers, (frames,) int64, ascending.
    """
    if count < frames:
        return _repeat(count, frames, rng)
    return (2 * np.arange(frames) + 1) * count // (2 * frames)


def report(count, frames, rng=None):
    """The report's rule: every `step`-th frame from the first, `step` as small as fits, filled up with unused frames drawn by `rng`.

    Args and returns as for `uniform`.
    """
    if count < frames:
        return _repeat(count, frames, rng)
    taken = np.arange(0, count, (count - 1) // frames + 1)
    unused = np.setdiff1d(np.arange(count), taken)
    filled = _generator(rng).choice(unused, frames - len(taken), replace=False)
    return np.sort(np.concatenate([taken, filled]))


def dense(count, frames, stride=1):
    """Frames `stride` apart, from the middle of the segment; a shorter one begins anew when it has ended (as Hara et al. loop it).

    Args:
        count: frames of the segment, at least 1.
        frames: frames of the clip.
        stride: from one to the next.

    Returns:
        Frame numbers, (frames,) int64.
    """
    reach = (frames - 1) * stride + 1
    return (max(0, count - reach) // 2 + stride * np.arange(frames)) % count


def _repeat(count, frames, rng):
    """All of too few frames, as evenly often as possible; which ones once more is drawn."""
    extra = _generator(rng).choice(count, frames % count, replace=False)
    return np.sort(np.concatenate([np.tile(np.arange(count), frames // count), extra]))


def _generator(rng):
    return np.random.default_rng(0) if rng is None else rng


RULES = {"uniform": uniform, "report": report}
