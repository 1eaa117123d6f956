"""WISE against SciPy's optimizer, and leaving early against a loop over clips."""

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given
from hypothesis import strategies as st

from egokeras.errors import InputError
from egokeras.scores import softmax
from egokeras.wise import Wish, combined, cross_fitted, divided, equal_weights, fit_wise, leave, leave_by_folds, objective, trade_off


def made(exits=5, clips=300, classes=6, seed=0):
    """Logits that get better from exit to exit, and labels."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, clips)
    truth = np.eye(classes)[labels]
    return np.stack([(1 + number) * truth + random.normal(0, 2, (clips, classes)) for number in range(exits)]), labels


def best_by_scipy(logits, labels, l1, nonnegative=False):
    """The minimum over w = u - v with u, v >= 0, which has no kinks."""
    count = len(logits)

    def value(both):
        found, gradient = objective(both[:count] - both[count:], logits, labels, 0.0)
        return found + l1 * both.sum(), np.concatenate([gradient, -gradient]) + l1

    bounds = [(0, None)] * count + [(0, 0 if nonnegative else None)] * count
    start = np.concatenate([np.ones(count), np.zeros(count)])
    found = scipy.optimize.minimize(
        value, start, jac=True, bounds=bounds, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 5000}
    )
    return found.x[:count] - found.x[count:]


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("l1", [0.0, 0.02, 0.1])
def test_the_fit_is_the_optimum(l1, nonnegative):
    logits, labels = made()
    logits[2] *= -0.3  # an exit that a weight below 0 would serve
    weights = fit_wise(logits, labels, l1=[l1] * 5, nonnegative=nonnegative)
    assert weights[0].tolist() == [1, 0, 0, 0, 0] and not np.triu(weights, 1).any()
    for j in range(1, 5):
        expected = best_by_scipy(logits[: j + 1], labels, l1, nonnegative)
        ours, theirs = (objective(w, logits[: j + 1], labels, l1)[0] for w in (weights[j, : j + 1], expected))
        assert ours <= theirs + 1e-9
        np.testing.assert_allclose(weights[j, : j + 1], expected, atol=5e-3)
        w = weights[j, : j + 1]
        slope = objective(w, logits[: j + 1], labels, 0.0)[1] + l1 * np.sign(w)  # 0 at the optimum, where a weight is not held at 0
        assert np.abs(slope[w != 0]).max() < 1e-6
    assert (weights >= 0).all() or not nonnegative


def test_the_gradient_is_that_of_the_objective():
    logits, labels = made(3, 20, 4)
    weights = np.array([0.3, -0.2, 1.1])
    _, gradient = objective(weights, logits, labels, 0.0)
    for number in range(3):
        step = np.eye(3)[number] * 1e-6
        numeric = (objective(weights + step, logits, labels, 0.0)[0] - objective(weights - step, logits, labels, 0.0)[0]) / 2e-6
        assert gradient[number] == pytest.approx(numeric, rel=1e-5)
    p = softmax(sum(w * z for w, z in zip(weights, logits, strict=True)))
    assert objective(weights, logits, labels, 0.5)[0] == pytest.approx(-np.mean(np.log(p[np.arange(20), labels])) + 0.5 * 1.6)


def test_published_penalties_and_steps():
    logits, labels = made(7, 60)
    logits *= 0.5
    labels[::4] = (labels[::4] + 1) % 6  # no sum of exits gets these right
    assert np.array_equal(fit_wise(logits, labels), fit_wise(logits, labels, l1=[0, 0, 0, 0, 0, 0.1, 0.1]))
    descended = fit_wise(logits[:2], labels, published=True)
    weights = np.ones(2)
    for _ in range(500):
        z = weights[0] * logits[0] + weights[1] * logits[1]
        p = softmax(z)
        p[np.arange(60), labels] -= 1
        weights = weights - 0.1 * np.array([(p * logits[0]).sum(), (p * logits[1]).sum()]) / 60
    np.testing.assert_allclose(descended[1, :2], weights, rtol=1e-9)


def test_ablations():
    logits, _ = made(3, 10)
    np.testing.assert_allclose(combined(equal_weights(3), logits)[2], logits.mean(axis=0))
    weights = np.tril(np.arange(1.0, 10).reshape(3, 3))
    np.testing.assert_allclose(divided(combined(weights, logits))[1], combined(weights, logits)[1] / 2)
    np.testing.assert_allclose(combined(weights, logits)[1], 4 * logits[0] + 5 * logits[1])


@given(st.integers(0, 10**6), st.integers(2, 5))
def test_leaving_equals_a_loop(seed, exits):
    logits, labels = made(exits, 30, 4, seed)
    costs = np.cumsum(np.random.default_rng(seed).uniform(0.1, 1, exits))
    found = trade_off(logits, labels, costs, steps=7)
    for threshold, accuracy, cost in zip(found.thresholds, found.accuracy, found.cost, strict=True):
        right, spent = [], []
        for clip in range(30):
            for number in range(exits):
                p = softmax(logits[number, clip])
                if p.max() > threshold or number == exits - 1:
                    right.append(p.argmax() == labels[clip])
                    spent.append(costs[number])
                    break
        assert accuracy == pytest.approx(100 * np.mean(right)) and cost == pytest.approx(np.mean(spent))
    np.testing.assert_allclose(found.left @ (2 * costs), 2 * found.cost)
    assert (leave(logits, 0.0) == 0).all() and (leave(logits, 1.0) == exits - 1).all()
    assert (np.diff(found.cost) >= -1e-12).all()


def test_thresholds_for_a_wish():
    logits, labels = made(4, 400)
    found = trade_off(logits, labels, [1, 2, 3, 4])
    whole = found.accuracy[-1]
    at = found.thresholds.tolist().index(found.cheapest(whole - 0.5))
    assert found.accuracy[at] >= whole - 0.5 and found.cost[at] == found.cost[found.accuracy >= whole - 0.5].min() < 4
    at = found.thresholds.tolist().index(found.most_accurate(2.0))
    assert found.cost[at] <= 2 and found.accuracy[at] == found.accuracy[found.cost <= 2].max()
    with pytest.raises(InputError, match="no threshold reaches an accuracy of 101 %"):
        found.cheapest(101)
    with pytest.raises(InputError, match="no threshold keeps the mean cost down to 0.5; the least is 1"):
        found.most_accurate(0.5)


def test_a_threshold_lies_between_confidences():
    """So that the rounding of another machine makes no clip leave elsewhere."""
    logits, labels = made(3, 12, 4)
    found, seen = trade_off(logits, labels, [1, 2, 3]), np.unique(softmax(logits).max(axis=2)[:-1])
    assert found.thresholds[0] == 0 and found.thresholds[-1] == 1
    np.testing.assert_allclose(found.thresholds[1:-1], (seen[1:] + seen[:-1]) / 2)


def test_wishes():
    logits, labels = made(4, 400)
    found = trade_off(logits, labels, [1, 2, 3, 4])
    assert Wish(lost=2.0).threshold(found) == found.cheapest(found.accuracy[-1] - 2)
    assert Wish(accuracy=50.0).threshold(found) == found.cheapest(50.0)
    assert Wish(cost=60.0).threshold(found) == found.most_accurate(0.6 * 4)
    assert Wish(lost=0.0).threshold(found) >= Wish(lost=5.0).threshold(found)


def test_no_clip_has_a_say_in_what_it_is_answered():
    logits, labels = made(4, 200)
    costs, fold_of, wish = np.arange(1, 5), np.arange(200) % 3, Wish(lost=2.0)
    answers, taken = cross_fitted(fit_wise, logits, labels, fold_of), leave_by_folds(fit_wise, logits, labels, costs, fold_of, wish)
    for fold in range(3):
        rest, inner = np.flatnonzero(fold_of != fold), np.zeros((4, 200, 6))
        weights = fit_wise(logits[:, rest], labels[rest])
        np.testing.assert_allclose(answers[:, fold_of == fold], combined(weights, logits[:, fold_of == fold]))
        one, two = (np.flatnonzero(fold_of == other) for other in range(3) if other != fold)
        for own, other in ((one, two), (two, one)):
            inner[:, own] = combined(fit_wise(logits[:, other], labels[other]), logits[:, own])
        threshold = wish.threshold(trade_off(inner[:, rest], labels[rest], costs))
        for clip in np.flatnonzero(fold_of == fold):
            sure = [softmax(answers[number, clip]).max() > threshold for number in range(3)]
            assert taken[clip] == (sure.index(True) if True in sure else 3)
    other = np.where(fold_of == 2, (labels + 1) % 6, labels)
    np.testing.assert_array_equal(cross_fitted(fit_wise, logits, other, fold_of)[:, fold_of == 2], answers[:, fold_of == 2])
    again = leave_by_folds(fit_wise, logits, other, costs, fold_of, wish)
    np.testing.assert_array_equal(again[fold_of == 2], taken[fold_of == 2])
    assert (again[fold_of != 2] != taken[fold_of != 2]).any()


def test_one_fold_is_answered_by_its_own_weights():
    logits, labels = made(3, 50)
    expected = combined(fit_wise(logits, labels), logits)
    np.testing.assert_allclose(cross_fitted(fit_wise, logits, labels, np.zeros(50)), expected)


def test_what_cannot_be_fitted():
    logits, labels = made()
    with pytest.raises(InputError, match=r"logits \(exits, clips, classes\) and labels"):
        fit_wise(logits[0], labels)
    with pytest.raises(InputError, match="labels go from -1"):
        fit_wise(logits, np.where(labels == 0, -1, labels))
