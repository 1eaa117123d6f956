"""Folders of `.npy`: found by name, checked against their index, refused with their name when they are anything else."""

import hashlib
import json

import numpy as np
import pytest
from zlib_ng.zlib_ng import crc32

from egokeras.data.feature_files import open_features
from egokeras.data.npy_features import NpyFolder, sample
from egokeras.errors import InputError

ROWS = np.arange(40, dtype=np.float16).reshape(10, 4)


@pytest.fixture
def folder(tmp_path):
    """A folder as `egokeras features` writes it."""
    (tmp_path / "P01" / "videos").mkdir(parents=True)
    np.save(tmp_path / "P01" / "videos" / "P01_01.npy", ROWS)
    np.save(tmp_path / "short.npy", ROWS[:0])
    videos = {"P01/videos/P01_01": {"rows": 10, "crc32": crc32(ROWS)}, "short": {"rows": 0, "crc32": 0}}
    write_index(tmp_path, {"format": 1, "modality": "flow_features", "step": 0.25, "videos": videos, "made_from": {"model": "x"}})
    return tmp_path


def write_index(folder, index):
    (folder / "index.json").write_text(json.dumps(index))


def change_index(folder, **values):
    write_index(folder, {**json.loads((folder / "index.json").read_text()), **values})


def test_rows_by_frame(folder):
    source = open_features(folder)
    assert (source.rate, source.modality, source.about["made_from"]) == (4.0, "flow_features", {"model": "x"})
    for name in ("P01/videos/P01_01", "P01_01", "p01_01.MP4", "P01/videos/P01_01.mp4"):
        assert source.width(name) == 4
        features, there = source.read(name, np.array([1, 3, 10, 11]))
        assert there.tolist() == [True, True, True, False]
        np.testing.assert_array_equal(features, ROWS[[0, 2, 9]])
    assert source.width("P01_02") is None and source.width("short") == 4
    assert source.read("short", np.array([1]))[1].tolist() == [False]


def test_the_rate_is_stated_once(folder):
    assert open_features(folder, rate=4.0).rate == 4.0
    with pytest.raises(InputError, match=r"a row every 0.25 s, but fps is 30"):
        open_features(folder, rate=30)
    (folder / "index.json").unlink()
    assert (open_features(folder, rate=5).rate, open_features(folder, rate=5).modality) == (5, None)
    with pytest.raises(InputError, match="does not say how many feature frames.*give --fps"):
        open_features(folder)


@pytest.mark.parametrize(
    "changes", [{"format": 2}, {"step": 0}, {"step": "1"}, {"step": None}, {"videos": []}, {"modality": 3}, {"step": float("inf")}]
)
def test_an_index_of_something_else(folder, changes):
    change_index(folder, **changes)
    with pytest.raises(InputError, match=r"index.json is no index of features \(format 1"):
        open_features(folder)


def listed(folder, **values):
    change_index(folder, videos={"P01/videos/P01_01": values})


def test_what_is_not_what_the_index_says(folder):
    file = folder / "P01" / "videos" / "P01_01.npy"
    listed(folder, rows=10, sha256=hashlib.sha256(file.read_bytes()).hexdigest())
    assert open_features(folder).width("P01_01") == 4
    for values, words in (
        ({"rows": 9}, "has 10 rows, index.json says {'rows': 9}"),
        ({"rows": 10, "crc32": 1}, "P01_01.npy was altered"),
        ({"rows": 10, "sha256": "0" * 64}, "P01_01.npy was altered"),
    ):
        listed(folder, **values)
        with pytest.raises(InputError, match=words):
            open_features(folder).width("P01_01")
    change_index(folder, videos={"gone": {"rows": 3}})
    with pytest.raises(InputError, match="gone.npy is missing, though index.json lists it"):
        open_features(folder).width("gone.mp4")


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros(4, np.float32), r"v.npy is \(4,\) float32; \(frames, features\) of floats is wanted"),
        (np.zeros((3, 7, 7, 4), np.float32), r"v.npy is \(3, 7, 7, 4\) float32"),
        (np.zeros((3, 4), np.int64), r"v.npy is \(3, 4\) int64"),
        (np.zeros((3, 0), np.float32), r"v.npy is \(3, 0\)"),
        (np.zeros((1, 70_000), np.float16), r"v.npy is \(1, 70000\)"),
        (np.array([{}], object), "v.npy is no whole .npy file of numbers"),
    ],
)
def test_arrays_that_are_no_features(tmp_path, array, words):
    np.save(tmp_path / "v.npy", array, allow_pickle=True)
    with pytest.raises(InputError, match=words):
        NpyFolder(tmp_path, 4.0).width("v")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a zip", b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': Fals"])
def test_files_that_are_no_arrays(tmp_path, content):
    (tmp_path / "v.npy").write_bytes(content)
    with pytest.raises(InputError, match="v.npy is no whole .npy file"):
        NpyFolder(tmp_path, 4.0).width("v")


def test_a_file_that_was_cut(tmp_path):
    np.save(tmp_path / "v.npy", ROWS)
    (tmp_path / "v.npy").write_bytes((tmp_path / "v.npy").read_bytes()[:-1])
    with pytest.raises(InputError, match="v.npy is no whole .npy file"):
        NpyFolder(tmp_path, 4.0).width("v")


def test_two_files_of_one_name(tmp_path):
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        np.save(tmp_path / place / "v.npy", ROWS)
    source = NpyFolder(tmp_path, 4.0)
    assert source.width("a/v") == 4
    with pytest.raises(InputError, match=r"'v' may be .*a/v.npy or .*b/v.npy"):
        source.width("v")


def test_a_sample_of_a_file_sees_its_size_and_both_ends_and_the_middle(tmp_path):
    content = np.random.default_rng(0).integers(0, 256, 1_000_000).astype(np.uint8)
    file, seen = tmp_path / "f", set()
    for change in (None, 0, 500_100, 999_999):
        changed = content.copy()
        if change is not None:
            changed[change] ^= 1
        file.write_bytes(changed.tobytes())
        seen.add(tuple(sample(file)))
    for size in (0, 1, 70_000, 999_999):
        file.write_bytes(content[:size].tobytes())
        seen.add(tuple(sample(file)))
        assert sample(file)[0] == size
    assert len(seen) == 8
