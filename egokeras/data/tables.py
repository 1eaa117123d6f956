"""Text tables whose errors name file, line and column, and the format `table`: a row per clip."""

import csv
import difflib
import functools
import io
import math
import pathlib
import re

from egokeras.data import segments
from egokeras.data.segments import Annotations, Segment
from egokeras.errors import InputError

COLUMNS = ("file", "label", "verb", "noun", "action", "start", "stop", "fps", "split", "source", "uid")
USUAL_NAMES = {"path": "file", "filename": "file", "video": "file", "class": "label", "begin": "start", "end": "stop", "group": "source"}
USUAL_NAMES |= {"subset": "split", "set": "split"}
SECONDS = re.compile(r"\d+(?:\.\d*)?(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
WHOLE = re.compile(r"\d{1,15}", re.ASCII)
CLOCK = re.compile(r"(?:(\d{1,4}):)?([0-5]?\d):([0-5]?\d(?:\.\d*)?)", re.ASCII)


class Row:
    """One row of a table: cells by column, and the place that an error about it names."""

    __slots__ = ("cells", "file", "line")

    def __init__(self, file, line, cells):
        self.file, self.line, self.cells = file, line, cells

    def error(self, column, problem):
        """The InputError that says what is wrong in this row's `column`."""
        return InputError(f"{self.file}, line {self.line}, column {column!r}: {problem}")

    def get(self, column):
        """The cell, or "" where it is empty or the table has no such column."""
        return self.cells.get(column, "")

    def text(self, column):
        """The cell, which must not be empty."""
        return self.cells.get(column) or self._refuse(column, "is empty; fill it in or remove the row.")

    def whole(self, column):
        """The cell as a whole number from 0."""
        cell = self.text(column)
        return int(cell) if WHOLE.fullmatch(cell) else self._refuse(column, f"{cell!r} is not a whole number from 0.")

    def seconds(self, column):
        """The cell's time as seconds."""
        value = seconds(self.text(column))
        if value is None:
            raise self.error(column, f"{self.get(column)!r} is not a time; write seconds with a point (12.5) or h:m:s (0:00:12.5).")
        return value

    def choice(self, column, names, source, first=0):
        """The name that the cell's class id stands for in `names`, which come from the file `source`; ids count from `first`."""
        number = self.whole(column)
        if not 0 <= number - first < len(names):
            raise self.error(column, f"class {number} is not among the {len(names)} of {source}, which count from {first}.")
        return names[number - first]

    def video(self, column):
        """The cell as a path below the video folder, `/` between its parts."""
        advice = f"{self.get(column)!r} does not lie in the video folder; write it relative to that folder, without '..'."
        return _below(self.text(column)) or self._refuse(column, advice)

    def require_span(self, column, start, stop):
        """Refuse the `stop` seconds that stand in `column` unless they are after `start`."""
        if stop is not None and stop <= start:
            raise self.error(column, f"{self.get(column)!r} ({stop:g} s) is not after the start ({start:g} s); the clip would be empty.")

    def _refuse(self, column, problem):
        raise self.error(column, problem)


@functools.lru_cache(maxsize=4096)  # a video has many rows
def _below(path):
    video = pathlib.PurePosixPath(path.replace("\\", "/")).as_posix()
    return video if segments.is_inside(video) else ""


def seconds(text):
    """Seconds that `12.5`, `m:s` or `h:m:s.fff` says, None if it says no time."""
    if SECONDS.fullmatch(text):
        value = float(text)
        return value if math.isfinite(value) else None
    clock = CLOCK.fullmatch(text)
    return int(clock[1] or 0) * 3600 + int(clock[2]) * 60 + float(clock[3]) if clock else None


def text(path):
    """The text of a UTF-8 file, with or without byte order mark.

    Raises:
        InputError: there is no such file, or it is not text in UTF-8.
    """
    try:
        data = pathlib.Path(path).read_bytes()
        found = data.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path.") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}: byte {data[error.start]:#04x} is not UTF-8; save the file as UTF-8.") from None
    if "\0" in found:
        raise InputError(f"{path}, line {found.count(chr(10), 0, found.index(chr(0))) + 1}: a zero byte; this is not a text file in UTF-8.")
    return found


def lines(path):
    """(line number, stripped line) of a text file's lines that are not blank."""
    return [(number, line.strip()) for number, line in enumerate(text(path).splitlines(), 1) if line.strip()]


def words(path, columns):
    """The rows of a list without header, the words of a line being its cells; words beyond the columns are left out.

    Raises:
        InputError: a line has too few words.
    """
    table = []
    for number, line in lines(path):
        cells = line.split()
        if len(cells) < len(columns):
            raise InputError(f"{path}, line {number}: {line!r} is not '{' '.join(columns)}'.")
        table.append(Row(path, number, dict(zip(columns, cells, strict=False))))
    return table


def rows(path, required=(), columns=None):
    """The rows of a table with comma, semicolon or tab between the cells; rows without any content are left out.

    Args:
        path: the file.
        required: columns that must be there.
        columns: names of the columns if the file has no header. In a header, case and spaces around names do not matter.

    Raises:
        InputError: a column is missing or there twice, a row has another number of cells, or quotes are broken.
    """
    records = _records(path)
    if columns is None:
        _, columns = next(records, (1, ()))
        columns = [name.lower() for name in columns]
    named = [name for name in columns if name]
    for name in sorted(set(required) - set(named)) + [name for name in named if named.count(name) > 1]:
        raise InputError(f"{path}, line 1: column {name!r} must be there once; found {', '.join(named) or 'no columns'}.")
    table = []
    for line, cells in records:
        if len(cells) != len(columns):
            advice = "quote a cell that contains the delimiter"
            raise InputError(f"{path}, line {line}: {len(cells)} cells where there are {len(columns)} columns; {advice}.")
        table.append(Row(path, line, dict(zip(columns, cells, strict=True))))
    return table


def first(path):
    """The cells of a table's first row, which tell what kind of table it is."""
    return next(_records(path), (1, []))[1]


def _records(path):
    """(line number, stripped cells) of each row that is not blank."""
    content = text(path)
    delimiter = max(",;\t", key=content.split("\n", 1)[0].count)
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
    line = 1
    try:
        for record in reader:
            cells = [cell.strip() for cell in record]
            if any(cells):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}, line {line}: {error}; check the quotes.") from None


def read(paths):
    """Read the format `table`: columns `file` and `label`, or `verb` and `noun`; more are optional.

    `start` and `stop` are seconds or h:m:s; with a column `fps` they are frame numbers from 0, `stop` being the first frame
    after the clip. Rows may name their `split`; else, of several tables, each may by its file name (`train.csv`, `val.csv`).
    `source` is what must stay in one split (the recording, the person). Only rows of a test split may go without labels.
    `uid` names a clip; without it, file and times do.

    Raises:
        InputError: with file, line and column of what cannot be used.
    """
    found: list[Segment] = []
    lines_of: dict[str, str] = {}
    for path in paths:
        table = rows(path, required=("file",))
        named = segments.split_named(pathlib.Path(path).stem) if len(paths) > 1 else ""
        if table:
            _check_columns(path, table[0].cells)
        for row in table:
            segment = _segment(row, named)
            if segment.uid in lines_of:
                raise row.error("file", f"{segment.uid} is in {lines_of[segment.uid]} already; remove a row or name both in a column uid.")
            lines_of[segment.uid] = f"{path}, line {row.line}"
            found.append(segment)
    exclusive = "group" if any(segment.group for segment in found) else "video"
    return Annotations(segments=tuple(found), classes=segments.classes_of(found), sources=tuple(paths), exclusive=exclusive)


def _check_columns(path, columns):
    """A column under another name than ours would be left out without a word."""
    for name in set(columns) - set(COLUMNS):
        near = USUAL_NAMES.get(name) or next(iter(difflib.get_close_matches(name, COLUMNS, n=1, cutoff=0.8)), None)
        if near and near not in columns:
            raise InputError(f"{path}, line 1: column {name!r} is unknown; if it is {near!r}, rename it.")
    if "label" in columns and "action" in columns:
        raise InputError(f"{path}, line 1: columns 'label' and 'action' mean the same; keep one.")


def _segment(row, split):
    video, splits = row.video("file"), _splits(row, split)
    start, stop = _time(row, "start") or 0.0, _time(row, "stop")
    row.require_span("stop", start, stop)
    whole = stop is None and start == 0
    uid = row.get("uid") or (video if whole else f"{video}@{start:.3f}-{'' if stop is None else format(stop, '.3f')}")
    group = row.text("source") if "source" in row.cells else ""
    return Segment(uid=uid, video=video, start=start, stop=stop, labels=_labels(row, splits), splits=splits, group=group)


def _splits(row, split):
    if not row.get("split"):
        return (split,) if split else ()
    found = segments.SPLIT_IN_NAME.fullmatch(row.get("split").lower())
    if not found:
        raise row.error("split", f"{row.get('split')!r} is unknown; use train, validation or test.")
    return (segments.split_named(row.get("split")),)


def _labels(row, splits):
    spaces = [space for space in ("label", "verb", "noun", "action") if space in row.cells]
    if splits and all(split.startswith("test") for split in splits) and not any(row.cells[space] for space in spaces):
        return {}
    if not spaces:
        raise row.error("label", "the table has no such column, nor verb, noun or action; add one.")
    return {"action" if space == "label" else space: row.text(space) for space in spaces}


def _time(row, column):
    """Seconds of `start` or `stop`, None where there is none; frame numbers if the table has a column `fps`."""
    if not row.get(column):
        return None
    if "fps" not in row.cells:
        return row.seconds(column)
    rate = seconds(row.text("fps"))
    if not rate:
        raise row.error("fps", f"{row.get('fps')!r} is not a number of frames per second.")
    return row.whole(column) / rate
