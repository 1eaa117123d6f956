"""Frame sampling against a slow reference of the report's rule and against the definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egokeras.data import clip_sampling

COUNT, FRAMES = st.integers(1, 400), st.integers(1, 64)


def rng(seed=3):
    return np.random.default_rng(seed)


@given(COUNT, FRAMES, st.sampled_from(sorted(clip_sampling.RULES)))
def test_every_rule(count, frames, rule):
    numbers = clip_sampling.RULES[rule](count, frames, rng())
    assert numbers.shape == (frames,) and numbers.min() >= 0 and numbers.max() < count
    assert (np.diff(numbers) >= 0).all()
    np.testing.assert_array_equal(numbers, clip_sampling.RULES[rule](count, frames, rng()))
    repeats = np.bincount(numbers, minlength=count)
    if count >= frames:
        assert repeats.max() == 1
    else:
        assert repeats.min() >= 1 and repeats.max() - repeats.min() <= 1


@given(COUNT, FRAMES)
def test_report_against_its_words(count, frames):
    numbers = clip_sampling.report(count, frames, rng()).tolist()
    first, last = 100, 100 + count - 1
    if last - first + 1 >= frames:
        step = (last - first) // frames + 1
        walk = []
        while first <= last:
            walk.append(first - 100)
            first += step
        assert set(walk) <= set(numbers) and len(walk) <= frames


@given(COUNT, FRAMES)
def test_uniform_takes_the_middles(count, frames):
    if count >= frames:
        middles = [int((part + 0.5) * count / frames + 1e-9) for part in range(frames)]
        assert clip_sampling.uniform(count, frames).tolist() == middles


@pytest.mark.parametrize(
    ("rule", "count", "frames", "expected"),
    [
        ("uniform", 10, 5, [1, 3, 5, 7, 9]),
        ("uniform", 9, 3, [1, 4, 7]),
        ("uniform", 4, 4, [0, 1, 2, 3]),
        ("uniform", 1, 3, [0, 0, 0]),
        ("report", 10, 5, [0, 2, 4, 6, 8]),
        ("report", 11, 4, [0, 3, 6, 9]),
        ("report", 2, 4, [0, 0, 1, 1]),
    ],
)
def test_by_hand(rule, count, frames, expected):
    assert clip_sampling.RULES[rule](count, frames).tolist() == expected


@given(COUNT, FRAMES, st.integers(1, 5))
def test_dense_is_in_a_row_from_the_middle(count, frames, stride):
    numbers = clip_sampling.dense(count, frames, stride)
    assert numbers.shape == (frames,) and numbers.min() >= 0 and numbers.max() < count
    reach = (frames - 1) * stride + 1
    if reach <= count:
        assert (np.diff(numbers) == stride).all() and abs((numbers[0] + numbers[-1]) - (count - 1)) <= 1
    else:
        assert numbers.tolist() == [number * stride % count for number in range(frames)]


def test_seed_decides_what_is_filled_and_doubled():
    drawn = {tuple(clip_sampling.report(30, 20, rng(seed))) for seed in range(20)}
    doubled = {tuple(clip_sampling.uniform(30, 40, rng(seed))) for seed in range(20)}
    assert len(drawn) > 10 and len(doubled) > 10
