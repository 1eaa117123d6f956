"""Shards: what is written is read back, in any order, and every damage is named."""

import json
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
    assert np.load(path / "shard-00000.npy")[:2].tolist() == [0xFF, 0xD8]


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
