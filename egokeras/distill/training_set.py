"""What a method may know of the training clips before training begins."""

import dataclasses
from collections.abc import Mapping

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TrainingSet:
    """Labels, and what follows what in the training videos.

    Attributes:
        labels: label space that is learned to the ids of the training clips, (clips,); -1 is none.
        classes: label space, also of those that are not learned, to class names in the order of their ids.
        actions: (actions, 2) verb and noun id of each action; of data without a label space `action` the pairs that occur among
            the training clips; None where the data does not say.
        history: label space to the labels of each training video in the order of their start, with those that are no training
            clips because nothing was observed before them; without the unlabelled.
    """

    labels: Mapping[str, np.ndarray]
    classes: Mapping[str, tuple[str, ...]]
    actions: np.ndarray | None = None
    history: Mapping[str, list[np.ndarray]] = dataclasses.field(default_factory=dict)

    def sequences(self, space):
        """The labels of each training video in the order of their start: list of (segments,) int arrays."""
        return self.history[space]


def training_set(shards, rows, heads, held_out=()):
    """The `TrainingSet` of the heads and rows of a set.

    Args:
        shards: an open `Shards`.
        rows: of the training clips.
        heads: label spaces that are learned.
        held_out: rows that nothing may be learned from, though they may lie in the same videos.
    """
    clips = shards.clips
    labels = {space: shards.labels(space, np.arange(len(clips))) for space in heads}
    candidates = np.setdiff1d(np.flatnonzero(np.isin(clips["video"], np.unique(clips["video"][rows]))), held_out)
    candidates = candidates[np.lexsort((candidates, clips["stop"][candidates], clips["start"][candidates]))]
    video = clips["video"][candidates]
    history = {}
    for space, ids in labels.items():
        known = ids[candidates] >= 0
        order = np.argsort(video[known], kind="stable")
        _, first = np.unique(video[known][order], return_index=True)
        history[space] = np.split(ids[candidates][known][order], first[1:])
    return TrainingSet(
        labels={space: labels[space][rows] for space in heads},
        classes=shards.classes,
        actions=_actions(shards, rows),
        history=history,
    )


def _actions(shards, rows):
    if "actions" in shards.index:
        return np.array(shards.index["actions"], np.int64).reshape(-1, 2)
    if "action" in shards.classes or not {"verb", "noun"} <= set(shards.classes):
        return None
    pairs = np.stack([shards.labels(space, rows) for space in ("verb", "noun")], axis=1).astype(np.int64)
    return np.unique(pairs[(pairs >= 0).all(axis=1)], axis=0)
