"""The first-order Markov baseline of anticipation: what followed the last known action in the training videos, in plain NumPy.

It sees no picture and knows the past labels of the video as they were annotated, so a model without labels among its inputs may fall
behind it, and one with them that does not beat it has learnt no more than which action follows which.
"""

import numpy as np

from egokeras.data.observations import microseconds
from egokeras.protocol import ANTICIPATION
from egokeras.scores import Place, place

UNSEEN = -2  # before an action of which the predecessor may not be counted


def markov_place(clips, labels, rows, train_rows, classes, known="start"):
    """Places in the ranking by what followed the last known action in the training videos, and by training frequency behind that.

    Counted are training clips that follow one another with no other segment between them, without the clips that are judged. An
    action before which nothing is known is ranked by what the training videos begin with.

    Args:
        clips: structured array of all segments, with `video`, `start`, `stop`.
        labels: (segments,) of one label space; -1 is none.
        rows: labelled segments that are judged.
        train_rows: segments that are counted: training clips, and discarded segments of their videos (see `ClipTable.discarded`).
        classes: number of classes.
        known: see `last_known`.

    Returns:
        `Place` of (rows, times).
    """
    labelled = np.flatnonzero(labels >= 0)
    ids, last = labels[labelled], last_known(clips[labelled], known)[np.searchsorted(labelled, rows)]
    trained = np.setdiff1d(train_rows, rows).astype(np.int64)
    trained = trained[labels[trained] >= 0]
    first = predecessors(clips)[trained]
    before = np.where(np.isin(first, trained), labels[first], np.where(first < 0, -1, UNSEEN))
    after = labels[trained]
    context = np.where(last >= 0, ids[last], -1)
    return following_place(before, after, context, labels[rows], classes)


def following_place(before, after, context, labels, classes):
    """Places of `labels` (clips,) by what came after `context` (clips, times) in the pairs (before, after); -1 is no action.

    A pair whose `before` is `UNSEEN` counts in the frequencies alone.
    """
    order = np.argsort(before, kind="stable")
    before, after = before[order], after[order]
    frequency = np.bincount(after, minlength=classes)
    above, tied = np.empty(context.shape, np.int32), np.empty(context.shape, np.int32)
    wanted = np.broadcast_to(labels[:, None], context.shape)
    for value in np.unique(context):
        first, end = np.searchsorted(before, (value, value + 1))
        score = np.bincount(after[first:end], minlength=classes) * (len(after) + 1) + frequency
        here = context == value
        above[here], tied[here] = place(np.broadcast_to(score, (int(here.sum()), classes)), wanted[here])
    return Place(above, tied)


def last_known(clips, known="start", times=ANTICIPATION):
    """The last action of the same video that is known at each time before an action: (segments, times) rows, -1 for none.

    Args:
        clips: structured array with `video`, `start`, `stop` of all annotated segments, in any order.
        known: `start` or `stop`, the moment at which an action becomes known; one without a stop never is by its stop.
        times: seconds before the start.
    """
    now, since = microseconds(clips["start"]), microseconds(clips[known])
    found = np.full((len(clips), len(times)), -1, np.int64)
    for rows in _by_video(clips["video"], since, now):
        number = np.searchsorted(since[rows], now[rows][:, None] - microseconds(times), side="right")
        found[rows] = np.where(number > 0, rows[number - 1], -1)
    return found


def predecessors(clips):
    """The action that starts before each in its video: (segments,) rows, -1 for the first of a video; `clips` as for `last_known`."""
    found = np.full(len(clips), -1, np.int64)
    for rows in _by_video(clips["video"], clips["start"], clips["stop"]):
        found[rows[1:]] = rows[:-1]
    return found


def _by_video(videos, first, second):
    """The rows of each video, ordered by `first`, then `second`."""
    names, video = np.unique(videos, return_inverse=True)
    order = np.lexsort((second, first, video))
    return np.split(order, np.searchsorted(video[order], np.arange(1, len(names))))
