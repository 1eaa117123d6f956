"""`egokeras verify`: silent about what is whole, a sentence for each damage."""

import json
import shutil
import zipfile
import zlib

import numpy as np
import pytest

from egokeras import cli
from egokeras.data import shards
from egokeras.data.shards import ShardWriter
from egokeras.files import sha256, write_json


def write(path, splits=(1, 1, 2, 2), groups="aabb", videos="abcd", exclusive="group", quarantined=0):
    """Four clips, two per shard."""
    path.mkdir()
    clips = np.random.default_rng(0).integers(0, 255, (4, 2, 3, 3, 3), dtype=np.uint8)
    writer = ShardWriter(path, shape=clips.shape[1:], shard_bytes=2 * clips[0].nbytes)
    table = np.zeros(4, shards.table_dtype(2, 1, 1, ["action"]))
    for n, clip in enumerate(clips):
        table[n] = (f"u{n}", videos[n], groups[n], 0, 1, *writer.append(clip), zlib.crc32(clip), splits[n], 0)
    about = {"modality": "rgb", "classes": {"action": ["x", "y"]}, "splits": ["train", "validation"], "exclusive": exclusive}
    writer.finish(table, {**about, "quarantined": quarantined})
    return path


def verify(path, capsys):
    code = cli.main(["verify", str(path), "--json"])
    return code, json.loads(capsys.readouterr().out)["findings"]


def test_whole_shards(tmp_path, capsys):
    assert verify(write(tmp_path / "set"), capsys) == (0, [])
    assert cli.main(["verify", str(tmp_path / "set")]) == 0
    assert "everything is as it was written" in capsys.readouterr().out


def test_every_altered_clip_is_named(tmp_path, capsys):
    path = write(tmp_path / "set")
    for name in ("shard-00000.npy", "shard-00001.npy"):
        data = bytearray((path / name).read_bytes())
        data[-1] ^= 1
        (path / name).write_bytes(data)
    code, findings = verify(path, capsys)
    assert code == 1 and len(findings) == 2 and "'u1'" in findings[0] and "'u3'" in findings[1]


@pytest.mark.parametrize(
    ("how", "finding"),
    [
        ({"groups": "abba"}, "group 'a' is in train and validation"),
        ({"videos": "abca"}, "video 'a' is in train and validation"),
        ({"videos": "abca", "exclusive": "video"}, "video 'a' is in train and validation"),
        ({"quarantined": 2}, "lists 0 clips, the index counts 2"),
    ],
)
def test_leaks_and_counts(tmp_path, capsys, how, finding):
    code, findings = verify(write(tmp_path / "set", **how), capsys)
    assert code == 1 and finding in findings[0]


def test_allowed_to_share(tmp_path, capsys):
    assert verify(write(tmp_path / "video", groups="abba", exclusive="video"), capsys) == (0, [])
    assert verify(write(tmp_path / "segment", videos="abba", exclusive="segment"), capsys) == (0, [])


def test_unfinished_and_strange_folders(tmp_path, capsys):
    path = write(tmp_path / "set")
    (path / "index.json").unlink()
    code, findings = verify(path, capsys)
    assert code == 1 and "not a finished folder" in findings[0]
    assert cli.main(["verify", str(tmp_path / "nothing")]) == 1
    assert "holds neither shards" in capsys.readouterr().err


def test_artifacts_of_a_run(tmp_path, capsys):
    folder = tmp_path / "run" / "exports" / "int8"
    folder.mkdir(parents=True)
    model = folder / "model.tflite"
    model.write_bytes(b"weights")
    about = {
        "format": 1, "name": "int8", "model": "model.tflite", "signature": "serving_default", "quantization": "int8",
        "files": {"model.tflite": {"sha256": sha256(model), "bytes": 7}},
        "inputs": {"rgb": {"shape": [1, 2, 8, 8, 3], "dtype": "uint8", "channels": "RGB", "resize": "squash"}},
        "outputs": {"action": ["x", "y"]}, "sampling": {"rule": "uniform", "frames": 2, "clip_seconds": 1.0},
    }  # fmt: skip
    write_json(folder / "artifact.json", about)
    write_json(tmp_path / "run" / "recipe.json", {})
    assert verify(folder, capsys) == (0, [])
    assert "run is not finished" in verify(tmp_path / "run", capsys)[1][0]
    with zipfile.ZipFile(tmp_path / "run" / "model.keras", "w") as archive:
        archive.writestr("config.json", "layers")
    assert verify(tmp_path / "run", capsys) == (0, [])
    whole = (tmp_path / "run" / "model.keras").read_bytes()
    for damaged, place in ((whole.replace(b"layers", b"lAyers"), "(config.json)"), (whole[:20], "(all of it)")):
        (tmp_path / "run" / "model.keras").write_bytes(damaged)
        assert f"model.keras is damaged {place}" in verify(tmp_path / "run", capsys)[1][0]
    (tmp_path / "run" / "model.keras").write_bytes(whole)
    write(tmp_path / "run" / "shards", quarantined=2)
    assert "lists 0 clips" in verify(tmp_path / "run", capsys)[1][0]
    shutil.rmtree(tmp_path / "run" / "shards")
    model.write_bytes(b"weightz")
    code, findings = verify(tmp_path / "run", capsys)
    assert code == 1 and "model.tflite was altered" in findings[0]
    model.unlink()
    assert "is missing" in verify(folder, capsys)[1][0]
    write_json(folder / "artifact.json", {**about, "files": {}})
    assert "files has no entry for the model" in verify(folder, capsys)[1][0]
