"""`egokeras verify`: silent about what is whole, a sentence for each damage."""

import json
import runpy
import shutil
import zipfile
import zlib

import numpy as np
import pytest

from egokeras import cli
from egokeras.data import shard_checks, shards
from egokeras.data.joined import open_sets
from egokeras.data.shards import Shards, ShardWriter
from egokeras.files import sha256, write_json


def write(path, splits=(1, 1, 2, 2), groups="aabb", videos="abcd", exclusive="group", quarantined=0, uids="0123", same=(), **about):
    """Four clips, two per shard; those of `same` have the same pixels."""
    path.mkdir(parents=True)
    clips = np.random.default_rng(0).integers(0, 255, (4, 2, 3, 3, 3), dtype=np.uint8)
    clips[list(same)] = 7
    writer = ShardWriter(path, shape=clips.shape[1:], shard_bytes=2 * clips[0].nbytes)
    table = np.zeros(4, shards.table_dtype(2, 1, 1, ["action"]))
    for n, clip in enumerate(clips):
        table[n] = (f"u{uids[n]}", videos[n], groups[n], 0, 1, *writer.append(clip), zlib.crc32(clip), splits[n], 0)
    known = {"modality": "rgb", "classes": {"action": ["x", "y"]}, "splits": ["train", "validation"], "exclusive": exclusive}
    writer.finish(table, {**known, "quarantined": quarantined, **about})
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
        ({"same": (1, 2)}, "clips 'u1' and 'u2' have the same content, in train and validation"),
        ({"uids": "0113"}, "a uid stands for two clips"),
        ({"splits": (1, 1, 2, 6)}, "a clip is in a split without a name"),
        ({"quarantine_sha256": "0" * 64}, "quarantine.csv is missing or was altered"),
        ({"modality": "features", "quarantined": 9, "made_from": {"keras": "2.0"}}, "was computed with keras 2.0, this is"),
    ],
)
def test_leaks_and_counts(tmp_path, capsys, how, finding):
    code, findings = verify(write(tmp_path / "set", **how), capsys)
    assert code == 1 and finding in findings[0]


def test_features_along_videos(tmp_path, capsys):
    random, videos = np.random.default_rng(0), {}
    for name in ("a", "deep/b"):
        array = random.normal(size=(5, 3)).astype("float16")
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.save(tmp_path / f"{name}.npy", array)
        videos[name] = {"rows": 5, "crc32": zlib.crc32(array.tobytes())}
    write_json(tmp_path / "index.json", {"format": 1, "modality": "rgb_features", "step": 0.25, "videos": videos})
    assert cli.main(["verify", str(tmp_path)]) == 0
    array[2, 1] += 1
    np.save(tmp_path / "deep" / "b.npy", array)
    (tmp_path / "a.npy").unlink()
    assert cli.main(["verify", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "b.npy was altered after it was written" in said and "a.npy is missing, though index.json lists it" in said


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


def test_artifacts_of_a_run(root, tmp_path, capsys):
    made = runpy.run_path(root / "tests" / "device" / "conftest.py")["build"](tmp_path)
    folder = tmp_path / "run" / "exports" / "int8"
    shutil.copytree(made, folder)
    model, about = folder / "model.tflite", json.loads((folder / "artifact.json").read_text())
    weights = model.read_bytes()
    write_json(tmp_path / "run" / "recipe.json", {})
    assert verify(folder, capsys) == (0, [])
    assert "run is not finished" in verify(tmp_path / "run", capsys)[1][0]
    with zipfile.ZipFile(tmp_path / "run" / "model.keras", "w") as archive:
        archive.writestr("config.json", "layers")
        archive.writestr("metadata.json", '{"keras_version": "3.0.0"}')
    assert verify(tmp_path / "run", capsys) == (0, [])
    whole = (tmp_path / "run" / "model.keras").read_bytes()
    for damaged, place in ((whole.replace(b"layers", b"lAyers"), "(config.json)"), (whole[:20], "(all of it)")):
        (tmp_path / "run" / "model.keras").write_bytes(damaged)
        assert f"model.keras is damaged {place}" in verify(tmp_path / "run", capsys)[1][0]
    (tmp_path / "run" / "model.keras").write_bytes(whole)
    write(tmp_path / "run" / "shards", quarantined=2)
    assert "lists 0 clips" in verify(tmp_path / "run", capsys)[1][0]
    shutil.rmtree(tmp_path / "run" / "shards")
    model.write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    code, findings = verify(tmp_path / "run", capsys)
    assert code == 1 and "model.tflite was altered" in findings[0]
    model.write_bytes(b"weights")
    write_json(folder / "artifact.json", {**about, "files": {"model.tflite": {"sha256": sha256(model), "bytes": 7}}})
    assert "model.tflite cannot be loaded" in verify(folder, capsys)[1][0]
    model.unlink()
    assert "is missing" in verify(folder, capsys)[1][0]
    write_json(folder / "artifact.json", {**about, "files": {}})
    assert "files has no entry for 'model.tflite' of parts" in verify(folder, capsys)[1][0]


def test_clips_that_share_content_may_on_one_side(tmp_path, capsys):
    assert verify(write(tmp_path / "set", same=(0, 1)), capsys) == (0, [])
    assert verify(write(tmp_path / "apart", same=(0, 3), splits=(1, 2, 1, 1), groups="abcd"), capsys) == (0, [])


def test_two_checksums_that_meet_by_chance_are_no_leak(tmp_path, capsys, monkeypatch):
    path = write(tmp_path / "set")
    monkeypatch.setattr(shards, "crc32", lambda payload: 7)
    data = Shards(path)
    data.clips["checksum"] = 7
    assert list(shard_checks._same_content(data)) == []


def test_places_that_overlap(tmp_path):
    data = Shards(write(tmp_path / "set"))
    assert list(shard_checks._table(data)) == []
    data.clips["offset"][1] = 0
    assert list(shard_checks._table(data)) == [
        f"{data.path}: the clips of 'shard-00000.npy' overlap or leave a gap; make the shards again."
    ]


def test_findings_do_not_reach_the_terminal_raw(tmp_path, capsys):
    path = write(tmp_path / "set", videos="abca", splits=(1, 1, 1, 2), groups="abca")
    (path / ".\x1b[2J\n.a1b2c3d4").touch()
    assert cli.main(["verify", str(path)]) == 1
    said = capsys.readouterr().out
    assert "\x1b" not in said and r"\x1b[2J\n.a1b2c3d4 was left" in said and said.count("\n") == 3


def test_a_shard_that_nothing_reads(tmp_path, capsys):
    path = write(tmp_path / "set")
    shutil.copy(path / "shard-00000.npy", path / "shard-00002.npy")
    assert "shard-00002.npy is not in the index" in verify(path, capsys)[1][0]


def test_everything_below_a_folder(tmp_path, capsys):
    """Shards, a feature cache in a hidden folder, and two stages of a run."""
    write(tmp_path / "shards")
    cache = write(tmp_path / "runs" / ".features" / "features-0", modality="features", quarantined=0)
    for stage in ("teacher", "student"):
        (tmp_path / "runs" / "run" / stage).mkdir(parents=True)
        write_json(tmp_path / "runs" / "run" / stage / "recipe.json", {})
        archive(tmp_path / "runs" / "run" / stage / "model.keras", **{"metadata.json": b'{"keras_version": "3.0"}'})
    assert verify(tmp_path, capsys) == (0, [])
    data = bytearray((cache / "shard-00001.npy").read_bytes())
    data[-1] ^= 1
    (cache / "shard-00001.npy").write_bytes(data)
    (tmp_path / "runs" / "run" / "teacher" / "model.keras").write_bytes(b"")
    code, findings = verify(tmp_path, capsys)
    assert code == 1 and len(findings) == 2 and "'u3'" in findings[0] and "teacher/model.keras is damaged" in findings[1]


def archive(path, **members):
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)


def test_files_of_a_run(tmp_path, capsys):
    run = tmp_path / "run"
    data = write(tmp_path / "set")
    run.mkdir()
    write_json(run / "recipe.json", {"data": {"shards": str(data)}, "data_sha256": sha256(data / "index.json")})
    archive(run / "model.keras", **{"metadata.json": b'{"keras_version": "3.0.0"}'})
    np.savez(run / "predictions.npz", uid=np.zeros(3), label_action=np.zeros(3), training_action=np.zeros(9))
    np.savez(tmp_path / "whole.npz", about=np.zeros(50, np.uint8), arr_0=np.zeros((2, 9)))
    (run / "snapshots").mkdir()
    shutil.copy(tmp_path / "whole.npz", run / "snapshots" / "epoch-000001-step-000000000.npz")
    assert verify(run, capsys) == (0, [])
    spoiled = bytearray((tmp_path / "whole.npz").read_bytes())
    spoiled[spoiled.index(b"arr_0") + 150] ^= 1
    (run / "snapshots" / "epoch-000001-step-000000000.npz").write_bytes(spoiled)
    np.savez(run / "predictions.npz", uid=np.zeros(3), label_action=np.zeros(2))
    archive(run / "model.keras", **{"metadata.json": b'{"keras_version": "99.1.0"}'})
    (run / "metrics.json").write_text("{")
    (data / "index.json").write_text((data / "index.json").read_text() + " ")
    expected = ("metrics.json is not valid JSON", "was written by Keras '99.1.0', this is", "arrays of different length", "(arr_0.npy)")
    code, findings = verify(run, capsys)
    assert code == 1 and len(findings) == 5
    for part, finding in zip((*expected, "was trained on other shards"), findings, strict=True):
        assert part in finding


def test_a_run_on_joined_sets(tmp_path, capsys, observations):
    run, segments = tmp_path / "run", observations.segments(20)
    for modality in ("rgb_features", "objects"):
        observations.write(tmp_path / modality, np.ones((20, 14, 3), "float16"), segments, modality)
    paths = f"{tmp_path / 'rgb_features'},{tmp_path / 'objects'}"
    run.mkdir()
    write_json(run / "recipe.json", {"data": {"shards": paths}, "data_sha256": open_sets(paths).sha256})
    archive(run / "model.keras", **{"metadata.json": b'{"keras_version": "3.0.0"}'})
    assert verify(run, capsys) == (0, [])
    shutil.rmtree(tmp_path / "objects")
    assert verify(run, capsys) == (0, [])  # not here
    observations.write(tmp_path / "objects", np.zeros((20, 14, 3), "float16"), segments, "objects")
    code, (finding,) = verify(run, capsys)
    assert code == 1 and "was trained on other shards" in finding


def test_features_outside_their_folder_are_not_looked_at(tmp_path, capsys):
    array = np.ones((5, 3), "float16")
    for name in ("set/a", "outside"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.save(tmp_path / f"{name}.npy", array)
    names = {"a": {}, "../outside": {"rows": 7}, str(tmp_path / "outside"): {"rows": 7}}
    write_json(tmp_path / "set" / "index.json", {"format": 1, "modality": "rgb_features", "step": 0.25, "videos": names})
    code, findings = verify(tmp_path / "set", capsys)
    assert code == 1 and len(findings) == 2 and all("not a path below its folder" in finding for finding in findings)


def test_unfinished_features(tmp_path, capsys):
    (tmp_path / "features").mkdir()
    write_json(tmp_path / "features" / ".made_from.json", {})
    np.save(tmp_path / "features" / "a.npy", np.ones((5, 3), "float16"))
    code, (finding,) = verify(tmp_path / "features", capsys)
    assert code == 1 and "is not finished; run its `egokeras features` again, which goes on" in finding


@pytest.mark.parametrize(
    ("left", "said"),
    [
        ("set/.work/journal.jsonl", "set/.work was left"),
        ("set/.index.json.a1b2c3d4", ".index.json.a1b2c3d4 was left"),
        ("run/.model.keras.tmp.keras", ".model.keras.tmp.keras was left"),
        ("run/exports/.a1b2c3d4/artifact.json", "exports/.a1b2c3d4 was left"),
        ("set/.checksums", ".checksums was left"),
        ("run/.unfinished", "run is not finished"),
        ("new/.work/plan.json", "new is not a finished folder"),
        ("new/.checksums", "new is not finished; a training that wants these features"),
        ("new/shard-00000.npy", "new is not a finished folder"),
    ],
)
def test_what_an_interrupted_command_left(tmp_path, capsys, left, said):
    write(tmp_path / "set")
    (tmp_path / "run").mkdir()
    write_json(tmp_path / "run" / "recipe.json", {})
    archive(tmp_path / "run" / "model.keras", **{"metadata.json": b'{"keras_version": "3.0"}'})
    for harmless in (".gitignore", ".DS_Store", "set/notes.txt"):
        (tmp_path / harmless).touch()
    assert verify(tmp_path, capsys) == (0, [])
    (tmp_path / left).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / left).touch()
    code, findings = verify(tmp_path, capsys)
    assert code == 1 and len(findings) == 1 and said in findings[0]
