"""What becomes of damaged input: is it reported before it is used, and does the intact rest stay as it was?

Renders short videos, damages copies of them (flipped bits, cut ends, swapped files ...), prepares all of them beside the intact
ones, and compares every frame that was not refused with the intact video's. Then it makes shards, damages copies of these, opens
them, reads every clip and runs `egokeras verify`. Last it exports an untrained network, damages copies of the artifacts, opens them and
tests them as `verify` does; each also with checksums made for the damage, where a child process may crash and this one may not. Equal
seeds give equal damage.

A video container has no checksum over its pictures, Matroska apart: a flipped bit that decodes is another picture, and a whole video under
a wrong name is a video. The table counts these as `silent`; given the checksums of the videos, `prepare` must report them too. If not, or
if any other damage is not reported, the exit code is 1.

    python benchmarks/damage.py
    python benchmarks/damage.py --videos 1000 --shards 1000 --seed 1
"""

import argparse
import collections
import contextlib
import csv
import functools
import hashlib
import io
import json
import pathlib
import random
import shutil
import sys
import tempfile
import time

FRAMES, SIDE, RATE = 32, 128, 25
# Kind of video: file name suffix, codec, encoder options.
SOURCES = {
    "H.264 in mp4": (".mp4", "libx264", {"g": "12"}),
    "H.264 in mkv": (".mkv", "libx264", {"g": "12"}),
    "MPEG-4 in mp4": (".mp4", "mpeg4", {"g": "12"}),
    "MPEG-4 in avi": (".avi", "mpeg4", {"g": "12"}),
    "VP9 in mp4": (".mp4", "libvpx-vp9", {"g": "12", "deadline": "realtime", "cpu-used": "8"}),
    "VP9 in mkv": (".mkv", "libvpx-vp9", {"g": "12", "deadline": "realtime", "cpu-used": "8"}),
}
RESULTS = ("reported", "harmless", "silent")
STAGES = ("open", "read", "verify", "harmless", "silent", "crashed")
TIMEOUT = 60.0
ENDS = ("opening", "test", "crash", "harmless", "silent", "died")  # what reports a damaged artifact
EXPORTS = ("float32", "int8", "stream")
HEADER = 128
SIDES = ("train", "validation")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=200, metavar="N", help="damaged videos (default: %(default)s)")
    parser.add_argument("--shards", type=int, default=200, metavar="N", help="damaged sets of shards (default: %(default)s)")
    parser.add_argument("--artifacts", type=int, default=200, metavar="N", help="damaged artifacts, twice each (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the damage (default: %(default)s)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="also write the counts there")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(pathlib.Path(folder), args.videos, args.shards, args.artifacts, args.seed)
    print(text(result))
    print(
        "with `prepare --checksums`: every damaged video reported"
        if not any("checksum" in failure for failure in result["failures"])
        else ""
    )
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 1 if result["failures"] else 0


def measure(folder, videos, sets, artifacts, seed):
    """Damage and count; returns the counts and, as `failures`, a sentence for everything that should not be."""
    import av

    av.logging.set_level(None)
    sources = {kind: render(folder / "sources", number, kind) for number, kind in enumerate(SOURCES)}
    started = time.monotonic()
    found = damaged_videos(folder, sources, videos, seed)
    found["video_seconds"], started = time.monotonic() - started, time.monotonic()
    shards = damaged_shards(folder, sources, sets, seed)
    shards["shard_seconds"], started = time.monotonic() - started, time.monotonic()
    exported = damaged_artifacts(folder, artifacts, seed) if artifacts else {"artifacts": [], "rehashed": [], "failures": []}
    exported["artifact_seconds"] = time.monotonic() - started
    failures = [*found["failures"], *shards["failures"], *exported["failures"]]
    return {**found, **shards, **exported, "failures": failures}


def render(folder, number, kind):
    """A video of a coloured square that crosses drifting waves and noise, which no two kinds share."""
    import av
    import numpy as np

    suffix, codec, options = SOURCES[kind]
    folder.mkdir(exist_ok=True)
    path, rng = folder / f"source{number}{suffix}", np.random.default_rng(number)
    y, x = np.mgrid[:SIDE, :SIDE]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.codec_context.thread_count = SIDE, SIDE, "yuv420p", 1
        for time_ in range(FRAMES):
            waves = [np.sin((x + 3 * time_) / 17 + number), np.cos((y - 2 * time_) / 23), np.sin((x + y + time_) / 31)]
            picture = 128 + 60 * np.stack(waves, axis=2) + rng.normal(0, 4, (SIDE, SIDE, 3))
            picture[20 + time_ : 60 + time_, 30 + 5 * number : 70] = (220, 40, 5 * time_)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture.clip(0, 255).astype("uint8"), format="rgb24")))
        container.mux(stream.encode())
    return path


# Damage to the bytes of a file. Each takes the bytes, a `random.Random` and the bytes of another whole file of its kind; None is no file.


def flip(data, rng, other, count=1):
    for _ in range(count):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def cut_end(data, rng, other):
    return data[: rng.randrange(1, len(data))]


def cut_start(data, rng, other):
    return data[rng.randrange(1, len(data)) :]


def zero_block(data, rng, other):
    size = min(512, len(data) // 2)
    at = rng.randrange(len(data) - size + 1)
    data[at : at + size] = bytes(size)
    return data


def noise(data, rng, other):
    return bytearray(rng.randbytes(len(data)))


def swap(data, rng, other):
    return other


def lose(data, rng, other):
    return None


def empty(data, rng, other):
    return bytearray()


BYTES = {
    "one flipped bit": flip,
    "20 flipped bits": functools.partial(flip, count=20),
    "end cut off": cut_end,
    "start cut off": cut_start,
    "512 zero bytes": zero_block,
    "noise of the same size": noise,
    "another file's content": swap,
    "empty file": empty,
    "missing file": lose,
}
# What a decoder may take for pictures where the container has no checksum, and a whole video under a wrong name.
MAY_BE_SILENT = ("one flipped bit", "20 flipped bits", "512 zero bytes", "another file's content")


def damaged_videos(folder, sources, count, seed):
    """Counts of results by (damage, kind of video), and of the intact videos that came out otherwise beside damaged ones."""
    rng, kinds = random.Random(seed), list(sources)
    jobs = {f"v{number}": (list(BYTES)[number % len(BYTES)], kinds[number // len(BYTES) % len(kinds)]) for number in range(count)}
    videos = folder / "videos"
    videos.mkdir()
    intact = {kind: f"intact{number}" for number, kind in enumerate(kinds)}
    for kind, path in sources.items():
        shutil.copy(path, videos / f"{intact[kind]}{path.suffix}")
    whole = [(name, name, 0, FRAMES / RATE) for name in intact.values()]
    alone = dict(clips(prepared(folder / "alone", videos, whole)))
    for name, (damage, kind) in jobs.items():
        other = sources[kinds[(kinds.index(kind) + 1) % len(kinds)]]
        data = BYTES[damage](bytearray(sources[kind].read_bytes()), rng, other.read_bytes())
        if data is not None:
            (videos / f"{name}{sources[kind].suffix}").write_bytes(data)
    out = prepared(folder / "beside", videos, [*whole, *((name, name, 0, FRAMES / RATE) for name in jobs)])
    right = {uid: same(clip, alone[uid if uid in alone else intact[jobs[uid][1]]]) for uid, clip in clips(out)}
    failures = passed_checksums(folder, sources, videos, intact, jobs)
    results = {True: "harmless", False: "silent", None: "reported"}
    counts = collections.Counter((*job, results[right.get(name)]) for name, job in jobs.items())
    reasons = collections.Counter(row["reason"] for row in csv.DictReader((out / "quarantine.csv").read_text("utf-8").splitlines()))
    died = sum(number for reason, number in reasons.items() if "time limit" in reason or "worker process" in reason)
    failures += [f"intact video {kind} came out otherwise beside damaged ones" for kind, name in intact.items() if not right.get(name)]
    failures += [
        f"{kind}, {damage}: {number} not reported"
        for (damage, kind, result), number in counts.items()
        if result == "silent" and damage not in MAY_BE_SILENT
    ]
    table = [[damage, kind, *(counts[damage, kind, result] for result in RESULTS)] for damage in BYTES for kind in kinds]
    return {"videos": table, "intact_videos": len(intact), "workers_lost": died, "reasons": reasons.most_common(8), "failures": failures}


def passed_checksums(folder, sources, videos, intact, jobs):
    """Damaged videos that are not reported when `prepare` knows the checksums of the whole ones: there must be none."""
    kinds = {name: kind for kind, name in intact.items()} | {name: kind for name, (_, kind) in jobs.items()}
    listed = [f"{hashlib.sha256(sources[kind].read_bytes()).hexdigest()}  {name}{sources[kind].suffix}" for name, kind in kinds.items()]
    (folder / "SHA256SUMS").write_text("\n".join(listed), encoding="utf-8")
    out = prepared(folder / "checked", videos, [(name, name, 0, FRAMES / RATE) for name in kinds], checksums=str(folder / "SHA256SUMS"))
    found = {uid for uid, _ in clips(out)}
    passed = sorted(found - set(intact.values()))
    lost = sorted(set(intact.values()) - found)
    return [f"{kinds[name]}, {jobs[name][0]}: passed its checksum" for name in passed] + [
        f"{name} was refused by its checksum" for name in lost
    ]


def prepared(out, videos, clips, **settings):
    """Shards of `clips`, (uid, video, start, stop) each; the folder."""
    from egokeras.data import readers
    from egokeras.data.prepare import Preparation, prepare

    table = out.with_suffix(".csv")
    order = list(dict.fromkeys(video for _, video, *_ in clips))
    rows = [f"{uid},{video},{start},{stop},{n % 2},{SIDES[order.index(video) % 2]}" for n, (uid, video, start, stop) in enumerate(clips)]
    table.write_text("\n".join(["uid,file,start,stop,label,split", *rows, ""]), encoding="utf-8")
    settings = {"frames": FRAMES, "size": SIDE, "windows": 0, "timeout": TIMEOUT, **settings}
    with contextlib.redirect_stderr(io.StringIO()):
        prepare(readers.read("table", [table]), videos, out, Preparation(**settings))
    return out


def clips(folder):
    """Yield (uid, (start, stop, pixels)) of all clips of a folder of shards."""
    from egokeras.data.shards import Shards

    data = Shards(folder)
    for row, record in enumerate(data.clips):
        yield str(record["uid"]), (float(record["start"]), float(record["stop"]), data.read([row])[0])


def same(one, other):
    return one[:2] == other[:2] and bool((one[2] == other[2]).all())


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
    writer.finish(table, {"modality": "features", "classes": classes, "splits": ["train", "validation"], "quarantined": 0})
    return path


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


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


def export_network(folder):
    """Artifacts of an untrained network, of one file and of several: folders."""
    import dataclasses

    import keras
    import numpy as np
    from zlib_ng.zlib_ng import crc32

    from egokeras.data.shards import ShardWriter, table_dtype
    from egokeras.export import load, ship_all
    from egokeras.files import write_json
    from egokeras.models import ConvNet1DHead, FrameModel, SmallBackbone

    keras.utils.set_random_seed(0)
    data, run = folder / "data", folder / "run"
    for path in (data, run):
        path.mkdir(parents=True)
    clips = np.random.default_rng(0).integers(0, 256, (12, 5, 16, 16, 3), np.uint8)
    writer, table = ShardWriter(data, shape=clips.shape[1:]), np.zeros(12, table_dtype(4, 4, 0, ["action"]))
    for number, clip in enumerate(clips):
        table[number] = (f"c{number}", f"v{number}", "", 0, 1, *writer.append(clip), crc32(clip), 1 + number % 2, number % 3)
    about = {"modality": "rgb", "channels": "RGB", "resize": "squash", "sampling": {"rule": "uniform", "frames": 5}, "clip_seconds": 1.0}
    writer.finish(table, {**about, "classes": {"action": ["a", "b", "c"]}, "splits": list(SIDES), "quarantined": 0})
    model = FrameModel(backbone=SmallBackbone(channels=(4,)), head=ConvNet1DHead(filters=4, last_filters=4))
    model.build(classes={"action": 3}, frames=5, size=16).save(run / "model.keras")
    write_json(run / "classes.json", {"action": ["a", "b", "c"]})
    write_json(run / "recipe.json", {"data": {"shards": str(data)}})
    lenient = {"calibration_clips": 3, "max_lost_points": 100.0, "min_agreement": 0.0}
    shipments = ship_all([dataclasses.replace(load(name), **lenient) for name in EXPORTS], run, accept_untested=True)
    return [shipment.path for shipment in shipments]


def damaged_artifacts(folder, count, seed):
    """Counts of what reports, by damage: of artifacts damaged in one file chosen at random, and of these with checksums made for it."""
    artifacts, rng = export_network(folder / "export"), random.Random(seed + 2)
    whole = {path: contents(path) for path in artifacts}
    counts, failures, damages = collections.Counter(), [], list(BYTES)
    for number in range(count):
        damage, path = damages[number % len(damages)], artifacts[number // len(damages) % len(artifacts)]
        names = sorted(whole[path])
        name = rng.choice([name for name in names if name.endswith(".tflite")] if number % 2 else names)
        other = rng.choice([data for other in artifacts for data in whole[other].values() if data != whole[path][name]])
        data = BYTES[damage](bytearray(whole[path][name]), rng, other)
        for hashed in (False, True):
            copy = folder / "artifact"
            shutil.copytree(path, copy)
            (copy / name).unlink()
            if data is not None:
                (copy / name).write_bytes(data)
            if hashed:
                rehash(copy)
            end, said = judge_artifact(copy, meaning(contents(copy)) == meaning(whole[path]))
            counts[damage, hashed, end] += 1
            if end == "died" or (end in ("silent", "test", "crash") and not hashed):
                failures.append(f"{path.name}, {damage} in {name}{', hashed again' * hashed}: {end} {said}")
            shutil.rmtree(copy)
    tables = [[[damage, *(counts[damage, hashed, end] for end in ENDS)] for damage in damages] for hashed in (False, True)]
    return {"artifacts": tables[0], "rehashed": tables[1], "failures": failures}


def meaning(files):
    """An artifact's files with the description as JSON, in which 1e-5 and 1E-5 are the same."""
    try:
        return {**files, "artifact.json": json.loads(files["artifact.json"])}
    except (KeyError, ValueError):
        return files


def rehash(folder):
    """Make checksums for what is in the folder of an artifact, as whoever alters it on purpose can."""
    from egokeras.device.manifest import file_entries, write_manifest

    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError, KeyError):  # what is no description stays as it is
        about = json.loads((folder / "artifact.json").read_text("utf-8"))
        about["files"] = file_entries(folder, [folder / name for name in about["files"] if (folder / name).is_file()])
        write_manifest(folder, about)


def judge_artifact(folder, intact):
    """What reports the damage, and what it says."""
    from egokeras.device import selftest
    from egokeras.device.artifact import Artifact
    from egokeras.errors import InputError

    try:
        Artifact.open(folder)
    except InputError as error:
        return "opening", str(error)
    except Exception as error:
        return "died", repr(error)
    try:
        result = selftest.in_child(folder)
    except Exception as error:
        return "died", repr(error)
    if not result.passed:
        return "crash" if "crashes the interpreter" in result.sentence else "test", result.sentence
    return ("harmless" if intact else "silent"), result.sentence


def text(result):
    """Both tables, and what failed."""
    by_damage, by_kind = collections.defaultdict(collections.Counter), collections.defaultdict(collections.Counter)
    for damage, kind, *numbers in result["videos"]:
        by_damage[damage].update(dict(zip(RESULTS, numbers, strict=True)))
        if damage in MAY_BE_SILENT[:3]:
            by_kind[f"{damage}, {kind}"].update(dict(zip(RESULTS, numbers, strict=True)))
    lines = [*_table("damaged videos", RESULTS, [[name, *map(count.get, RESULTS)] for name, count in by_damage.items()]), ""]
    lines += [*_table("of these, by kind", RESULTS, [[name, *map(count.get, RESULTS)] for name, count in by_kind.items()]), ""]
    lines += [f"{result['intact_videos']} intact videos beside them; worker processes lost: {result['workers_lost']}"]
    lines += [f"{result['video_seconds']:.0f} s; the commonest reasons:"] + [f"  {count:4} {reason}" for reason, count in result["reasons"]]
    lines += ["", *_table("damaged sets of shards", STAGES, result["shards"])]
    lines += [f"{result['shard_seconds']:.0f} s; the slowest set took {result['slowest_set_seconds']:.2f} s", ""]
    lines += [*_table("damaged artifacts", ENDS, result["artifacts"]), ""]
    lines += [*_table("the same, hashed again", ENDS, result["rehashed"]), f"{result['artifact_seconds']:.0f} s", ""]
    return "\n".join([*lines, *result["failures"], f"{len(result['failures'])} failures"])


def _table(title, columns, rows):
    rows = [*rows, ["all", *(sum(row[at] for row in rows) for at in range(1, len(columns) + 1))]]
    yield f"{title:<40}" + "".join(f"{column:>10}" for column in columns)
    yield from (f"  {name:<38}" + "".join(f"{number or 0:>10}" for number in numbers) for name, *numbers in rows)


if __name__ == "__main__":
    sys.exit(main())
