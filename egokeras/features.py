"""Features of a frozen backbone, computed once and kept as shards, so that a head trains on them in seconds."""

import concurrent.futures
import contextlib
import hashlib
import json
import math
import pathlib
import shutil
import sys

import keras
import numpy as np
import tensorflow as tf
from zlib_ng.zlib_ng import crc32

import egokeras
from egokeras.data.shards import INDEX, Shards, ShardWriter
from egokeras.errors import InputError
from egokeras.files import full_disk_said, locked
from egokeras.progress import track

BATCH = 8  # clips; part of what the features are: rounding may depend on the size of a batch
SHARD_BYTES = 64 << 20  # a kill costs at most one shard
CHECKSUMS = ".checksums"  # uint32 of the clips computed so far: what a finished shard must still hold when the work goes on
LOCK = ".lock"
WITHOUT = "train on frames with cache_features=False"


def cached(backbone, shards, folder, *, augment=None, views=0, rows=(), seed=0):
    """The features of all clips of `shards` by `backbone`, as shards of modality `features` in float16.

    An interrupted call leaves its finished shards; the next one goes on from there and ends with the same bytes. Two processes that
    want the same features compute them once.

    Args:
        backbone: model `rgb` -> features, in inference mode.
        shards: an open `Shards` of modality `rgb`.
        folder: where sets of features lie, one folder each, named by what they are made of; or one of these.
        augment: an `Augment` for the views.
        views: how many augmented copies to add of the clips of `rows`; copy k of a clip has the key (seed, k, row).
        rows: of `shards`, those to copy.
        seed: of the copies.

    Returns:
        An open `Shards` with the labels and splits of `shards`; the unlabelled windows, which nothing trains on, are left out. The
        copies come last and are in no split, see `view_rows`.

    Raises:
        InputError: the folder holds features of something else, too little room on the disk, or features beyond float16.
    """
    plan = _Plan(shards, augment, views, np.unique(np.asarray(rows, np.int64)), seed)
    made_from = {**_origin(backbone, shards), **plan.copies}
    folder = pathlib.Path(folder)
    path = folder if (folder / INDEX).exists() else folder / f"features-{_sha256(json.dumps(made_from))[:16]}"
    if not (path / INDEX).exists() or (path / LOCK).exists():
        path.mkdir(parents=True, exist_ok=True)
        with (
            locked(path / LOCK, f"{path}: waiting for another training, which computes these features"),
            full_disk_said(path, f"run the same command again to go on, or {WITHOUT}"),
        ):
            if not (path / INDEX).exists():
                _extract(backbone, plan, path, made_from)
            (path / CHECKSUMS).unlink(missing_ok=True)
    found = Shards(path)
    _check(found, made_from)
    return found


def view_rows(source, rows):
    """Where the augmented copies of `rows` lie.

    Args:
        source: what `cached` returned.
        rows: of `source`, clips that were copied.

    Returns:
        (views, len(rows)) int64: row k has the rows of copy k.
    """
    views = source.index["made_from"]["views"]
    copy_of = source.clips["copy_of"]
    first = np.count_nonzero(copy_of < 0)
    copied = copy_of[first:].reshape(views, -1)[0]
    if not np.isin(rows, copied).all():
        raise ValueError("some of the rows have no copies")
    return first + len(copied) * np.arange(views)[:, None] + np.searchsorted(copied, rows)


class _Plan:
    """The clips in the order of the table: all as they are, then one view after another.

    Attributes:
        source: (clips,) rows of `shards`.
        keys: (clips,) numbers of the views, -1 for a clip as it is.
        copies: what the copies depend on, for the index.
    """

    def __init__(self, shards, augment, views, rows, seed):
        windows = shards.rows("windows") if "windows" in shards.splits else []
        kept = np.setdiff1d(np.arange(len(shards)), windows)
        self.shards, self.augment, self.seed = shards, augment, seed
        self.source = np.concatenate([kept, np.tile(rows, views)]).astype(np.int64)
        self.view = np.repeat(np.arange(-1, views), [len(kept), *[len(rows)] * views])
        self.copy_of = np.where(self.view < 0, -1, np.searchsorted(kept, self.source)).astype("<i4")
        used = {"augmentation": repr(augment), "copied clips": _sha256(rows.tobytes()), "seed of the copies": seed}
        self.copies = {"views": views, **(used if views else dict.fromkeys(used))}

    def __len__(self):
        return len(self.source)

    def batches(self, first):
        """(first row, clips) of every batch from row `first` on; the next one is read while the caller computes."""
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            reads = (pool.submit(self._read, start) for start in range(first, len(self), BATCH))
            current = next(reads, None)
            while current is not None:
                ahead = next(reads, None)
                yield current.result()
                current = ahead

    def _read(self, start):
        rows = np.arange(start, min(start + BATCH, len(self)))
        clips = self.shards.read(self.source[rows])
        copies = self.view[rows] >= 0
        if copies.any():
            changed = rows[copies]
            keys = np.stack([np.full(len(changed), self.seed), self.view[changed], self.source[changed]], axis=1)
            clips[copies] = self.augment(tf.constant(clips[copies]), tf.constant(keys, tf.int64))
        return start, clips

    def table(self):
        """`clips.npy` without places and checksums; copies are in no split, and name the row that they are a copy of."""
        clips = self.shards.clips[self.source]
        names = [uid if view < 0 else f"{uid}, view {view}" for uid, view in zip(clips["uid"], self.view, strict=True)]
        columns = {name: clips[name] for name in clips.dtype.names} | {"uid": np.array(names), "copy_of": self.copy_of}
        columns["splits"] = np.where(self.view < 0, columns["splits"], 0).astype("<u4")
        table = np.zeros(len(self), [(name, column.dtype) for name, column in columns.items()])
        for name, column in columns.items():
            table[name] = column
        return table


def _extract(backbone, plan, path, made_from):
    """Compute what finished shards in `path` do not hold yet, and write the index."""
    for left in path.glob(".shard-*"):  # of a killed process
        left.unlink()
    clip_bytes = 2 * math.prod(backbone.output.shape[1:])
    shard_bytes = max(1, SHARD_BYTES // (BATCH * clip_bytes)) * BATCH * clip_bytes  # whole batches: they are the same after a kill
    writer = ShardWriter(path, shape=backbone.output.shape[1:], dtype="float16", shard_bytes=shard_bytes)
    checksums = np.zeros(len(plan), "<u4")
    done = _take_over(path, checksums)
    _announce(path, len(plan), done, clip_bytes)
    places = [writer.skip(clip_bytes) for _ in range(done)]
    with contextlib.ExitStack() as stack:
        stack.callback(writer.abort)
        journal = stack.enter_context(open(path / CHECKSUMS, "ab"))
        journal.truncate(done * checksums.itemsize)
        batches = stack.enter_context(contextlib.closing(plan.batches(done)))
        for start, clips in track(batches, "features", total=math.ceil((len(plan) - done) / BATCH), unit="batches"):
            features = _half(backbone.predict_on_batch({"rgb": clips}), path)
            checksums[start : start + len(clips)] = [crc32(feature) for feature in features]
            journal.write(checksums[start : start + len(clips)].tobytes())
            journal.flush()  # before a shard can be full
            places += map(writer.append, features)
        table = plan.table()
        table["shard"], table["offset"], table["size"] = np.transpose(places)
        table["checksum"] = checksums
        kept = {name: plan.shards.index.get(name) for name in ("classes", "splits", "exclusive", "sampling", "clip_seconds")}
        kept |= {name: plan.shards.index[name] for name in ("actions",) if name in plan.shards.index}
        writer.finish(table, {"modality": "features", **kept, "quarantined": 0, "made_from": made_from})


def _half(features, path):
    """Features as float16."""
    features = np.asarray(features)
    with np.errstate(over="ignore"):
        half = features.astype("float16")
    if not np.isfinite(half).all():
        raise InputError(f"{path}: float16 cannot hold the feature {features[~np.isfinite(half)][0]:g}; {WITHOUT}.")
    return half


def _take_over(path, checksums):
    """Number of clips in finished shards; their checksums are filled in, and shards that do not hold what was written are removed."""
    known = np.fromfile(path / CHECKSUMS, checksums.dtype) if (path / CHECKSUMS).exists() else checksums[:0]
    done, files = 0, sorted(path.glob("shard-*.npy"))
    for number, file in enumerate(files):
        try:
            found = [crc32(np.ascontiguousarray(feature)) for feature in np.load(file, mmap_mode="r", allow_pickle=False)]
        except (ValueError, EOFError, OSError):
            found = []
        if not found or found != known[done : done + len(found)].tolist():
            for left in files[number:]:
                left.unlink()
            break
        checksums[done : done + len(found)] = found
        done += len(found)
    return done


def _announce(path, count, done, clip_bytes):
    need, free = (count - done) * clip_bytes, shutil.disk_usage(path).free
    if need > free:
        found = f"the features take {need / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
        raise InputError(f"{path.parent}: {found}; free some space, or {WITHOUT}.")
    others = [other for other in path.parent.glob("features-*") if other != path]
    held = sum(file.stat().st_size for other in others for file in other.glob("shard-*.npy"))
    beside = f" ({len(others)} other sets there take {held / 1e9:.1f} GB)" if others else ""
    going_on = f"; going on, {done:,} are done" if done else ""
    what = f"features of {count:,} clips, {count * clip_bytes / 1e9:.2f} GB, go to {path}"
    print(f"{what} for later trainings; delete what you no longer need{beside}{going_on}", file=sys.stderr, flush=True)


def _origin(backbone, shards):
    """All that the features depend on, part by part: the network and its weights, the clips and how they were cut, the versions."""
    config = json.dumps(backbone.get_config(), sort_keys=True, default=str)
    for number, layer in enumerate(backbone.layers):  # Keras counts layers without a name on from model to model
        config = config.replace(f'"{layer.name}"', f'"{number}"')
    return {
        "backbone": _sha256(config),
        "weights of the backbone": _sha256(b"".join(np.ascontiguousarray(weight).tobytes() for weight in backbone.weights)),
        "clips": shards.sha256,
        **{f"preparation, {name}": shards.index.get(name) for name in ("shape", "channels", "sampling", "resize", "fps_rule", "encoding")},
        "batch": BATCH,
        **{module.__name__: module.__version__ for module in (egokeras, keras, tf)},
    }


def _sha256(content):
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def _check(found, made_from):
    """Refuse features that were made from something else."""
    theirs = found.index.get("made_from")
    if not isinstance(theirs, dict):
        raise InputError(f"{found.path} holds {found.modality} and no cached features; delete it or move it away, and they are computed.")
    differing = [
        f"{name} ({_short(theirs.get(name))} there, {_short(value)} here)" for name, value in made_from.items() if theirs.get(name) != value
    ]
    if differing:
        cure = "delete it or move it away, and they are computed anew"
        raise InputError(f"{found.path} holds features made from other things: {'; '.join(differing)}; {cure}.")


def _short(value):
    """A hash by its first digits, anything else as it is."""
    return value[:8] if isinstance(value, str) and len(value) == 64 else value
