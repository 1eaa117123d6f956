"""Damaged sets of shards: what opening, reading and `egokeras verify` make of them."""

import collections
import functools
import hashlib
import json
import random
import shutil
import time

from damaged import BYTES, SIDES, contents
from damaged.videos import prepared

STAGES = ("open", "read", "verify", "harmless", "silent", "crashed")
HEADER = 128


# Damage to a set of shards, beside `BYTES` on one of its files. Each takes the folder and a `random.Random`.


def exchange_shards(folder, rng):
    one, other = rng.sample(sorted(folder.glob("shard-*.npy")), 2)
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)


def turn_shard(folder, rng):
    """Each clip in the place of another; in jpeg, bytes of a clip in the place of others."""
    index = json.loads((folder / "index.json").read_text("utf-8"))
    shard = rng.choice([shard for shard in index["shards"] if shard["clips"] > 1])
    data = (folder / shard["file"]).read_bytes()
    step = (len(data) - HEADER) // shard["clips"] * rng.randrange(1, shard["clips"])
    (folder / shard["file"]).write_bytes(data[:HEADER] + data[HEADER + step :] + data[HEADER : HEADER + step])


def wrong_count(folder, rng, sealed=False):
    path = folder / "index.json"
    index = json.loads(path.read_text("utf-8"))
    place, key = rng.choice([(index, "clips"), (rng.choice(index["shards"]), "clips"), (rng.choice(index["shards"]), "bytes")])
    place[key] += rng.choice((-1, 1))
    if sealed:
        rest = {name: value for name, value in index.items() if name != "seal"}
        index["seal"] = hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(index), encoding="utf-8")


SETS = {
    "shards exchanged": exchange_shards,
    "clips exchanged": turn_shard,
    "wrong count": wrong_count,
    "wrong count, sealed": functools.partial(wrong_count, sealed=True),
}


def damaged_shards(folder, sources, count, seed):
    """Counts of the stage that reports by damage; each set of shards is damaged once, in one file chosen at random, or as `SETS` say."""
    rng, damages = random.Random(seed + 1), [*BYTES, *SETS]
    sets = shard_sets(folder / "sets", sources)
    before = {kind: contents(path) for kind, (path, _) in sets.items()}
    read = {kind: taken(path)[1] for kind, (path, _) in sets.items()}
    counts, failures, slowest = collections.Counter(), [], 0.0
    for number in range(count):
        damage, kind = damages[number % len(damages)], list(sets)[number // len(damages) % len(sets)]
        path, sister = sets[kind]
        copy, started = folder / "copy", time.monotonic()
        shutil.copytree(path, copy)
        name = spoil(copy, sister, damage, rng)
        stage, said = judge(copy, read[kind])
        excused = name == "quarantine.csv" and "quarantine_sha256" not in json.loads(before[kind]["index.json"])
        if stage in ("silent", "crashed") and not excused:
            failures.append(f"{kind}, {damage} in {name}: {stage} {said}")
        counts[damage, stage] += 1
        slowest = max(slowest, time.monotonic() - started)
        shutil.rmtree(copy)
    failures += [f"intact shards {kind} were changed" for kind, (path, _) in sets.items() if contents(path) != before[kind]]
    table = [[damage, *(counts[damage, stage] for stage in STAGES)] for damage in damages]
    return {"shards": table, "slowest_set_seconds": slowest, "failures": failures}


def spoil(copy, sister, damage, rng):
    """Do one damage to a set of shards; returns what was damaged."""
    if damage in SETS:
        SETS[damage](copy, rng)
        return "the set"
    file = rng.choice(sorted(copy.iterdir()))
    data = BYTES[damage](bytearray(file.read_bytes()), rng, (sister / file.name).read_bytes())
    file.unlink()
    if data is not None:
        file.write_bytes(data)
    return file.name


def shard_sets(folder, sources):
    """Kind to (a small set of shards, another with files of the same names); some clips of both are in quarantine."""
    videos = folder / "videos"
    videos.mkdir(parents=True)
    for number, path in enumerate(sources.values()):
        shutil.copy(path, videos / f"v{number}{path.suffix}")
    (videos / "broken.mp4").write_bytes(b"no video")
    spans = [(f"u{video}-{start}", video, start, start + 0.5) for video in ("v0", "v1", "v2", "v3", "broken") for start in (0.0, 0.25, 0.5)]
    sets = {}
    for encoding in ("raw", "jpeg"):
        settings = {
            "workers": 1,
            "frames": 4,
            "size": 32,
            "encoding": encoding,
            "shard_bytes": {"raw": 5 * 4 * 32 * 32 * 3, "jpeg": 8000}[encoding],
        }
        pair = [prepared(folder / f"{encoding}-{rule}", videos, spans, rule=rule, **settings) for rule in ("uniform", "report")]
        sets[encoding] = tuple(pair)
    sets["features"] = tuple(feature_set(folder / f"features-{seed}", seed) for seed in range(2))
    return sets


def feature_set(path, seed):
    import numpy as np
    from zlib_ng.zlib_ng import crc32

    from egokeras.data.shards import ShardWriter, table_dtype

    path.mkdir()
    features = np.random.default_rng(seed).normal(size=(12, 4, 16)).astype("float16")
    writer = ShardWriter(path, shape=(4, 16), dtype="float16", shard_bytes=5 * features[0].nbytes)
    table = np.zeros(12, table_dtype(4, 4, 1, ["action"]))
    for row, clip in enumerate(features):
        table[row] = (f"u{row}", f"v{row}", "", 0, 1, *writer.append(clip), crc32(clip), 1 + row % 2, row % 2)
    classes = {"action": [f"put {seed}", "take"]}
    writer.finish(table, {"modality": "features", "classes": classes, "splits": list(SIDES), "quarantined": 0})
    return path


def taken(folder):
    """(refusals, what a reader gets) of a set: index, table, list of the quarantine, every clip that is not refused."""
    from egokeras.data.shards import Shards
    from egokeras.errors import InputError

    data, refused = Shards(folder), []
    found = {"index": data.index, "table": data.clips.tobytes()}
    found["quarantine"] = (folder / "quarantine.csv").read_bytes() if (folder / "quarantine.csv").exists() else b""
    for row in range(len(data)):
        try:
            found[row] = data.read([row]).tobytes()
        except InputError as error:
            refused.append(str(error))
    return refused, found


def judge(folder, intact):
    """The stage that reports the damage, and what it says; `silent` also where a clip is handed out that is not the one written."""
    from egokeras.commands.verify import findings
    from egokeras.errors import InputError

    try:
        refused, found = taken(folder)
    except InputError as error:
        return "open", str(error)
    except Exception as error:
        return "crashed", repr(error)
    try:
        said = list(findings(folder))
    except Exception as error:
        return "crashed", repr(error)
    if any(value != intact[key] for key, value in found.items() if key not in ("index", "quarantine")):
        return "silent", "another clip was handed out"
    if refused:
        return ("read", refused[0]) if said else ("crashed", "verify does not say what reading does")
    if said:
        return "verify", said[0]
    return ("harmless", "") if found == intact else ("silent", "")
