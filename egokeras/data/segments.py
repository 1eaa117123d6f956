"""What every dataset becomes: a list of labelled spans of video, and the names of the classes."""

import collections
import dataclasses
import pathlib
from collections.abc import Mapping

from egokeras.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Segment:
    """A span of one video.

    Attributes:
        uid: unique within the dataset; what submissions and logs name.
        video: path below the video folder with `/` between parts, with or without suffix.
        start: seconds from the first frame.
        stop: seconds from the first frame; None is the end of the video.
        labels: label space (`verb`, `noun`, `action`, `verb_category` ...) to class name; empty for a test set.
        splits: the splits it belongs to: `train`, `validation`, `test`, or numbered ones such as `train1`, `test3`.
        group: what must not be cut apart in a fair test: participant, recording, source.
    """

    uid: str
    video: str
    start: float = 0.0
    stop: float | None = None
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    splits: tuple[str, ...] = ()
    group: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Annotations:
    """All that a reader took from annotation files.

    Attributes:
        segments: in the order of the files.
        classes: label space to class names, in the order of their ids.
        sources: the files read, for their checksums.
        exclusive_groups: whether a group may lie in one split only (UCF-101's gXX; not EPIC-KITCHENS' participants).
    """

    segments: tuple[Segment, ...]
    classes: Mapping[str, tuple[str, ...]]
    sources: tuple[pathlib.Path, ...] = ()
    exclusive_groups: bool = False


def held_out(split):
    """Whether a split is for judging (validation, test) rather than for training."""
    return not split.startswith("train")


def classes_of(segments):
    """Label space to sorted class names, for data that brings no list of classes."""
    names = collections.defaultdict(set)
    for segment in segments:
        for space, name in segment.labels.items():
            names[space].add(name)
    return {space: tuple(sorted(found)) for space, found in sorted(names.items())}


def check(annotations):
    """Return `annotations` if they can be used.

    Raises:
        InputError: no segment, a uid twice, a span that is empty, a label outside its classes,
            or a video (or an exclusive group) on both sides of a pair of splits.
    """
    if not annotations.segments:
        names = ", ".join(str(source) for source in annotations.sources) or "the annotations"
        raise InputError(f"{names}: no segment found; check the path and the format.")
    seen = set()
    for segment in annotations.segments:
        if segment.uid in seen:
            raise InputError(f"segment {segment.uid!r} appears twice; every uid must be unique.")
        seen.add(segment.uid)
        if segment.start < 0 or (segment.stop is not None and not segment.stop > segment.start):
            raise InputError(f"segment {segment.uid!r}: start {segment.start} s, stop {segment.stop} s is not a span of time.")
        for space, name in segment.labels.items():
            if name not in annotations.classes.get(space, ()):
                raise InputError(f"segment {segment.uid!r}: {space} {name!r} is not among the {len(annotations.classes.get(space, ()))} classes.")
    _check_leaks(annotations, "video")
    if annotations.exclusive_groups:
        _check_leaks(annotations, "group")
    return annotations


def _check_leaks(annotations, field):
    """A video or group may be for training or for judging, not both, within one numbering of the splits."""
    sides = collections.defaultdict(set)
    for segment in annotations.segments:
        for split in segment.splits:
            number = split.lstrip("abcdefghijklmnopqrstuvwxyz_-")
            sides[getattr(segment, field), number].add(split)
    for (value, _), splits in sides.items():
        if value and len({held_out(split) for split in splits}) > 1:
            raise InputError(f"{field} {value!r} is in {' and '.join(sorted(splits))}: scores on such a split mean nothing; move it to one side.")
