"""Evaluation on fabricated logits whose scores are known by counting."""

import json
import types

import numpy as np
import pytest

from egokeras import evaluate
from egokeras.errors import InputError

CLASSES = {"verb": ("take", "put", "wash"), "noun": ("cup", "plate", "fork", "pan")}


class FakeShards:
    """Ten training clips of participant A and six held-out ones, half of an unseen B; a clip's one number is its row."""

    path, index, splits, classes = "shards", {}, ("train", "validation", "empty"), CLASSES

    def __init__(self):
        rows = np.arange(16)
        group = np.where(rows < 13, "A", "B")
        uid, video = np.char.add("clip", rows.astype(str)), np.char.add("video", (rows // 2).astype(str))
        self.clips = {"uid": uid, "video": video, "group": group}
        self._labels = {
            "verb": np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 0, 1, 2, 0, 1, -1], np.int32),
            "noun": np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 3, 0, 1, 2, 3, 0, 1], np.int32),
        }

    def rows(self, split):
        return {"train": np.arange(10), "validation": np.arange(10, 16), "empty": np.arange(0)}[split]

    def labels(self, space, rows):
        return self._labels[space][rows]

    def inputs(self, rows):
        return {"rgb": np.asarray(rows)}


class FakeModel:
    """Right about every verb; about nouns, always `cup`. Remembers the batches it saw."""

    def __init__(self, shards):
        self.shards, self.batches = shards, []

    def predict_on_batch(self, inputs):
        rows = inputs["rgb"]
        self.batches.append(len(rows))
        verbs = np.eye(3, dtype="float32")[self.shards.labels("verb", rows)]
        return {"verb": verbs, "noun": np.tile(np.array([4, 3, 2, 1], "float32"), (len(rows), 1)), "features": np.zeros((len(rows), 8))}


@pytest.fixture
def shards():
    return FakeShards()


def test_scores_of_a_split_by_counting(shards):
    model = FakeModel(shards)
    metrics, predictions = evaluate.evaluate(model, shards, batch_size=4)
    assert model.batches == [4, 2]
    assert (metrics["split"], metrics["clips"]) == ("validation", 6)
    verb, noun, action = (metrics["heads"][head] for head in ("verb", "noun", "action"))
    assert (verb["clips"], verb["top1"]) == (5, 100)  # the sixth has no verb
    assert verb["majority"]["top1"] == pytest.approx(40)  # take is the most frequent, 2 of 5
    assert noun["top1"] == pytest.approx(100 * 2 / 6, abs=1e-3)
    assert noun["top3"] == pytest.approx(100 * 5 / 6, abs=1e-3)
    assert noun["chance"] == {"top1": 25, "top3": 75, "top5": 100}
    assert action["clips"] == 5
    assert action["top1"] == pytest.approx(40)  # right where the noun is cup
    assert action["chance"]["top1"] == pytest.approx(100 / 12, abs=1e-3)
    assert action["majority"]["top1"] == pytest.approx(20)  # take cup
    assert set(predictions) == {"uid", "video"} | {f"{kind}_{head}" for kind in ("logits", "label", "training") for head in CLASSES}
    assert predictions["training_noun"].tolist() == [4, 4, 1, 1]
    assert predictions["uid"].tolist() == [f"clip{row}" for row in range(10, 16)]


def test_unseen_participants_and_tail_classes_have_their_own_scores(shards):
    metrics, _ = evaluate.evaluate(FakeModel(shards), shards)
    assert metrics["unseen_clips"] == 3
    unseen, tail = metrics["subsets"]["unseen"], metrics["subsets"]["tail"]
    assert {head: result["clips"] for head, result in unseen.items()} == {"verb": 2, "noun": 3, "action": 2}
    # a fifth of ten training clips: verb 2 (one clip), nouns 2 and 3 (one each)
    assert {head: result["clips"] for head, result in tail.items()} == {"verb": 1, "noun": 2, "action": 2}
    assert tail["noun"]["top1"] == 0


def test_one_side_only_makes_no_unseen_subset(shards):
    shards.clips["group"][:] = "A"
    seen, _ = evaluate.evaluate(FakeModel(shards), shards)
    shards.clips["group"][10:] = "B"
    all_unseen, _ = evaluate.evaluate(FakeModel(shards), shards)
    shards.clips["group"][:] = ""
    unknown, _ = evaluate.evaluate(FakeModel(shards), shards)
    assert [metrics["unseen_clips"] for metrics in (seen, all_unseen, unknown)] == [0, 6, 0]
    assert not any("unseen" in metrics["subsets"] for metrics in (seen, all_unseen, unknown))


def test_data_without_a_training_split_has_no_majority(shards):
    metrics, _ = evaluate.evaluate(FakeModel(shards), shards, train_split="train7")
    assert "majority" not in metrics["heads"]["verb"]
    assert "tail" not in metrics["subsets"]


def test_a_test_set_without_labels_gives_logits_only(shards):
    for labels in shards._labels.values():
        labels[10:] = -1
    metrics, predictions = evaluate.evaluate(FakeModel(shards), shards)
    assert metrics["heads"] == metrics["subsets"] == {}
    assert predictions["logits_verb"].shape == (6, 3)


def test_an_action_head_of_its_own_is_not_replaced_by_the_product():
    rng = np.random.default_rng(0)
    spaces = {"verb": 3, "noun": 4, "action": 2}
    predictions = {"uid": np.arange(5), "video": np.arange(5)}
    for head, classes in spaces.items():
        predictions |= {f"logits_{head}": rng.normal(size=(5, classes)), f"label_{head}": np.zeros(5, int)}
    training = evaluate.Training(labels={head: np.zeros(3, int) for head in spaces}, groups=np.array(["", "", ""]))
    assert evaluate.score(predictions, training, np.full(5, ""))["heads"]["action"]["chance"]["top1"] == 50


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"verb": np.zeros((6, 5))}, "3 classes of verb, but the model has 5"),
        ({"features": np.zeros((6, 5))}, "no head for any of its labels"),
        ({"verb": np.array([[0, 1, 2.0]] * 5 + [[0, np.nan, 0]])}, "verb logits for clip clip15 are not finite"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(shards, outputs, message):
    model = types.SimpleNamespace(predict_on_batch=lambda inputs: outputs)
    with pytest.raises(InputError, match=message):
        evaluate.evaluate(model, shards)


def test_an_empty_split_is_refused(shards):
    with pytest.raises(InputError, match="no clip to evaluate"):
        evaluate.evaluate(FakeModel(shards), shards, split="empty")


def test_folds_are_summarised_with_an_interval():
    folds = [{"heads": {"action": {"top1": top1, "clips": 30, "majority": {"top1": 50.0}}}} for top1 in (60.0, 70.0, 80.0, 90.0, 100.0)]
    summary = evaluate.summarise_folds(folds)["action"]
    assert summary["per_fold"] == [60, 70, 80, 90, 100]
    assert (summary["top1"], summary["majority"]) == (80, 50)
    assert summary["low"] == pytest.approx(80 - 2.7764 * np.std(summary["per_fold"], ddof=1) / 5**0.5, abs=0.01)
    assert summary["high"] <= 100
    equal = evaluate.summarise_folds([{"heads": {"action": {"top1": 100.0, "clips": 4}}}] * 4)["action"]
    assert equal["low"] == pytest.approx(100 * 16 / (16 + 1.96**2), abs=0.1) and equal["high"] == 100  # Wilson's, for 16 of 16


@pytest.fixture
def past(observations, tmp_path):
    """A set of observations whose first number is the row, and the rows to judge and to train on."""
    segments = observations.segments()
    windows = np.zeros((len(segments), 14, 2), np.float16)
    windows[..., 0] = np.arange(len(segments))[:, None]
    shards = observations.write(tmp_path / "past", windows, segments)
    return shards, shards.rows("validation"), shards.rows("train")


class Oracle:
    """Sure of the action that is to come from 1 s before it on; before that, always of action 3."""

    def __init__(self, shards):
        self.shards, self.input = shards, {"rgb_features": None}

    def predict_on_batch(self, inputs):
        rows = inputs["rgb_features"][:, 0, 0].astype(int)
        logits = np.tile(np.array([0, 1, 2, 3, 0.5], "float32"), (len(rows), 8, 1))
        logits[:, 4:] = 4 * np.eye(5, dtype="float32")[self.shards.labels("action", rows)][:, None]
        return {"action": logits, "attention": np.zeros((len(rows), 8, 3))}


def test_anticipation_is_scored_at_every_time_and_elsewhere_at_one_second(past):
    shards, rows, train_rows = past
    metrics, predictions = evaluate.evaluate_rows(Oracle(shards), shards, rows, train_rows, batch_size=7)
    labels = shards.labels("action", rows)
    assert {head: result["top1"] for head, result in metrics["heads"].items()} == {"action": 100, "verb": 100, "noun": 100}
    found = metrics["anticipation"]
    early = pytest.approx(100 * np.mean(labels == 3), abs=1e-3)
    assert found["heads"]["action"]["top1"] == [early] * 4 + [100] * 4
    assert found["heads"]["action"]["majority"]["top1"] == pytest.approx(metrics["heads"]["action"]["majority"]["top1"], abs=1e-3)
    assert found["time_to_action"]["verb"]["model"] == 2  # three verbs are all among the best five
    assert found["discarded"] == np.count_nonzero(np.isin(shards.clips["video"][shards.rows("discarded")], shards.clips["video"][rows]))
    assert found["discarded"] > 0
    for head, result in metrics["heads"].items():
        at = found["heads"][head]
        assert (at["top1"][4], at["top5"][4]) == (result["top1"], result["top5"])
        assert predictions[f"logits_{head}"].shape == (len(rows), len(shards.classes[head]))
        assert predictions[f"above_{head}"].shape == predictions[f"tied_{head}"].shape == (len(rows), 8)
    np.testing.assert_array_equal(predictions["above_action"][:, 5], 0)
    assert json.loads(json.dumps(metrics)) == metrics


def test_what_follows_is_learnt_from_the_training_videos_alone(past):
    """The baseline of the metrics is that of `markov`: discarded segments are history, the judged ones are not counted."""
    from egokeras.markov import markov_place

    shards, rows, train_rows = past
    counted = np.concatenate([train_rows, shards.discarded("train")])
    metrics, _ = evaluate.evaluate_rows(Oracle(shards), shards, rows, train_rows)
    found = {head: result["markov"]["top1"] for head, result in metrics["anticipation"]["heads"].items()}
    for head, names in shards.classes.items():
        expected = markov_place(shards.clips, shards.clips[f"label_{head}"], rows, counted, len(names))
        assert found[head] == pytest.approx((100 * expected.hits(1).mean(axis=0)).tolist(), abs=1e-3)
    assert found["action"][0] > metrics["heads"]["action"]["majority"]["top1"] + 20  # the next action follows in 4 of 5 cases


def test_the_set_of_past_labels_says_when_an_action_is_known(past):
    shards = past[0]
    labels = types.SimpleNamespace(index={"observations": {"known": "stop"}})
    assert evaluate._known(shards) == "start"
    assert evaluate._known(types.SimpleNamespace(index=shards.index, sets={"rgb_features": shards, "labels": labels})) == "stop"
    assert evaluate._known(types.SimpleNamespace(index=labels.index, sets={"rgb_features": labels, "objects": shards})) == "stop"


def test_recall_of_subsets_is_that_of_their_clips(past, monkeypatch):
    monkeypatch.setattr(evaluate.anticipation, "K", 2)  # five actions are all among the best five
    shards, rows, train_rows = past
    train_rows = train_rows[shards.clips["group"][train_rows] != "P0"]
    metrics, predictions = evaluate.evaluate_rows(Oracle(shards), shards, rows, train_rows)
    recall5 = metrics["anticipation"]["recall5"]
    assert {"overall", "unseen"} <= set(recall5)
    assert "many_shot" not in recall5  # no class has more than 100 training clips
    later = shards.clips["group"][rows] == "P0"
    labels, hits = predictions["label_action"][later], predictions["above_action"][later] < 2
    classes = np.unique(labels)
    assert recall5["unseen"]["action"]["classes"] == len(classes)
    expected = 100 * np.mean([hits[labels == name, 0].mean() for name in classes])
    assert recall5["unseen"]["action"]["model"] == pytest.approx([expected] * 4 + [100] * 4)
    assert expected < 50


def test_observations_without_labels_or_training_give_what_there_is(past):
    shards, rows, _ = past
    metrics, _ = evaluate.evaluate_rows(Oracle(shards), shards, rows, rows[:0])
    assert set(metrics["anticipation"]["time_to_action"]["action"]) == {"model"}
    for space in shards.classes:
        shards.clips[f"label_{space}"][rows] = -1
    model = types.SimpleNamespace(predict_on_batch=lambda inputs: {"action": np.zeros((len(inputs["rgb_features"]), 8, 5))})
    metrics, predictions = evaluate.evaluate_rows(model, shards, rows, rows[:0])
    assert metrics["heads"] == metrics["anticipation"]["heads"] == metrics["anticipation"]["recall5"] == {}
    assert (predictions["above_action"] == 5).all()


def test_a_model_of_other_times_is_refused(past):
    shards, rows, train_rows = past
    model = types.SimpleNamespace(predict_on_batch=lambda inputs: {"action": np.zeros((len(inputs["rgb_features"]), 5))})
    with pytest.raises(InputError, match=r"action of shape \(5,\); to anticipate it must give logits at 8 times"):
        evaluate.evaluate_rows(model, shards, rows, train_rows)


def test_average_of_runs_has_intervals_over_runs():
    runs = [
        {
            "split": f"validation{number}",
            "clips": clips,
            "heads": {"action": {"top1": top1, "low": 0.0, "high": 99.0, "chance": {"top1": 1.0}}},
            "anticipation": {"heads": {"action": {"top5": [top1, 50.0], "top5_low": [0.0, 0.0], "top5_high": [9.0, 9.0]}}},
        }
        for number, (clips, top1) in enumerate([(2022, 10.0), (2022, 12.0), (2021, 14.0)], 1)
    ]
    runs[0]["subsets"] = {}
    found = evaluate.average(runs)
    assert (found["split"], found["clips"], found["runs"]) == ("validation1, validation2, validation3", 2022, 3)
    half = 4.3027 * 2 / 3**0.5  # Student's t with 2 degrees of freedom
    assert found["heads"]["action"] == {
        "top1": 12,
        "low": pytest.approx(12 - half, abs=1e-3),
        "high": pytest.approx(12 + half, abs=1e-3),
        "chance": {"top1": 1},
    }
    over_time = found["anticipation"]["heads"]["action"]
    assert over_time["top5"] == [12, 50]
    assert over_time["top5_low"] == [pytest.approx(12 - half, abs=1e-3), 50]
    assert "subsets" not in found


def test_written_files_read_back(tmp_path, shards):
    metrics, predictions = evaluate.evaluate(FakeModel(shards), shards)
    evaluate.write(tmp_path, metrics, predictions)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    with np.load(tmp_path / "predictions.npz", allow_pickle=False) as stored:
        assert stored["video"].tolist() == predictions["video"].tolist()
        np.testing.assert_array_equal(stored["logits_noun"], predictions["logits_noun"])
