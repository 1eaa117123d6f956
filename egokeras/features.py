"""Features of a frozen backbone, computed once and kept as shards, so that a head trains on them in seconds."""

import hashlib
import json
import math
import pathlib
import shutil
import tempfile

import keras
import numpy as np
from zlib_ng.zlib_ng import crc32

import egokeras
from egokeras.data.shards import Shards, ShardWriter
from egokeras.errors import InputError
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
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as work:
            made = pathlib.Path(work, "made")
            _extract(backbone, shards, made, key)
            if not path.exists():  # else another training, started beside this one, was quicker
                made.rename(path)
    return Shards(path)


def _extract(backbone, shards, path, key):
    path.mkdir()
    need, free = len(shards) * 2 * math.prod(backbone.output.shape[1:]), shutil.disk_usage(path).free
    if need > free:
        found = f"the features take {need / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
        raise InputError(f"{path.parent}: {found}; free some space, or train on frames with cache_features=False.")
    writer = ShardWriter(path, shape=backbone.output.shape[1:], dtype="float16")
    source = np.setdiff1d(np.arange(len(shards)), shards.rows("windows") if "windows" in shards.splits else [])
    clips = shards.clips[source]
    for start in track(range(0, len(source), BATCH), "features", unit="batches"):
        features = np.asarray(backbone.predict_on_batch({"rgb": shards.read(source[start : start + BATCH])})).astype("float16")
        for clip, feature in zip(clips[start : start + BATCH], features, strict=True):
            clip["shard"], clip["offset"], clip["size"] = writer.append(feature)
            clip["checksum"] = crc32(feature)
    kept = ("classes", "splits", "exclusive", "sampling", "clip_seconds", "quarantined")
    writer.finish(clips, {"modality": "features", **{name: shards.index.get(name) for name in kept}, "made_from": key})


def _key(backbone, shards):
    """Hash of all that the features depend on: the clips, the network and the versions that compute it, its weights."""
    made_of = json.dumps([shards.sha256, egokeras.__version__, keras.__version__, backbone.get_config()], sort_keys=True, default=str)
    for number, layer in enumerate(backbone.layers):  # Keras counts layers without a name on from model to model
        made_of = made_of.replace(f'"{layer.name}"', f'"{number}"')
    digest = hashlib.sha256(made_of.encode())
    for weight in backbone.weights:
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()
