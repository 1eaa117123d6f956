"""Snippets: frames are paired by time, each is decoded once and kept as long as it is needed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egokeras.data.snippets import before, pictures, snippets


@settings(max_examples=60, deadline=None)
@given(
    gaps=st.lists(st.integers(10, 400), min_size=1, max_size=40),
    lag=st.integers(5, 500),
    picked=st.sets(st.integers(0, 39), min_size=1),
)
def test_frames_are_paired_with_the_nearest_before(gaps, lag, picked):
    seconds = np.concatenate([[0.0], np.cumsum(gaps)]) / 1000
    numbers = sorted(number for number in picked if number < len(seconds))
    found = before(seconds, numbers, lag / 1000).tolist()
    for number, other in zip(numbers, found, strict=True):
        earlier = range(number) or [0]
        best = min(abs(seconds[number] - lag / 1000 - seconds[place]) for place in earlier)
        assert other in earlier and abs(seconds[number] - lag / 1000 - seconds[other]) <= best + 1e-9
    assert found == sorted(found)


@pytest.mark.parametrize(("fps", "step"), [(10, 1), (25, 1), (30, 1), (50, 2), (60, 2), (100, 4)])
def test_a_snippet_ends_with_the_frame_and_begins_no_earlier_than_the_video(fps, step):
    found = snippets(np.arange(40) / fps, [2, 30], 0.04, 3)
    assert found[1].tolist() == [30 - 3 * step, 30 - 2 * step, 30 - step, 30]
    assert found[0].tolist() == [max(0, 2 - back * step) for back in (3, 2, 1, 0)]


def test_each_frame_is_decoded_once_and_kept_as_long_as_it_is_needed():
    memory, asked = np.zeros((2, 2, 3), np.uint8), []

    def decode(numbers):
        asked.extend(numbers)
        for number in numbers:
            memory[:] = number  # the same memory each time, as the decoder does it
            yield memory

    numbers = [0, 3, 4, 9, 30]
    chosen = snippets(np.arange(40) / 10, numbers, 0.3, 2)
    found = [[picture[0, 0, 0] for picture in shown] for shown in pictures(chosen, decode, np.copy)]
    assert found == chosen.tolist() == [[0, 0, 0], [0, 0, 3], [0, 1, 4], [3, 6, 9], [24, 27, 30]]
    assert asked == [0, 1, 3, 4, 6, 9, 24, 27, 30]
