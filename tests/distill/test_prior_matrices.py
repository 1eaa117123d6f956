"""Priors against the worked fixture of METHODS, against double loops, and on the real label sequences of EPIC-KITCHENS."""

import csv
import itertools
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egokeras.data import readers
from egokeras.distill import prior_matrices

VERBS, NOUNS = np.array([(0, 0), (0, 1), (1, 0), (1, 2), (2, 2)]).T
SEQUENCES = [[0, 1, 2, 0, 1], [1, 3, 4, 1]]
UNION = [
    [1 / 3, 1 / 3, 1 / 3, 0, 0],
    [1 / 2, 1 / 2, 0, 0, 0],
    [1 / 3, 0, 1 / 3, 1 / 3, 0],
    [0, 0, 1 / 3, 1 / 3, 1 / 3],
    [0, 0, 0, 1 / 2, 1 / 2],
]
PREDECESSORS = [[0, 0, 1, 0, 0], [2 / 3, 0, 0, 0, 1 / 3], [0, 1, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 1, 0]]


def assert_prior(matrix, expected):
    assert matrix.dtype == np.float32
    np.testing.assert_allclose(matrix, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(matrix.sum(axis=1, dtype=np.float64), 1, atol=1e-6)


def normalised(weights, empty="one-hot"):
    """Rows of a list of lists divided by their sums, in plain Python."""
    rows = []
    for k, row in enumerate(weights):
        fallback = [1 / len(row)] * len(row) if empty == "uniform" else [float(i == k) for i in range(len(row))]
        rows.append([value / sum(row) for value in row] if sum(row) else fallback)
    return rows


def test_the_worked_fixture():
    assert_prior(prior_matrices.verb_noun(VERBS, NOUNS), UNION)
    assert_prior(prior_matrices.verb_noun(VERBS, NOUNS, "sum")[:1], [[0.5, 0.25, 0.25, 0, 0]])
    assert_prior(prior_matrices.temporal(SEQUENCES, 5), PREDECESSORS)
    assert_prior(prior_matrices.uniform(5), np.full((5, 5), 0.2))
    soft = 0.7 * np.eye(5)[1] + 0.3 * prior_matrices.verb_noun(VERBS, NOUNS)[1]
    np.testing.assert_allclose(soft, [0.15, 0.85, 0, 0, 0], atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6)), min_size=1, max_size=12, unique=True))
def test_verb_noun_and_its_single_heads_equal_loops(actions):
    verbs, nouns = np.array(actions).T
    same = [[((v == w) + (n == m), v == w or n == m) for w, m in actions] for v, n in actions]
    assert_prior(prior_matrices.verb_noun(verbs, nouns), normalised([[either for _, either in row] for row in same]))
    assert_prior(prior_matrices.verb_noun(verbs, nouns, "sum"), normalised([[both for both, _ in row] for row in same]))
    for own, other, classes in ((verbs, nouns, 5), (nouns, verbs, 8)):
        partners = [{b for a, b in zip(own, other, strict=True) if a == k} for k in range(classes)]
        shared = [[len(mine & theirs) for theirs in partners] for mine in partners]
        assert_prior(prior_matrices.sharing(own, other, classes, "sum"), normalised(shared))
        assert_prior(prior_matrices.sharing(own, other, classes), normalised([[count > 0 for count in row] for row in shared]))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 6), max_size=8), max_size=5), st.sampled_from(["one-hot", "uniform"]))
def test_temporal_equals_a_loop(sequences, empty):
    counts = [[0] * 7 for _ in range(7)]
    for labels in sequences:
        for i, k in itertools.pairwise(labels):
            counts[k][i] += 1
    assert_prior(prior_matrices.temporal(sequences, 7, empty), normalised(counts, empty))
    assert len(prior_matrices.transitions(sequences)) == sum(map(sum, counts))


def test_similarity_equals_a_loop_and_a_zero_vector_has_no_companions():
    phi = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
    phi[2] = 0
    weights = [[abs(float(np.dot(np.float64(a), np.float64(b)))) for b in phi] for a in phi]
    found = prior_matrices.similarity(phi)
    assert_prior(found, normalised(weights))
    assert found[2].tolist() == [0, 0, 1, 0, 0, 0] and not found[[0, 1, 3, 4, 5], 2].any()
    np.testing.assert_allclose(prior_matrices.similarity(phi * np.float32(1e30)), found, rtol=1e-4, atol=1e-6)  # products of 1e60
    assert_prior(prior_matrices.similarity(np.zeros((3, 2))), np.eye(3))


def test_mixture_divides_the_weights_by_their_sum_and_leaves_its_parts_alone():
    parts = [prior_matrices.uniform(5), prior_matrices.verb_noun(VERBS, NOUNS), prior_matrices.temporal(SEQUENCES, 5)]
    before = [part.copy() for part in parts]
    found = prior_matrices.mixture((part for part in parts), (2, 1, 1))
    assert_prior(found, [[0.1 + UNION[k][i] / 4 + PREDECESSORS[k][i] / 4 for i in range(5)] for k in range(5)])
    assert_prior(prior_matrices.mixture(parts[1:], (0, 3)), PREDECESSORS)
    np.testing.assert_array_equal(prior_matrices.mixture(parts[:2], (1e39, 1e39)), prior_matrices.mixture(parts[:2], (1, 1)))
    for part, old in zip(parts, before, strict=True):
        np.testing.assert_array_equal(part, old)


def test_support_and_entropy_equal_loops():
    matrix = prior_matrices.mixture([prior_matrices.verb_noun(*np.random.default_rng(0).integers(0, 9, (2, 300)))], (1,))
    assert prior_matrices.support(matrix).tolist() == [sum(p > 0 for p in row) for row in matrix]
    expected = [-sum(p * np.log2(p) for p in map(float, row) if p > 0) for row in matrix]  # more rows than a block has
    np.testing.assert_allclose(prior_matrices.entropy(matrix), expected, rtol=1e-6)


@pytest.fixture(scope="module")
def epic55(shared_data):
    """RU-LSTM's training split of EPIC-KITCHENS-55: verbs and nouns by action, and the actions of each video."""
    classes = [shared_data / "ek55" / f"EPIC_{space}_classes.csv" for space in ("verb", "noun")]
    found = readers.read("epic55", [shared_data / "rulstm" / "ek55", *classes])
    ids = {name: number for number, name in enumerate(found.classes["action"])}
    videos = {}
    for segment in sorted(found.segments, key=lambda segment: (segment.start, segment.stop)):
        if segment.splits == ("train",):
            videos.setdefault(segment.video, []).append(ids[segment.labels["action"]])
    with open(shared_data / "rulstm" / "ek55" / "actions.csv", newline="") as file:
        pairs = [(int(row["verb"]), int(row["noun"])) for row in csv.DictReader(file)]
    return np.array(pairs).T, list(videos.values())


def test_the_counts_of_epic_kitchens_55(epic55):
    (verbs, nouns), videos = epic55
    pairs = prior_matrices.transitions(videos)
    assert (len(videos), len(pairs), len(np.unique(pairs, axis=0))) == (232, 23261, 12941)
    assert np.count_nonzero(pairs[:, 0] == pairs[:, 1]) == 2465
    present = {label for labels in videos for label in labels}
    assert len(present - set(pairs[:, 1].tolist())) == 11 and len(present - set(pairs[:, 0].tolist())) == 28
    temporal = prior_matrices.temporal(videos, 2513)
    with_one = np.unique(pairs[:, 1])
    assert np.count_nonzero(prior_matrices.support(temporal)[with_one] == 1) == 938
    assert round(prior_matrices.entropy(temporal)[with_one].mean(), 2) == 1.24
    support = prior_matrices.support(prior_matrices.verb_noun(verbs, nouns))
    assert (round(support.mean(), 1), np.median(support), support.min(), support.max()) == (108.9, 85, 2, 296)


def test_3806_classes_from_67217_rows_in_under_a_second(shared_data):
    folder = shared_data / "rulstm" / "ek100"
    with open(folder / "actions.csv", newline="") as file:
        verbs, nouns = np.array([(int(row["verb"]), int(row["noun"])) for row in csv.DictReader(file)]).T
    with open(folder / "training.csv", newline="") as file:
        rows = sorted(csv.reader(file), key=lambda row: (row[1], int(row[2]), int(row[3])))
    videos = {}
    for row in rows:
        videos.setdefault(row[1], []).append(int(row[6]))
    assert (len(verbs), len(rows)) == (3806, 67217)
    phi = np.random.default_rng(0).normal(size=(3806, 600)).astype("float32")
    parts = {
        "temporal": lambda: prior_matrices.temporal(videos.values(), 3806),
        "verb-noun": lambda: prior_matrices.verb_noun(verbs, nouns),
        "sum": lambda: prior_matrices.verb_noun(verbs, nouns, "sum"),
        "similarity": lambda: prior_matrices.similarity(phi),
        "mixture": lambda: prior_matrices.mixture((prior_matrices.verb_noun(verbs, nouns) for _ in range(3)), (1, 1, 1)),
    }
    for name, make in parts.items():
        seconds = []
        while len(seconds) < 3 and min(seconds, default=1) >= 1:  # a busy machine may be slow once
            started = time.perf_counter()
            matrix = make()
            seconds.append(time.perf_counter() - started)
        assert min(seconds) < 1, name
        np.testing.assert_allclose(matrix.sum(axis=1, dtype=np.float64), 1, atol=1e-6)
        tracemalloc.start()
        make()
        assert tracemalloc.get_traced_memory()[1] < (3.2 if name == "mixture" else 1.9) * 4 * 3806**2, name  # matrices of float32
        tracemalloc.stop()
