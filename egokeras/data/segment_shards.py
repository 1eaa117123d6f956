"""What `prepare` and `observe` have in common: a folder of shards made from segments, and what of these could not be made."""

import csv
import typing

import numpy as np

from egokeras.data import shards
from egokeras.data.segments import held_out
from egokeras.data.shards import Shards
from egokeras.errors import InputError
from egokeras.files import atomic

QUARANTINE = "quarantine.csv"


def is_complete(out, plan, what):
    """Whether a folder holds shards made by `plan`, the digest of all that they depend on.

    Args:
        out: the folder.
        plan: the digest.
        what: what else than `plan` may be of, for the error.

    Raises:
        InputError: it holds other shards.
    """
    if not (out / shards.INDEX).exists():
        return False
    if Shards(out).index.get("plan") != plan:
        raise InputError(f"{out} holds shards of other {what} or settings; choose another folder or delete it.")
    return True


def splits_of(segments):
    """Names of the splits in the order of their bits: those to train on, then those to judge by."""
    return sorted({split for segment in segments for split in segment.splits}, key=lambda split: (held_out(split), split))


def table(segments, classes, splits, spans, places):
    """`clips.npy`, a record for each segment that has a clip.

    Args:
        segments: at least one `Segment`.
        classes: label space to class names.
        splits: names of the splits in the order of their bits.
        spans: (segments, 2) start and stop in seconds.
        places: (segments, 4) shard, offset, size, checksum.
    """
    spaces = {space: {name: number for number, name in enumerate(names)} for space, names in classes.items()}
    bits = {split: 1 << bit for bit, split in enumerate(splits)}
    texts = {field: [getattr(segment, field) for segment in segments] for field in ("uid", "video", "group")}
    uid, video, group = (max(map(len, values)) for values in texts.values())
    found: typing.Any = np.zeros(len(segments), shards.table_dtype(uid, video, group, spaces))
    for field, values in texts.items():
        found[field] = values
    for fields, columns in ((("start", "stop"), spans), (("shard", "offset", "size", "checksum"), places)):
        for field, column in zip(fields, np.transpose(columns), strict=True):
            found[field] = column
    found["splits"] = [sum(bits[split] for split in segment.splits) for segment in segments]
    for space, ids in spaces.items():
        found[f"label_{space}"] = [ids.get(segment.labels.get(space), shards.NO_LABEL) for segment in segments]
    return found


def write_quarantine(out, lost):
    """List (segment, reason) pairs in `quarantine.csv`."""
    with atomic(out / QUARANTINE, "w") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("uid", "video", "reason"))
        rows.writerows((segment.uid, segment.video, reason) for segment, reason in lost)


def contents(data):
    """What finished `Shards` hold, as a dict: `splits` (split to segments), `quarantined`, `videos_quarantined`, `bytes`."""
    with open(data.path / QUARANTINE, newline="", encoding="utf-8") as file:
        lost = list(csv.DictReader(file))
    return {
        "splits": {split: len(data.rows(split)) for split in data.splits},
        "quarantined": len(lost),
        "videos_quarantined": len({row["video"] for row in lost}),
        "bytes": sum(shard["bytes"] for shard in data.index["shards"]),
    }
