"""Vectors on a grid, traces and predictions against loops over blocks and pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egokeras.data import motion_vectors
from egokeras.data.motion_vectors import CELL, Motion, Trace

FIELDS = ("source", "w", "h", "dst_x", "dst_y", "motion_x", "motion_y", "motion_scale")


def exported(*blocks):
    """What a decoder exports, for (w, h, left, top, x, y, source) each, in half pixels."""
    rows = [(source, w, h, left + w // 2, top + h // 2, x, y, 2) for w, h, left, top, x, y, source in blocks]
    return np.array(rows, [(name, np.int32) for name in FIELDS])


def test_blocks_of_all_sizes_fill_their_cells():
    vectors = exported(
        (16, 16, 0, 0, 3, -5, -1), (8, 16, 16, 16, 1, 2, -1), (16, 8, 32, 0, -7, 0, -1), (8, 8, 40, 24, 4, 4, -1), (8, 8, 0, 16, 9, 9, 1)
    )
    found = motion_vectors.on_grid(vectors, 30, 42)
    assert found.inter.shape == (4, 6) and found.scale == 2
    cells, inter = np.zeros((4, 6, 2), int), np.zeros((4, 6), bool)
    for w, h, left, top, x, y, source in (
        (16, 16, 0, 0, 3, -5, -1),
        (8, 16, 16, 16, 1, 2, -1),
        (16, 8, 32, 0, -7, 0, -1),
        (8, 8, 40, 24, 4, 4, -1),
    ):
        for row in range(top // CELL, (top + h) // CELL):
            for column in range(left // CELL, (left + w) // CELL):
                cells[row, column], inter[row, column] = (x, y), source < 0
    np.testing.assert_array_equal(found.cells, cells)
    np.testing.assert_array_equal(found.inter, inter)
    dense = found.dense(30, 42)
    assert dense.shape == (30, 42, 2) and all((dense[y, x] == cells[y // CELL, x // CELL]).all() for y in range(30) for x in range(42))
    whole = motion_vectors.on_grid(None, 30, 42)
    assert not whole.inter.any() and not whole.cells.any()


def some_motion(seed, rows=4, columns=5, most=40, scale=2):
    random = np.random.default_rng(seed)
    inter = random.uniform(size=(rows, columns)) < 0.8
    cells = (random.integers(-most, most + 1, (rows, columns, 2)) * inter[..., None]).astype(np.int16)
    return Motion(cells=cells, inter=inter, scale=scale)


@given(st.integers(0, 10**6), st.sampled_from([1, 2, 4]))
def test_traces_equal_a_loop(seed, scale):
    height, width = 28, 39
    trace, source = Trace(height, width), {(x, y): (x, y) for x in range(width) for y in range(height)}
    for step in range(3):
        motion = some_motion(seed + step, scale=scale)
        trace.step(motion)
        moved = {}
        for x, y in source:
            dx, dy = (int(value / scale) for value in motion.cells[y // CELL, x // CELL])  # int cuts towards zero
            moved[x, y] = source[min(max(x + dx, 0), width - 1), min(max(y + dy, 0), height - 1)]
        source = moved
    assert all(tuple(trace.source[y, x]) == at for (x, y), at in source.items())
    assert all(tuple(trace.motion[y, x]) == (x - at[0], y - at[1]) for (x, y), at in source.items())
    whole = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    prediction = trace.prediction(whole)
    assert all((prediction[y, x] == whole[at[1], at[0]]).all() for (x, y), at in source.items())


def slow_prediction(reference, motion, rounding):
    """MPEG-4's interpolation of half pixels, pixel by pixel; the border goes on for ever."""
    height, width = reference.shape[:2]

    def at(y, x):
        return int(reference[min(max(y, 0), height - 1), min(max(x, 0), width - 1)])

    result = np.zeros_like(reference)
    for y in range(height):
        for x in range(width):
            dx, dy = (int(value) for value in motion.cells[y // CELL, x // CELL])
            left, top, right, down = x + (dx >> 1), y + (dy >> 1), dx & 1, dy & 1
            taps = [at(top + j, left + i) for j in range(down + 1) for i in range(right + 1)]
            result[y, x] = taps[0] if len(taps) == 1 else (sum(taps) + len(taps) // 2 - rounding) // len(taps)
    return result


@pytest.mark.parametrize("rounding", [0, 1])
def test_half_pixels_equal_a_loop(rounding):
    reference = np.random.default_rng(rounding).integers(0, 256, (28, 39)).astype(np.uint8)
    for seed in range(4):
        motion = some_motion(seed, most=90)
        expected = slow_prediction(reference, motion, rounding)
        np.testing.assert_array_equal(motion_vectors.predicted(reference, motion, rounding), expected)
        colours = motion_vectors.predicted(np.stack([reference, 255 - reference], -1), motion, rounding)
        np.testing.assert_array_equal(colours[..., 0], expected)
        assert motion_vectors.rounding_type(reference, expected, motion) == rounding


def test_quarter_pixels_are_between_their_neighbours():
    reference = np.tile(np.arange(0, 160, 4, dtype=np.uint8), (32, 1))
    cells = np.zeros((4, 5, 2), np.int16)
    cells[..., 0] = 3
    found = motion_vectors.predicted(reference, Motion(cells=cells, inter=np.ones((4, 5), bool), scale=4))
    np.testing.assert_array_equal(found[:, :39], reference[:, :39] + 3)


def test_prediction_and_residual_are_the_picture():
    random = np.random.default_rng(0)
    picture, reference = random.integers(0, 256, (2, 28, 39, 3)).astype(np.uint8)
    prediction = motion_vectors.predicted(reference, some_motion(0))
    left = motion_vectors.residual(picture, prediction)
    assert left.dtype == np.int16 and left.min() >= -255
    np.testing.assert_array_equal(prediction + left, picture)


def test_eight_bits_are_coviars():
    assert motion_vectors.as_bytes(np.array([0, 1, -1, 20, 25, -20, -30], np.int16)).tolist() == [128, 134, 122, 255, 255, 1, 0]
    assert motion_vectors.as_bytes(residual=np.array([0, 5, -5, 200, -200], np.int16)).tolist() == [128, 133, 123, 255, 0]
