"""From the names of videos in annotations to files: exact path first, then by stem, whatever the suffix, case and folder.

A video may also be a folder of frames or a tar of them; where there are several, the video file goes before the folder and the tar.
"""

import collections
import functools
import hashlib
import os
import pathlib
import re

from egokeras.data import frame_files, tables
from egokeras.data.action_folders import SUFFIXES
from egokeras.errors import InputError

KINDS = ("files", "folders of frames", "tars")
# EPIC-KITCHENS' optical flow is in files with the names of the frames.
FLOW = {"flow", "flow_frames"}
CHECKSUM = re.compile(r"([0-9a-fA-F]+) [ *](.+)")
HASHES = {32: "md5", 40: "sha1", 64: "sha256"}  # by hexadecimal digits


def find(names, folder):
    """Match names with files below a folder: name to path, None where there is none; see `VideoFolder`."""
    videos = VideoFolder(folder)
    return {name: videos.find(name) for name in names}


class VideoFolder:
    """A folder of videos, which is searched through once, when a name is not an exact path.

    Raises:
        InputError: no such folder.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)
        if not self.path.is_dir():
            raise InputError(f"{path} is not a folder; give the folder of the videos.")

    def find(self, name):
        """The place of a video, None if there is none.

        Args:
            name: path with `/` between parts, with or without suffix.

        Raises:
            InputError: several files that the name may mean, or one that leads outside the folder.
        """
        path = self._inside(name, self.path / name) if name else self.path
        if path.is_file():
            return path
        found = next(filter(None, (_match(name, kind, by_name) for kind, by_name in self._by_name.items())), None)
        return found and self._inside(name, self.path / found)

    def _inside(self, name, path):
        """`path`, which must not lead out of the folder, by its parts or by links."""
        if not path.resolve().is_relative_to(self.path.resolve()):
            place = path.resolve()
            raise InputError(f"video {name!r} leads to {place}, outside {self.path}; correct the name, or copy the file there.")
        return path

    @functools.cached_property
    def _by_name(self):
        """For each kind, lower-case names, and stems of files, to the paths of videos, relative to the folder."""
        found: dict[str, dict[str, list[pathlib.Path]]] = {kind: collections.defaultdict(list) for kind in KINDS}
        for folder, folders, files in os.walk(self.path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            place = pathlib.Path(folder).relative_to(self.path)
            for file in sorted(file for file in files if file.lower().endswith((*SUFFIXES, frame_files.TAR)) and not file.startswith(".")):
                path = place / file
                for name in (path.name, path.stem):
                    found["tars" if path.suffix.lower() == frame_files.TAR else "files"][name.lower()].append(path)
            links = [place / name for name in folders if os.path.islink(os.path.join(folder, name))]
            for path in [place, *links] if any(map(frame_files.is_frame, files)) else links:
                found["folders of frames"][path.name.lower()].append(path)
        return found


def _match(name, kind, by_name):
    """The one path of a kind that `name` means."""
    wanted = pathlib.PurePosixPath(name.lower())
    paths = [path for path in by_name.get(wanted.name) or by_name.get(wanted.stem) or [] if kind == "files" or not _is_flow(path)]
    if len(paths) > 1:
        stems = (wanted.with_suffix("").parts, wanted.parts)
        paths = [path for path in paths if _parts(path)[-len(wanted.parts) :] in stems] or paths
    if len(paths) > 1:
        paths = [path for path in paths if path.as_posix() == name] or paths
    if len(paths) > 1:
        listed = ", ".join(str(path) for path in paths[:3]) + (" ..." if len(paths) > 3 else "")
        raise InputError(f"video {name!r} may be any of {len(paths)} files: {listed}; write its path, or remove the others.")
    return paths[0] if paths else None


def _parts(path):
    return tuple(part.lower() for part in path.with_suffix("").parts)


def _is_flow(path):
    return not FLOW.isdisjoint(part.lower() for part in path.parts)


def checksums(listing, files, folder):
    """Checksums of videos, out of a file such as `sha256sum` writes: a hexadecimal number and a path in each line.

    Args:
        listing: the file; paths in it are relative to `folder` or to anything above it, or bare names.
        files: name to path.
        folder: of the videos.

    Returns:
        Name to checksum.

    Raises:
        InputError: the file cannot be read, or says nothing of one of the videos, or two things.
    """
    sums: dict[str, set[str]] = collections.defaultdict(set)
    for number, line in tables.lines(pathlib.Path(listing)):
        match = CHECKSUM.fullmatch(line.strip())
        if not match or len(match[1]) not in HASHES:
            raise InputError(f"{listing}, line {number}: {line!r:.80} is not a checksum and a path; write it as sha256sum does.")
        parts = pathlib.PurePosixPath(match[2]).parts
        for start in range(len(parts)):
            sums["/".join(parts[start:])].add(match[1].lower())
    found = {}
    for name, path in files.items():
        fits = sums.get(path.relative_to(folder).as_posix()) or sums.get(path.name, set())
        if len(fits) != 1 or path.is_dir():
            what = "is a folder of frames, which has none" if path.is_dir() else f"has {len(fits) or 'none'} in {listing}"
            raise InputError(f"{path} {what}; give every video one checksum, or leave --checksums out.")
        found[name] = next(iter(fits))
    return found


def checksum(path, like):
    """Checksum of a file, of the kind that is as long as `like`."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, HASHES[len(like)]).hexdigest()
