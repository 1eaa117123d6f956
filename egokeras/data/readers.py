"""The readers by the names that people give them, groups taken from file names, and a held-out split for data that has none."""

import collections
import dataclasses
import difflib
import pathlib
import random
import re

from egokeras.data import action_folders, egtea, epic_kitchens, kinetics, segments, tables
from egokeras.data.segments import Annotations, Segment
from egokeras.errors import CONTROL, InputError
from egokeras.files import run_file

READERS = {
    "epic55": epic_kitchens.read_epic55,
    "epic100": epic_kitchens.read_epic100,
    "egtea": egtea.read,
    "ucf101": action_folders.read_ucf101,
    "hmdb51": action_folders.read_hmdb51,
    "kinetics": kinetics.read,
    "folders": action_folders.read_folders,
    "table": tables.read,
}
LONGEST_NAME = 500  # the tables of shards have as much room for every name as the longest takes


def read(name, paths, group=None):
    """Read annotation files and check them.

    Args:
        name: one of `READERS`, or `my.py:function`, a function of the user's that takes the paths and yields Segments, or
            returns Annotations if it knows the order of the classes.
        paths: annotation files or folders.
        group: regular expression searched in the file name of each video; what it finds (its first group, if it has one) must
            not be cut apart, so that all videos with the same find lie in one split.

    Returns:
        Annotations. Segments have no splits where the format gives none; see `hold_out`.

    Raises:
        InputError: an unknown name, a path that is not there, or anything in the files that cannot be used, such as names with
            control characters, which a terminal would obey.
    """
    paths = [pathlib.Path(path) for path in paths]
    for path in paths:
        if not path.exists():
            raise InputError(f"{path} does not exist; check the path of the annotations.")
    if not paths:
        raise InputError("no annotations given; name at least one file or folder.")
    annotations = _own(name, paths) if ".py:" in name else _reader(name)(paths)
    return _named(segments.check(_grouped(annotations, group) if group else annotations))


def _named(annotations):
    """Names go to terminals, pages and arrays: short, and without what does more than be read."""
    names = [(space, name) for space, found in annotations.classes.items() for name in found]
    for segment in annotations.segments:
        names += [("uid", segment.uid), ("video", segment.video), ("group", segment.group)]
    for field, name in dict.fromkeys(names):
        if len(name) > LONGEST_NAME:
            raise InputError(f"{field} {name[:40]!r}... has {len(name)} characters; shorten it to at most {LONGEST_NAME}.")
        if CONTROL.search(name):
            raise InputError(f"{field} {name!r} has a control character or a line break in it; remove it.")
    return annotations


def _reader(name):
    if name in READERS:
        return READERS[name]
    near = difflib.get_close_matches(name, READERS, n=1, cutoff=0.4)
    guess = f"did you mean {near[0]!r}? " if near else ""
    raise InputError(f"dataset {name!r} is unknown; {guess}There are {', '.join(READERS)}, or my.py:function for your own.")


def _own(name, paths):
    """Run the user's function from exactly the file that was named."""
    file, _, function = name.rpartition(":")
    file = pathlib.Path(file).resolve()
    if not file.is_file():
        raise InputError(f"{file} does not exist; name the file of your own reader as path/to/my.py:function.")
    module = run_file(file)
    if not callable(getattr(module, function, None)):
        there = [known for known, value in vars(module).items() if callable(value) and getattr(value, "__module__", "") == module.__name__]
        raise InputError(f"{file} has no function {function!r}; it has {', '.join(there) or 'none'}.")
    found = getattr(module, function)(paths)
    if isinstance(found, Annotations):
        return found
    found = tuple(found if isinstance(found, collections.abc.Iterable) else [found])
    for strange in found:
        if not isinstance(strange, Segment):
            raise InputError(f"{file}: {function} gave {type(strange).__name__} {strange!r}; it must yield egokeras.data.segments.Segment.")
    sources = (*(path for path in paths if path.is_file()), file)
    return Annotations(segments=found, classes=segments.classes_of(found), sources=sources)


def _grouped(annotations, group):
    try:
        pattern = re.compile(group)
    except re.error as error:
        raise InputError(f"group {group!r} is not a regular expression ({error}).") from None
    found = []
    for segment in annotations.segments:
        match = pattern.search(segment.video.rpartition("/")[2])
        value = match and match[1 if pattern.groups else 0]
        if not value:
            raise InputError(f"group {group!r} finds nothing in the file name of {segment.video}; change the expression.")
        found.append(dataclasses.replace(segment, group=value))
    return dataclasses.replace(annotations, segments=tuple(found), exclusive="group")


def hold_out(annotations, share=0.2, seed=0):
    """Part the training data into `train` and `validation`, without cutting a group apart (a video, where there is no group).

    Segments of other splits stay as they are. Class by class, the one with the fewest groups first, groups in an order
    drawn by `seed` go to validation until about `share` of the class is there: at least one group if the class has two,
    none that would take a class's last from training, and never more than half of all segments. With few large groups
    that hold many classes (participants) the share can only be met roughly.

    Args:
        annotations: what `read` gave; its training segments have no split or `train`.
        share: of the segments, for validation.
        seed: another one gives another parting; the same one always the same.

    Raises:
        InputError: there are fewer than two groups, or no class has two that can be parted.
    """
    free = [segment for segment in annotations.segments if set(segment.splits) <= {"train"}]
    contents: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    for segment in free:
        contents[segment.group or segment.video].update([*segment.labels.items(), None])
    if len(contents) < 2:
        raise InputError(f"{len(contents)} groups of videos to part into train and validation; add videos or name the splits yourself.")
    held = _draw(contents, share, seed)
    if not held:
        raise InputError("each class has its videos from one group only, so none can be held out; add videos from other groups.")
    parted = [
        dataclasses.replace(segment, splits=("validation" if (segment.group or segment.video) in held else "train",))
        if set(segment.splits) <= {"train"}
        else segment
        for segment in annotations.segments
    ]
    exclusive = "group" if any(segment.group for segment in free) else "video"
    return segments.check(dataclasses.replace(annotations, segments=tuple(parted), exclusive=exclusive))


def _draw(contents, share, seed):
    """The groups for validation. `contents`: group to the count of its segments by class, and of all of them under None."""
    order = sorted(contents)
    random.Random(seed).shuffle(order)
    groups = collections.defaultdict(list)
    for group in order:
        for label in contents[group]:
            groups[label].append(group)
    total: collections.Counter = collections.Counter()
    taken: collections.Counter = collections.Counter()
    for counts in contents.values():
        total.update(counts)
    left, held = {label: len(found) for label, found in groups.items()}, set()
    for label in sorted(groups, key=lambda label: (len(groups[label]), str(label))):
        for group in groups[label]:
            counts = contents[group]
            short = share * total[label] - taken[label]
            fits = counts[label] / 2 <= short or not taken[label]
            spared = all(left[other] > 1 for other in counts) and 2 * (taken[None] + counts[None]) <= total[None]
            if group not in held and short > 0 and fits and spared:
                held.add(group)
                taken.update(counts)
                left.update({other: left[other] - 1 for other in counts})
    return held
