"""From the names of videos in annotations to files: exact path first, then by stem, whatever the suffix, case and folder."""

import collections
import os
import pathlib

from egokeras.data.action_folders import SUFFIXES
from egokeras.errors import InputError


def find(names, folder):
    """Match names with files below a folder.

    Args:
        names: paths with `/` between parts, with or without suffix.
        folder: the folder of videos.

    Returns:
        Name to path of the file, None where there is none.

    Raises:
        InputError: no such folder, several files that a name may mean, or one that leads outside the folder.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the folder of the videos.")
    by_name = None
    found = {}
    for name in names:
        path = _inside(folder, name, folder / name) if name else folder
        if not path.is_file():
            by_name = _by_name(folder) if by_name is None else by_name
            path = _match(name, by_name)
            path = path and _inside(folder, name, folder / path)
        found[name] = path
    return found


def _inside(folder, name, path):
    """`path`, which must not lead out of the folder, by its parts or by links."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"video {name!r} leads to {path.resolve()}, outside {folder}; correct the name, or copy the file there.")
    return path


def _by_name(folder):
    """Lower-case file name and stem to the paths of videos below `folder`, relative to it."""
    found = collections.defaultdict(list)
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in sorted(files):
            path = pathlib.PurePath(place, file).relative_to(folder)
            if path.suffix.lower() in SUFFIXES and not file.startswith("."):
                found[file.lower()].append(path)
                found[path.stem.lower()].append(path)
    return found


def _match(name, by_name):
    wanted = pathlib.PurePosixPath(name.lower())
    paths = by_name.get(wanted.name) or by_name.get(wanted.stem) or []
    if len(paths) > 1:
        stems = (wanted.with_suffix("").parts, wanted.parts)
        paths = [path for path in paths if _parts(path)[-len(wanted.parts) :] in stems] or paths
    if len(paths) > 1:
        listed = ", ".join(str(path) for path in paths[:3]) + (" ..." if len(paths) > 3 else "")
        raise InputError(f"video {name!r} may be any of {len(paths)} files: {listed}; write its path, or remove the others.")
    return paths[0] if paths else None


def _parts(path):
    return tuple(part.lower() for part in path.with_suffix("").parts)
