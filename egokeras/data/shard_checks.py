"""What does not hold in a set of shards that can be opened: clips, counts, table, and leaks between splits. In sentences."""

import collections
import concurrent.futures
import csv
import os

from egokeras.data.segments import EXCLUSIVE, held_out, numbering
from egokeras.data.shards import HEADER_BYTES
from egokeras.errors import said
from egokeras.files import sha256
from egokeras.progress import track


def findings(data):
    """Yield a sentence for everything in `Shards` that is not as it was written, or makes scores worthless."""
    yield from _clips(data)
    yield from _counts(data)
    yield from _table(data)
    yield from _leaks(data)
    if "observations" not in data.index:  # past actions are often alike, and so is what is seen before two actions at once
        yield from _same_content(data)


def _clips(data):
    """Every clip, in the order in which they lie, by several threads: checksums are computed without Python's lock."""
    rows = data.clips.argsort(order=("shard", "offset")).tolist()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for found in track(pool.map(lambda row: list(said(data.read, [row])), rows), "verify", total=len(rows), unit="clips"):
            yield from found


def _counts(data):
    held = sum(shard["clips"] for shard in data.index["shards"])
    if not len(data) == data.index["clips"] == held:
        yield f"{data.path}: {len(data)} clips in the table, {data.index['clips']} in the index, {held} in the shards; make them again."
    known = {shard["file"] for shard in data.index["shards"]}
    for file in sorted(data.path.glob("shard-*.npy")):
        if file.name not in known:
            yield f"{file} is not in the index, so nothing reads it; delete it, or restore the index that it belongs to."
    if data.modality == "rgb" or "quarantine_sha256" in data.index:
        yield from _quarantine(data.path / "quarantine.csv", data.index["quarantined"], data.index.get("quarantine_sha256"))


def _quarantine(listed, count, digest):
    lost = 0
    if listed.is_file():
        try:
            with open(listed, newline="", encoding="utf-8") as file:
                lost = sum(1 for _ in csv.DictReader(file))
        except (UnicodeDecodeError, csv.Error) as error:
            yield f"{listed} is damaged ({error}); restore the file."
            return
    if lost != count:
        yield f"{listed} lists {lost} clips, the index counts {count}; restore the file."
    elif digest and (sha256(listed) if listed.is_file() else None) != digest:
        yield f"{listed} is missing or was altered after it was written; restore the file."


def _table(data):
    """Places that cover the shards without overlap, each clip once, a split that has a name."""
    raw = data.index["encoding"] == "raw"
    for number, shard in enumerate(data.index["shards"]):
        clips = data.clips[data.clips["shard"] == number]
        clips.sort(order="offset")
        ends = clips["size"].cumsum()
        whole = shard["clips"] if raw else shard["bytes"] - HEADER_BYTES
        if len(clips) != shard["clips"] or (clips["offset"] != ends - clips["size"]).any() or ends[-1:].tolist() != [whole]:
            yield f"{data.path}: the clips of {shard['file']!r} overlap or leave a gap; make the shards again."
    if len(set(data.clips["uid"].tolist())) < len(data):
        yield f"{data.path}: a uid stands for two clips; make the shards again."
    if (data.clips["splits"] >> len(data.splits)).any():
        yield f"{data.path}: a clip is in a split without a name; make the shards again."


def _leaks(data):
    """Videos, or groups where they matter, on both sides of a numbering of the splits."""
    for field in EXCLUSIVE[data.index.get("exclusive") or "video"]:
        sides = collections.defaultdict(set)
        for value, mask in set(zip(data.clips[field].tolist(), data.clips["splits"].tolist(), strict=True)):
            for bit, split in enumerate(data.splits):
                if value and mask >> bit & 1:
                    sides[value, numbering(split)].add(split)
        for (value, _), splits in sorted(sides.items()):
            if len({held_out(split) for split in splits}) > 1:
                yield f"{field} {value!r} is in {' and '.join(sorted(splits))}: scores on such a split mean nothing; part the data again."


def _same_content(data):
    """The same clip under two names, on both sides: found by equal checksums, told by equal pixels."""
    alike = collections.defaultdict(list)
    for row, (checksum, mask) in enumerate(zip(data.clips["checksum"].tolist(), data.clips["splits"].tolist(), strict=True)):
        alike[checksum].append((row, mask))
    for clips in alike.values():
        first: dict = {}  # row of a numbering and side
        for row, mask in clips if len(clips) > 1 else ():
            for bit, split in enumerate(data.splits):
                if mask >> bit & 1:
                    first.setdefault((numbering(split), held_out(split)), (row, split))
        for (number, side), (row, split) in first.items():
            other, another = first.get((number, True), (row, split))
            if not side and row != other and (data.read([row]) == data.read([other])).all():
                names = f"{str(data.clips['uid'][row])!r} and {str(data.clips['uid'][other])!r}"
                yield f"clips {names} have the same content, in {split} and {another}: a score on it means nothing; leave one out."
