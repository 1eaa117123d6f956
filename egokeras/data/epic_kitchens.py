"""EPIC-KITCHENS-55 and -100, from the official csv files or from RU-LSTM's lists of them.

Times come from the timestamps, never from the frame numbers, which only fit one extraction of the frames.
"""

import collections
import dataclasses
import re
from collections.abc import Mapping

from egokeras.data import segments, tables
from egokeras.data.segments import Annotations, Segment
from egokeras.errors import InputError

RULSTM_COLUMNS = ("id", "video", "start", "stop", "verb", "noun", "action")
RULSTM_FPS = 30
ORIGIN = {55: "https://github.com/epic-kitchens/annotations", 100: "https://github.com/epic-kitchens/epic-kitchens-100-annotations"}
RULSTM_ORIGIN = "https://github.com/fpv-iplab/rulstm"
CLASS_ID = re.compile(r"[0-9]{1,4}")
OTHER_TASKS = re.compile("uda|missing|invalid|retrieval|narrations")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Class names by id.

    Attributes:
        names: label space to names in the order of the ids.
        categories: `verb` and `noun` to the category of each class; empty for data without categories.
        files: label space to the file that the names come from.
        actions: verb id and noun id of each action; empty for data without actions.
    """

    names: Mapping[str, tuple[str, ...]]
    categories: Mapping[str, tuple[str, ...]]
    files: Mapping[str, str]
    actions: tuple[tuple[int, int], ...] = ()

    @property
    def classes(self):
        """Label space to class names, the categories too, in alphabetical order."""
        return {**self.names, **{f"{space}_category": tuple(sorted(set(found))) for space, found in self.categories.items()}}

    @classmethod
    def of(cls, files):
        """Read official class files; `files` maps `verb` and `noun` to a path."""
        names, categories = {}, {}
        for space, file in files.items():
            rows = tables.rows(file)
            key = "key" if "key" in rows[0].cells else "class_key"
            names[space] = _by_id(rows, "id" if key == "key" else f"{space}_id", key)
            if "category" in rows[0].cells:
                categories[space] = tuple(row.text("category") for row in rows)
        return cls(names=names, categories=categories, files=dict(files))

    def labels(self, row, columns):
        """A row's labels; `columns` maps a label space to the column that has its id."""
        labels = {space: row.choice(column, self.names[space], self.files[space]) for space, column in columns.items()}
        for space, found in self.categories.items():
            if space in columns:
                labels[f"{space}_category"] = found[int(row.cells[columns[space]])]
        return labels


def read_epic55(paths):
    """Read EPIC-KITCHENS-55: labels verb and noun; see `read`."""
    return read(paths, 55)


def read_epic100(paths):
    """Read EPIC-KITCHENS-100: labels verb, noun and the category of each; see `read`."""
    return read(paths, 100)


def read(paths, edition):
    """Read EPIC-KITCHENS (`edition` 55 or 100) from csv files, or from a folder with the official files or those of RU-LSTM.

    Names and order of the classes come from `EPIC_*_verb_classes.csv` and `EPIC_*_noun_classes.csv`, named among the paths or
    found beside the lists; of the latter, EPIC-100's first list of nouns goes before its second. The split is in the name
    of a file; EPIC-55's test sets are `test1` (seen kitchens) and `test2`. The group is the participant.

    Raises:
        InputError: with file, line and column of what cannot be used, or with the file that is missing and where it is published.
    """
    lists = annotation_lists(paths, ORIGIN[edition])
    for path, kind in lists.items():
        other = 100 if "narration_id" in tables.first(path) else 55
        if kind == "official" and other != edition:
            raise InputError(f"{path} is of EPIC-KITCHENS-{other}; read it as epic{other}.")
    published = {space: _class_file(space, paths, lists, edition) for space in ("verb", "noun")}
    actions = actions_file(paths, lists) if "rulstm" in lists.values() else None
    vocabulary = rulstm_vocabulary(actions, published) if actions else Vocabulary.of(published)
    found = []
    for path, kind in lists.items():
        found += _official(path, vocabulary, edition) if kind == "official" else rulstm_segments(path, vocabulary, participant)
    lengths = [path for path in paths if path.is_file() and "video_info" in path.name]  # for videos that are there as frames
    sources = tuple(dict.fromkeys([*lists, *vocabulary.files.values(), *lengths]))
    return Annotations(segments=tuple(found), classes=vocabulary.classes, sources=sources, actions=vocabulary.actions)


def participant(video):
    """`P01` of `P01_103`."""
    return video.split("_")[0]


def annotation_lists(paths, origin):
    """The csv files among `paths`, or in a folder among them, that list segments; to their kind, `official` or `rulstm`.

    Raises:
        InputError: there is none, or a file named in `paths` is neither a list nor a file of classes.
    """
    kinds = {}
    for path in paths:
        folder = path.is_dir()
        for file in sorted(path.glob("*.csv")) if folder else [path]:
            kind = "" if (folder and OTHER_TASKS.search(file.name.lower())) else _kind(file)
            if kind:
                kinds[file] = kind
            elif not folder and not re.search("classes|actions|video_info|many_shot", file.name):
                raise InputError(f"{file}: its first row is not that of a list of segments; take the csv files of {origin}.")
    if not kinds:
        raise InputError(f"{paths[0]}: no csv file with a list of segments; take those of {origin}.")
    return kinds


def _kind(path):
    header = tables.first(path)
    if {"video_id", "start_timestamp", "stop_timestamp"} <= set(header) and {"narration_id", "uid"} & set(header):
        return "official"
    return "rulstm" if len(header) in (4, 7) and header[2].isdigit() and header[3].isdigit() else ""


def _candidates(pattern, paths, lists):
    """Files whose name matches: those named in `paths`, then those beside the lists."""
    beside = sorted({file for path in lists for file in path.parent.glob(pattern)}, key=lambda file: ("_v2" in file.name, file.name))
    return [path for path in paths if path.is_file() and path.match(pattern)] + beside


def _class_file(space, paths, lists, edition):
    """The official classes of `verb` or `noun`; None if they are missing and only RU-LSTM's lists are read, which bring names."""
    key = {55: "class_key", 100: "key"}[edition]
    folders = {folder / "x": "" for folder in paths if folder.is_dir()}
    for file in _candidates(f"*{space}_classes*.csv", paths, {**lists, **folders}):
        if key in tables.first(file):
            return file
    if "official" not in lists.values():
        return None
    name = f"EPIC_{'100_' * (edition == 100)}{space}_classes.csv"
    raise InputError(f"{name} is missing; put it beside {next(iter(lists))} or name it too; it comes from {ORIGIN[edition]}.")


def _split(path):
    split = segments.split_named(path.name)
    if not split:
        raise InputError(f"{path} names no split; put train, validation or test into the name.")
    return split


def _official(path, vocabulary, edition):
    """Segments of an official list: train, validation, or a test list without labels."""
    split = _split(path)
    classes = {} if split.startswith("test") else {"verb": "verb_class", "noun": "noun_class"}
    uid = {55: "uid", 100: "narration_id"}[edition]
    return [_segment(row, uid, split, vocabulary.labels(row, classes)) for row in tables.rows(path, required=(uid, *classes.values()))]


def _segment(row, uid, split, labels):
    video, start, stop = row.video("video_id"), row.seconds("start_timestamp"), row.seconds("stop_timestamp")
    row.require_span("stop_timestamp", start, stop)
    return Segment(uid=row.text(uid), video=video, start=start, stop=stop, labels=labels, splits=(split,), group=participant(video))


def rulstm_segments(path, vocabulary, group):
    """Segments of a list of RU-LSTM: id, video, start and stop in frames at 30 per second, and verb, noun, action unless it is a test.

    Args:
        path: its csv file, without header; its name has the split, such as `training2.csv`.
        vocabulary: the names of the classes.
        group: function from a video's name to the segment's group.
    """
    split, columns = _split(path), RULSTM_COLUMNS[: len(tables.first(path))]
    classes = {space: space for space in columns[4:]}
    found = []
    for row in tables.rows(path, columns=columns):
        start, stop = row.whole("start") / RULSTM_FPS, row.whole("stop") / RULSTM_FPS
        row.require_span("stop", start, stop)
        uid, video = row.text("id"), row.video("video")
        uid = str(int(uid)) if tables.WHOLE.fullmatch(uid) else uid  # 00330 is EPIC-KITCHENS-55's uid 330
        labels = vocabulary.labels(row, classes)
        found.append(Segment(uid=uid, video=video, start=start, stop=stop, labels=labels, splits=(split,), group=group(video)))
    return found


def actions_file(paths, lists):
    """RU-LSTM's `actions.csv`, named in `paths` or beside its lists."""
    for file in _candidates("actions.csv", paths, lists):
        return file
    raise InputError(f"actions.csv is missing; put it beside {next(iter(lists))}; it comes from {RULSTM_ORIGIN}.")


def rulstm_vocabulary(actions, published):
    """Class names from `actions.csv`, and from the official files where there are any.

    Args:
        actions: RU-LSTM's file, `id,action,verb,noun` in any order with header, or EGTEA's `id, verb_noun, action` without.
        published: `verb` and `noun` to the official file or None.

    Raises:
        InputError: without the official file a class has several names (EPIC-KITCHENS-55: take, grab, pick up).
    """
    columns = None if "action" in tables.first(actions) else ("id", "pair", "action")
    rows = tables.rows(actions, ("id", "action") if columns else ("id", "verb", "noun", "action"), columns)
    found: dict[str, dict[int, set[str]]] = {"verb": collections.defaultdict(set), "noun": collections.defaultdict(set)}
    pairs = []
    for row in rows:
        ids = row.text("pair").split("_") if columns else (row.text("verb"), row.text("noun"))
        words = row.text("action").split("_" if "_" in row.text("action") else " ", 1)
        if len(ids) != 2 or len(words) != 2 or not all(CLASS_ID.fullmatch(number) for number in ids):
            raise row.error("action", f"{row.text('action')!r} is not a verb and a noun with their ids.")
        for space, number, word in zip(("verb", "noun"), ids, words, strict=True):
            found[space][int(number)].add(word)
        pairs.append((int(ids[0]), int(ids[1])))
    official = Vocabulary.of({space: file for space, file in published.items() if file})
    names = {space: _single_names(space, ids, actions) for space, ids in found.items() if space not in official.names}
    names |= {**official.names, "action": _by_id(rows, "id", "action")}
    files = dict.fromkeys(names, actions) | official.files
    return Vocabulary(names=names, categories=official.categories, files=files, actions=tuple(pairs))


def _single_names(space, words, actions):
    """The one name of each id; ids that no action uses are named by their number."""
    for number, found in words.items():
        if len(found) > 1:
            names = ", ".join(sorted(found))
            raise InputError(
                f"{actions}: {space} {number} is called {names}; name the official EPIC_{space}_classes.csv too, which decides."
            )
    return tuple(next(iter(words.get(number, {f"{space} {number}"}))) for number in range(max(words, default=-1) + 1))


def _by_id(rows, column, name):
    """The cells `name` in the order of the ids in `column`, which count from 0."""
    for position, row in enumerate(rows):
        if row.whole(column) != position:
            raise row.error(column, f"{row.get(column)!r} where {position} is due; the ids count from 0.")
    return tuple(row.text(name) for row in rows)
