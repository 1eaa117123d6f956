"""Shards: clips as plain `.npy` files with an index, read in any order through the page cache and checked by checksum.

`clips.npy` holds a record per clip in the order of the segments; `index.json` says what the clips are and is written last,
so a folder with an index is complete. Equal work gives equal bytes. Clips are read with the file's own read call and not through
a memory map: as fast, and a file that is cut or cannot be read while it is in use gives an error where a map would kill the process.
"""

import contextlib
import errno
import io
import math
import pathlib
import struct
import typing

import numpy as np
from zlib_ng.zlib_ng import crc32

import egokeras
from egokeras.data.clip_table import ClipTable
from egokeras.data.shard_index import (
    AGAIN,
    CHECKSUM,
    DTYPES,
    FORMAT,
    INDEX,
    NO_LABEL,
    TABLE,
    read_index,
    read_table,
    shard_name,
    table_dtype,
)  # fmt: skip
from egokeras.errors import InputError
from egokeras.files import atomic, seal, sha256, write_json

__all__ = ["FORMAT", "HEADER_BYTES", "INDEX", "NO_LABEL", "Place", "ShardWriter", "Shards", "encode_jpeg", "table_dtype"]

HEADER_BYTES = 128
OPEN_FILES = 32  # of one set; some systems allow a process 256, and several sets are open at once


class Place(typing.NamedTuple):
    """Where a clip lies: number of the shard, then row and 1 (raw) or first byte and bytes (jpeg)."""

    shard: int
    offset: int
    size: int


def tall(shape):
    """Height and width of the one tall picture that a clip (time, height, width, channels) is as a JPEG, see `encode_jpeg`."""
    time, height, width, channels = shape
    return time * height * (1 if channels == 3 else channels), width


def encode_jpeg(clip, quality):
    """A clip (time, height, width, channels) uint8 as one tall JPEG, frames from top to bottom.

    Three channels are its colours; any other number stands in grey, one channel below the other, frame by frame.
    """
    import cv2

    picture = clip if clip.shape[3] == 3 else np.moveaxis(clip, 3, 1)
    picture = picture.reshape(*tall(clip.shape), -1)
    return cv2.imencode(
        ".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if clip.shape[3] == 3 else picture, [cv2.IMWRITE_JPEG_QUALITY, quality]
    )[1]


def _decode_jpeg(payload, clip):
    """Decode a tall JPEG into `clip`; False if it is not one of that size."""
    import cv2

    colours = clip.shape[3] == 3
    image = cv2.imdecode(payload, cv2.IMREAD_COLOR if colours else cv2.IMREAD_GRAYSCALE)
    if image is None or image.shape[:2] != tall(clip.shape):
        return False
    if colours:
        cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=clip.reshape(image.shape))
    else:
        time, height, width, channels = clip.shape
        clip[:] = np.moveaxis(image.reshape(time, channels, height, width), 1, 3)
    return True


def _header(shape, dtype):
    """Start of a `.npy` file, always of the same length, so that the count can be filled in at the end."""
    descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {tuple(shape)}, }}"
    length = HEADER_BYTES - 10
    return np.lib.format.magic(1, 0) + struct.pack("<H", length) + text.ljust(length - 1).encode("ascii") + b"\n"


class ShardWriter:
    """Packs payloads one after another into shards of at most `shard_bytes` (or one clip).

    A shard gets its name when it is full. After a kill, a new writer given the same payloads finds the full ones again:
    `skip` tells the place of a payload that one of them holds.

    Args:
        path: an existing folder.
        shape: of one clip, such as (time, height, width, 3).
        dtype: of the clips.
        encoding: `raw`, or `jpeg` (payloads of any length).
        shard_bytes: bytes of pixels in a full shard.
    """

    def __init__(self, path, *, shape, dtype="uint8", encoding="raw", shard_bytes=256 << 20):
        self.path = pathlib.Path(path)
        self.shape, self.dtype, self.encoding, self.shard_bytes = tuple(shape), np.dtype(dtype), encoding, shard_bytes
        self.clip_bytes = math.prod(self.shape) * self.dtype.itemsize
        if self.dtype.name not in DTYPES:
            raise ValueError(f"shards hold {', '.join(DTYPES)}, not {self.dtype}")
        self.counts = []
        self._used = 0
        self._open = contextlib.ExitStack()
        self._file = None

    def skip(self, size):
        """Place of the next payload, of `size` bytes, if a finished shard holds it; else None, and nothing has changed."""
        if not (self.path / shard_name(self._next_shard(size))).exists():
            return None
        return self._place(size)

    def append(self, payload):
        """Store a payload (an array of the clip's shape, or the bytes of one); returns its `Place`."""
        payload = np.ascontiguousarray(payload).reshape(-1).view(np.uint8)
        if self.encoding == "raw" and len(payload) != self.clip_bytes:
            raise ValueError(f"a clip of {len(payload)} bytes does not fit the shape {self.shape}")
        place = self._place(len(payload))
        if self._file is None:
            self._file = self._open.enter_context(atomic(self.path / shard_name(place.shard)))
            self._file.write(bytes(HEADER_BYTES))
        self._file.write(payload)
        return place

    def _next_shard(self, size):
        full = not self.counts or (self._used and self._used + size > self.shard_bytes)
        return len(self.counts) if full else len(self.counts) - 1

    def _place(self, size):
        if self._next_shard(size) == len(self.counts):
            self._close_shard()
            self.counts.append(0)
            self._used = 0
        raw = self.encoding == "raw"
        place = Place(len(self.counts) - 1, self.counts[-1] if raw else self._used, 1 if raw else size)
        self.counts[-1] += 1
        self._used += size
        return place

    def _close_shard(self):
        """Fill in the header and give the file its name."""
        if self._file is not None:
            self._file.seek(0)
            raw = self.encoding == "raw"
            self._file.write(_header((self.counts[-1], *self.shape), self.dtype) if raw else _header((self._used,), "uint8"))
            self._open.close()
            self._file = None

    def abort(self):
        """Leave the finished shards and remove the one in work; nothing can be appended any more, by a thread still at it least of all."""
        unfinished = self._open
        del self._open
        with contextlib.suppress(InterruptedError):
            unfinished.__exit__(InterruptedError, InterruptedError(), None)

    def finish(self, clips, about):
        """Write `clips.npy`, then `index.json`.

        Args:
            clips: array of `table_dtype`, complete.
            about: the entries of the index that the writer does not know: `modality`, `channels`, `sampling`, `resize`,
                `fps_rule`, `classes`, `splits`, `quarantined`, `sources`, `clip_seconds` and any other.
        """
        self._close_shard()
        with atomic(self.path / TABLE) as file:
            np.lib.format.write_array(file, clips, allow_pickle=False)
        files = [self.path / shard_name(number) for number in range(len(self.counts))]
        index = {
            "format": FORMAT,
            **about,
            "encoding": self.encoding,
            "shape": list(self.shape),
            "dtype": self.dtype.name,
            "clips": len(clips),
            "table": {"file": TABLE, "sha256": sha256(self.path / TABLE)},
            "shards": [{"file": file.name, "clips": n, "bytes": file.stat().st_size} for file, n in zip(files, self.counts, strict=True)],
            "checksum": CHECKSUM,
            "egokeras": egokeras.__version__,
        }
        write_json(self.path / INDEX, {**index, "seal": seal(index)})


class Shards(ClipTable):
    """A folder of shards, open for reading.

    Attributes (beside those of `ClipTable`):
        shape: of one clip, such as (time, height, width, 3).
        dtype: of the clips.
        modality: `rgb`, `features` ...

    Raises:
        InputError: a file is missing, too short, altered or of another format version, or the files contradict each other.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.index = read_index(self.path)
        self.sha256 = sha256(self.path / INDEX)
        self.modality = self.index["modality"]
        self.shape, self.dtype = tuple(self.index["shape"]), np.dtype(self.index["dtype"])
        self.classes = {space: tuple(names) for space, names in self.index["classes"].items()}
        self.splits = tuple(self.index["splits"])
        self.clips = read_table(self.path, self.index)
        self._raw = self.index["encoding"] == "raw"
        self._clip_bytes = math.prod(self.shape) * self.dtype.itemsize
        self._files: dict[int, io.FileIO] = {}
        for number in range(len(self.index["shards"])):
            self._check_shard(number)
        self._check_places()

    @property
    def modalities(self):
        """Name of the one input to the shape of a clip."""
        return {self.modality: self.shape}

    @property
    def dtypes(self):
        """Name of the one input to its dtype."""
        return {self.modality: self.dtype}

    @property
    def indexes(self):
        """Name of the one input to `index`."""
        return {self.modality: self.index}

    def inputs(self, rows, out=None):
        """What `read` gives, by the name of the modality; into `out[modality]` if given."""
        return {self.modality: self.read(rows, out=out and out[self.modality])}

    def read(self, rows, out=None):
        """Clips of `rows`: (len(rows), *shape), each checked against its checksum; into `out` if given.

        Raises:
            InputError: a clip is not what was written; names the clip and the file.
        """
        rows = np.asarray(rows, np.int64)
        clips = np.empty((len(rows), *self.shape), self.dtype) if out is None else out
        places = zip(*(self.clips[column][rows].tolist() for column in ("shard", "offset", "size", "checksum")), strict=True)
        for clip, row, (shard, offset, size, checksum) in zip(clips, rows, places, strict=True):
            if self._raw:
                self._fill(clip, shard, HEADER_BYTES + offset * self._clip_bytes)
                whole = crc32(clip) == checksum
            else:
                payload = np.empty(size, np.uint8)
                self._fill(payload, shard, HEADER_BYTES + offset)
                whole = crc32(payload) == checksum and _decode_jpeg(payload, clip)
            if not whole:
                file, uid = self.path / shard_name(shard), str(self.clips["uid"][row])
                raise InputError(f"{file}: clip {uid!r} was altered after it was written; restore the file or {AGAIN}.")
        return clips

    def _fill(self, array, number, start):
        """Read a shard from byte `start` on until `array` is full; any number of threads may do so at once."""
        file = self.path / shard_name(number)
        try:
            handle = self._files.pop(number, None) or io.FileIO(file)
            handle.seek(start)
            flat, count = array.reshape(-1).view(np.uint8), 0
            while got := handle.readinto(flat[count:]):  # network disks, and any for 2 GB and more, give less than was asked for
                count += got
        except FileNotFoundError:
            raise InputError(f"{file} is missing; restore it or {AGAIN}.") from None
        except OSError as error:
            cure = "allow more open files (ulimit -n)" if error.errno == errno.EMFILE else f"restore it or {AGAIN}"
            raise InputError(f"{file} cannot be read ({error.strerror}); {cure}.") from None
        if count != array.nbytes:
            raise InputError(f"{file} ends at byte {start + count}, inside a clip; restore it or {AGAIN}.")
        if len(self._files) < OPEN_FILES:
            self._files[number] = handle

    def _check_shard(self, number):
        """Refuse a shard that has not the length or the header that the index gives it."""
        shard, file = self.index["shards"][number], self.path / shard_name(number)
        found = file.stat().st_size if file.is_file() else None
        if found != shard["bytes"]:
            what = "is missing" if found is None else f"has {found} bytes in place of {shard['bytes']}"
            raise InputError(f"{file} {what}; restore it or {AGAIN}.")
        shape = (shard["clips"], *self.shape) if self._raw else (shard["bytes"] - HEADER_BYTES,)
        dtype = self.dtype if self._raw else np.dtype(np.uint8)
        whole = HEADER_BYTES + math.prod(shape) * dtype.itemsize == found >= HEADER_BYTES
        header = np.empty(HEADER_BYTES, np.uint8)
        if whole:
            self._fill(header, number, 0)
        if not whole or header.tobytes() != _header(shape, dtype):
            raise InputError(f"{file} is not a shard of {shape} {dtype}; restore it or {AGAIN}.")

    def _check_places(self):
        """Refuse a table that points outside the shards or names classes that there are not."""
        shards = self.index["shards"]
        ends = np.array([shard["clips"] if self._raw else shard["bytes"] - HEADER_BYTES for shard in shards], np.int64)
        shard, offset, size = (self.clips[column] for column in ("shard", "offset", "size"))
        wrong = (shard < 0) | (shard >= len(shards)) | (offset < 0) | (size < 1)
        wrong |= (size != 1) & self._raw
        wrong[~wrong] = offset[~wrong] > ends[shard[~wrong]] - size[~wrong]
        if wrong.any():
            raise InputError(f"{self.path / TABLE}: clip {str(self.clips['uid'][wrong][0])!r} lies outside the shards; {AGAIN}.")
        for space, names in self.classes.items():
            labels = self.clips[f"label_{space}"]
            if len(labels) and not NO_LABEL <= labels.min() <= labels.max() < len(names):
                raise InputError(f"{self.path / TABLE}: {space} has labels outside its {len(names)} classes; {AGAIN}.")
