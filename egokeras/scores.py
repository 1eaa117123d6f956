"""Scores of rankings in NumPy: top-k with fair ties, verb x noun actions, the majority baseline, intervals, clips worth a look.

A tie is split fairly: a label that shares places 1 to 4 with three other classes counts 1/4 at top-1 and 3/4 at top-3. So
constant logits score exactly chance, and the int8 outputs of a phone (256 values for 300 nouns) are not favoured or punished.
"""

import dataclasses
import math
import typing
from collections.abc import Mapping

import numpy as np

KS = (1, 3, 5)
PAIRS_AT_ONCE = 1 << 22

SURE, DENIED = 0.8, 0.05  # a prediction at least so probable against a label at most so probable: the label is worth a look

# 97.5% quantiles of Student's t for 1 to 10 degrees of freedom
T_QUANTILES = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)
NORMAL_QUANTILE = 1.959964


class Place(typing.NamedTuple):
    """Where the true class of each clip stands in its ranking: classes above it, and classes tied with it (itself included)."""

    above: np.ndarray
    tied: np.ndarray

    def hits(self, k):
        """Chance per clip that the label is among the first k when ties are broken at random, (clips,) in 0..1."""
        return np.clip((k - self.above) / self.tied, 0, 1)

    def top(self, k):
        """Top-k accuracy in percent."""
        return float(100 * self.hits(k).mean())

    def of(self, mask):
        """The places of some of the clips."""
        return Place(self.above[mask], self.tied[mask])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Head:
    """The clips of a head that have a label, and where the label stands in several rankings.

    Attributes:
        rows: which of the evaluated clips they are, (clips,).
        labels: (clips,).
        classes: how many classes there are.
        places: name of a ranking (`model`, `majority`, `markov`) to a `Place` of (clips,); of anticipation, (clips, times), or (clips, 1)
            if it never changes.
    """

    rows: np.ndarray
    labels: np.ndarray
    classes: int
    places: Mapping[str, Place]

    def of(self, mask):
        """The head for some of its clips, `mask` (clips,)."""
        places = {name: found.of(mask) for name, found in self.places.items()}
        return dataclasses.replace(self, rows=self.rows[mask], labels=self.labels[mask], places=places)


def softmax(logits):
    """Probabilities over the last axis, float64."""
    raised = np.exp(np.asarray(logits, np.float64) - np.max(logits, axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def place(scores, labels):
    """Places of `labels` (clips,) in `scores` (clips, classes)."""
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    return Place((scores > own).sum(axis=1), (scores == own).sum(axis=1))


def topk_accuracy(scores, labels, k):
    """Percent of clips whose label is among the k best of (clips, classes) scores; ties count by the share of their places."""
    return place(np.asarray(scores), np.asarray(labels)).top(k)


def action_scores(verb_logits, noun_logits):
    """Score of every verb and noun together, (clips, verbs, nouns): log p(v) p(n) up to a constant per clip.

    The normalisers of both softmaxes are the same for all pairs of a clip, so the sum of logits ranks as the product rule does;
    float64 keeps sums of float32 logits apart that differ.
    """
    return np.asarray(verb_logits, np.float64)[:, :, None] + np.asarray(noun_logits, np.float64)[:, None, :]


def action_place(verb_logits, noun_logits, verbs, nouns):
    """Places of the true (verb, noun) among all pairs, a few clips at a time: EPIC-100's 29,100 pairs never lie in memory together."""
    step = max(1, PAIRS_AT_ONCE // (verb_logits.shape[1] * noun_logits.shape[1]))
    labels = pair(verbs, nouns, noun_logits.shape[1])
    parts = []
    for at in range(0, len(labels), step):
        some = slice(at, at + step)
        scores = action_scores(verb_logits[some], noun_logits[some])
        parts.append(place(scores.reshape(len(scores), -1), labels[some]))
    return Place(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def pair(verbs, nouns, noun_classes):
    """Id of an action made of a verb and a noun."""
    return np.asarray(verbs, np.int64) * noun_classes + nouns


def majority_place(train_labels, labels, classes):
    """Places of `labels` in the constant ranking of the classes by how often they occur in training."""
    counts = np.bincount(train_labels, minlength=classes)
    ascending = np.sort(counts)
    below, not_above = (np.searchsorted(ascending, counts[labels], side) for side in ("left", "right"))
    return Place(classes - not_above, not_above - below)


def tail_classes(train_labels, classes, share=0.2):
    """Mask (classes,) of the tail: the smallest classes that together hold at most `share` of the training clips.

    EPIC-KITCHENS-100 has 86 verbs and 228 nouns in its tail; a class without a training clip is no tail class.
    """
    counts = np.bincount(train_labels, minlength=classes)
    order = np.argsort(counts, kind="stable")
    tail = np.zeros(classes, bool)
    tail[order[np.cumsum(counts[order]) <= share * len(train_labels)]] = True
    return tail & (counts > 0)


def confusion(labels, predicted, classes):
    """Counts (classes, classes): rows are the labels, columns the predictions."""
    matrix = np.zeros((classes, classes), np.int64)
    np.add.at(matrix, (labels, predicted), 1)
    return matrix


def bounds(hits, videos, draws=1000, seed=0):
    """95% bounds in percent of the mean of `hits` (clips,): the wider of two.

    The bootstrap draws whole videos, because clips of one video are not independent; Wilson's bound still has a width where every
    clip was right or every clip wrong. One video alone says nothing about others: the bounds are 0 and 100.
    """
    _, video = np.unique(videos, return_inverse=True)
    sums, sizes = np.bincount(video, hits), np.bincount(video)
    if len(sizes) < 2:
        return 0.0, 100.0
    rng = np.random.default_rng(seed)
    picks = (rng.integers(len(sizes), size=len(sizes)) for _ in range(draws))
    low, high = np.percentile([sums[pick].sum() / sizes[pick].sum() for pick in picks], [2.5, 97.5])
    wilson_low, wilson_high = wilson(float(np.mean(hits)), len(hits))
    return 100 * min(float(low), wilson_low), 100 * max(float(high), wilson_high)


def wilson(share, count):
    """Wilson's 95% bounds of a share seen on `count` independent clips."""
    z2 = NORMAL_QUANTILE**2
    centre = share + z2 / (2 * count)
    half = NORMAL_QUANTILE * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    low, high = ((centre + sign * half) / (1 + z2 / count) for sign in (-1, 1))
    return max(0.0, low), min(1.0, high)


def interval(values):
    """Mean and 95% t-interval of one value per fold: mean, low, high; one value alone has no bounds (infinite).

    Folds share training clips, so the interval is on the narrow side.
    """
    values = np.asarray(values, np.float64)
    mean, freedom = float(values.mean()), len(values) - 1
    if freedom < 1:
        return mean, -math.inf, math.inf
    half = t_quantile(freedom) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return mean, mean - half, mean + half


def t_quantile(freedom):
    """97.5% quantile of Student's t: exact up to 10 degrees of freedom, then Cornish and Fisher's expansion (to 1e-4)."""
    if freedom <= len(T_QUANTILES):
        return T_QUANTILES[freedom - 1]
    z, n = NORMAL_QUANTILE, freedom
    terms = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + sum(term / n**power for power, term in enumerate(terms, 1))


def heads(predictions):
    """Heads with at least one labelled clip, in the order of the file."""
    names = [name.removeprefix("logits_") for name in predictions if name.startswith("logits_")]
    return [head for head in names if (predictions[f"label_{head}"] >= 0).any()]


def samples(predictions, count, seed=0):
    """Clips drawn at random: up to `count` with every head right, and up to `count` with a head wrong."""
    labels = np.stack([predictions[f"label_{head}"] for head in heads(predictions)])
    guesses = np.stack([predictions[f"logits_{head}"].argmax(axis=1) for head in heads(predictions)])
    known, wrong = (labels >= 0).any(axis=0), ((labels >= 0) & (labels != guesses)).any(axis=0)
    order = np.random.default_rng(seed).permutation(labels.shape[1])
    return order[(known & ~wrong)[order]][:count], order[wrong[order]][:count]


def mislabelled(predictions):
    """Clips whose label the model is sure to be wrong, the surest first: row, head, p(label), p(prediction)."""
    found = []
    for head in heads(predictions):
        labels = predictions[f"label_{head}"]
        rows = np.flatnonzero(labels >= 0)
        p = softmax(predictions[f"logits_{head}"][rows])
        of_label, of_guess = p[np.arange(len(rows)), labels[rows]], p.max(axis=1)
        found += [(int(rows[at]), head, of_label[at], of_guess[at]) for at in np.flatnonzero((of_guess >= SURE) & (of_label <= DENIED))]
    return sorted(found, key=lambda item: (item[2] - item[3], item[0], item[1]))
