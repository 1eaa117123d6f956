"""Features as a folder with one `.npy` per video, as `egokeras features` writes them; a source as in `feature_files`."""

import collections
import functools
import math
import pathlib

import numpy as np
from zlib_ng.zlib_ng import crc32

from egokeras.data.segments import names_of
from egokeras.errors import InputError
from egokeras.files import read_json, sha256

FORMAT = 1
INDEX = "index.json"
AGAIN = "make the features again"
WIDEST = 1 << 16  # features of a frame
PIECE = 1 << 16  # bytes


class NpyFolder:
    """A folder with a `.npy` per video, `(frames, features)` floats, called like the video, at the video's path or in any other folder.

    An `index.json` may say `format` 1, `modality`, `step` (seconds between rows; row i has seen the video up to (i + 1) step) and, in
    `videos`, of each path without suffix the `rows`, the `crc32` of the array's bytes and the `sha256` of the file, which are checked.

    Args:
        path: the folder.
        rate: frames per second; None where there is an index, which says it.

    Raises:
        InputError: the index is damaged, or its step is not that of `rate`.
    """

    def __init__(self, path, rate):
        self.path = pathlib.Path(path)
        self.about = _read_index(self.path / INDEX) if (self.path / INDEX).is_file() else {}
        self._listed, self.modality, step = self.about.pop("videos", {}), self.about.get("modality"), self.about.get("step")
        if step and rate and abs(rate * step - 1) > 1e-9:
            raise InputError(f"{self.path / INDEX} has a row every {step:g} s, but fps is {rate:g}; leave fps out.")
        self.rate = 1 / step if step else rate
        self._open: tuple = (None, None)
        self._whole: set[pathlib.Path] = set()  # files whose checksum was found right

    def width(self, video):
        array = self._array(video)
        return None if array is None else array.shape[1]

    def read(self, video, frames):
        array = self._array(video)
        there = frames <= len(array)
        return array[frames[there] - 1], there

    def weight(self, videos):
        files = {video: self._file(video) for video in videos}
        index = sha256(self.path / INDEX) if self.about else None
        return {"index": index, "files": {video: sample(file) for video, file in files.items() if file}}

    def close(self):
        self._open = (None, None)

    def _array(self, video):
        """The video's array, mapped, None if it has none; the last one stays open."""
        if self._open[0] != video:
            file = self._file(video)
            self._open = (video, None if file is None else self._map(file))
        return self._open[1]

    def _file(self, video):
        """The video's file: at its path, or else the one with its name in any folder."""
        for name in names_of(video):
            if (file := self.path / f"{name}.npy").is_file():
                return file
            if name in self._listed:
                raise InputError(f"{file} is missing, though {INDEX} lists it; restore it or {AGAIN}.")
        for name in names_of(video):
            found = self._by_name.get(pathlib.PurePosixPath(name).name.lower(), [])
            if len(found) > 1:
                raise InputError(f"{video!r} may be {found[0]} or {found[1]}; name the video with its folder, or remove one.")
            if found:
                return found[0]
        return None

    @functools.cached_property
    def _by_name(self):
        found = collections.defaultdict(list)
        for file in sorted(self.path.rglob("*.npy")):
            found[file.stem.lower()].append(file)
        return found

    def _map(self, file):
        """The array of a file; no more of it is read than its header, unless its checksum is known."""
        name = file.relative_to(self.path).with_suffix("").as_posix()
        listed = self._listed.get(name, {})
        try:
            array = np.lib.format.open_memmap(file, mode="r")
        except (ValueError, EOFError, OSError) as error:
            raise InputError(f"{file} is no whole .npy file of numbers ({error}); {AGAIN}.") from None
        check_shape(array, str(file), "frames", "features")
        if not isinstance(listed, dict) or listed.get("rows", len(array)) != len(array):
            raise InputError(f"{file} has {len(array)} rows, {INDEX} says {listed!r:.60}; {AGAIN}.")
        if file not in self._whole and not _is_whole(file, array, listed):
            raise InputError(f"{file} was altered after it was written: its checksum is not that of {INDEX}; {AGAIN}.")
        self._whole.add(file)
        return array


def sample(file):
    """Size of a file and the crc32 of its first, middle and last 64 KB: what tells most states of it apart at little cost."""
    size = file.stat().st_size
    with open(file, "rb") as content:
        found = 0
        for at in (0, size // 2, size - PIECE):
            content.seek(max(0, at))
            found = crc32(content.read(PIECE), found)
    return [size, found]


def _is_whole(file, array, listed):
    right = "crc32" not in listed or crc32(np.ascontiguousarray(array)) == listed["crc32"]
    return right and ("sha256" not in listed or sha256(file) == listed["sha256"])


def _read_index(file):
    index = read_json(file)
    index = index if isinstance(index, dict) else {}
    step, kinds = index.get("step"), (isinstance(index.get("modality"), str), isinstance(index.get("videos"), dict))
    if index.get("format") != FORMAT or not all(kinds) or not isinstance(step, (int, float)) or not 0 < step < math.inf:
        raise InputError(f"{file} is no index of features (format {FORMAT}, modality, step, videos); {AGAIN}.")
    return index


def check_shape(array, where, *wanted):
    """Return an array (or dataset) of floats if it has the `wanted` sizes; names stand for any size.

    Raises:
        InputError: says `where`, what there is and what is wanted.
    """
    fits = len(array.shape) == len(wanted) and array.dtype.kind == "f"
    fits = fits and all(isinstance(want, str) or size == want for size, want in zip(array.shape, wanted, strict=True))
    if not fits or not 0 < array.shape[-1] <= WIDEST:
        sizes = ", ".join(map(str, wanted)) + "," * (len(wanted) == 1)
        raise InputError(f"{where} is {array.shape} {array.dtype}; ({sizes}) of floats is wanted.")
    return array
