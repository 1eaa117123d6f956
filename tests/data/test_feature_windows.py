"""Windows against a loop, frame by frame; what is missing is said of its segment, what is no number ends the work."""

import math

import numpy as np
import pytest

from egokeras.data.feature_windows import NOT_FOUND, Features
from egokeras.data.npy_features import NpyFolder
from egokeras.data.segments import Annotations, Segment
from egokeras.errors import InputError

RANDOM = np.random.default_rng(0)
ROWS = {"a": RANDOM.normal(size=(100, 3)).astype(np.float32), "b": RANDOM.normal(size=(60, 3)).astype(np.float32)}


def annotations(*found):
    """Annotations of (video, start)."""
    made = tuple(Segment(uid=f"s{row}", video=video, start=start, stop=start + 1) for row, (video, start) in enumerate(found))
    return Annotations(segments=made, classes={})


@pytest.fixture
def source(tmp_path):
    for video, rows in ROWS.items():
        np.save(tmp_path / f"{video}.npy", rows)
    return NpyFolder(tmp_path, 4.0)


def slow(rows, start):
    """A window at 4 frames in a second; zeros without any frame, None if a frame is missing."""
    frames = [math.floor((start - 0.25 * lag) * 4) for lag in range(14, 0, -1)]
    valid = [frame for frame in frames if frame >= 1]
    if not valid:
        return np.zeros((14, 3))
    frames = [max(frame, valid[0]) for frame in frames]
    return None if frames[-1] > len(rows) else np.array([rows[frame - 1] for frame in frames])


def test_windows_are_those_of_a_loop(source):
    found = [(video, float(start)) for video in "ba" for start in RANDOM.permutation(np.linspace(0, 24, 97))]
    found += [("c", 4.0)]
    used = np.array([start >= 0.3 for _, start in found])
    windows = dict(Features(source).windows(annotations(*found), used))
    assert sorted(windows) == list(range(len(found))) and windows[len(found) - 1] == NOT_FOUND
    for row, (video, start) in enumerate(found[:-1]):
        expected = slow(ROWS[video], start) if used[row] else np.zeros((14, 3))
        if expected is None:
            assert windows[row] == f"frame {next(f for f in frames_of(start) if f > len(ROWS[video]))} is not among the features"
        else:
            assert windows[row].dtype == np.float16
            np.testing.assert_array_equal(windows[row], expected.astype(np.float16))
    assert sum(isinstance(window, str) for window in windows.values()) > 5


def frames_of(start):
    return [math.floor((start - 0.25 * lag) * 4) for lag in range(14, 0, -1)]


class Holes:
    """A source in which frame f is f, at 100 in a second, and every 100th is missing."""

    path, rate, modality, about = "holes", 100.0, None, {}

    def width(self, video):
        return 1

    def read(self, video, frames):
        there = frames % 100 > 0
        return frames[there].astype(np.float32)[:, None], there


def test_a_frame_that_is_missing_costs_the_windows_that_it_is_in():
    starts = [0.29, 5.0, 5.1, 5.2]
    windows = dict(Features(Holes()).windows(annotations(*(("a", start) for start in starts)), np.array([False, True, True, True])))
    assert not windows[0].any() and windows[1] == "frame 200 is not among the features"  # the first of the four in it
    for row in (2, 3):
        assert windows[row][:, 0].tolist() == [math.floor((starts[row] - 0.25 * lag) * 100) for lag in range(14, 0, -1)]


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e5, 7e4])
def test_features_that_float16_cannot_hold(source, tmp_path, value):
    rows = ROWS["b"].copy()
    rows[20, 1] = value
    np.save(tmp_path / "b.npy", rows)
    found = Features(source)
    assert len(dict(found.windows(annotations(("a", 9.0), ("b", 5.0)), np.array([True, True])))) == 2
    with pytest.raises(InputError, match=rf"'b', frame 21: float16 cannot hold the feature {value:g}"):
        dict(found.windows(annotations(("a", 9.0), ("b", 6.0)), np.array([True, True])))


def test_videos_of_different_width(source, tmp_path):
    np.save(tmp_path / "b.npy", np.zeros((60, 5), np.float32))
    with pytest.raises(InputError, match="'b' has 5 features in a frame, 'a' has 3; all videos need the same"):
        dict(Features(source).windows(annotations(("b", 5.0), ("a", 5.0)), np.array([True, True])))


@pytest.mark.parametrize("modality", ["rgb", "labels", "features", "a b", "3d", "flüss", "../x"])
def test_names_that_are_no_modality_of_features(source, modality):
    with pytest.raises(InputError, match="modality .* cannot be used here"):
        Features(source, modality)
