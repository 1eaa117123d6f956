"""What every dataset becomes: a list of labelled spans of video, and the names of the classes."""

import collections
import dataclasses
import math
import pathlib
import re
from collections.abc import Mapping

from egokeras.errors import InputError

SPLIT = re.compile(r"(train|validation|test)[0-9]*")
SPLIT_IN_NAME = re.compile(r"(?<![a-z])(train|val|dev|test)(?:ing|id|idation)?(?:list|[_-]?(?:split|s)[_-]?)?0*([0-9]*)(?![a-z0-9])")

# Split of segments before which nothing could be observed: they count in statistics of labels, and are neither trained on nor judged by.
DISCARDED = "discarded"

# What is exclusive to the fields of a segment whose values may lie in one split only.
EXCLUSIVE = {"group": ("group", "video"), "video": ("video",), "segment": ("uid",)}


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
        exclusive: what may lie in one split only: a `group` (UCF-101's gXX) and so its videos, a `video` (EPIC-KITCHENS, whose
            participants are on both sides), or just a `segment` (RU-LSTM's lists of EGTEA cut recordings apart, officially).
        actions: verb id and noun id of each class of `action`, in the order of their ids; empty if it is not known.
    """

    segments: tuple[Segment, ...]
    classes: Mapping[str, tuple[str, ...]]
    sources: tuple[pathlib.Path, ...] = ()
    exclusive: str = "video"
    actions: tuple[tuple[int, int], ...] = ()


def held_out(split):
    """Whether a split is for judging (validation, test) rather than for training."""
    return not split.startswith("train")


def numbering(split):
    """What tells apart splits that have nothing to do with one another: `1` of `train1`, or nothing; `discarded` is apart from all."""
    return split if split == DISCARDED else split.lstrip("abcdefghijklmnopqrstuvwxyz")


def split_named(name):
    """The split that a file name or a cell speaks of, or "": `val.csv` is validation, `trainlist02` train2, `test_s1` test1."""
    match = SPLIT_IN_NAME.search(name.lower())
    if not match:
        return ""
    seen = {"unseen": "2", "seen": "1"}.get("".join(re.findall("(?:un)?seen", name.lower())), "")  # EPIC-KITCHENS-55's two test sets
    return {"val": "validation", "dev": "validation"}.get(match[1], match[1]) + (match[2] or seen)


def classes_of(segments):
    """Label space to sorted class names, for data that brings no list of classes."""
    names = collections.defaultdict(set)
    for segment in segments:
        for space, name in segment.labels.items():
            names[space].add(name)
    return {space: tuple(sorted(found)) for space, found in sorted(names.items())}


def merge(segments):
    """One segment per uid, which belongs to the splits of all that had that uid: lists of several splits name a clip again.

    Raises:
        InputError: two segments of one uid differ in more than their splits.
    """
    found: dict[str, Segment] = {}
    for segment in segments:
        known = found.setdefault(segment.uid, segment)
        if known is segment:
            continue
        if dataclasses.replace(known, splits=segment.splits) != segment:
            raise InputError(f"segment {segment.uid!r} is listed twice with different times or labels: {known} and {segment}; keep one.")
        found[segment.uid] = dataclasses.replace(known, splits=tuple(dict.fromkeys(known.splits + segment.splits)))
    return tuple(found.values())


def with_actions(annotations):
    """Annotations that say the verb and noun of each action, as far as can be told.

    Where the labels are verbs and nouns alone, every pair that occurs becomes an action, `open door`, in the order of the ids of
    verb and noun. Where there are actions, each has the pair that its segments have most often.
    """
    classes = annotations.classes
    if annotations.actions or not {"verb", "noun"} <= set(classes):
        return annotations
    if "action" in classes:
        return dataclasses.replace(annotations, actions=pairs_of_actions(annotations.segments, classes))
    ids = [{name: number for number, name in enumerate(classes[space])} for space in ("verb", "noun")]
    pairs = [
        tuple(known.get(segment.labels.get(space), -1) for known, space in zip(ids, ("verb", "noun"), strict=True))
        for segment in annotations.segments
    ]
    actions = tuple(sorted({pair for pair in pairs if min(pair) >= 0}))
    names = {(verb, noun): f"{classes['verb'][verb]} {classes['noun'][noun]}" for verb, noun in actions}
    found = tuple(
        dataclasses.replace(segment, labels={**segment.labels, "action": names[pair]}) if pair in names else segment
        for segment, pair in zip(annotations.segments, pairs, strict=True)
    )
    classes = {**classes, "action": tuple(names.values())}
    return check(dataclasses.replace(annotations, segments=found, classes=classes, actions=actions))


def pairs_of_actions(segments, classes):
    """Verb id and noun id of each action, the pair that its segments have most often; empty if there is an action without segments."""
    spaces = ("action", "verb", "noun")
    ids = {space: {name: number for number, name in enumerate(classes[space])} for space in spaces}
    counts: dict = collections.defaultdict(collections.Counter)
    for segment in segments:
        if set(spaces) <= set(segment.labels):
            action, verb, noun = (ids[space][segment.labels[space]] for space in spaces)
            counts[action][verb, noun] += 1
    found = tuple(
        min(counts[action], key=lambda pair: (-counts[action][pair], pair), default=()) for action in range(len(classes["action"]))
    )
    return found if all(found) else ()


def names_of(video):
    """What may be called after a video: its path as it is, then without suffix."""
    return tuple(dict.fromkeys((video, pathlib.PurePosixPath(video).with_suffix("").as_posix())))


def listed(names):
    """The first few names, and how many more there are."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def is_inside(video):
    """Whether a video's path stays below the video folder: relative, plain parts with `/` between them, writable as UTF-8."""
    plain = all(part not in ("", ".", "..") for part in video.split("/"))
    return plain and not re.search(r"^[A-Za-z]:|[\\\x00-\x1f\x7f\ud800-\udfff]", video)


def check(annotations):
    """Return `annotations` if they can be used.

    Raises:
        InputError: no segment, a uid twice, a span that is empty, a video outside the folder, a label outside its classes,
            a label space with one class, an unknown split or segments without one among others,
            or a video (or what else is `exclusive`) in two splits of one numbering.
    """
    if not annotations.segments:
        names = ", ".join(str(source) for source in annotations.sources) or "the annotations"
        raise InputError(f"{names}: no segment found; check the path and the format.")
    seen, classes = set(), {space: frozenset(names) for space, names in annotations.classes.items()}
    for segment in annotations.segments:
        if segment.uid in seen:
            raise InputError(f"segment {segment.uid!r} appears twice; every uid must be unique.")
        seen.add(segment.uid)
        _check_span(segment)
        for space, name in segment.labels.items():
            if name not in classes.get(space, ()):
                raise InputError(f"segment {segment.uid!r}: {space} {name!r} is not among the {len(classes.get(space, ()))} classes.")
    _check_videos(annotations.segments)
    _check_classes(annotations.classes)
    _check_actions(annotations)
    _check_splits(annotations.segments)
    for field in EXCLUSIVE[annotations.exclusive]:
        _check_leaks(annotations.segments, field)
    return annotations


def _check_span(segment):
    stop = math.inf if segment.stop is None else segment.stop
    if not (0 <= segment.start < stop and (segment.stop is None or math.isfinite(stop))):
        raise InputError(f"segment {segment.uid!r}: start {segment.start} s, stop {segment.stop} s is not a span of time.")


def _check_videos(segments):
    for video in dict.fromkeys(segment.video for segment in segments):
        if not is_inside(video):
            advice = "name it relative to that folder in plain UTF-8, without '..', backslashes or line breaks"
            raise InputError(f"video {video!r} is not a path below the video folder; {advice}.")


def _check_classes(classes):
    for space, names in classes.items():
        if len(set(names)) < max(2, len(names)):
            raise InputError(f"{space}: classes {', '.join(names[:5])} are not at least two distinct names to tell apart.")


def _check_actions(annotations):
    classes, actions = annotations.classes, annotations.actions
    if actions and len(actions) != len(classes.get("action", ())):
        raise InputError(
            f"{len(actions)} pairs of verb and noun are given for {len(classes.get('action', ()))} actions; give one for each."
        )
    for number, pair in enumerate(actions):
        if not all(0 <= index < len(classes.get(space, ())) for index, space in zip(pair, ("verb", "noun"), strict=True)):
            raise InputError(f"action {classes['action'][number]!r} has verb and noun {pair}, which are no classes; correct the pair.")


def _check_splits(segments):
    for split in {split for segment in segments for split in segment.splits}:
        if not SPLIT.fullmatch(split):
            raise InputError(f"split {split!r} is unknown; use train, validation or test, with a number if there are several.")
    lonely = [segment.uid for segment in segments if not segment.splits]
    if 0 < len(lonely) < len(segments):
        raise InputError(f"segment {lonely[0]!r} has no split although others have one; name it for every segment or for none.")


def _check_leaks(segments, field):
    """A value of `field` lies in one split only, among splits of the same number (EGTEA's train1 is apart from its test2)."""
    sides = collections.defaultdict(set)
    for segment in segments:
        for split in segment.splits:
            sides[getattr(segment, field), numbering(split)].add(split)
    for (value, _), splits in sides.items():
        if value and len(splits) > 1:
            names = " and ".join(sorted(splits))
            raise InputError(f"{field} {value!r} is in {names}: scores on such a split mean nothing; move it to one side.")
