"""Damaged videos beside intact ones: what `prepare` makes of them."""

import collections
import contextlib
import csv
import hashlib
import io
import random
import shutil

from damaged import BYTES, SIDES

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
TIMEOUT = 60.0
# What a decoder may take for pictures where the container has no checksum, and a whole video under a wrong name.
MAY_BE_SILENT = ("one flipped bit", "20 flipped bits", "512 zero bytes", "another file's content")


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
    from egokeras.data.preparation import Preparation
    from egokeras.data.prepare import prepare

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
