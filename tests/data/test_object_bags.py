"""Bags of objects against a loop over the detections."""

import numpy as np
import pytest

from egokeras.data.feature_files import open_features
from egokeras.data.object_bags import object_bag
from egokeras.errors import InputError


def detections(count=50, classes=352, first=0, seed=0):
    random = np.random.default_rng(seed)
    boxes = random.uniform(0, 400, (count, 4))
    return np.column_stack([random.integers(first, classes + first, count), boxes, random.uniform(0, 1, count)]).astype(np.float32)


@pytest.mark.parametrize("first", [0, 1])
def test_the_sum_of_scores_by_class(first):
    found = detections(first=first)
    expected = np.zeros(352)
    for row in found:
        expected[int(row[0]) - first] += row[5]
    np.testing.assert_allclose(object_bag(found, first=first), expected, rtol=1e-6)
    assert object_bag(found, first=first).dtype == np.float32 and not object_bag(np.zeros((0, 6)), classes=3).any()


def test_the_background_is_left_out():
    found = np.array([[0, 0, 0, 1, 1, 0.9], [2, 0, 0, 1, 1, 0.5]])
    assert object_bag(found, classes=3, first=1).tolist() == [0, 0.5, 0] and object_bag(found, classes=3).tolist() == [
        np.float32(0.9),
        0,
        0.5,
    ]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (np.zeros((3, 5)), r"\(3, 5\) float64 where \(n, 6\)"),
        (np.zeros(6), r"\(6,\)"),
        (np.full((1, 6), "a"), "where"),
        (np.array([[3.0, 0, 0, 0, 0, 1]]), "a class that is not one of 0 to 2"),
        (np.array([[-1.0, 0, 0, 0, 0, 1]]), "a class that"),
        (np.array([[0.5, 0, 0, 0, 0, 1]]), "a class that"),
        (np.array([[np.nan, 0, 0, 0, 0, 1]]), "a class that"),
        (np.array([[1.0, 0, 0, 0, 0, np.nan]]), "a score that is no number"),
    ],
)
def test_what_are_no_detections(found, words):
    with pytest.raises(ValueError, match=words):
        object_bag(found, classes=3)


def test_files_of_detections(tmp_path):
    (tmp_path / "P01_01").mkdir()
    for frame in (1, 2, 12):
        np.save(tmp_path / "P01_01" / f"frame_{frame:010d}.npy", detections(frame, 5, seed=frame))
    source = open_features(tmp_path, rate=30, detections=5)
    assert (source.width("P01_01.MP4"), source.width("P01_02"), source.modality, source.rate) == (5, None, "objects", 30)
    bags, there = source.read("P01_01", np.array([1, 3, 12]))
    assert there.tolist() == [True, False, True]
    np.testing.assert_array_equal(bags, [object_bag(detections(frame, 5, seed=frame), 5) for frame in (1, 12)])
    np.save(tmp_path / "P01_01" / "frame_0000000003.npy", np.zeros((2, 5)))
    with pytest.raises(InputError, match=r"frame_0000000003.npy holds no detections: \(2, 5\) float64"):
        source2 = open_features(tmp_path, rate=30, detections=5)
        source2.read("P01_01", np.array([3]))
    np.save(tmp_path / "P01_01" / "frame_0000000003.npy", np.array([[{}] * 6], object), allow_pickle=True)
    with pytest.raises(InputError, match="holds no detections"):
        source2.read("P01_01", np.array([3]))
    with pytest.raises(InputError, match="0 classes of objects"):
        open_features(tmp_path, rate=30, detections=0)


def test_the_weight_is_of_what_is_in_the_files(tmp_path):
    (tmp_path / "P01_01").mkdir()
    for frame in range(1, 41):
        np.save(tmp_path / "P01_01" / f"frame_{frame:010d}.npy", detections(5, 5, seed=frame))
    before = open_features(tmp_path, rate=30, detections=5).weight(["P01_01", "P01_02"])
    assert before == open_features(tmp_path, rate=30, detections=5).weight(["P01_01", "P01_02"]) and before["P01_02"] == [0, {}]
    np.save(tmp_path / "P01_01" / f"frame_{40:010d}.npy", detections(5, 5, seed=0))
    assert open_features(tmp_path, rate=30, detections=5).weight(["P01_01", "P01_02"]) != before
