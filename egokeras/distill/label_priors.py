"""Anticipation with semantic label smoothing: distillation from a prior over what else could have happened.

Camporese et al., "Knowledge Distillation for Action Anticipation via Label Smoothing" (ICPR 2020), https://arxiv.org/abs/2004.07711.
"""

import dataclasses
import functools
import hashlib
import os
import sys
import typing
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from egokeras.distill import glove, prior_matrices
from egokeras.distill.inputs import run
from egokeras.errors import InputError
from egokeras.losses import mean_over_known


def _check_choice(field, value, choices):
    if value not in choices:
        raise InputError(f"method.prior.{field} {value!r} is not known; give {' or '.join(choices)}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Uniform:
    """All classes alike: pi_k(i) = 1 / K."""

    def matrix(self, training, space):
        """pi of a label space of the `TrainingSet`: (classes, classes) float32, a row per ground truth."""
        return prior_matrices.uniform(len(training.classes[space]))


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerbNoun:
    """Actions with the same verb or the same noun; for a head `verb` alone, verbs that are done with a noun in common; and vice versa.

    Attributes:
        mode: `union`, all companions alike, or `sum`, what is shared counted (see `prior_matrices.verb_noun` and `sharing`).
    """

    mode: typing.Literal["union", "sum"] = "union"

    def __post_init__(self):
        _check_choice("mode", self.mode, ("union", "sum"))

    def matrix(self, training, space):
        """See `Uniform.matrix`."""
        if space not in ("action", "verb", "noun"):
            raise InputError(f"method.prior: VerbNoun is for heads of actions, verbs and nouns, not for {space}; give another prior.")
        verbs, nouns = _actions(training).T
        if space == "action":
            return prior_matrices.verb_noun(verbs, nouns, self.mode)
        own, other = (verbs, nouns) if space == "verb" else (nouns, verbs)
        return prior_matrices.sharing(own, other, len(training.classes[space]), self.mode)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Temporal:
    """Predecessors: how often class i came right before class k in the training videos.

    Attributes:
        empty: companions of a class that never had a predecessor: `one-hot`, itself alone, or `uniform`, all.
    """

    empty: typing.Literal["one-hot", "uniform"] = "one-hot"

    def __post_init__(self):
        _check_choice("empty", self.empty, ("one-hot", "uniform"))

    def matrix(self, training, space):
        """See `Uniform.matrix`."""
        sequences = training.sequences(space)
        if not any(len(labels) > 1 for labels in sequences):
            raise InputError(
                f"method.prior: Temporal needs videos with several {space} labels in a row, the data has none; give another prior."
            )
        return prior_matrices.temporal(sequences, len(training.classes[space]), self.empty)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GloVe:
    """Classes with similar names, by the dot product of word vectors; of an action, those of its verb and its noun side by side.

    Where the data does not tell the verb and the noun of an action, and for any other label space, it is the mean over the words of the
    class name. A class of whose words none is known has no companions but itself.

    Attributes:
        vectors: a file in the text format of GloVe, of any dimension, such as `glove.6B.300d.txt`.
    """

    vectors: str = ""

    def matrix(self, training, space):
        """See `Uniform.matrix`."""
        return prior_matrices.similarity(self.embed(training, space))

    def embed(self, training, space):
        """phi of each class, (classes, dimension) float32, for actions twice the dimension of the file."""
        found = self._read(training)
        if self._names(training, space).keys() == {space}:
            return found.embed(training.classes[space])
        pairs = _actions(training)
        parts = [found.embed(names) for names in self._names(training, space).values()]
        return np.concatenate([part[ids] for part, ids in zip(parts, pairs.T, strict=True)], axis=1)

    def missing(self, training, space):
        """Names (verbs and nouns for actions) of whose words none has a vector, and all words without one."""
        found, names = self._read(training), [name for part in self._names(training, space).values() for name in part]
        return [name for name, vector in zip(names, found.embed(names), strict=True) if not vector.any()], found.missing_words(names)

    def _read(self, training):
        if not self.vectors:
            raise InputError("method.prior: GloVe has no vectors; give the path of a file in its text format, such as glove.6B.300d.txt.")
        names = tuple(name for space in training.labels for part in self._names(training, space).values() for name in part)
        return _read(self.vectors, _stamp(self.vectors), names)

    @staticmethod
    def _names(training, space):
        """The names whose vectors are wanted, by label space."""
        pair = space == "action" and training.actions is not None and {"verb", "noun"} <= training.classes.keys()
        return {part: training.classes[part] for part in (("verb", "noun") if pair else (space,))}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mixture:
    """Weighted mean of priors; by default half GloVe, half verb-noun (GL+VN; that they weigh the same is our reading of the paper).

    Attributes:
        parts: priors.
        weights: one for each part, in any scale: they are divided by their sum.
    """

    parts: "tuple[Uniform | VerbNoun | Temporal | GloVe | Mixture, ...]" = (GloVe(), VerbNoun())
    weights: tuple[float, ...] = (0.5, 0.5)

    def __post_init__(self):
        if len(self.weights) != len(self.parts):
            raise InputError(f"method.prior.weights has {len(self.weights)} numbers for {len(self.parts)} parts; give one for each.")
        if not all(0 <= weight < float("inf") for weight in self.weights) or not 0 < sum(self.weights) < float("inf"):
            raise InputError(f"method.prior.weights is {self.weights}; give numbers from 0, not all of them 0.")

    def matrix(self, training, space):
        """See `Uniform.matrix`."""
        return prior_matrices.mixture((part.matrix(training, space) for part in self.parts), self.weights)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelSmoothing:
    """y_soft = (1 - a) y + a pi_y, so that L = sum over heads of (1 - a) CE(y, p) + a CE(pi_y, p).

    Attributes:
        prior: pi, from which one learns what else could have happened.
        alpha: a, its share, from 0 (supervised training) to 1.
    """

    prior: Uniform | VerbNoun | Temporal | GloVe | Mixture = Uniform()
    alpha: float = 0.3

    def __post_init__(self):
        if not 0 <= self.alpha <= 1:
            raise InputError(f"method.alpha is {self.alpha}; give a share from 0 to 1.")

    def bind(self, training):
        """The method with the prior of every head that is learned; words without a vector are named on the standard error.

        Args:
            training: a `TrainingSet`.

        Returns:
            `SoftLabels`.

        Raises:
            InputError: the data or the file of vectors has not what the prior needs.
        """
        rows = {space: _constant(self.prior.matrix(training, space)) for space in training.labels}
        for sentence in missing_words(self.prior, training):
            print(sentence, file=sys.stderr, flush=True)
        return SoftLabels(alpha=self.alpha, companions=rows, made_of={"word vectors": _fingerprint(self.prior, training)})

    def networks(self, student):
        raise InputError("LabelSmoothing must see the training labels first; give the Distiller LabelSmoothing(...).bind(training_set).")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SoftLabels:
    """`LabelSmoothing` with its priors.

    Attributes:
        alpha: the share of the prior.
        companions: label space to pi, (classes, classes) float32, a row per ground truth; variables that are no part of the model.
        made_of: what a snapshot of the training must agree with, beside the recipe and the clips.
    """

    alpha: float
    companions: Mapping[str, tf.Variable]
    made_of: Mapping[str, str]

    def networks(self, student):
        return {}

    def terms(self, student, nets, inputs, targets, training):
        outputs = run(student, inputs, training)
        terms = {}
        for space, labels in targets.items():
            hard, soft = cross_entropies(labels, self.companions[space], outputs[space])
            terms[f"ce_{space}"] = (1 - self.alpha) * mean_over_known(hard, labels)
            terms[f"prior_{space}"] = self.alpha * mean_over_known(soft, labels)
        return outputs, terms


def cross_entropies(labels, companions, logits):
    """CE(y, p) and CE(pi_y, p) = -sum_i pi_y(i) log p(i) of every clip; clips without a label (-1) count zero.

    Args:
        labels: `(batch,)` integers.
        companions: pi, `(classes, classes)`.
        logits: `(batch, classes)`, or `(batch, times, classes)`, of which the mean over times is taken.

    Returns:
        Two tensors `(batch,)` float32.
    """
    log_p = tf.nn.log_softmax(tf.cast(logits, "float32"))
    if len(logits.shape) == 3:
        log_p = tf.reduce_mean(log_p, axis=1)
    y = tf.one_hot(labels, companions.shape[0])  # zeros for -1; a gather's gradient would be slower, and not the same in every run on a GPU
    pi = tf.gather(companions, tf.maximum(labels, 0))  # from the variable itself, which no step reads whole
    return -tf.reduce_sum(y * log_p, axis=1), -tf.reduce_sum(pi * log_p, axis=1) * tf.cast(labels >= 0, "float32")


def missing_words(prior, training):
    """A sentence for every file of vectors and head that has words without a vector."""
    for part in parts_of(prior, GloVe):
        for space in training.labels:
            lost, words = part.missing(training, space)
            if words:
                without = f"; without any vector: {_listed(lost)}" if lost else ""
                yield f"{part.vectors} has no vector for {len(words)} words of the {space} names ({_listed(words)}){without}"


def parts_of(prior, kind):
    """The priors of one kind (`GloVe`, `Temporal` ...) that a prior is, or is mixed of."""
    if isinstance(prior, Mixture):
        return [found for part in prior.parts for found in parts_of(part, kind)]
    return [prior] if isinstance(prior, kind) else []


def _fingerprint(prior, training):
    """SHA-256 of the vectors that a prior is made of; the rest follows from the recipe and the clips."""
    vectors = [part.embed(training, space) for part in parts_of(prior, GloVe) for space in training.labels]
    return hashlib.sha256(b"".join(phi.tobytes() for phi in vectors)).hexdigest()


def _listed(names, most=20):
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _constant(matrix):
    """A copy on every device: a constant would be sent to the others in each step, and one in the graph be kept twice."""
    return tf.Variable(matrix, trainable=False)


def _actions(training):
    """(actions, 2) verb and noun ids, which fit the classes."""
    if training.actions is None:
        raise InputError(
            "method.prior: VerbNoun needs the verb and the noun of every action, which the data does not tell; "
            "give another prior, or prepare the set again from annotations with verbs and nouns."
        )
    pairs, sizes = training.actions, [len(training.classes.get(space, ())) for space in ("verb", "noun")]
    if len(pairs) != len(training.classes.get("action", pairs)) or (pairs < 0).any() or (pairs >= sizes).any():
        raise InputError("'actions' in the index.json of the data does not fit its classes of action, verb and noun; make the shards anew.")
    return pairs


@functools.lru_cache(maxsize=2)  # one file serves all heads and folds
def _read(path, stamp, names):
    return glove.read(path, names)


def _stamp(path):
    """Tells a file from one that took its place."""
    try:
        found = os.stat(path)
    except OSError as error:
        raise InputError(f"method.prior.vectors: {path} cannot be read ({error.strerror}); check the path.") from None
    return found.st_mtime_ns, found.st_size
