"""Which clips: the rows to train on and to judge by, and fair cuts that leave no group on two sides."""

import csv
import pathlib

import numpy as np

from egokeras.errors import InputError


def split_rows(shards, *, train="train", validation="validation", videos="", hold_out=0.0):
    """Rows to train on and rows to validate on; `recipe.Data` says what the arguments mean.

    Raises:
        InputError: no such split, a list of videos that cannot be read, or no clip left to train on.
    """
    train_rows = shards.rows(train)
    if validation not in (*shards.splits, "validation"):  # that one may be absent: then nothing is validated
        raise InputError(f"data.validation: {shards.path} has no split {validation!r}; it has {', '.join(shards.splits)}.")
    held_out = shards.rows(validation) if validation in shards.splits else train_rows[:0]
    if videos:
        chosen = _listed(videos)
        stems = np.array([pathlib.PurePosixPath(video).stem for video in shards.clips["video"]])
        train_rows, held_out = (rows[np.isin(stems[rows], chosen)] for rows in (train_rows, held_out))
    if hold_out:
        if not 0 < hold_out <= 0.5:
            raise InputError(f"data.hold_out is {hold_out:g}; give a share of the training clips from 0 to 0.5.")
        space = next(iter(shards.classes))
        whole = groups(shards, train_rows) if shards.index.get("exclusive") == "group" else shards.clips["video"][train_rows]
        fold_of = grouped_folds(whole, shards.labels(space, train_rows), round(1 / hold_out))
        train_rows, held_out = train_rows[fold_of != 0], train_rows[fold_of == 0]
    if not len(train_rows):
        raise InputError(f"{shards.path}: no clip to train on in split {train!r}; check data.train and data.videos.")
    return train_rows, held_out


def groups(shards, rows):
    """What must not be cut apart: the group of each clip, where it has none its video."""
    return np.where(shards.clips["group"][rows] == "", shards.clips["video"][rows], shards.clips["group"][rows])


def _listed(path):
    """Video names in a text file, one a line, or in the column `video_id` of a csv."""
    if not pathlib.Path(path).is_file():
        raise InputError(f"data.videos: {path} is not a file; give a list of videos.")
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            lines = list(csv.reader(file))
    except OSError as error:
        raise InputError(f"data.videos: {path} cannot be read ({error.strerror}).") from None
    column = lines[0].index("video_id") if lines and "video_id" in lines[0] else 0
    return sorted({line[column] for line in lines if line} - {"video_id"})


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
