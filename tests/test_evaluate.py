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

    path, modality, splits, classes = "shards", "rgb", ("train", "validation", "empty"), CLASSES

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

    def read(self, rows):
        return np.asarray(rows)


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


def test_written_files_read_back(tmp_path, shards):
    metrics, predictions = evaluate.evaluate(FakeModel(shards), shards)
    evaluate.write(tmp_path, metrics, predictions)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    with np.load(tmp_path / "predictions.npz", allow_pickle=False) as stored:
        assert stored["video"].tolist() == predictions["video"].tolist()
        np.testing.assert_array_equal(stored["logits_noun"], predictions["logits_noun"])
