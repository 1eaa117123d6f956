"""What methods learn of the training: labels, and the order of the actions in the training videos alone."""

import csv

import numpy as np

from egokeras.data.clip_table import ClipTable
from egokeras.data.observations import discarded
from egokeras.distill.training_set import training_set


def test_history_is_that_of_the_training_videos(observations, tmp_path):
    segments = observations.segments()
    order = np.random.default_rng(0).permutation(len(segments))  # files need not be in the order of time
    shards = observations.write(tmp_path, np.zeros((120, 14, 2), "float16"), [segments[row] for row in order])
    rows = shards.rows("train")
    found = training_set(shards, rows, ["action"])
    expected = {}
    for split, video, _, action in sorted(segments, key=lambda segment: (segment[1], segment[2])):
        if split.startswith("train"):
            expected.setdefault(video, []).append(action)
    assert [one.tolist() for one in found.sequences("action")] == list(expected.values())
    assert sum(map(len, found.sequences("action"))) > len(rows)  # discarded ones count
    np.testing.assert_array_equal(found.labels["action"], shards.labels("action", rows))
    np.testing.assert_array_equal(found.actions, observations.actions)
    assert found.classes["verb"] == ("open", "take", "wash") and list(found.labels) == ["action"]


def test_held_out_clips_of_a_training_video_teach_nothing(observations, tmp_path):
    """Neither as labels nor by what they stand between, be they validation clips, discarded ones, or clips that a fold leaves out."""
    splits = ["validation discarded", "train", "train", "validation", "train", "train discarded", "train", "train", "train", "train"]
    segments = [(split, "P0_0", float(row), row % 5) for row, split in enumerate(splits)]
    shards = observations.write(tmp_path, np.zeros((10, 14, 2), "float16"), segments)
    rows = np.setdiff1d(shards.rows("train"), [8])
    found = training_set(shards, rows, ["action"])
    assert [one.tolist() for one in found.sequences("action")] == [[1, 2], [4, 0, 1, 2], [4]]
    assert [one.tolist() for one in training_set(shards, rows[:2], ["action"], "validation").sequences("action")] == [[0, 1, 2]]
    shards.clips["label_action"][6] = -1
    found = training_set(shards, rows, ["action", "verb"])
    assert [one.tolist() for one in found.sequences("action")] == [[1, 2], [4, 0], [2], [4]]
    assert [len(one) for one in found.sequences("verb")] == [2, 4, 1]
    assert training_set(shards, [6], ["action"], "discarded").sequences("action") == []


def test_transitions_of_epic_kitchens_55(shared_data):
    """The training segments of RU-LSTM's split, the discarded ones among them, beside those of validation."""
    rows = []
    for name, split in (("training", 1), ("validation", 2)):
        with open(shared_data / "rulstm" / "ek55" / f"{name}.csv", newline="", encoding="utf-8") as content:
            rows += [(row[1].strip(), int(row[2]) / 30, int(row[3]) / 30, split, int(row[6])) for row in csv.reader(content)]
    shards = ClipTable()
    shards.index, shards.splits, shards.classes = {}, ("train", "validation", "discarded"), {"action": tuple(map(str, range(2513)))}
    shards.clips = np.array(rows, [("video", "U8"), ("start", "f8"), ("stop", "f8"), ("splits", "u4"), ("label_action", "i4")])
    shards.clips["splits"][discarded(shards.clips["start"])] |= 4
    assert (len(shards.rows("train")), len(shards.rows("validation"))) == (23_472, 4_972)
    found = training_set(shards, shards.rows("train"), ["action"]).sequences("action")
    pairs = np.concatenate([np.stack([run[:-1], run[1:]], axis=1) for run in found])
    assert len(found) == 232 and len(pairs) == 23_261 and (pairs[:, 0] == pairs[:, 1]).sum() == 2_465
    assert len(np.unique(pairs, axis=0)) == 12_941
    assert len(np.setdiff1d(np.concatenate(found), pairs[:, 1])) == 11


def test_actions_of_data_that_has_only_verbs_and_nouns(squares):
    rows = squares.rows("train")
    pairs = {(int(squares.labels("verb", [row])[0]), int(squares.labels("noun", [row])[0])) for row in rows}
    assert training_set(squares, rows, ["verb", "noun"]).actions.tolist() == [list(pair) for pair in sorted(pairs)]
