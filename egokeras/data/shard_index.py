"""The two files that say what shards hold: `index.json` about the set and `clips.npy` with a record per clip; read, checked, sealed."""

import math

import numpy as np

from egokeras.errors import InputError
from egokeras.files import read_json, seal, sha256

FORMAT = 1
INDEX = "index.json"
TABLE = "clips.npy"
CHECKSUM = "crc32"
DTYPES = ("uint8", "int16", "float16")
NO_LABEL = -1
AGAIN = "make the set again (`egokeras prepare` or `egokeras observe` into an empty folder; cached features: delete the folder, and train)"


def shard_name(number):
    """File name of a shard."""
    return f"shard-{number:05d}.npy"


def table_dtype(uid, video, group, spaces):
    """Type of a record of `clips.npy`; `uid`, `video` and `group` are the characters that each needs."""
    text = [(name, f"U{max(length, 1)}") for name, length in (("uid", uid), ("video", video), ("group", group))]
    span = [("start", "<f8"), ("stop", "<f8")]
    place = [("shard", "<i4"), ("offset", "<i8"), ("size", "<i8"), ("checksum", "<u4")]
    return np.dtype([*text, *span, *place, ("splits", "<u4"), *((f"label_{space}", "<i4") for space in spaces)])


def read_index(path):
    """The content of `index.json` in a folder of shards, every entry that reading relies on checked.

    Raises:
        InputError: it is missing, altered, of another format or not what a set of shards has.
    """
    if not (path / INDEX).is_file():
        raise InputError(
            f"{path} is not a finished folder of shards: {INDEX} is missing; run its `egokeras prepare` or `egokeras observe` again."
        )
    index = read_json(path / INDEX)
    if not isinstance(index, dict) or index.get("format") != FORMAT or index.get("checksum") != CHECKSUM:
        found = index.get("format") if isinstance(index, dict) else None
        raise InputError(f"{path / INDEX} has format {found!r}; this egokeras reads format {FORMAT}; {AGAIN}.")
    if index.get("seal") != seal(index):
        raise InputError(f"{path / INDEX} was altered after it was written; restore it or {AGAIN}.")
    wrong = next((key for key, fits in _FIELDS.items() if key not in index or not fits(index[key])), None)
    if wrong is None and index["encoding"] == "jpeg" and (len(index["shape"]) != 4 or index["dtype"] != "uint8"):
        wrong = "encoding"  # only pictures can be JPEG
    if wrong is not None:
        what = f"{index[wrong]!r:.60} as" if wrong in index else "no"
        raise InputError(f"{path / INDEX} has {what} {wrong!r}, which is not what a set of shards has; {AGAIN}.")
    return index


def _whole(value):
    return type(value) is int and value >= 0


def _texts(value):
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


# What the entries of an index that reading relies on must be.
_FIELDS: dict = {
    "modality": lambda value: isinstance(value, str),
    "encoding": lambda value: value in ("raw", "jpeg"),
    "dtype": lambda value: value in DTYPES,
    "shape": lambda value: isinstance(value, list) and all(map(_whole, value)) and math.prod(value) < 2**40,
    "clips": _whole,
    "classes": lambda value: isinstance(value, dict) and all(map(_texts, value.values())),
    "splits": lambda value: _texts(value) and len(value) <= 32,
    "table": lambda value: isinstance(value, dict),
    "shards": lambda value: isinstance(value, list) and all(map(_is_shard, value, range(len(value)))),
}


def _is_shard(value, number):
    return isinstance(value, dict) and value.get("file") == shard_name(number) and _whole(value.get("clips")) and _whole(value.get("bytes"))


def read_table(path, index):
    """The records of `clips.npy`: an array of `table_dtype`.

    Raises:
        InputError: it is missing, altered or not the table of that index.
    """
    file = path / TABLE
    if not file.is_file() or sha256(file) != index["table"].get("sha256"):
        raise InputError(f"{file} is missing or was altered after it was written; restore it or {AGAIN}.")
    try:
        with open(file, "rb") as content:
            clips = np.lib.format.read_array(content, allow_pickle=False)
        uid, video, group = (clips.dtype[name].itemsize // 4 for name in ("uid", "video", "group"))
        expected = table_dtype(uid, video, group, index["classes"])
        fits = clips.shape == (index["clips"],) and all(clips.dtype[name] == expected[name] for name in expected.names)
    except (ValueError, EOFError, KeyError, TypeError, OverflowError, MemoryError):
        fits = False
    if not fits:
        raise InputError(f"{file} is not a table of {index['clips']} clips with the labels of {INDEX}; {AGAIN}.")
    return clips
