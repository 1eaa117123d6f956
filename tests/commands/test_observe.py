"""`egokeras observe` as typed: exit codes, messages, summary; the counts of the real lists."""

import csv
import json
import sys
import time

import numpy as np
import pytest

from egokeras import cli
from egokeras.data.shards import Shards


@pytest.fixture
def table(tmp_path):
    """A table of 3 videos with 8 actions each, and features of them, every half second."""
    path, features = tmp_path / "actions.csv", tmp_path / "features"
    features.mkdir()
    with open(path, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("file", "start", "stop", "verb", "noun", "split"))
        for row in range(24):
            video, start = row // 8, 3 * (row % 8)
            rows.writerow(
                (f"v{video}.mp4", start, start + 2, ("take", "put")[row % 2], ("cup", "pan")[row % 3 % 2], ("train", "val")[video > 1])
            )
    for video in range(3):
        np.save(features / f"v{video}.npy", np.ones((60, 4), np.float32))
    return [str(path)], str(features), str(tmp_path / "out")


def test_past_actions(table, capsys):
    annotations, _, out = table
    assert cli.main(["observe", "table", *annotations, out, "--labels", "--past", "3", "--known", "stop", "--errors", "0.5", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["shape"] == [3, 3] and summary["splits"] == {"train": 14, "validation": 7, "discarded": 3}
    assert Shards(out).index["observations"]["errors"] == 0.5
    assert cli.main(["observe", "table", *annotations, out, "--labels", "--past", "3", "--known", "stop", "--errors", "0.5"]) == 0
    said = capsys.readouterr().out
    assert "24 segments (14 train, 7 validation, 3 discarded), 3 x 3 labels" in said and "as RU-LSTM has it: 3" in said


def test_features(table, capsys, tmp_path):
    annotations, features, out = table
    assert cli.main(["observe", "table", *annotations, out, "--features", features]) == 1
    assert "give --fps" in capsys.readouterr().err
    assert cli.main(["observe", "table", *annotations, out, "--features", features, "--fps", "2", "--modality", "flow_features"]) == 0
    assert Shards(out).modality == "flow_features" and "14 x 4 flow_features" in capsys.readouterr().out
    (tmp_path / "features" / "v1.npy").unlink()
    assert cli.main(["observe", "table", *annotations, f"{out}2", "--features", features, "--fps", "2"]) == 3
    said = capsys.readouterr()
    assert "8 segments of 1 videos cannot be observed and go to quarantine: v1.mp4" in said.err
    assert "8 segments of 1 videos could not be observed; the reasons are in" in said.out
    assert Shards(f"{out}2").modality == "rgb_features"


def test_detections(table, tmp_path):
    annotations, _, out = table
    for video in range(3):
        (tmp_path / "boxes" / f"v{video}").mkdir(parents=True)
        for frame in range(1, 60):
            np.save(tmp_path / "boxes" / f"v{video}" / f"{frame}.npy", np.array([[2, 0, 0, 1, 1, frame / 64]]))
    options = ["--features", str(tmp_path / "boxes"), "--fps", "2", "--detections", "3", "--first-class", "1"]
    assert cli.main(["observe", "table", *annotations, out, *options]) == 0
    data = Shards(out)
    assert data.modality == "objects" and data.shape == (14, 3)
    assert data.read([1])[0, :, 1].tolist() == [max(1, int(2 * (3 - 0.25 * lag))) / 64 for lag in range(14, 0, -1)]


def test_wrong_usage(table, capsys):
    annotations, features, out = table
    for options, words in (
        (["--labels", "--fps", "30"], "--fps is not for --labels"),
        (["--features", features, "--past", "3"], "--past is not for --features"),
        (["--features", f"{features}x"], "does not exist"),
    ):
        assert cli.main(["observe", "table", *annotations, out, *options]) == 1
        assert words in capsys.readouterr().err
    for options in ([], ["--labels", "--features", features]):
        with pytest.raises(SystemExit) as left:
            cli.main(["observe", "table", *annotations, out, *options])
        assert left.value.code == 2


def test_lmdb_is_an_extra(table, capsys, monkeypatch, tmp_path):
    annotations, _, out = table
    (tmp_path / "data.mdb").touch()
    monkeypatch.setitem(sys.modules, "lmdb", None)
    assert cli.main(["observe", "table", *annotations, out, "--features", str(tmp_path / "data.mdb")]) == 1
    assert "pip install 'egokeras[lmdb]'" in capsys.readouterr().err


def test_real_epic55_in_seconds(shared_data, tmp_path, capsys):
    names = [str(shared_data / "ek55" / f"EPIC_{space}_classes.csv") for space in ("verb", "noun")]
    started = time.perf_counter()
    assert cli.main(["observe", "epic55", str(shared_data / "rulstm" / "ek55"), *names, str(tmp_path / "set"), "--labels", "--json"]) == 0
    assert time.perf_counter() - started < 20  # 2.5 s on a quiet core, the reading of the lists with it
    summary = json.loads(capsys.readouterr().out)
    assert summary["splits"] == {"train": 23472, "validation": 4972, "discarded": 28}
    data = Shards(tmp_path / "set")
    actions = np.array(data.index["actions"])
    assert actions.shape == (2513, 2)
    np.testing.assert_array_equal(actions[data.clips["label_action"]], np.stack([data.clips["label_verb"], data.clips["label_noun"]], 1))


def test_real_egtea(shared_data, tmp_path, capsys):
    assert cli.main(["observe", "egtea", str(shared_data / "rulstm" / "egtea"), str(tmp_path / "set"), "--labels", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["splits"] == {"train1": 8299, "train2": 8299, "validation1": 2022, "validation2": 2022}
    assert len(Shards(tmp_path / "set").index["actions"]) == 106
