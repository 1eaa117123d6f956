"""The sampler against loops, one frame at a time, and the counts of the published lists."""

import csv
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egokeras import protocol
from egokeras.data import observations


def slow(start, rate=30.0):
    """What RU-LSTM's sampler does with one segment: its 14 frames, or None where it leaves the segment out."""
    found = []
    for lag in range(14, 0, -1):
        found.append(math.floor((start - 0.25 * lag) * rate))
    valid = [frame for frame in found if frame >= 1]
    return [frame if frame >= 1 else min(valid) for frame in found] if valid else None


def test_times():
    np.testing.assert_allclose(observations.times([10.0])[0], [6.5 + 0.25 * j for j in range(14)])
    before = 10.0 - observations.times([10.0])[0]
    assert tuple(before[-8:]) == protocol.ANTICIPATION and before[0] == 3.5 and len(before) == protocol.OBSERVATIONS
    assert protocol.ANTICIPATION[4] == 1.0 and protocol.STEP == 0.25


def test_a_window_that_begins_before_the_video():
    frames, seen = observations.frames([1.0, 8 / 30, 9 / 30, 0.0])
    assert frames[0].tolist() == [7] * 12 + [15, 22] and frames[2].tolist() == [1] * 14
    assert seen.tolist() == [True, False, True, False] and not frames[[1, 3]].any()
    assert observations.discarded([1.0, 8 / 30, 9 / 30, 0.0]).tolist() == [False, True, False, True]


@given(
    st.lists(st.integers(0, 200_000).map(lambda frame: frame / 30) | st.floats(0, 1e6), min_size=1),
    st.sampled_from([4.0, 5.0, 24, 30, 59.94]),
)
def test_frames_are_those_of_the_slow_sampler(starts, rate):
    frames, seen = observations.frames(starts, rate)
    for start, row, there in zip(starts, frames.tolist(), seen.tolist(), strict=True):
        assert (row if there else None) == slow(start, rate)


@given(st.integers(30, 5000), st.sampled_from([0.25, 0.125, 0.5]))
def test_a_row_of_a_grid_is_the_last_at_or_before_the_observation(hundredths, step):
    start = hundredths / 100
    grid = [(row + 1) * step for row in range(500)]
    before = [[row for row, time in enumerate(grid) if time <= start - 0.25 * lag] for lag in range(14, 0, -1)]
    (frames,), (seen,) = observations.frames([start], 1 / step)
    assert seen == bool(before[-1])
    for rows, frame in zip(before, frames.tolist(), strict=True):
        assert frame - 1 == (rows[-1] if rows else before[next(j for j in range(14) if before[j])][-1] if seen else -1)


@pytest.mark.parametrize(
    ("name", "total", "kept"),
    [
        ("ek55/training", 23493, 23472),
        ("ek55/validation", 4979, 4972),
        ("ek100/training", 67217, 67182),
        *((f"egtea/{split}{number}", count, count) for number in (1, 2) for split, count in (("training", 8299), ("validation", 2022))),
    ],
)
def test_real_counts(shared_data, name, total, kept):
    with open(shared_data / "rulstm" / f"{name}.csv", newline="") as file:
        starts = np.array([int(row[2]) / 30 for row in csv.reader(file)])
    assert len(starts) == total and np.count_nonzero(~observations.discarded(starts)) == kept
    assert sum(slow(start) is not None for start in starts.tolist()) == kept
    some = starts[:: 1 + total // 2000]
    assert observations.frames(some)[0].tolist() == [slow(start) or [0] * 14 for start in some.tolist()]
