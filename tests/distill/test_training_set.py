"""What methods learn of the training: labels, and the order of the actions in the training videos alone."""

import numpy as np

from egokeras.distill.training_set import training_set


def test_history_is_that_of_the_training_videos(observations, tmp_path):
    segments = observations.segments()
    order = np.random.default_rng(0).permutation(len(segments))  # files need not be in the order of time
    shards = observations.write(tmp_path, np.zeros((120, 14, 2), "float16"), [segments[row] for row in order])
    rows = shards.rows("train")
    found = training_set(shards, rows, ["action"], shards.rows("validation"))
    expected = {}
    for split, video, _, action in sorted(segments, key=lambda segment: (segment[1], segment[2])):
        if any(other[0] == "train" and other[1] == video for other in segments) and split != "validation":
            expected.setdefault(video, []).append(action)
    assert [one.tolist() for one in found.sequences("action")] == list(expected.values())
    assert sum(map(len, found.sequences("action"))) > len(rows)  # discarded ones count
    np.testing.assert_array_equal(found.labels["action"], shards.labels("action", rows))
    np.testing.assert_array_equal(found.actions, observations.actions)
    assert found.classes["verb"] == ("open", "take", "wash") and list(found.labels) == ["action"]


def test_held_out_clips_of_a_training_video_teach_nothing(observations, tmp_path):
    segments = [("train" if row % 2 else "validation", "P0_0", float(row), row % 5) for row in range(10)]
    shards = observations.write(tmp_path, np.zeros((10, 14, 2), "float16"), segments)
    found = training_set(shards, shards.rows("train"), ["action"], shards.rows("validation"))
    assert [one.tolist() for one in found.sequences("action")] == [[1, 3, 0, 2, 4]]


def test_actions_of_data_that_has_only_verbs_and_nouns(squares):
    rows = squares.rows("train")
    pairs = {(int(squares.labels("verb", [row])[0]), int(squares.labels("noun", [row])[0])) for row in rows}
    assert training_set(squares, rows, ["verb", "noun"]).actions.tolist() == [list(pair) for pair in sorted(pairs)]
