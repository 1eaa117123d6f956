"""EGTEA Gaze+: the official lists of cropped clips, or RU-LSTM's lists of spans in whole sessions."""

import re

from egokeras.data import epic_kitchens, segments, tables
from egokeras.data.segments import Annotations, Segment
from egokeras.errors import InputError

CLIP = re.compile(r"([\w-]+)-\d+-\d+-F\d+-F\d+", re.ASCII)
SPACES = ("action", "verb", "noun")
ORIGIN = "https://cbs.ic.gatech.edu/fpv (action_annotation.zip)"


def read(paths):
    """Read EGTEA Gaze+: labels action, verb and noun; splits `train1` ... `test3`, all of them with each clip; the group is the session.

    Official lists (`train_split1.txt` ..., with `action_idx.txt`, `verb_idx.txt` and `noun_idx.txt` beside them) give whole clip
    files, `<session>/<clip>`; of several nouns the first counts. RU-LSTM's csv lists (`training1.csv` ..., with `actions.csv`) give
    spans of the session's video, in `train1`, `validation1` ... Both part clips, not sessions: that is the official protocol.

    Raises:
        InputError: with file, line and column of what cannot be used, or with the file that is missing and where it is published.
    """
    lists = [file for path in paths for file in (sorted(path.glob("*_split*.txt")) if path.is_dir() else [path])]
    lists = [file for file in lists if file.suffix == ".txt" and not file.stem.endswith("_idx")]
    return _official(paths, lists) if lists else _rulstm(paths)


def _official(paths, lists):
    files = {space: _index_file(space, paths, lists) for space in SPACES}
    names = {space: _names(file) for space, file in files.items()}
    found = [_clip(row, names, files) for path in lists for row in tables.words(path, ("clip", *SPACES))]
    merged = segments.merge(found)
    sources, actions = (*lists, *files.values()), segments.pairs_of_actions(merged, names)
    return Annotations(segments=merged, classes=names, sources=sources, actions=actions)


def _clip(row, names, files):
    clip, split = row.text("clip"), segments.split_named(row.file.stem)
    match = CLIP.fullmatch(clip)
    if not match:
        raise row.error("clip", f"{clip!r} is not <session>-<start>-<stop>-F<start>-F<stop>.")
    if not split:
        raise InputError(f"{row.file} names no split; it must be called like train_split1.txt.")
    labels = {space: row.choice(space, names[space], files[space], first=1) for space in SPACES}
    return Segment(uid=clip, video=f"{match[1]}/{clip}", labels=labels, splits=(split,), group=match[1])


def _index_file(space, paths, lists):
    """`action_idx.txt` and its like, named in `paths` or beside a list."""
    name = f"{space}_idx.txt"
    for file in [*paths, *(path.parent / name for path in lists)]:
        if file.name == name and file.is_file():
            return file
    raise InputError(f"{name} is missing; put it beside {lists[0]} or name it too; it comes from {ORIGIN}.")


def _names(path):
    """Names of an index file, `name id` in each line, the ids counting from 1."""
    names: list[str] = []
    for number, line in tables.lines(path):
        name, _, identity = line.rpartition(" ")
        if identity != str(len(names) + 1) or not name.strip():
            raise InputError(f"{path}, line {number}: {line!r} is not a name and then the id {len(names) + 1}.")
        names.append(name.strip())
    return tuple(names)


def _rulstm(paths):
    lists = epic_kitchens.annotation_lists(paths, epic_kitchens.RULSTM_ORIGIN)
    actions = epic_kitchens.actions_file(paths, lists)
    vocabulary = epic_kitchens.rulstm_vocabulary(actions, {})
    found = [segment for path in lists for segment in epic_kitchens.rulstm_segments(path, vocabulary, group=str)]
    merged, sources = segments.merge(found), (*lists, actions)
    return Annotations(segments=merged, classes=vocabulary.classes, sources=sources, exclusive="segment", actions=vocabulary.actions)
