"""Scores over anticipation times against slow loops, hand-computed values, and the published counts of EPIC-KITCHENS-55."""

import csv
import itertools

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egokeras import anticipation_scores as anticipation
from egokeras import scores
from egokeras.protocol import ANTICIPATION
from egokeras.scores import Head, Place

ACTIONS = np.array([(0, 0), (0, 1), (1, 0), (1, 2), (2, 2)])
SIZES = {"verb": 4, "noun": 3}  # verb 3 has no action
LOGITS = hnp.arrays(np.float32, (3, 8, 5), elements=st.integers(-24, 24).map(lambda value: np.float32(value / 8)))


def _hits(row, label, k):
    """Chance that `label` is among the best k of a row of scores: over all ways to break ties."""
    orders = list(itertools.permutations(range(len(row))))
    return np.mean([label in sorted(order, key=lambda name: -row[name])[:k] for order in orders])


def _marginal(row, column, classes):
    p = np.exp(row.astype(np.float64)) / np.exp(row.astype(np.float64)).sum()
    return [sum(p[action] for action in range(5) if ACTIONS[action, column] == name) for name in range(classes)]


@given(LOGITS)
@settings(max_examples=25, deadline=None)
def test_marginals_are_sums_over_the_actions(logits):
    found = anticipation.with_marginals({"action": logits}, ACTIONS, SIZES)
    assert {head: values.shape for head, values in found.items()} == {"action": (3, 8, 5), "verb": (3, 8, 4), "noun": (3, 8, 3)}
    for (clip, time), (column, space) in itertools.product(np.ndindex(3, 8), enumerate(("verb", "noun"))):
        expected = _marginal(logits[clip, time], column, SIZES[space])
        np.testing.assert_allclose(scores.softmax(found[space][clip, time]), expected, rtol=1e-5, atol=1e-30)
    assert np.isfinite(found["verb"]).all()


def test_a_head_of_its_own_is_kept_and_data_without_pairs_has_none():
    logits = {"action": np.zeros((2, 8, 5), "float32"), "verb": np.ones((2, 8, 4), "float32")}
    assert anticipation.with_marginals(logits, ACTIONS, SIZES)["verb"] is logits["verb"]
    assert list(anticipation.with_marginals(logits, None, SIZES)) == ["action", "verb"]
    assert list(anticipation.with_marginals({"action": logits["action"]}, ACTIONS, {})) == ["action"]


def test_extreme_logits_do_not_overflow():
    logits = np.array([[3e4, -3e4, 0, 0, -3e4]], "float32")
    np.testing.assert_allclose(np.exp(anticipation.log_marginal(logits, ACTIONS[:, 0], 4)), [[1, 0, 0, 0]], atol=1e-300)


@given(LOGITS, st.lists(st.integers(-1, 4), min_size=3, max_size=3), st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_places_are_those_of_a_slow_ranking(logits, labels, k):
    labels = np.array(labels)
    found = anticipation.places_over_time(logits, labels).hits(k)
    for clip, time in np.ndindex(3, 8):
        expected = _hits(logits[clip, time], labels[clip], k) if labels[clip] >= 0 else 0
        assert found[clip, time] == pytest.approx(expected)


def test_marginals_are_ranked_like_actions():
    rng = np.random.default_rng(0)
    logits, action = rng.normal(size=(11, 8, 5)).astype("float32"), rng.integers(5, size=11)
    labels = {"action": action, "verb": ACTIONS[action, 0], "noun": ACTIONS[action, 1]}
    heads = anticipation.with_marginals({"action": logits}, ACTIONS, SIZES)
    for head, column in (("action", None), ("verb", 0), ("noun", 1)):
        found = anticipation.places_over_time(heads[head], labels[head])
        for clip, time in np.ndindex(11, 8):
            row = logits[clip, time] if column is None else _marginal(logits[clip, time], column, SIZES[head])
            assert found.above[clip, time] == sum(score > row[labels[head][clip]] for score in row)


def test_a_verb_that_no_action_has_ties_with_its_like():
    verbs = anticipation.with_marginals({"action": np.zeros((1, 8, 5), "float32")}, ACTIONS, {"verb": 6})["verb"]
    found = anticipation.places_over_time(verbs, np.array([4]))
    assert (found.above == 3).all() and (found.tied == 3).all()


@given(LOGITS, st.lists(st.integers(0, 4), min_size=3, max_size=3), st.sets(st.integers(0, 4)))
@settings(max_examples=25, deadline=None)
def test_recall_is_the_mean_of_class_accuracies(logits, labels, classes):
    labels, mask = np.array(labels), np.isin(np.arange(5), list(classes))
    place = anticipation.places_over_time(logits, labels)
    for time in range(8):
        shares = [
            np.mean([_hits(logits[clip, time], name, 2) for clip in range(3) if labels[clip] == name]) for name in sorted(set(labels))
        ]
        assert anticipation.recall(place, labels, 2)[time] == pytest.approx(100 * np.mean(shares))
        kept = [share for share, name in zip(shares, sorted(set(labels)), strict=True) if name in classes]
        expected = 100 * np.mean(kept) if kept else np.nan
        assert anticipation.recall(place, labels, 2, mask)[time] == pytest.approx(expected, nan_ok=True)


def test_recall_by_hand():
    """Class 0 is hit in one of three clips, class 1 in its one."""
    place = Place(np.array([[0], [7], [7], [0]]), np.ones((4, 1), int))
    assert anticipation.recall(place, np.array([0, 0, 0, 1])).tolist() == pytest.approx([200 / 3])


def _first_time(ranking):
    """RU-LSTM's rule for one clip: the earliest time at which the label is among the best five, 0 if never."""
    return next((seconds for seconds, above in zip(ANTICIPATION, ranking, strict=True) if above < 5), 0.0)


@given(hnp.arrays(np.int64, (6, 8), elements=st.integers(0, 8)))
def test_time_to_action_is_the_first_hit(above):
    found = anticipation.time_to_action(Place(above, np.ones_like(above)))
    assert found == pytest.approx(np.mean([_first_time(ranking) for ranking in above]))


def test_time_to_action_takes_ties_by_their_share():
    above, tied = np.full((1, 8), 9), np.ones((1, 8), int)
    above[0, [0, 4]], tied[0, 0] = 4, 2  # half a hit at 2 s, a hit at 1 s
    assert anticipation.time_to_action(Place(above, tied)) == pytest.approx(0.5 * 2.0 + 0.5 * 1.0)
    constant = Place(np.array([[0], [9], [3]]), np.array([[1], [1], [4]]))  # the same ranking at all times
    assert anticipation.time_to_action(constant) == pytest.approx(2.0 * (1 + 0 + 0.5) / 3)


def test_many_shot_actions_by_both_definitions():
    verbs, nouns = np.array([True, False, False]), np.array([True, False, True])
    trained = np.array([False, True, True, True, True])
    assert anticipation.many_shot_actions(ACTIONS, verbs, nouns).tolist() == [True, True, True, True, True]
    assert anticipation.many_shot_actions(ACTIONS, verbs, nouns, ~trained).tolist() == [True, False, False, False, False]
    assert anticipation.many_shot_actions(ACTIONS, verbs, nouns, trained).tolist() == [False] * 5
    assert anticipation.many_shot(np.repeat([0, 2], [101, 100]), 3).tolist() == [True, False, False]


def test_many_shot_classes_of_epic_kitchens_55(shared_data):
    """The published lists come from the counts of all training labels: more than 100 of verb and noun, and the pair occurs."""
    folder = shared_data / "ek55"
    with open(folder / "EPIC_train_action_labels.csv", newline="", encoding="utf-8") as file:
        pairs = np.array([[int(row["verb_class"]), int(row["noun_class"])] for row in csv.DictReader(file)])
    masks = {}
    for column, (space, count, classes) in enumerate((("verb", 26, 125), ("noun", 71, 352))):
        with open(folder / f"EPIC_many_shot_{space}s.csv", newline="", encoding="utf-8") as file:
            published = {int(row[f"{space}_class"]) for row in csv.DictReader(file)}
        masks[space] = anticipation.many_shot(pairs[:, column], classes)
        assert set(np.flatnonzero(masks[space])) == published and len(published) == count
    with open(folder / "EPIC_many_shot_actions.csv", newline="", encoding="utf-8") as file:
        published = {tuple(map(int, row["action_class"].strip("()").split(","))) for row in csv.DictReader(file)}
    actions = np.unique(pairs, axis=0)
    many = anticipation.many_shot_actions(actions, masks["verb"], masks["noun"], np.ones(len(actions), bool))
    assert set(map(tuple, actions[many].tolist())) == published and len(published) == 819


def test_paired_bounds_of_a_gain_that_is_the_same_in_every_video():
    hits = np.tile([1.0, 0.0, 0.0, 0.0], 20)
    mean, low, high = anticipation.paired_bounds(hits + np.tile([0, 1.0, 0, 0], 20), hits, np.arange(80) // 4)
    assert (mean, low, high) == pytest.approx((25, 25, 25))
    assert anticipation.paired_bounds(hits, 1 - hits, np.zeros(80)) == (-50, -100, 100)


def test_paired_bounds_are_those_of_a_slow_bootstrap():
    rng = np.random.default_rng(3)
    hits, others, videos = rng.random(60), rng.random(60), rng.integers(12, size=60)
    picks = np.random.default_rng(0).integers(12, size=(200, 12))
    means = []
    for pick in picks:
        clips = np.concatenate([np.flatnonzero(videos == video) for video in pick])
        means.append(100 * np.mean(hits[clips] - others[clips]))
    mean, low, high = anticipation.paired_bounds(hits, others, videos, draws=200)
    assert mean == pytest.approx(100 * np.mean(hits - others))
    assert (low, high) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])))


def test_pairing_narrows_the_bounds_of_models_that_err_alike():
    rng = np.random.default_rng(0)
    hard = np.repeat(rng.random(40), 10)
    others = (rng.random(400) > hard).astype(float)
    hits = np.where(rng.random(400) < 0.1, 1.0, others)
    _, low, high = anticipation.paired_bounds(hits, others, np.arange(400) // 10)
    alone = scores.bounds(hits, np.arange(400) // 10)
    assert 0 < low < high and high - low < (alone[1] - alone[0]) / 2


@pytest.fixture
def heads():
    """Ten clips of three verbs that a model ranks at random, beside the majority ranking."""
    rng = np.random.default_rng(1)
    labels = rng.integers(3, size=10)
    model = anticipation.places_over_time(rng.normal(size=(10, 8, 30)).astype("float32"), labels)
    rankings = {"model": model, "majority": Place(*(array[:, None] for array in scores.majority_place(np.array([2, 2, 1]), labels, 30)))}
    return {"verb": Head(rows=np.arange(1, 11), labels=labels, classes=30, places=rankings)}


def test_summary_says_lists_over_time_and_single_numbers(heads):
    head, videos = heads["verb"], np.array([f"v{row // 3}" for row in range(11)])
    subset = {"unseen": {"verb": np.arange(11) > 5}, "tail": {"verb": np.zeros(11, bool)}}
    many = {"many_shot": {"verb": np.arange(30) == 2, "noun": np.ones(2, bool)}, "many_shot_either": {"action": np.ones(2, bool)}}
    found = anticipation.summary(heads, videos, subset, many)
    verb = found["heads"]["verb"]
    assert found["times"] == list(ANTICIPATION)
    assert verb["top5"] == pytest.approx((100 * head.places["model"].hits(5).mean(axis=0)).tolist(), abs=1e-4)
    assert verb["majority"]["top1"] == pytest.approx(100 * np.mean(head.labels == 2), abs=1e-4)
    assert verb["chance"] == {"top1": pytest.approx(100 / 30, abs=1e-4), "top5": pytest.approx(500 / 30, abs=1e-4)}
    low, high = scores.bounds(head.places["model"].hits(5)[:, 3], videos[head.rows])
    assert (verb["top5_low"][3], verb["top5_high"][3]) == pytest.approx((low, high), abs=1e-4)
    assert list(found["recall5"]) == ["overall", "many_shot", "unseen"]  # no clip is in the tail, no head of actions
    assert found["recall5"]["overall"]["verb"]["classes"] == 3
    clips = head.labels == 2
    assert found["recall5"]["many_shot"]["verb"]["model"] == pytest.approx(
        (100 * head.places["model"].of(clips).hits(5).mean(axis=0)).tolist(), abs=1e-4
    )
    later = head.rows > 5
    expected = anticipation.recall(head.places["model"].of(later), head.labels[later])
    assert found["recall5"]["unseen"]["verb"]["model"] == pytest.approx(expected.tolist(), abs=1e-4)
    assert found["time_to_action"]["verb"]["majority"] == pytest.approx(2 * verb["majority"]["top5"] / 100, abs=1e-4)


def test_masks_by_training_counts():
    labels = {"verb": np.repeat([0, 1], [150, 80]), "noun": np.repeat([0, 2], [101, 129]), "action": np.repeat([0, 3], [150, 80])}
    sizes = {"verb": 3, "noun": 3, "action": 5}
    masks = anticipation.many_shot_masks(labels, ACTIONS, sizes)
    assert masks["many_shot"]["verb"].tolist() == [True, False, False]
    assert masks["many_shot"]["action"].tolist() == [True, False, False, False, False]
    assert masks["many_shot_either"]["action"].tolist() == [True, True, True, True, True]
    assert list(anticipation.many_shot_masks({"verb": labels["verb"]}, None, sizes)) == ["many_shot"]
