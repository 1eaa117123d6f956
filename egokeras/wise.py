"""WISE: every exit answers with a learned sum of its own logits and those of all exits before it; and when a clip may leave.

Soufleri et al., "Advancing Compressed Video Action Recognition through Progressive Knowledge Distillation" (2024), https://arxiv.org/abs/2407.02713.
With z_i the logits of exit i in the order in which they are computed,

    Z_j = sum over i <= j of w_ji z_i,    w_j = argmin CE(Z_j, y) + a_j |w_j|_1
"""

import dataclasses

import numpy as np

from egokeras.errors import InputError
from egokeras.scores import softmax

FIRST_L1, L1 = 6, 0.1  # from exit 6 on the published weights are fitted with a = 0.1, before it with none
PUBLISHED_STEPS, PUBLISHED_RATE = 500, 0.1
TOLERANCE, MOST_STEPS = 1e-9, 3_000


def fit_wise(logits, labels, *, l1=None, nonnegative=False, published=False):
    """Weights (exits, exits) float64, of which row j has those of Z_j and zeros behind its own exit; the first exit answers as it is.

    The objective is convex; it is brought to its optimum by proximal gradients (Beck and Teboulle, FISTA, 2009). Where some sum gets all
    clips right it has none without a penalty, and the weights grow as long as there are steps: give l1, or clips that the exits have not
    learned from.

    Args:
        logits: (exits, clips, classes), of training clips.
        labels: (clips,) class ids.
        l1: a_j of every exit; None is the published 0 up to the fifth exit and 0.1 from the sixth on.
        nonnegative: allow no weight below 0.
        published: take the paper's 500 steps of gradient descent at a rate of 0.1 from ones, wherever they lead.

    Raises:
        InputError: shapes that do not fit, or a label that is no class.
    """
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    if logits.ndim != 3 or labels.shape != logits.shape[1:2] or not len(labels):
        raise InputError(
            f"WISE is fitted on logits (exits, clips, classes) and labels (clips,); given are {logits.shape} and {labels.shape}."
        )
    if labels.min() < 0 or labels.max() >= logits.shape[2]:
        raise InputError(
            f"WISE: labels go from {labels.min()} to {labels.max()}, there are {logits.shape[2]} classes; leave out clips without a label."
        )
    exits = len(logits)
    penalties = [0.0 if number < FIRST_L1 else L1 for number in range(1, exits + 1)] if l1 is None else l1
    weights = np.zeros((exits, exits))
    weights[0, 0] = 1
    for j in range(1, exits):
        fit = _descend if published else _optimum
        weights[j, : j + 1] = fit(logits[: j + 1], labels, penalties[j], nonnegative)
    return weights


def objective(weights, logits, labels, l1):
    """CE(Z, y) + a |w|_1, and the gradient of its first part: (number, (exits,))."""
    z = np.tensordot(weights, logits, 1)
    p = softmax(z)
    rows = np.arange(len(labels))
    cross_entropy = -np.log(np.maximum(p[rows, labels], np.finfo(np.float64).tiny)).mean()
    p[rows, labels] -= 1
    return cross_entropy + l1 * np.abs(weights).sum(), np.tensordot(logits, p, ((1, 2), (0, 1))) / len(labels)


def _descend(logits, labels, l1, nonnegative):
    weights = np.ones(len(logits))
    for _ in range(PUBLISHED_STEPS):
        weights -= PUBLISHED_RATE * (objective(weights, logits, labels, l1)[1] + l1 * np.sign(weights))
    return np.maximum(weights, 0) if nonnegative else weights


def _optimum(logits, labels, l1, nonnegative):
    def shrunk(values, step):
        small = np.sign(values) * np.maximum(np.abs(values) - step * l1, 0)
        return np.maximum(small, 0) if nonnegative else small

    weights = ahead = np.ones(len(logits))
    momentum, step, best = 1.0, 1.0, np.inf
    for _ in range(MOST_STEPS):
        value, gradient = objective(ahead, logits, labels, 0.0)
        while True:  # the longest step that the curvature allows
            new = shrunk(ahead - step * gradient, step)
            move = new - ahead
            if objective(new, logits, labels, 0.0)[0] <= value + gradient @ move + move @ move / (2 * step) + 1e-15:
                break
            step /= 2
        now = objective(new, logits, labels, l1)[0]
        if now > best:  # begin the momentum anew
            ahead, momentum, best = weights, 1.0, np.inf
            continue
        if np.abs(new - weights).max() < TOLERANCE * max(1.0, np.abs(new).max()):
            return new
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + (momentum - 1) / following * (new - weights)
        weights, momentum, best = new, following, now
    return weights


def combined(weights, logits):
    """Z (exits, clips, classes) of logits of the same shape."""
    return np.tensordot(weights, np.asarray(logits, np.float64), 1)


def equal_weights(exits):
    """The ablation without scaling: every exit answers with the mean of those so far."""
    return np.tril(np.ones((exits, exits))) / np.arange(1, exits + 1)[:, None]


def divided(answers):
    """The ablation with division, Z_j / j, which changes no answer but how sure it seems."""
    return answers / np.arange(1, len(answers) + 1)[:, None, None]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TradeOff:
    """What leaving early costs and gains, for every threshold that makes a difference.

    Attributes:
        thresholds: (n,) of the largest probability: a clip leaves at the first exit that is above; ascending. The last exit always answers.
        accuracy: (n,) top-1 in percent.
        cost: (n,) mean over clips, in the unit of the costs.
        left: (n, exits) share of the clips that leave at each exit, so that `left @ costs` is the cost in any other unit.
    """

    thresholds: np.ndarray
    accuracy: np.ndarray
    cost: np.ndarray
    left: np.ndarray

    def cheapest(self, accuracy):
        """The threshold with the least cost whose accuracy is at least that.

        Raises:
            InputError: there is none.
        """
        good = np.flatnonzero(self.accuracy >= accuracy)
        if not len(good):
            raise InputError(f"no threshold reaches an accuracy of {accuracy:g} %; the highest is {self.accuracy.max():.2f} %.")
        return float(self.thresholds[good[np.argmin(self.cost[good])]])

    def most_accurate(self, cost):
        """The threshold with the highest accuracy whose mean cost is at most that.

        Raises:
            InputError: there is none.
        """
        good = np.flatnonzero(self.cost <= cost)
        if not len(good):
            raise InputError(f"no threshold keeps the mean cost down to {cost:g}; the least is {self.cost.min():g}.")
        return float(self.thresholds[good[np.argmax(self.accuracy[good])]])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wish:
    """What leaving early shall reach; the first that is set counts, else `lost`.

    Attributes:
        accuracy: top-1 in percent, at least.
        cost: of the cost of everything, in percent, at most.
        lost: points of accuracy that may be lost to the last exit.
    """

    accuracy: float | None = None
    cost: float | None = None
    lost: float = 0.5

    def threshold(self, curve):
        """The cheapest, or the most accurate, threshold of a `TradeOff` that reaches it.

        Raises:
            InputError: none does.
        """
        if self.accuracy is not None:
            return curve.cheapest(self.accuracy)
        if self.cost is not None:
            return curve.most_accurate(self.cost / 100 * curve.cost[-1])
        return curve.cheapest(curve.accuracy[-1] - self.lost)


def leave(answers, threshold):
    """The exit (from 0) at which each clip leaves: (clips,) int64.

    Args:
        answers: Z (exits, clips, classes).
        threshold: of the largest probability.
    """
    return leave_together({"": answers}, {"": threshold})


def leave_together(answers, thresholds):
    """The exit (from 0) at which each clip leaves that has to be sure in all label spaces at once: (clips,) int64.

    Args:
        answers: label space to Z (exits, clips, classes).
        thresholds: label space to what the largest probability must exceed.
    """
    sure = np.all([softmax(z).max(axis=2) > thresholds[space] for space, z in answers.items()], axis=0)
    sure[-1] = True
    return sure.argmax(axis=0)


def cross_fitted(weigh, logits, labels, fold_of):
    """Z, of the shape of `logits`, by weights that the clips of all other folds give; where there is one fold alone, by its own.

    Args:
        weigh: from logits and labels of clips to the weights, as `fit_wise`.
        logits, labels: as for `fit_wise`.
        fold_of: (clips,) fold of each.
    """
    folds = np.unique(fold_of)
    if len(folds) == 1:
        return combined(weigh(logits, labels), logits)
    answers = np.zeros(logits.shape)
    for own in (fold_of == fold for fold in folds):
        answers[:, own] = combined(weigh(logits[:, ~own], labels[~own]), logits[:, own])
    return answers


def leave_by_folds(weigh, logits, labels, costs, fold_of, wish):
    """The exit at which each clip leaves by weights and a threshold that the clips of all other folds choose: (clips,) int64.

    Args:
        weigh, logits, labels: as for `cross_fitted`.
        costs: (exits,) as for `trade_off`.
        fold_of: (clips,) fold of each, at least two.
        wish: a `Wish`.
    """
    taken = np.zeros(len(labels), np.int64)
    for own in (fold_of == fold for fold in np.unique(fold_of)):
        others = logits[:, ~own], labels[~own]
        threshold = wish.threshold(trade_off(cross_fitted(weigh, *others, fold_of[~own]), others[1], costs))
        taken[own] = leave(combined(weigh(*others), logits[:, own]), threshold)
    return taken


def trade_off(answers, labels, costs, steps=200):
    """The `TradeOff` of answers on clips that neither the exits nor their weights have learned from.

    A threshold that is chosen from it has seen the labels of these clips: other ones must judge it.

    Args:
        answers: Z (exits, clips, classes).
        labels: (clips,) class ids.
        costs: (exits,) of everything computed up to each exit, in any unit.
        steps: thresholds tried, at quantiles of the middles between confidences that occur: rounding makes no clip leave or stay there.
    """
    occurring = np.unique(softmax(answers).max(axis=2)[:-1])
    right = answers.argmax(axis=2) == labels
    middles = (occurring[1:] + occurring[:-1]) / 2
    tried = np.quantile(middles, np.linspace(0, 1, steps), method="nearest") if len(middles) else middles
    thresholds = np.unique([0.0, *tried, 1.0])
    taken = np.stack([leave(answers, threshold) for threshold in thresholds])
    left = shares(taken, len(answers))
    accuracy = 100 * right[taken, np.arange(answers.shape[1])].mean(axis=1)
    return TradeOff(thresholds=thresholds, accuracy=accuracy, cost=left @ np.asarray(costs, float), left=left)


def shares(taken, exits):
    """Share of the clips that leave at each exit, (..., exits), of the exits (..., clips) at which they leave."""
    return (taken[..., None] == np.arange(exits)).mean(axis=-2)
