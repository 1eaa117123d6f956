"""HDF5 and LMDB: the same features in every form, and files that are damaged, hostile or of another shape."""

import contextlib
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest

from egokeras.data.feature_files import open_features
from egokeras.errors import InputError

FEATURES = {video: np.random.default_rng(seed).normal(size=(2500, 4)).astype(np.float32) for seed, video in enumerate(("P01_01", "P01_02"))}
KEY = "{}_frame_{:010d}.jpg"


def as_datasets(path):
    with h5py.File(path / "f.h5", "w") as file:
        for video, rows in FEATURES.items():
            file.create_dataset(video, data=rows, chunks=(64, 4), compression="gzip")
    return path / "f.h5"


def as_groups(path):
    with h5py.File(path / "f.hdf5", "w") as file:
        for video, rows in FEATURES.items():
            for number, row in enumerate(rows[:300], 1):
                file[f"{video}/frame_{number:010d}"] = row
    return path / "f.hdf5"


def as_keys(path):
    with h5py.File(path / "f.h5", "w") as file:
        for video, rows in FEATURES.items():
            for number, row in enumerate(rows[:300], 1):
                file[KEY.format(video, number)] = row
    return path / "f.h5"


def write_lmdb(path, values, subdir=True):
    lmdb = pytest.importorskip("lmdb", reason="lmdb is not installed (the extra `lmdb`)")
    with lmdb.open(str(path), map_size=1 << 28, subdir=subdir, sync=False) as environment, environment.begin(write=True) as content:
        for key, value in values.items():
            content.put(key.encode(), value)
    return path


def frames(video, rows):
    return {KEY.format(video, number): row.tobytes() for number, row in enumerate(rows, 1)}


def as_lmdb(path):
    return write_lmdb(path / "rgb", {key: value for video, rows in FEATURES.items() for key, value in frames(video, rows).items()})


@pytest.mark.parametrize("write", [as_datasets, as_groups, as_keys, as_lmdb])
def test_features_by_frame(tmp_path, write):
    source = open_features(write(tmp_path), rate=30.0)
    last = 300 if write in (as_groups, as_keys) else 2500
    wanted = np.array([1, 2, 40, 299, 300, *((1024, 1025, 2500) if last > 300 else ()), 2501])
    for video, rows in FEATURES.items():
        assert source.width(video) == source.width(f"{video}.MP4") == 4
        found, there = source.read(video, wanted)
        np.testing.assert_array_equal(found, rows[wanted[:-1] - 1])
        assert there.tolist() == [True] * (len(wanted) - 1) + [False]
    assert source.width("P01_03") is None and source.width("P01") is None and source.rate == 30 and source.modality is None
    source.close()


@pytest.mark.parametrize("write", [as_datasets, as_groups, as_keys, as_lmdb])
def test_the_weight_is_of_what_is_in_the_file(write, tmp_path, monkeypatch):
    weights = []
    for name, factor in (("one", 1), ("other", -1)):
        (tmp_path / name).mkdir()
        monkeypatch.setitem(FEATURES, "P01_02", factor * FEATURES["P01_02"])
        with contextlib.closing(open_features(write(tmp_path / name), rate=30)) as source:
            weights.append(source.weight(["P01_01"]))
            assert weights[-1] == source.weight(["P01_01"])
    assert weights[0] != weights[1]


def test_lmdb_says_30_frames_a_second_and_hdf5_nothing(tmp_path):
    assert open_features(as_lmdb(tmp_path)).rate == 30
    with pytest.raises(InputError, match="give --fps"):
        open_features(as_datasets(tmp_path))
    for rate in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="fps is"):
            open_features(tmp_path / "f.h5", rate=rate)


def test_lmdb_as_one_file(tmp_path):
    source = open_features(write_lmdb(tmp_path / "flow.mdb", frames("a", FEATURES["P01_01"][:5]), subdir=False))
    np.testing.assert_array_equal(source.read("a", np.array([5]))[0], FEATURES["P01_01"][4:5])


def test_missing_frames_of_an_lmdb(tmp_path):
    values = frames("a", FEATURES["P01_01"][:20])
    del values[KEY.format("a", 7)]
    source = open_features(write_lmdb(tmp_path / "rgb", values))
    features, there = source.read("a", np.arange(5, 10))
    assert there.tolist() == [True, True, False, True, True] and len(features) == 4
    assert source.width("x" * 600) is None


@pytest.mark.parametrize("value", [b"", b"abc", bytes(12), bytes(20), bytes(4 << 20)])
def test_values_of_another_length(tmp_path, value):
    values = frames("a", FEATURES["P01_01"][:9]) | {KEY.format("a", 4): value}
    source = open_features(write_lmdb(tmp_path / "rgb", values))
    with pytest.raises(InputError, match=rf"data.mdb: 'a_frame_0000000004.jpg' has {len(value)} bytes; 16, raw float32"):
        source.read("a", np.arange(1, 9))
    assert source.read("a", np.array([1, 3]))[1].all()


def test_a_first_value_that_is_no_feature(tmp_path):
    source = open_features(write_lmdb(tmp_path / "rgb", {KEY.format("a", 1): b"abc"}))
    with pytest.raises(InputError, match=r"'a_frame_0000000001.jpg' has 3 bytes; raw float32 is wanted"):
        source.width("a")


def test_damaged_lmdb(tmp_path):
    path = as_lmdb(tmp_path)
    whole = (path / "data.mdb").read_bytes()
    for length, words in ((len(whole) // 2, "data.mdb is cut off after"), (100, "is no LMDB"), (0, "is no LMDB")):
        (path / "data.mdb").write_bytes(whole[:length])
        with pytest.raises(InputError, match=words):
            open_features(path)
    (path / "data.mdb").write_bytes(b"x" * 8192)
    with pytest.raises(InputError, match="is no LMDB"):
        open_features(path)


def test_damaged_hdf5(tmp_path):
    path = as_datasets(tmp_path)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"no HDF5 at all"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"f.h5 is damaged, it cannot be read"):
            open_features(path, rate=30)
    with h5py.File(path, "w") as file:
        data = file.create_dataset("a", data=FEATURES["P01_01"], chunks=(2500, 4), fletcher32=True)
        offset = data.id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[offset + 100] ^= 1
    path.write_bytes(content)
    source = open_features(path, rate=30)
    with pytest.raises(InputError, match="is damaged, 'a' cannot be read"):
        source.read("a", np.array([1]))


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a", np.zeros((3, 4, 5), "f4"), r"'a' is \(3, 4, 5\) float32; \(frames, features\) of floats is wanted"),
        ("a", np.zeros((3, 4), "i4"), r"'a' is \(3, 4\) int32"),
        ("a", np.zeros(4, "f4"), r"'a' is \(4,\) float32"),
        ("a", np.float32(1), r"'a' is \(\) float32"),
        ("a", b"text", "'a' is"),
        ("a/frame_0000000001", np.zeros((1, 4), "f4"), r"'a/frame_0000000001' is \(1, 4\) float32; \(features,\) of floats"),
        ("a/1/2", np.zeros(4, "f4"), "'a/1' is no dataset"),
    ],
)
def test_datasets_of_another_shape(tmp_path, name, data, words):
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file[name] = data
    with pytest.raises(InputError, match=rf"f.h5: {words}"):
        open_features(tmp_path / "f.h5", rate=30).width("a")


def test_frames_of_different_width(tmp_path):
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["a/1"], file["a/2"] = np.zeros(4, "f4"), np.zeros(5, "f4")
    with pytest.raises(InputError, match=r"'a/2' is \(5,\) float32; \(4,\) of floats is wanted"):
        open_features(tmp_path / "f.h5", rate=30).read("a", np.array([1, 2]))


def test_what_is_no_source(tmp_path):
    (tmp_path / "f.csv").touch()
    for path, words in ((tmp_path / "f.csv", "no folder of .npy files, no .h5 file and no LMDB"), (tmp_path / "gone", "does not exist")):
        with pytest.raises(InputError, match=words):
            open_features(path)


def test_a_large_lmdb_is_not_taken_into_memory(tmp_path, root):
    path = write_lmdb(tmp_path / "rgb", {KEY.format("a", number): bytes(4096) for number in range(1, 8001)})
    code = (
        "import sys, resource, numpy as np\n"
        "from egokeras.data.feature_files import open_features\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "source = open_features(sys.argv[1])\n"
        "assert source.read('a', np.arange(1, 8001, 100))[1].all()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    said = subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True, cwd=root)
    size = os.path.getsize(path / "data.mdb")
    assert int(said.stdout) * 1024 < size / 4 and size > 60e6
