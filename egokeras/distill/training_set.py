"""What a method may know of the training clips before training begins."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TrainingSet:
    """Labels, and what follows what in the training videos.

    Attributes:
        labels: label space that is learned to the ids of the training clips, (clips,); -1 is none.
        classes: label space, also of those that are not learned, to class names in the order of their ids.
        actions: (actions, 2) verb and noun id of each action; of data without a label space `action` the pairs that occur among
            the training clips; None where the data does not say.
        history: label space to runs of labels, (segments,) each: the labels of a training video in the order of start and stop, with
            those that are no training clips because nothing was observed before them. Where a segment that is held out, or has no
            label, stands between two others, one run ends and the next begins: neighbours in a run are consecutive annotations.
        held_out: number of clips that every epoch is judged by.
        find: from the name of an earlier training to its model's file.
    """

    labels: Mapping[str, np.ndarray]
    classes: Mapping[str, tuple[str, ...]]
    actions: np.ndarray | None = None
    history: Mapping[str, list[np.ndarray]] = dataclasses.field(default_factory=dict)
    held_out: int = 0
    find: Callable[[str], pathlib.Path] = pathlib.Path

    def sequences(self, space):
        """The labels that follow one another in the training videos: list of (segments,) int arrays, see `history`."""
        return self.history[space]


def training_set(shards, rows, heads, split="train"):
    """The `TrainingSet` of the heads and rows of a set.

    Args:
        shards: an open `Shards` or `Joined`.
        rows: of the training clips.
        heads: label spaces that are learned.
        split: the training split; its segments before which nothing was observed count in the videos of the training clips.
    """
    clips = shards.clips
    allowed = np.zeros(len(clips), bool)
    allowed[rows] = True
    allowed[shards.discarded(split, rows)] = True
    _, video = np.unique(clips["video"], return_inverse=True)
    segments = np.flatnonzero((clips["splits"] > 0) | allowed)  # copies of clips are in no split
    segments = segments[np.lexsort((segments, clips["stop"][segments], clips["start"][segments], video[segments]))]
    labels = {space: shards.labels(space, np.arange(len(clips))) for space in heads}
    history = {space: _runs(ids[segments], video[segments], allowed[segments] & (ids[segments] >= 0)) for space, ids in labels.items()}
    return TrainingSet(
        labels={space: labels[space][rows] for space in heads},
        classes=shards.classes,
        actions=_actions(shards, rows),
        history=history,
    )


def _runs(ids, videos, usable):
    """The `ids` of ordered segments, cut where the video changes and where a segment is not `usable`; these are left out."""
    run = np.cumsum(~usable | (np.diff(videos, prepend=-1) != 0))[usable]
    return np.split(ids[usable], np.flatnonzero(np.diff(run)) + 1) if len(run) else []


def _actions(shards, rows):
    if "actions" in shards.index:
        return np.array(shards.index["actions"], np.int64).reshape(-1, 2)
    if "action" in shards.classes or not {"verb", "noun"} <= set(shards.classes):
        return None
    pairs = np.stack([shards.labels(space, rows) for space in ("verb", "noun")], axis=1).astype(np.int64)
    return np.unique(pairs[(pairs >= 0).all(axis=1)], axis=0)
