"""Label smoothing priors as matrices in plain NumPy: row k says what else could have happened where class k did.

Every matrix is (classes, classes) float32, pi[k, i] = pi_k(i), and its rows sum to 1. Priors of Camporese et al., "Knowledge
Distillation for Action Anticipation via Label Smoothing" (ICPR 2020), https://arxiv.org/abs/2004.07711; formulas that it leaves open are
said to be our reading.
"""

import numpy as np

_BLOCK = 256  # rows at once, where a wider type is needed in between


def uniform(classes):
    """pi_k(i) = 1 / K, the ground truth with the others."""
    return np.full((classes, classes), 1 / classes, np.float32)


def verb_noun(verbs, nouns, mode="union"):
    """Actions that share the verb or the noun.

    `union`: pi_k(i) = 1[v_i = v_k or n_i = n_k] / C_k, all alike and the ground truth once among them; `sum`: weights
    1[v_i = v_k] + 1[n_i = n_k], so that the ground truth weighs double. Our reading: the formula is an image in the paper.

    Args:
        verbs, nouns: `(actions,)` ids.
        mode: `union` or `sum`.
    """
    verbs, nouns = np.asarray(verbs), np.asarray(nouns)
    same_verb, same_noun = verbs[:, None] == verbs, nouns[:, None] == nouns
    if mode == "union":
        return _rows_to_one((same_verb | same_noun).astype(np.float32))
    weights = same_verb.astype(np.float32)
    return _rows_to_one(np.add(weights, same_noun, out=weights))


def sharing(own, other, classes, mode="union"):
    """Verbs that are done with a noun in common (or nouns that have a verb in common), for a head without the other half.

    Our extension of `verb_noun` to single heads. `union`: all verbs with which k shares a noun, alike, itself included; `sum`: in
    proportion to the number of nouns shared. A class that no action uses keeps its own label.

    Args:
        own, other: `(actions,)` ids of the head's space and of the other one, of the actions that there are.
        classes: of the head's space.
        mode: `union` or `sum`.
    """
    used = np.zeros((classes, np.max(other, initial=-1) + 1), np.float32)
    used[own, other] = 1
    weights = used @ used.T
    return _rows_to_one(np.sign(weights) if mode == "union" else weights)


def transitions(sequences):
    """All pairs of consecutive labels: (transitions, 2) int64, what came first and what followed.

    Args:
        sequences: arrays of class ids, one per video, in the order of time.
    """
    ids = [np.asarray(labels, np.int64) for labels in sequences]
    pairs = [np.stack([labels[:-1], labels[1:]], 1) for labels in ids]
    return np.concatenate([np.zeros((0, 2), np.int64), *pairs])


def temporal(sequences, classes, empty="one-hot"):
    """Predecessors: pi_k(i) = Occ[i -> k] / sum_j Occ[j -> k], from the `transitions` of the training videos.

    Args:
        sequences: see `transitions`.
        classes: their number.
        empty: row of a class without a predecessor: `one-hot` (no smoothing) or `uniform`.
    """
    first, second = transitions(sequences).T
    cells, counts = np.unique(second * classes + first, return_counts=True)
    weights = np.zeros((classes, classes), np.float32)
    weights.reshape(-1)[cells] = counts
    return _rows_to_one(weights, empty)


def similarity(vectors):
    """pi_k(i) = |phi_k . phi_i| / sum_j |phi_k . phi_j|, i = k included and lengths left as they are (the prior GL of GloVe vectors).

    A class whose vector is zero has no companions: its row is one-hot, and it is nobody's companion.

    Args:
        vectors: `(classes, dimension)` phi.
    """
    largest = np.abs(vectors).max(initial=0.0)
    phi = np.divide(vectors, largest or 1.0).astype(np.float32)  # pi is the same, and no product can overflow
    weights = phi @ phi.T
    return _rows_to_one(np.abs(weights, out=weights))


def mixture(matrices, weights):
    """sum_m w_m pi_m / sum_m w_m.

    Args:
        matrices: of the parts, an iterable that may make one after the other.
        weights: one for each part, none negative and not all zero.
    """
    weights = np.asarray(weights, np.float64)
    mixed, shares = None, iter((weights / weights.sum()).astype(np.float32))
    for matrix in matrices:  # not by `zip`, which would hold on to each while the next is made
        part = matrix * next(shares)
        mixed = part if mixed is None else np.add(mixed, part, out=mixed)
        del matrix, part
    return mixed


def support(matrix):
    """Number of companions of each class, itself included where it is one: (classes,) int64."""
    return np.count_nonzero(matrix, axis=1)


def entropy(matrix):
    """Entropy of each row in bits, (classes,) float64."""
    found = np.zeros(len(matrix))
    for start in range(0, len(matrix), _BLOCK):
        p = matrix[start : start + _BLOCK].astype(np.float64)
        found[start : start + _BLOCK] = 0 - np.sum(p * np.log2(p, out=np.zeros_like(p), where=p > 0), axis=1)
    return found


def _rows_to_one(weights, empty="one-hot"):
    """Divide each row, in place, by its sum; rows of zeros become one-hot or uniform."""
    sums = weights.sum(axis=1, dtype=np.float64)
    without = np.flatnonzero(sums == 0)
    weights /= np.where(sums == 0, 1, sums)[:, None].astype(np.float32)
    if empty == "uniform":
        weights[without] = 1 / len(weights)
    else:
        weights[without, without] = 1
    return weights
