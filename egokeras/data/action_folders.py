"""Videos in a folder per class: one's own clips, UCF-101 and HMDB-51."""

import collections
import itertools
import os
import pathlib
import re

from egokeras.data import segments, tables
from egokeras.data.segments import Annotations, Segment
from egokeras.errors import InputError

SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".m2ts", ".mts", ".ts", ".wmv", ".flv", ".3gp", ".gif")
UCF_FILE = re.compile(r"v_\w+_(g\d+)_c\d+\.\w+", re.ASCII)
UCF_ORIGIN = "https://www.crcv.ucf.edu/data/UCF101.php"
HMDB_ORIGIN = "https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database"
HMDB_TITLE = re.compile(r"(.+)_[a-z]_[a-z]+_np\d+_[a-z]+_[a-z]+_\d+", re.ASCII)  # film and class, then visible parts, camera, people ...


def read_folders(paths):
    """Read a folder with one folder of videos per class, or with one such folder per split (`train`, `val` ...).

    A file counts as a video by its suffix; hidden files and other files are left out. Videos that a link reaches are named by
    the file behind it, so that a video linked into two splits is found out.

    Raises:
        InputError: a class folder without videos or with folders in it, fewer than two classes, or a link that leads outside.
    """
    if len(paths) != 1 or not paths[0].is_dir():
        raise InputError(f"{', '.join(map(str, paths))}: 'folders' takes one folder, which has a folder of videos for each class.")
    root = paths[0].resolve()
    top = _folders(root)
    splits = [segments.SPLIT_IN_NAME.fullmatch(folder.name.lower()) and segments.split_named(folder.name) for folder in top]
    sides = [(folder, (split,)) for folder, split in zip(top, splits, strict=True)] if top and all(splits) else [(root, ())]
    found = [segment for side, split in sides for folder in _classes(side) for segment in _videos(root, folder, split)]
    _check_trained(found)
    return Annotations(segments=tuple(found), classes=segments.classes_of(found))


def _folders(folder):
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _classes(side):
    folders = _folders(side)
    if len(folders) < 2:
        names = ", ".join(folder.name for folder in folders) or "none"
        raise InputError(f"{side}: {len(folders)} class folders ({names}); at least two are needed, each with the videos of one class.")
    return folders


def _target(entry):
    return pathlib.Path(os.path.realpath(entry))


def _videos(root, folder, splits):
    """Segments of one class folder."""
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    for entry in entries:
        if not _target(entry).is_relative_to(root) or not entry.exists():
            place = "nothing" if not entry.exists() else f"{_target(entry)}, outside {root}"
            raise InputError(f"{entry} is a link to {place}; copy the file instead.")
        if entry.is_dir():
            raise InputError(f"{entry} is a folder in a class folder; put the videos right into {folder}, or list them in a table.")
    videos = [entry for entry in entries if entry.suffix.lower() in SUFFIXES and entry.is_file()]
    if not videos:
        names = ", ".join(entry.name for entry in entries[:3]) or "nothing"
        raise InputError(f"{folder}: no video in this class folder, only {names}; add videos or remove it.")
    uids = (video.relative_to(root).as_posix() for video in videos)
    places = (_target(video).relative_to(root).as_posix() for video in videos)
    return [Segment(uid=uid, video=place, labels={"action": folder.name}, splits=splits) for uid, place in zip(uids, places, strict=True)]


def _check_trained(found):
    """A class folder that only the held-out side has is a slip of the pen, not a class."""
    sides: dict[str, set[bool]] = collections.defaultdict(set)
    for segment in found:
        sides[segment.labels["action"]].update(split.startswith("train") for split in segment.splits)
    trained = [name for name, side in sides.items() if True in side]
    for name, side in sides.items():
        if trained and side == {False}:
            raise InputError(
                f"class folder {name!r} has no counterpart in the training split, which has {', '.join(trained[:5])}; rename it."
            )


def _texts(paths):
    """The text files among `paths` and in the folders among them."""
    return [file for path in paths for file in (sorted(path.glob("*.txt")) if path.is_dir() else [path])]


def read_ucf101(paths):
    """Read UCF-101 from `trainlist01.txt`, `testlist01.txt` ... and `classInd.txt` beside them, or from the folder with all of them.

    Splits are `train1`, `test1` ...; a group is the set of clips that were cut from one source, of which no split may have a part.

    Raises:
        InputError: with file, line and column of what cannot be used, or with the file that is missing and where it is published.
    """
    files = _texts(paths)
    lists = [file for file in files if file.name.lower() != "classind.txt"]
    beside = [path.with_name("classInd.txt") for path in lists]
    index = next((file for file in files + beside if file not in lists and file.is_file()), None)
    if index is None or not lists:
        name = "a list such as trainlist01.txt" if index else "classInd.txt"
        raise InputError(f"{paths[0]}: {name} is missing; name it or put it there; it comes from {UCF_ORIGIN}.")
    names = _ucf_names(index)
    spellings = {name.lower(): name for name in names}  # HandstandPushups or HandStandPushups
    found = [_ucf_clip(row, names, spellings, index) for path in lists for row in _ucf_rows(path)]
    return Annotations(segments=segments.merge(found), classes={"action": names}, sources=(*lists, index), exclusive="group")


def _ucf_names(index):
    rows = tables.words(index, ("id", "name"))
    for position, row in enumerate(rows, 1):
        if row.whole("id") != position:
            raise row.error("id", f"{row.get('id')!r} where {position} is due; the ids count from 1.")
    return tuple(row.text("name") for row in rows)


def _ucf_rows(path):
    """Training lists have a class id behind the path; test lists need none."""
    return tables.words(path, ("path", "id") if all(len(line.split()) > 1 for _, line in tables.lines(path)) else ("path",))


def _ucf_clip(row, names, spellings, index):
    video, split = row.video("path"), segments.split_named(row.file.stem)
    name, _, file = video.rpartition("/")
    source = UCF_FILE.fullmatch(file)
    spelling = spellings.get(name.lower())
    if not source or not spelling:
        raise row.error("path", f"{video!r} is not <class of {index}>/v_<class>_g<number>_c<number>.avi.")
    if "id" in row.cells and row.choice("id", names, index, first=1) != spelling:
        raise row.error("id", f"{row.get('id')} is {row.choice('id', names, index, first=1)}, but the video lies in {name}.")
    if not split:
        raise InputError(f"{row.file} names no split; it must be called like trainlist01.txt.")
    uid = pathlib.PurePosixPath(file).stem
    return Segment(uid=uid, video=video, labels={"action": spelling}, splits=(split,), group=f"{spelling}_{source[1]}")


def read_hmdb51(paths):
    """Read HMDB-51 from its official lists, or from lists with ids from 0, given as files or as the folder with them.

    Official: `<class>_test_split<n>.txt` with `name.avi flag` in each line; flag 1 is `train<n>`, 2 is `test<n>`, 0 neither. The
    other form has `path number id` in each line and the split in the file's name; only the last part of the path counts. Its ids do
    not always follow the alphabet (kick_ball goes before kick in lists that are around), so the names come from the clips'
    own names, which end in the class; a list of the classes, a name in each line, helps if an id has few clips. Classes are
    in alphabetical order. The group is the film or video that a clip is from; the official splits have some on both sides.

    Raises:
        InputError: with file, line and column of what cannot be used.
    """
    files = {path: len(next((line.split() for _, line in tables.lines(path)), ())) for path in _texts(paths)}  # words of the first line
    known, listed, official = [], [], []
    for path, width in files.items():
        if width == 1:
            known += [name for _, name in tables.lines(path)]
        elif width == 2:
            official += tables.words(path, ("name", "flag"))
        else:
            listed += tables.words(path, ("path", "number", "id"))
    found = _hmdb_official(official) + _hmdb_listed(listed, known)
    if not found:
        raise InputError(f"{paths[0]}: no clips in lists such as brush_hair_test_split1.txt; they come from {HMDB_ORIGIN}.")
    return Annotations(segments=segments.merge(found), classes=segments.classes_of(found), sources=tuple(files))


def _hmdb_official(rows):
    found = []
    for row in rows:
        match = re.fullmatch(r"(.+)_test_split(\d)", row.file.stem)
        if not match:
            raise InputError(f"{row.file} must be called like brush_hair_test_split1.txt; the class and the split are in the name.")
        split = row.choice("flag", ("", "train", "test"), "HMDB-51's flags")
        if split:
            found.append(_hmdb_clip(row.video("name"), match[1], split + match[2]))
    return found


def _hmdb_listed(rows, known):
    titles = collections.defaultdict(list)
    for row in rows:
        title = HMDB_TITLE.fullmatch(pathlib.PurePosixPath(row.text("path")).stem)
        if not title:
            raise row.error("path", f"{row.text('path')!r} does not end in the name of an HMDB-51 clip (film_class_f_cm_np1_fr_med_0).")
        if not segments.split_named(row.file.stem):
            raise InputError(f"{row.file} names no split; put train or val and the number into the name.")
        titles[row.whole("id")].append(title[1])
    names = {number: _common_class(number, found, known) for number, found in titles.items()}
    clips = [(pathlib.PurePosixPath(row.text("path")).name, names[row.whole("id")], row.file.stem) for row in rows]
    return [_hmdb_clip(clip, name, segments.split_named(file)) for clip, name, file in clips]


def _hmdb_clip(clip, name, split):
    stem = clip.removesuffix(".avi")
    title = HMDB_TITLE.fullmatch(stem)
    group = title[1].removesuffix(f"_{name}") if title else stem
    return Segment(uid=f"{name}/{stem}", video=f"{name}/{clip}", labels={"action": name}, splits=(split,), group=group)


def _common_class(number, titles, known):
    """The class that all titles of one id end in: the longest of the `known` ones, or their common words."""
    words = zip(*(title.split("_")[::-1] for title in titles), strict=False)
    common = "_".join([same[0] for same in itertools.takewhile(lambda same: len(set(same)) == 1, words)][::-1])
    fitting = [name for name in known if f"_{common}".endswith(f"_{name}")] if known else [common] * (common not in ("", *titles))
    if not fitting:
        raise InputError(f"HMDB-51 class {number}: its clips do not tell the name ({titles[0]} ...); name a list of the classes too.")
    return max(fitting, key=len)
