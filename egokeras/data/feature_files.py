"""Features that another program has computed: a folder of `.npy`, an HDF5 file, or RU-LSTM's LMDB.

A source of features has a `path`, a `rate` (frames per second), a `modality` or None, what else it says of itself in `about`, and

- `width(video)`: how many features a frame has, or None if the video is not there,
- `read(video, frames)`: of frames that ascend and count from 1 (see `observations.frames`), which of them are there, (frames,) bool,
  and the features of these, (found, width) floats; in the order (features, bool),
- `weight(videos)`: what tells one state of the files from another, without reading all of them, wherever they lie,
- `close()`.

Frames are read as they are asked for: no file is ever taken into memory as a whole, and nothing is unpickled.
"""

import contextlib
import math
import pathlib
import re

import numpy as np

from egokeras.data.npy_features import INDEX, WIDEST, NpyFolder, check_shape, sample
from egokeras.data.object_bags import Detections
from egokeras.data.observations import RATE
from egokeras.data.segments import names_of
from egokeras.errors import InputError

ROWS = 1024  # of a dataset in HDF5 that are read at once
LONGEST_KEY = 511  # bytes; of an LMDB
NUMBER = re.compile(r"(\d+)(?:\.[A-Za-z0-9]+)?$")


def open_features(path, rate=None, detections=None, first=0):
    """The source that `path` is: a folder of `.npy`, a file `.h5` or `.hdf5`, or an LMDB (its folder or its `.mdb` file).

    Args:
        path: file or folder.
        rate: frames per second of the features. A folder with `index.json` says it itself, and an LMDB has 30.
        detections: how many classes of objects there are, if the files are detections, see `object_bags`; else None.
        first: id of the first class of the detections.

    Raises:
        InputError: there is no such file, it is of no known kind or damaged, or the rate is missing or not that of its index.
    """
    path = pathlib.Path(path)
    if rate is not None and not 0 < rate < math.inf:
        raise InputError(f"fps is {rate:g}; give the number of feature frames in a second.")
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path of the features.")
    if detections is not None:
        return Detections(path, _stated(path, rate), detections, first)
    if path.suffix == ".mdb" or (path / "data.mdb").is_file():
        return Lmdb(path, rate or RATE)
    if path.is_dir():
        return NpyFolder(path, rate if (path / INDEX).is_file() else _stated(path, rate))
    if path.suffix.lower() in (".h5", ".hdf5"):
        return Hdf5(path, _stated(path, rate))
    raise InputError(f"{path} is no folder of .npy files, no .h5 file and no LMDB; give the features in one of these forms.")


def _stated(path, rate):
    if rate is None:
        raise InputError(f"{path} does not say how many feature frames there are in a second; give --fps.")
    return rate


class Hdf5:
    """An HDF5 file with a dataset `(frames, features)` of floats per video, or one `(features,)` per frame.

    The latter lie in a group with the video's name, the number of the frame, from 1, at the end of theirs (a suffix may follow), or
    side by side with the names that RU-LSTM's frames have, `<video>_frame_0000000001.jpg`.
    """

    modality = None

    def __init__(self, path, rate):
        import h5py

        self.path, self.rate, self.about = pathlib.Path(path), rate, {}
        self._frames: dict[str, dict[int, str]] = {}
        with self._said("it"):
            self._file = h5py.File(path, "r")
            for name in self._file:
                video, found, number = name.rpartition("_frame_")
                if found and (match := NUMBER.match(number)):
                    self._frames.setdefault(video, {})[int(match[1])] = name

    def width(self, video):
        with self._said(repr(video)):
            found = self._find(video)
            if isinstance(found, dict):
                return self._dataset(found[min(found)], "features").shape[0]
            return None if found is None else found.shape[1]

    def read(self, video, frames):
        width = self.width(video)
        with self._said(repr(video)):
            found = self._find(video)
            if isinstance(found, dict):
                there = np.isin(frames, list(found))
                rows = [self._dataset(found[frame], width)[()] for frame in frames[there].tolist()]
                return np.array(rows).reshape(-1, width), there
            there = frames <= len(found)
            return _rows(found, frames[there] - 1), there

    def weight(self, videos):
        return {"file": sample(self.path)}

    def close(self):
        self._file.close()

    @contextlib.contextmanager
    def _said(self, what):
        try:
            yield
        except (OSError, RuntimeError, KeyError) as error:
            raise InputError(f"{self.path} is damaged, {what} cannot be read ({error}); fetch the file again.") from None

    def _find(self, video):
        """The video's dataset, or the names of its datasets by frame; None if it is not there."""
        import h5py

        for name in names_of(video):
            if name not in self._frames and isinstance(group := self._file.get(name), h5py.Group):
                self._frames[name] = {int(match[1]): f"{name}/{key}" for key in group if (match := NUMBER.search(key))}
            if self._frames.get(name):
                return self._frames[name]
            if name in self._file and name not in self._frames:
                return self._dataset(name, "frames", "features")
        return None

    def _dataset(self, name, *wanted):
        import h5py

        found = self._file[name]
        if not isinstance(found, h5py.Dataset):
            raise InputError(f"{self.path}: {name!r} is no dataset, which is wanted there.")
        return check_shape(found, f"{self.path}: {name!r}", *wanted)


def _rows(dataset, rows):
    """Rows (ascending) by pieces of the dataset: HDF5 is slow where it is asked for single ones."""
    found = np.empty((len(rows), dataset.shape[1]), dataset.dtype)
    for piece in np.unique(rows // ROWS).tolist():
        inside = rows // ROWS == piece
        low, high = rows[inside][[0, -1]].tolist()
        found[inside] = dataset[low : high + 1][rows[inside] - low]
    return found


class Lmdb:
    """RU-LSTM's features: key `<video>_frame_0000000001.jpg`, value the frame's features as raw float32.

    LMDB trusts what is in its file: one from a stranger may end the process.
    """

    modality = None

    def __init__(self, path, rate):
        import lmdb

        self.path, self.rate, self.about = pathlib.Path(path), rate, {}
        folder = self.path.is_dir()
        self._data, self._error = self.path / "data.mdb" if folder else self.path, lmdb.Error
        with self._said():
            self._environment = lmdb.open(str(path), subdir=folder, readonly=True, lock=False, create=False, readahead=False)
            self._content = self._environment.begin(buffers=True)
        size, pages = self._data.stat().st_size, self._environment.info()["last_pgno"] + 1
        if pages * self._environment.stat()["psize"] > size:  # beyond the end of a mapped file the system kills the process
            self.close()
            raise InputError(f"{self._data} is cut off after {size} bytes; fetch it again.")

    def width(self, video):
        return self._find(video)[1]

    def read(self, video, frames):
        name, width = self._find(video)
        keys = [f"{name}_frame_{frame:010d}.jpg".encode() for frame in frames.tolist()]
        with self._said():
            values = {key: self._content.get(key) for key in keys}
        found = [self._features(key, value, width) for key, value in values.items() if value is not None]
        return np.array(found, np.float32).reshape(-1, width), np.array([value is not None for value in values.values()], bool)

    def weight(self, videos):
        return {"file": sample(self._data), "transaction": self._environment.info()["last_txnid"]}

    def close(self):
        self._content.abort()
        self._environment.close()

    def _find(self, video):
        """What the video is called there, and the features of its first frame; None and None if it is not there."""
        for name in names_of(video):
            prefix, cursor = f"{name}_frame_".encode(), self._content.cursor()
            with self._said():
                if (
                    len(prefix) < LONGEST_KEY - len("0000000001.jpg")
                    and cursor.set_range(prefix)
                    and bytes(cursor.key()).startswith(prefix)
                ):
                    return name, len(self._features(bytes(cursor.key()), cursor.value(), None))
        return None, None

    @contextlib.contextmanager
    def _said(self):
        try:
            yield
        except self._error as error:
            raise InputError(f"{self.path} is no LMDB that can be read ({error}); fetch it again.") from None

    def _features(self, key, value, width):
        length, odd = divmod(len(value), 4)
        if odd or not 0 < length <= WIDEST or length != (width or length):
            wanted = f"{4 * width}, raw float32 as in the video's first frame," if width else "raw float32"
            raise InputError(f"{self._data}: {key.decode(errors='replace')!r} has {len(value)} bytes; {wanted} is wanted.")
        return np.frombuffer(value, np.float32)
