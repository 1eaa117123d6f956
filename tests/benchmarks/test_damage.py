"""The damage script: a small run of it, and that it notices what it is there to notice."""

import json
import os
import pathlib
import random
import runpy
import shutil
import subprocess
import sys

import pytest

import damaged
from damaged import artifacts, shards, videos
from egokeras.commands import verify
from egokeras.data.shards import Shards

SCRIPT = pathlib.Path(__file__).parents[2] / "benchmarks" / "damage.py"


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damage")
    return {kind: videos.render(folder / "sources", number, kind) for number, kind in enumerate(videos.SOURCES)}


@pytest.fixture(scope="module")
def sets(sources, tmp_path_factory):
    return shards.shard_sets(tmp_path_factory.mktemp("sets") / "sets", sources)


def test_small_run(tmp_path):
    command = [sys.executable, SCRIPT, "--videos", "18", "--shards", "13", "--artifacts", "0", "--json", tmp_path / "counts.json"]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=170, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = json.loads((tmp_path / "counts.json").read_text())
    assert counts["failures"] == [] and counts["workers_lost"] == 0
    assert sum(sum(row[2:]) for row in counts["videos"]) == 18 and sum(sum(row[1:]) for row in counts["shards"]) == 13
    assert "0 failures" in done.stdout and "clips exchanged" in done.stdout


@pytest.mark.parametrize("kind", ["one flipped bit", "20 flipped bits", "end cut off", "start cut off", "512 zero bytes", "empty file"])
def test_damage_changes_the_bytes_and_equal_seeds_change_them_alike(kind):
    whole = bytes(range(256)) * 8
    made = [bytes(damaged.BYTES[kind](bytearray(whole), random.Random(seed), b"")) for seed in (1, 1, 2)]
    assert made[0] == made[1] != whole
    assert made[0] != made[2] or not made[0]


def test_every_damage_to_a_set_is_one(sets):
    for path, sister in sets.values():
        assert sorted(damaged.contents(path)) == sorted(damaged.contents(sister))
        for name, spoil in shards.SETS.items():
            before = damaged.contents(path)
            spoil(path, random.Random(0))
            assert damaged.contents(path) != before, name
            for file, data in before.items():
                (path / file).write_bytes(data)


def test_what_is_not_reported_is_counted(sets, tmp_path, monkeypatch):
    """With checksums off, shards that were altered are handed out: the script must say so."""
    path = shutil.copytree(sets["raw"][0], tmp_path / "set")
    intact = shards.taken(path)[1]
    data = bytearray((path / "shard-00001.npy").read_bytes())
    data[-5] ^= 1
    (path / "shard-00001.npy").write_bytes(data)
    assert shards.judge(path, intact)[0] == "read"
    monkeypatch.setattr(verify, "findings", lambda folder: [])
    assert shards.judge(path, intact)[0] == "crashed"  # verify must say what reading says
    monkeypatch.undo()
    monkeypatch.setattr("egokeras.data.shards.crc32", _Always())
    assert shards.judge(path, intact)[0] == "silent"
    monkeypatch.setattr(Shards, "read", lambda self, rows: 1 / 0)
    assert shards.judge(path, intact)[0] == "crashed"


class _Always:
    """A checksum that fits whatever it is compared with."""

    def __call__(self, payload):
        return self

    def __eq__(self, other):
        return True


def test_a_damaged_video_that_passes_is_counted(sources, tmp_path, monkeypatch):
    """A damage that leaves another video in the place of one that must be missing."""
    monkeypatch.setattr(videos, "BYTES", {"missing file": lambda data, rng, other: other})
    found = videos.damaged_videos(tmp_path, dict(list(sources.items())[2:4]), 2, 0)
    assert found["failures"] == ["MPEG-4 in mp4, missing file: 1 not reported", "MPEG-4 in avi, missing file: 1 not reported"]


def test_damaged_artifacts_are_told_apart(root, tmp_path, monkeypatch):
    """An artifact that is whole, altered, altered and hashed again; and a defect of ours is counted."""
    made = runpy.run_path(root / "tests" / "device" / "conftest.py")["build"](tmp_path)
    assert artifacts.judge_artifact(made, True)[0] == "harmless" and artifacts.judge_artifact(made, False)[0] == "silent"
    artifacts.rehash(made)
    assert "seal" in json.loads((made / "artifact.json").read_text()) and artifacts.judge_artifact(made, True)[0] == "harmless"
    (made / "model.tflite").write_bytes(b"weights")
    assert artifacts.judge_artifact(made, False)[0] == "opening"
    artifacts.rehash(made)
    assert artifacts.judge_artifact(made, False)[0] == "test"
    written, other, cut = ({"artifact.json": text, "model": b"x"} for text in (b'{"a": 1e-5}', b'{"a": 1E-5}', b'{"a": 1e-5'))
    assert artifacts.meaning(written) == artifacts.meaning(other) != artifacts.meaning(cut)
    monkeypatch.setattr("egokeras.device.artifact.Artifact.open", lambda path: 1 / 0)
    assert artifacts.judge_artifact(made, False)[0] == "died"
    monkeypatch.setattr(artifacts, "export_network", lambda folder: [made])
    (tmp_path / "work").mkdir()
    found = artifacts.damaged_artifacts(tmp_path / "work", 2, 0)
    assert len(found["failures"]) == 4 and "one flipped bit in " in found["failures"][0]
