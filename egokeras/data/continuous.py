"""Clips as a device sees them: windows of one length that slide into and out of actions, and over time without any.

A trimmed segment begins and ends with its action, so a model of such clips has never seen a window that shows half of one, or none.
"""

import collections
import dataclasses
import math
from zlib import crc32

import numpy as np

from egokeras.data import segments
from egokeras.errors import InputError
from egokeras.protocol import BACKGROUND

TRIES = 16  # places drawn for a window, of which the first is taken that shows no other action for longer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Continuous:
    """How clips are cut for a model that will see video without end.

    Attributes:
        seconds: that every clip spans, however long its segment is: its frames are `seconds / frames` apart, as in the window of
            `egokeras.device.stream.Stream`.
        background: clips of time that no segment covers, for each clip of an action in the same video, as far as that time has room for
            clips that differ; 0 is none, and no class for them.
        margin: seconds that these keep away from every segment, because annotated bounds are not exact.
        overlap: least share of the action that a clip of it shows, or of the clip where that is shorter; 1 shows all of it.
    """

    seconds: float
    background: float = 1.0
    margin: float = 0.5
    overlap: float = 0.5

    def __post_init__(self):
        if not 0 < self.seconds < math.inf:
            raise InputError(f"continuous.seconds is {self.seconds:g}; give the seconds that a clip spans.")
        for field in ("background", "margin"):
            if not 0 <= getattr(self, field) < math.inf:
                raise InputError(f"continuous.{field} is {getattr(self, field):g}; it must be at least 0.")
        if not 0 < self.overlap <= 1:
            raise InputError(f"continuous.overlap is {self.overlap:g}; give a share above 0, at most 1.")


def cut(annotations, settings, seed=0, videos=None):
    """Annotations whose segments are windows of equal length, with those of unlabelled time after them.

    A segment's window lies anywhere where it shows enough of the action (`overlap`) and, if there is such a place, no other action for
    longer. A window of unlabelled time has the label `background`, the last class of every label space. All of them end before the
    video's last annotated stop, for nobody may have looked at what comes after. What is drawn depends on `seed`, the video and its
    segments alone.

    Args:
        annotations: `Annotations` with splits.
        settings: `Continuous`.
        seed: of the places.
        videos: names of those to look for unlabelled time in; None is all. Videos with unlabelled segments (a test set) are left out.

    Raises:
        InputError: a segment without an end, a video whose segments are in different splits, or no unlabelled time that is long enough.
    """
    by_video = collections.defaultdict(list)
    for segment in annotations.segments:
        by_video[segment.video].append(segment)
    placed, idle = {}, []
    for video, own in by_video.items():
        _check(video, own)
        rng = np.random.default_rng([seed, crc32(video.encode())])
        spans = np.array([(segment.start, segment.stop) for segment in own])
        for segment, start in zip(own, _starts(spans, settings, rng), strict=True):
            stop = min(start + settings.seconds, spans[:, 1].max())
            placed[segment.uid] = dataclasses.replace(segment, **_rounded(start, stop))
        if all(segment.labels for segment in own) and (videos is None or video in videos):
            like = dataclasses.replace(own[0], labels=dict.fromkeys(annotations.classes, BACKGROUND))
            for number, start in enumerate(_idle_starts(spans, settings, rng)):
                place = _rounded(start, start + settings.seconds)
                idle.append(dataclasses.replace(like, uid=f"{BACKGROUND}-{video}-{number}", **place))
    annotations = dataclasses.replace(annotations, segments=(*(placed[segment.uid] for segment in annotations.segments), *idle))
    return segments.check(_with_class(annotations, settings, idle))


def _rounded(start, stop):
    """To milliseconds, as annotations have them."""
    return {"start": round(float(start), 3), "stop": round(float(stop), 3)}


def _check(video, own):
    if any(segment.stop is None for segment in own):
        raise InputError(
            f"video {video!r} is a trimmed clip, without time before and after its action; give whole videos, or no --continuous."
        )
    if len({segment.splits for segment in own}) > 1:
        raise InputError(f"video {video!r} has segments in several splits, which windows that slide would mix; give each video one.")


def _starts(spans, settings, rng):
    """Where the windows of segments begin, (segments,); spans (segments, 2) of one video."""
    seconds, end = settings.seconds, spans[:, 1].max()
    for number, (start, stop) in enumerate(spans):
        shown = settings.overlap * min(seconds, stop - start)
        low, high = max(0.0, start + shown - seconds), max(0.0, min(stop - shown, end - seconds))
        places = rng.uniform(low, max(low, high), TRIES)
        covered = np.minimum(places[:, None] + seconds, spans[:, 1]) - np.maximum(places[:, None], spans[:, 0])
        fits = covered[:, number] >= covered.max(axis=1)
        yield places[fits.argmax()] if fits.any() else np.clip((start + stop - seconds) / 2, low, max(low, high))


def _idle_starts(spans, settings, rng):
    """Where windows of unlabelled time begin, ascending: of a stretch as long as `n` of them, 2 n - 1 differ."""
    gaps = [(start, stop) for start, stop in _gaps(spans, settings.margin) if stop - start >= settings.seconds]
    rooms = [2 * int((stop - start) / settings.seconds) - 1 for start, stop in gaps]
    places = np.repeat(np.arange(len(gaps)), np.array(rooms, int))
    taken = rng.choice(places, min(round(settings.background * len(spans)), len(places)), replace=False) if gaps else []
    return sorted(rng.uniform(gaps[gap][0], gaps[gap][1] - settings.seconds) for gap in taken)


def _gaps(spans, margin):
    """Stretches (start, stop) before the last stop that are `margin` away from every span; may be empty or turned round."""
    at = 0.0
    for start, stop in sorted(map(tuple, spans)):
        yield at, start - margin
        at = max(at, stop + margin)


def _with_class(annotations, settings, idle):
    """Annotations with `background` as the last class of every label space."""
    if not settings.background:
        return annotations
    if not idle:
        found = f"no video has {settings.seconds + 2 * settings.margin:g} s without an action"
        raise InputError(f"{found}, so there is no background; give shorter clips, a smaller --margin, or --background 0.")
    classes = {space: (*names, *({BACKGROUND} - set(names))) for space, names in annotations.classes.items()}
    if annotations.actions and BACKGROUND not in annotations.classes["action"]:
        pair = tuple(classes[space].index(BACKGROUND) for space in ("verb", "noun"))
        return dataclasses.replace(annotations, classes=classes, actions=(*annotations.actions, pair))
    return dataclasses.replace(annotations, classes=classes)


def counts(shards):
    """How many clips of unlabelled time each split has that is labelled, of `Shards`."""
    space, names = next(iter(shards.classes.items()))
    number = names.index(BACKGROUND) if BACKGROUND in names else len(names)
    labels = {split: shards.labels(space, shards.rows(split)) for split in shards.splits}
    return {split: int((found == number).sum()) for split, found in labels.items() if (found >= 0).any()}
