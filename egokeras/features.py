"""Features of a frozen backbone, computed once and kept as shards, so that a head trains on them in seconds."""

import hashlib
import json
import pathlib
import shutil
import zlib

import numpy as np

from egokeras.data.shards import Shards, ShardWriter
from egokeras.progress import track

BATCH = 8


def cached(backbone, shards, folder):
    """The features of all clips of `shards` by `backbone`, as shards of modality `features` in float16.

    Args:
        backbone: model `rgb` -> features, in inference mode.
        shards: an open `Shards` of modality `rgb`.
        folder: where sets of features lie, one folder each, named by what they are made of.

    Returns:
        An open `Shards` with the labels and splits of `shards`; the unlabelled windows, which nothing trains on, are left out.
    """
    key = _key(backbone, shards)
    path = pathlib.Path(folder) / f"features-{key[:16]}"
    if not (path / "index.json").is_file():
        _extract(backbone, shards, path, key)
    return Shards(path)


def _extract(backbone, shards, path, key):
    shutil.rmtree(path, ignore_errors=True)  # left by a run that was stopped
    path.mkdir(parents=True)
    writer = ShardWriter(path, shape=backbone.output.shape[1:], dtype="float16")
    source = np.setdiff1d(np.arange(len(shards)), shards.rows("windows") if "windows" in shards.splits else [])
    clips = shards.clips[source]
    for start in track(range(0, len(source), BATCH), "features", unit="batches"):
        features = np.asarray(backbone.predict_on_batch({"rgb": shards.read(source[start : start + BATCH])})).astype("float16")
        for clip, feature in zip(clips[start : start + BATCH], features, strict=True):
            clip["shard"], clip["offset"], clip["size"] = writer.append(feature)
            clip["checksum"] = zlib.crc32(feature)
    kept = ("classes", "splits", "sampling", "clip_seconds", "quarantined")
    writer.finish(clips, {"modality": "features", **{name: shards.index.get(name) for name in kept}, "made_from": key})


def _key(backbone, shards):
    """Hash of all that the features depend on: the clips, the network, its weights."""
    digest = hashlib.sha256(shards.sha256.encode())
    digest.update(json.dumps(backbone.get_config(), sort_keys=True, default=str).encode())
    for weight in backbone.weights:
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()
