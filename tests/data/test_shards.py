"""Shards: what is written is read back, in any order, and every damage is named."""

import concurrent.futures
import json
import os
import pathlib
import shutil
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from egokeras.data import shards
from egokeras.data.shards import Shards, ShardWriter
from egokeras.errors import InputError

ABOUT = {"modality": "rgb", "channels": "RGB", "classes": {"verb": ["take", "put"]}, "splits": ["train", "validation"], "quarantined": 0}


def write(path, clips, encoding="raw", shard_bytes=1000, payloads=None):
    """A set of `clips`, the even ones for training."""
    path.mkdir(exist_ok=True)
    writer = ShardWriter(path, shape=clips.shape[1:], dtype=clips.dtype, encoding=encoding, shard_bytes=shard_bytes)
    table = np.zeros(len(clips), shards.table_dtype(6, 3, 0, ["verb"]))
    for number, payload in enumerate(clips if payloads is None else payloads):
        place = writer.append(payload)
        table[number] = (f"clip{number}", "v.a", "", 0, 1, *place, zlib.crc32(payload), 1 + number % 2, number % 3 - 1)
    writer.finish(table, ABOUT)
    return path


def noise(count, shape=(2, 4, 5, 3), dtype="uint8"):
    return np.random.default_rng(count).integers(0, 255, (count, *shape)).astype(dtype)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    count=st.integers(1, 20), shard_bytes=st.integers(1, 2000), dtype=st.sampled_from(["uint8", "float16", "int16"]), seed=st.integers(0, 9)
)
def test_any_rows_come_back(tmp_path, count, shard_bytes, dtype, seed):
    shutil.rmtree(tmp_path / "set", ignore_errors=True)
    clips = noise(count, dtype=dtype)
    data = Shards(write(tmp_path / "set", clips, shard_bytes=shard_bytes))
    rows = np.random.default_rng(seed).integers(0, count, 7)
    np.testing.assert_array_equal(data.read(rows), clips[rows])
    assert data.dtype == clips.dtype and data.shape == clips.shape[1:] and len(data) == count
    per_shard = max(1, shard_bytes // clips[0].nbytes)
    assert [shard["clips"] for shard in data.index["shards"]][:-1] == [per_shard] * ((count - 1) // per_shard)


def test_reads_into_a_given_array(tmp_path):
    clips = noise(5)
    out = np.empty((2, *clips.shape[1:]), np.uint8)
    assert Shards(write(tmp_path / "set", clips)).read([3, 1], out=out) is out
    np.testing.assert_array_equal(out, clips[[3, 1]])


def test_many_shards_and_threads_share_few_open_files(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "OPEN_FILES", 4)
    clips = noise(40)
    path = write(tmp_path / "set", clips, shard_bytes=1)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc") else None
    data = Shards(path)
    assert len(data.index["shards"]) == 40
    orders = [np.random.default_rng(seed).permutation(40) for seed in range(20)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for order, read in zip(orders, pool.map(data.read, orders), strict=True):
            np.testing.assert_array_equal(read, clips[order])
    assert before is None or len(os.listdir("/proc/self/fd")) <= before + 4 + 4  # a thread may still put one back


def test_threads_read_one_shard_at_once(tmp_path):
    clips = noise(16, shape=(20, 32, 32, 3))
    data = Shards(write(tmp_path / "set", clips, shard_bytes=10**7))
    orders = [np.random.default_rng(seed).permutation(16) for seed in range(100)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for order, read in zip(orders, pool.map(data.read, orders), strict=True):
            np.testing.assert_array_equal(read, clips[order])


def test_rows_labels_and_plain_numpy(tmp_path):
    clips = noise(7)
    data = Shards(write(tmp_path / "set", clips, shard_bytes=3 * clips[0].nbytes))
    assert data.rows("train").tolist() == [0, 2, 4, 6] and data.rows("validation").tolist() == [1, 3, 5]
    assert data.labels("verb", data.rows("train")).tolist() == [-1, 1, 0, -1] and data.labels("verb", [1]).dtype == np.int32
    np.testing.assert_array_equal(np.load(tmp_path / "set" / "shard-00001.npy", mmap_mode="r"), clips[3:6])
    with pytest.raises(InputError, match="no split 'test'; it has train, validation"):
        data.rows("test")
    with pytest.raises(InputError, match="no labels 'noun'"):
        data.labels("noun", [0])


def test_jpeg_keeps_picture_and_colour(tmp_path):
    ramp = np.linspace(0, 255, 32, dtype=np.uint8)
    clips = np.zeros((3, 4, 32, 32, 3), np.uint8)
    clips[..., 0], clips[..., 1] = ramp, ramp[:, None]
    clips[1:, ..., 2] = 200
    payloads = [shards.encode_jpeg(clip, 95) for clip in clips]
    path = write(tmp_path / "set", clips, encoding="jpeg", payloads=payloads, shard_bytes=len(payloads[0]) + 10)
    read = Shards(path).read([2, 0])
    assert np.abs(read.astype(int) - clips[[2, 0]]).mean() < 3
    assert len(Shards(path).index["shards"]) > 1
    np.testing.assert_array_equal(Shards(path).read([0, 2]), read[::-1])
    assert np.load(path / "shard-00000.npy")[:2].tolist() == [0xFF, 0xD8]


def test_jpeg_of_other_channels_keeps_each_in_its_place(tmp_path):
    """A stack of ten channels, smooth and each of its own level; no channel colours another."""
    ramp = np.linspace(0, 60, 32)
    clips = (ramp[:, None, None] + ramp[:, None] + 12 * np.arange(10) + 5 * np.arange(4)[:, None, None, None])[None].astype(np.uint8)
    payload = shards.encode_jpeg(clips[0], 95)
    read = Shards(write(tmp_path / "set", clips, encoding="jpeg", payloads=[payload])).read([0])
    assert read.shape == (1, 4, 32, 32, 10) and np.abs(read.astype(int) - clips).max() <= 6
    assert len(payload) < clips.nbytes / 5


def test_writer_goes_on_after_a_kill(tmp_path):
    clips = noise(10)
    size = clips[0].nbytes
    whole = write(tmp_path / "whole", clips, shard_bytes=3 * size)
    (tmp_path / "cut").mkdir()
    arguments = {"shape": clips.shape[1:], "shard_bytes": 3 * size}
    first = ShardWriter(tmp_path / "cut", **arguments)
    places = [first.append(clip) for clip in clips[:5]]
    first.abort()
    assert [file.name for file in sorted((tmp_path / "cut").iterdir())] == ["shard-00000.npy"]
    second = ShardWriter(tmp_path / "cut", **arguments)
    assert [second.skip(size) for _ in range(4)] == [*places[:3], None]
    assert [second.append(clip) for clip in clips[3:5]] == places[3:]
    for clip in clips[5:]:
        second.append(clip)
    second.finish(np.load(whole / "clips.npy"), ABOUT)
    for file in whole.iterdir():
        assert (tmp_path / "cut" / file.name).read_bytes() == file.read_bytes()


def test_writer_refuses_what_no_shard_holds(tmp_path):
    with pytest.raises(ValueError, match="shards hold uint8, int16, float16, not float32"):
        ShardWriter(tmp_path, shape=(2, 3), dtype="float32")


def flip(file):
    data = bytearray(file.read_bytes())
    data[-7] ^= 4
    file.write_bytes(data)


def edit(key, value):
    def change(path):
        index = json.loads((path / "index.json").read_text())
        (path / "index.json").write_text(json.dumps({**index, key: value}))

    return change


DAMAGES = {
    "flipped pixel": (lambda path: flip(path / "shard-00001.npy"), "shard-00001.npy: clip 'clip5' was altered"),
    "flipped header": (
        lambda path: (path / "shard-00001.npy").write_bytes(bytes((path / "shard-00001.npy").stat().st_size)),
        "not a shard",
    ),
    "cut shard": (lambda path: (path / "shard-00001.npy").write_bytes(b"ab"), "shard-00001.npy has 2 bytes in place of"),
    "missing shard": (lambda path: (path / "shard-00001.npy").unlink(), "shard-00001.npy is missing"),
    "swapped shards": (lambda path: (path / "shard-00001.npy").replace(path / "shard-00000.npy"), "missing|altered"),
    "copied shard": (lambda path: shutil.copy(path / "shard-00001.npy", path / "shard-00000.npy"), "clip 'clip0' was altered"),
    "flipped table": (lambda path: flip(path / "clips.npy"), "clips.npy is missing or was altered"),
    "missing table": (lambda path: (path / "clips.npy").unlink(), "clips.npy is missing or was altered"),
    "wrong count": (edit("clips", 3), "index.json was altered"),
    "wrong classes": (edit("classes", {"verb": ["put", "take"]}), "index.json was altered"),
    "other format": (edit("format", 2), "has format 2; this egokeras reads format 1"),
    "not json": (lambda path: (path / "index.json").write_text("{"), "not valid JSON"),
    "no index": (lambda path: (path / "index.json").unlink(), "not a finished folder of shards"),
    "not a folder": (shutil.rmtree, "not a finished folder of shards"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named_before_use(tmp_path, damage):
    clips = noise(6)
    path = write(tmp_path / "set", clips, shard_bytes=3 * clips[0].nbytes)
    spoil, message = DAMAGES[damage]
    spoil(path)
    with pytest.raises(InputError, match=message):
        Shards(path).read(range(6))


def test_altered_jpeg_is_named(tmp_path):
    payload = np.frombuffer(pathlib.Path(__file__).read_bytes(), np.uint8)
    path = write(tmp_path / "set", noise(1), encoding="jpeg", payloads=[payload])
    with pytest.raises(InputError, match="clip 'clip0' was altered"):
        Shards(path).read([0])


def test_every_read_is_checked(tmp_path):
    clips = noise(4)
    path = write(tmp_path / "set", clips)
    data = Shards(path)
    np.testing.assert_array_equal(data.read(range(4)), clips)
    flip(path / "shard-00000.npy")  # its last clip
    np.testing.assert_array_equal(data.read(range(3)), clips[:3])
    for _ in range(2):
        with pytest.raises(InputError, match="clip 'clip3' was altered"):
            data.read([0, 3])


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_a_shard_cut_while_it_is_open_is_named(tmp_path, encoding):
    clips = noise(4)
    payloads = [shards.encode_jpeg(clip, 95) for clip in clips] if encoding == "jpeg" else None
    data = Shards(write(tmp_path / "set", clips, encoding=encoding, payloads=payloads, shard_bytes=10**6))
    data.read([0, 3])
    os.truncate(tmp_path / "set" / "shard-00000.npy", shards.HEADER_BYTES + 3)
    with pytest.raises(InputError, match="shard-00000.npy ends at byte 131, inside a clip"):
        data.read([0])
    with pytest.raises(InputError, match="shard-00000.npy ends at byte"):
        data.read([3])


def test_a_shard_lost_while_it_is_in_use_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "OPEN_FILES", 0)
    data = Shards(write(tmp_path / "set", noise(4)))
    (tmp_path / "set" / "shard-00000.npy").unlink()
    with pytest.raises(InputError, match="shard-00000.npy is missing"):
        data.read([0])
    (tmp_path / "set" / "shard-00000.npy").mkdir()
    with pytest.raises(InputError, match="shard-00000.npy cannot be read .Is a directory"):
        data.read([0])


HEADERS = {
    "dtype": lambda clips: (clips.shape, "int8"),
    "shape": lambda clips: ((len(clips), 4, 2, 5, 3), "uint8"),
    "count": lambda clips: ((len(clips) - 1, *clips.shape[1:]), "uint8"),
}


@pytest.mark.parametrize("wrong", HEADERS)
def test_another_header_is_an_error_before_the_first_read(tmp_path, wrong):
    clips = noise(6)
    path = write(tmp_path / "set", clips, shard_bytes=10**6)
    with open(path / "shard-00000.npy", "r+b") as file:
        file.write(shards._header(*HEADERS[wrong](clips)))
    with pytest.raises(InputError, match=r"shard-00000.npy is not a shard of \(6, 2, 4, 5, 3\) uint8"):
        Shards(path)


def reseal(path, **changes):
    """Change an index as one who knows the seal would; None takes an entry out."""
    index = json.loads((path / "index.json").read_text()) | changes
    index = {key: value for key, value in index.items() if value is not None}
    (path / "index.json").write_text(json.dumps({**index, "seal": shards.seal(index)}))


ENTRIES = {
    "no classes": ({"classes": None}, "has no 'classes'"),
    "no shards": ({"shards": None}, "has no 'shards'"),
    "no table": ({"table": None}, "has no 'table'"),
    "text for a number": ({"clips": "6"}, "has '6' as 'clips'"),
    "truth for a number": ({"clips": True}, "has True as 'clips'"),
    "number for a list": ({"splits": 2}, "has 2 as 'splits'"),
    "too many splits": ({"splits": ["a"] * 33}, "as 'splits'"),
    "names that are no texts": ({"classes": {"verb": [1, 2]}}, "as 'classes'"),
    "fewer classes than labels": ({"classes": {"verb": ["take"]}}, "verb has labels outside its 1 classes"),
    "classes without labels": ({"classes": {"noun": ["cup"]}}, "not a table of 6 clips with the labels"),
    "negative shape": ({"shape": [2, 4, -5, 3]}, "as 'shape'"),
    "another shape": ({"shape": [2, 5, 4, 3]}, "not a shard of"),
    "a larger shape": ({"shape": [2, 4, 5, 4]}, "not a shard of"),
    "an endless shape": ({"shape": [10**9] * 4}, "as 'shape'"),
    "objects": ({"dtype": "object"}, "has 'object' as 'dtype'"),
    "another dtype": ({"dtype": "int16"}, "not a shard of"),
    "unknown encoding": ({"encoding": "png"}, "has 'png' as 'encoding'"),
    "jpeg of raw": ({"encoding": "jpeg"}, "is not a shard of"),
    "jpeg of features": ({"encoding": "jpeg", "shape": [2, 60]}, "has 'jpeg' as 'encoding'"),
    "another count": ({"clips": 5}, "not a table of 5 clips"),
    "a file elsewhere": ({"shards": [{"file": "../shard-00000.npy", "clips": 6, "bytes": 848}]}, "as 'shards'"),
    "a shard of nothing": ({"shards": [{"file": "shard-00000.npy"}]}, "as 'shards'"),
    "no shard": ({"shards": []}, "'clip0' lies outside the shards"),
    "wrong count of a shard": ({"shards": [{"file": "shard-00000.npy", "clips": 5, "bytes": 848}]}, "not a shard of"),
    "wrong length of a shard": ({"shards": [{"file": "shard-00000.npy", "clips": 6, "bytes": 128}]}, "has 848 bytes in place of 128"),
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_wrong_index_with_a_right_seal_is_named(tmp_path, entry):
    path = write(tmp_path / "set", noise(6))
    changes, message = ENTRIES[entry]
    reseal(path, **changes)
    with pytest.raises(InputError, match=message):
        Shards(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=st.sampled_from(["modality", "encoding", "dtype", "shape", "clips", "classes", "splits", "table", "shards", "format", "checksum"]),
    value=st.recursive(
        st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["file", "clips", "bytes", "sha256", "verb"]), inner),
        max_leaves=6,
    ),
)
def test_no_index_gives_a_traceback(tmp_path, key, value):
    if not (tmp_path / "set").exists():
        write(tmp_path / "set", noise(6))
        shutil.copy(tmp_path / "set" / "index.json", tmp_path / "kept.json")
    shutil.copy(tmp_path / "kept.json", tmp_path / "set" / "index.json")
    reseal(tmp_path / "set", **{key: value})
    try:
        data = Shards(tmp_path / "set")
    except InputError:
        return
    np.testing.assert_array_equal(data.read(range(6)), noise(6))


def retable(path, clips):
    """Another table, to which the index is made to fit."""
    np.save(path / "clips.npy", clips)
    reseal(path, table={"file": "clips.npy", "sha256": shards.sha256(path / "clips.npy")})


PLACES = [("shard", -1), ("shard", 2), ("offset", -1), ("offset", 3), ("offset", 2**63 - 1), ("size", 0), ("size", 2), ("size", -(2**63))]


@pytest.mark.parametrize(("column", "value"), PLACES)
def test_a_place_outside_the_shards_is_named(tmp_path, column, value):
    clips = noise(6)
    path = write(tmp_path / "set", clips, shard_bytes=3 * clips[0].nbytes)
    table = np.load(path / "clips.npy")
    table[column][5] = value
    retable(path, table)
    with pytest.raises(InputError, match="clips.npy: clip 'clip5' lies outside the shards"):
        Shards(path)


def test_a_jpeg_beyond_its_shard_is_named(tmp_path):
    clips = noise(2)
    path = write(tmp_path / "set", clips, encoding="jpeg", payloads=[shards.encode_jpeg(clip, 95) for clip in clips], shard_bytes=10**6)
    table = np.load(path / "clips.npy")
    table["size"][1] += 1
    retable(path, table)
    with pytest.raises(InputError, match="clip 'clip1' lies outside the shards"):
        Shards(path)


TABLES = {
    "no column": lambda table: table[[name for name in table.dtype.names if name != "offset"]].copy(),
    "another type": lambda table: table.astype([(name, "<f8" if name == "offset" else table.dtype[name]) for name in table.dtype.names]),
    "no columns": lambda table: np.zeros(6),
    "two dimensions": lambda table: table[None],
    "one row less": lambda table: table[:-1],
    "objects": lambda table: table.astype(object),
}


@pytest.mark.parametrize("change", TABLES)
def test_a_wrong_table_with_a_right_checksum_is_named(tmp_path, change):
    path = write(tmp_path / "set", noise(6))
    retable(path, TABLES[change](np.load(path / "clips.npy")))
    with pytest.raises(InputError, match="clips.npy is not a table of 6 clips"):
        Shards(path)
