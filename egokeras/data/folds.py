"""Fair cuts of a small set: no group on two sides, and every class on each side as far as the groups allow."""

import numpy as np


def grouped_folds(groups, labels, folds, seed=0):
    """A fold number for every clip, such that a group lies in one fold and classes are spread evenly.

    Groups are dealt from large to small, each to the fold where the squared counts of its classes grow least.

    Args:
        groups: `(clips,)` names.
        labels: `(clips,)` class ids, -1 for none.
        folds: how many.
        seed: breaks ties between groups of equal size.

    Returns:
        `(clips,)` int64 in 0 .. folds - 1.
    """
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    classes = int(max(labels, default=-1)) + 2  # the last column counts clips without a label
    table = np.zeros((len(names), classes))
    np.add.at(table, (member, np.asarray(labels)), 1)
    share = np.maximum(table.sum(0), 1)  # a rare class weighs as much as a common one
    held = np.zeros((folds, classes))
    fold_of_group = np.zeros(len(names), np.int64)
    shuffled = np.random.default_rng(seed).permutation(len(names))
    for group in shuffled[np.argsort(-table[shuffled].sum(1), kind="stable")]:
        growth = (((held + table[group]) / share) ** 2 - (held / share) ** 2).sum(1)
        fold = np.lexsort((held.sum(1), np.round(growth, 12)))[0]
        fold_of_group[group] = fold
        held[fold] += table[group]
    return fold_of_group[member]
