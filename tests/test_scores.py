"""Scores against slow references, hand-computed values and EPIC-KITCHENS-100's published counts."""

import csv
import itertools
import math

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egokeras import scores

LOGITS = st.integers(-40, 40).map(lambda value: np.float32(value / 8))


def _logits(clips, classes):
    return hnp.arrays(np.float32, (clips, classes), elements=LOGITS)


def test_constant_scores_count_as_chance():
    labels = np.array([0, 1, 2, 3])
    assert scores.topk_accuracy(np.zeros((4, 4)), labels, 1) == pytest.approx(25)
    assert scores.topk_accuracy(np.zeros((4, 4)), labels, 3) == pytest.approx(75)


def test_ties_are_split_by_the_share_of_their_places():
    row = np.array([[3.0, 2.0, 2.0, 2.0, 1.0]])
    assert scores.topk_accuracy(row, np.array([1]), 1) == 0
    assert scores.topk_accuracy(row, np.array([1]), 2) == pytest.approx(100 / 3)
    assert scores.topk_accuracy(row, np.array([1]), 4) == 100
    assert scores.topk_accuracy(row, np.array([4]), 4) == 0


@given(_logits(3, 4), st.lists(st.integers(0, 3), min_size=3, max_size=3), st.integers(1, 4))
def test_topk_is_the_mean_over_all_ways_to_break_ties(logits, labels, k):
    hits = []
    for order in itertools.permutations(range(4)):
        for row, label in zip(logits, labels, strict=True):
            ranking = sorted(order, key=lambda c: -row[c])  # stable: `order` breaks ties
            hits.append(label in ranking[:k])
    assert scores.topk_accuracy(logits, np.array(labels), k) == pytest.approx(100 * np.mean(hits))


@given(_logits(4, 3), _logits(4, 5), st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4)), min_size=4, max_size=4))
@settings(max_examples=60)
def test_an_action_is_never_easier_than_its_verb_or_noun(verb_logits, noun_logits, labels):
    verbs, nouns = np.array(labels).T
    action = scores.action_place(verb_logits, noun_logits, verbs, nouns).top(1)
    single = [scores.topk_accuracy(verb_logits, verbs, 1), scores.topk_accuracy(noun_logits, nouns, 1)]
    assert action <= min(single) + 1e-9


def test_actions_rank_as_products_of_softmaxes_in_any_chunking(monkeypatch):
    rng = np.random.default_rng(0)
    verb_logits, noun_logits = rng.normal(size=(7, 4)).astype("float32"), rng.normal(size=(7, 6)).astype("float32")
    verbs, nouns = rng.integers(4, size=7), rng.integers(6, size=7)
    monkeypatch.setattr(scores, "PAIRS_AT_ONCE", 50)  # two clips at a time
    found = scores.action_place(verb_logits, noun_logits, verbs, nouns)
    for clip in range(7):
        products = np.outer(scores.softmax(verb_logits[clip]), scores.softmax(noun_logits[clip]))
        assert found.above[clip] == (products > products[verbs[clip], nouns[clip]] * (1 + 1e-12)).sum()
    assert (found.tied == 1).all()


def test_softmax_does_not_overflow():
    np.testing.assert_allclose(scores.softmax(np.array([[1000.0, 1000.0, -1000.0]])), [[0.5, 0.5, 0.0]])


def test_majority_ranks_classes_by_training_frequency():
    train = np.array([2] * 5 + [0] * 3 + [1] * 3)
    labels = np.array([2, 0, 1, 3])
    place = scores.majority_place(train, labels, 4)
    assert place.hits(1).tolist() == [1, 0, 0, 0]
    assert place.hits(2).tolist() == [1, 0.5, 0.5, 0]
    assert place.top(3) == 75


@given(st.lists(st.integers(0, 5), max_size=20), st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(1, 5))
def test_majority_is_the_place_in_a_constant_score(train, labels, k):
    train, labels = np.array(train, int), np.array(labels)
    constant = np.broadcast_to(np.bincount(train, minlength=6), (len(labels), 6))
    assert scores.majority_place(train, labels, 6).top(k) == pytest.approx(scores.topk_accuracy(constant, labels, k))


def test_tail_holds_the_smallest_classes_up_to_a_fifth():
    train = np.repeat([0, 1, 2, 4], [80, 11, 8, 1])  # class 3 never occurs
    assert scores.tail_classes(train, 5).tolist() == [False, True, True, False, True]


@pytest.mark.parametrize(("space", "classes", "tail"), [("verb", 97, 86), ("noun", 300, 228)])
def test_tail_of_epic_kitchens_100(shared_data, space, classes, tail):
    with open(shared_data / "ek100" / "EPIC_100_train.reconstructed.csv", newline="", encoding="utf-8") as file:
        labels = np.array([int(row[f"{space}_class"]) for row in csv.DictReader(file)])
    assert scores.tail_classes(labels, classes).sum() == tail


def test_confusion_has_labels_in_rows():
    assert scores.confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist() == [[1, 1], [0, 1]]


def test_bounds_are_wider_when_clips_of_a_video_agree():
    hits = np.repeat([0.0, 1.0], 50)
    alone = scores.bounds(hits, np.arange(100))
    together = scores.bounds(hits, np.arange(100) // 10)
    assert alone[0] < 50 < alone[1]
    assert together[0] < alone[0] - 5
    assert together[1] > alone[1] + 5


def test_bounds_keep_a_width_when_every_clip_is_right():
    low, high = scores.bounds(np.ones(20), np.arange(20))
    assert high == pytest.approx(100)
    assert low == pytest.approx(100 * 20 / (20 + scores.NORMAL_QUANTILE**2))  # Wilson by hand
    assert scores.bounds(np.ones(20), np.zeros(20)) == (0, 100)


def test_t_interval_by_hand():
    mean, low, high = scores.interval([10.0, 12.0, 14.0])
    assert mean == 12
    assert [mean - low, high - mean] == pytest.approx([4.3027 * 2 / math.sqrt(3)] * 2)
    assert scores.interval([5.0])[1:] == (-math.inf, math.inf)


@pytest.mark.parametrize(("freedom", "quantile"), [(4, 2.7764), (10, 2.2281), (11, 2.2010), (30, 2.0423), (120, 1.9799)])
def test_t_quantiles_of_the_printed_tables(freedom, quantile):
    assert scores.t_quantile(freedom) == pytest.approx(quantile, abs=2e-4)
