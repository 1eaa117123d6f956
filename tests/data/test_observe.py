"""Sets for anticipation: what is in them, that they are whole or not there, and that verify has nothing to say about them."""

import csv
import dataclasses
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from egokeras.commands import verify
from egokeras.data import feature_windows, past_actions
from egokeras.data.feature_windows import Features
from egokeras.data.npy_features import NpyFolder
from egokeras.data.observe import LOCK, observe
from egokeras.data.past_actions import PastLabels
from egokeras.data.segments import Annotations, Segment
from egokeras.data.shards import Shards
from egokeras.errors import InputError

VERBS, NOUNS = ("take", "open", "wash"), ("cup", "door")


def annotations(videos=6, count=12):
    """Segments of all videos in turns, the first of each at 0.1 s; the last two videos are held out."""
    random, found = np.random.default_rng(0), []
    for row in range(videos * count):
        video, place = row % videos, row // videos
        labels = {"verb": VERBS[random.integers(3)], "noun": NOUNS[random.integers(2)]}
        start = 0.1 + 2 * place
        split = "validation" if video >= videos - 2 else "train"
        found.append(
            Segment(uid=f"s{row}", video=f"v{video}", start=start, stop=start + 3, labels=labels, splits=(split,), group=f"p{video}")
        )
    return Annotations(segments=tuple(found), classes={"verb": VERBS, "noun": NOUNS})


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "features"
    folder.mkdir()
    for video in range(6):
        np.save(folder / f"v{video}.npy", np.random.default_rng(video).normal(size=(120, 5)).astype(np.float16))
    return NpyFolder(folder, 4.0)


def test_a_set_of_past_actions(tmp_path):
    found = annotations()
    summary = observe(found, PastLabels(past=4, errors=0.3, seed=1), tmp_path / "set")
    data = Shards(tmp_path / "set")
    assert data.modality == "labels" and data.shape == (4, 3) and data.dtype == np.int16
    assert data.clips["uid"].tolist() == [segment.uid for segment in found.segments]
    assert summary["splits"] == {"train": 44, "validation": 22, "discarded": 6} and summary["segments"] == 72
    assert data.rows("discarded").tolist() == list(range(6)) and not data.read(np.arange(6)).any()
    expected = past_actions.past_actions(found, past=4, errors=0.3, seed=1)
    np.testing.assert_array_equal(data.read(np.arange(6, 72)), expected[6:])
    assert data.index["observations"] == {"step": 0.25, "steps": 14, "past": 4, "known": "start", "errors": 0.3, "seed": 1}
    assert data.classes["action"] == ("take cup", "take door", "open cup", "open door", "wash cup", "wash door")
    assert data.index["actions"] == [[0, 0], [0, 1], [1, 0], [1, 1], [2, 0], [2, 1]]
    for row, segment in enumerate(found.segments):
        labels = {space: names[data.clips[f"label_{space}"][row]] for space, names in data.classes.items()}
        assert labels == {**segment.labels, "action": f"{segment.labels['verb']} {segment.labels['noun']}"}
        assert (data.clips["start"][row], data.clips["stop"][row]) == (segment.start, segment.stop)
        assert (data.clips["video"][row], data.clips["group"][row]) == (segment.video, segment.group)


def test_a_set_of_features(tmp_path, source):
    found = annotations()
    observe(found, Features(source, "flow_features"), tmp_path / "set")
    data = Shards(tmp_path / "set")
    assert data.modality == "flow_features" and data.shape == (14, 5) and data.dtype == np.float16
    used = np.arange(72) >= 6
    windows = dict(Features(source).windows(found, used))
    np.testing.assert_array_equal(data.read(np.arange(72)), [windows[row] for row in range(72)])
    assert data.index["observations"]["rate"] == 4.0 and data.index["observations"]["source"]["kind"] == "NpyFolder"
    assert data.clips["splits"].tolist() == [(2 if row % 6 >= 4 else 1) + 4 * (row < 6) for row in range(72)]
    assert data.discarded("validation").tolist() == [4, 5] and data.rows("validation").tolist()[:2] == [10, 11]


def test_both_sets_belong_together(tmp_path, source):
    """Equal uids, splits and classes, whatever the rate of the features: this one sees nothing at 0.4 s, the list's 30 frames do."""
    found = annotations()
    early = dataclasses.replace(found.segments[6], start=0.4)
    found = dataclasses.replace(found, segments=(*found.segments[:6], early, *found.segments[7:]))
    observe(found, PastLabels(), tmp_path / "labels")
    observe(found, Features(source), tmp_path / "rgb")
    labels, rgb = Shards(tmp_path / "labels"), Shards(tmp_path / "rgb")
    assert labels.classes == rgb.classes and labels.splits == rgb.splits
    for column in ("uid", "video", "start", "splits", "label_action"):
        assert (labels.clips[column] == rgb.clips[column]).all()
    assert not rgb.read([6]).any() and labels.clips["splits"][6] == 1


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(pathlib.Path(folder).iterdir())}


def test_equal_work_gives_equal_bytes_and_is_done_once(tmp_path, source, capsys):
    for name in ("one", "two"):
        observe(annotations(), Features(source), tmp_path / name)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert sorted(files(tmp_path / "one")) == ["clips.npy", "index.json", "quarantine.csv", "shard-00000.npy"]
    observe(annotations(), Features(source), tmp_path / "one")
    assert "is complete already" in capsys.readouterr().err and files(tmp_path / "one") == files(tmp_path / "two")
    for other in (Features(source, "flow_features"), PastLabels()):
        with pytest.raises(InputError, match="holds shards of other annotations, sources or settings"):
            observe(annotations(), other, tmp_path / "one")
    np.save(source.path / "v0.npy", np.zeros((130, 5), np.float16))
    with pytest.raises(InputError, match="holds shards of other"):
        observe(annotations(), Features(NpyFolder(source.path, 4.0)), tmp_path / "one")


def test_other_features_of_the_same_size_are_refused(tmp_path, source):
    observe(annotations(), Features(source), tmp_path / "set")
    shutil.copytree(source.path, tmp_path / "moved")
    observe(annotations(), Features(NpyFolder(tmp_path / "moved", 4.0)), tmp_path / "set")  # where they lie does not matter
    np.save(tmp_path / "moved" / "v3.npy", -np.load(source.path / "v3.npy"))
    with pytest.raises(InputError, match="holds shards of other annotations, sources or settings"):
        observe(annotations(), Features(NpyFolder(tmp_path / "moved", 4.0)), tmp_path / "set")


def test_an_error_leaves_nothing(tmp_path, source):
    rows = np.load(source.path / "v5.npy")
    rows[50] = np.nan
    np.save(source.path / "v5.npy", rows)
    for _ in range(2):
        with pytest.raises(InputError, match="v5.*float16 cannot hold"):
            observe(annotations(), Features(source), tmp_path / "set")
        assert files(tmp_path / "set") == {}


def test_a_killed_call_leaves_nothing_to_read(tmp_path, source, root):
    code = (
        "import os, sys, runpy, numpy as np\n"
        "from egokeras.data import observe\n"
        "test = runpy.run_path(sys.argv[1])\n"
        "class Killed(test['Features']):\n"
        "    def windows(self, annotations, used):\n"
        "        for number, found in enumerate(super().windows(annotations, used)):\n"
        "            if number == 40: os.kill(os.getpid(), 9)\n"
        "            yield found\n"
        "observe.observe(test['annotations'](), Killed(test['NpyFolder'](sys.argv[2], 4.0)), sys.argv[3])\n"
    )
    out = tmp_path / "set"
    done = subprocess.run([sys.executable, "-c", code, __file__, str(source.path), str(out)], cwd=root, capture_output=True, check=False)
    assert done.returncode == -9 and LOCK in files(out) and len(files(out)) == 2
    with pytest.raises(InputError, match="not a finished folder"):
        Shards(out)
    observe(annotations(), Features(source), out)
    observe(annotations(), Features(source), tmp_path / "whole")
    assert files(out) == files(tmp_path / "whole")


def test_a_folder_of_others_is_left_alone(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "shard-00000.npy").write_bytes(b"mine")
    with pytest.raises(InputError, match="is not empty and not an unfinished `observe`"):
        observe(annotations(), PastLabels(), tmp_path / "set")
    assert files(tmp_path / "set") == {"shard-00000.npy": b"mine"}


def test_what_the_source_has_not_goes_to_quarantine(tmp_path, source, capsys):
    (source.path / "v1.npy").unlink()
    np.save(source.path / "v4.npy", np.zeros((60, 5), np.float16))  # up to 15 s
    summary = observe(annotations(), Features(source), tmp_path / "set")
    assert "16 segments of 2 videos cannot be observed and go to quarantine: v1, v4" in capsys.readouterr().err
    assert (summary["quarantined"], summary["videos_quarantined"], summary["segments"]) == (16, 2, 56)
    with open(tmp_path / "set" / "quarantine.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["reason"] for row in rows if row["video"] == "v1"} == {feature_windows.NOT_FOUND}
    assert [row["reason"] for row in rows if row["video"] == "v4"] == [
        f"frame {frame} is not among the features" for frame in (61, 61, 66, 74)
    ]
    data = Shards(tmp_path / "set")
    assert "v1" not in data.clips["video"] and data.index["quarantined"] == 16
    assert not list(verify.findings(tmp_path / "set"))
    for file in source.path.iterdir():
        file.unlink()
    with pytest.raises(InputError, match="none of 72 segments can be observed: video not among the features"):
        observe(annotations(), Features(NpyFolder(source.path, 4.0)), tmp_path / "none")


def test_verify_has_nothing_to_say(tmp_path, source):
    observe(annotations(), Features(source), tmp_path / "rgb")
    observe(annotations(), PastLabels(past=1), tmp_path / "labels")  # windows of both splits are alike
    assert not list(verify.findings(tmp_path / "rgb")) and not list(verify.findings(tmp_path / "labels"))


def test_annotations_without_splits_or_with_trimmed_clips(tmp_path):
    found = annotations()
    free = tuple(dataclasses.replace(segment, splits=()) for segment in found.segments)
    summary = observe(dataclasses.replace(found, segments=free), PastLabels(), tmp_path / "set")
    assert summary["splits"]["train"] > summary["splits"]["validation"] > 0
    trimmed = tuple(dataclasses.replace(segment, start=0.0, stop=None) for segment in found.segments)
    with pytest.raises(InputError, match="every segment starts with its video"):
        observe(dataclasses.replace(found, segments=trimmed), PastLabels(), tmp_path / "trimmed")


def test_segments_of_a_test_set_have_no_labels(tmp_path):
    found = annotations()
    blind = tuple(dataclasses.replace(s, labels={}, splits=("test",)) if s.splits == ("validation",) else s for s in found.segments)
    observe(dataclasses.replace(found, segments=blind), PastLabels(), tmp_path / "set")
    data = Shards(tmp_path / "set")
    rows = data.rows("test")
    assert (data.labels("action", rows) == -1).all() and not data.read(rows).any() and data.read(data.rows("train")).any()
