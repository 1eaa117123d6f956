"""Features along time: what a trained recogniser makes of whole videos, one vector every quarter of a second.

Row i of a video is the recogniser's embedding of the clip that ends at `(i + 1) * step` seconds: it depends on nothing later, so it
is what a device has at that moment, and what anticipation may look at.
"""

import concurrent.futures
import contextlib
import csv
import dataclasses
import functools
import hashlib
import itertools
import json
import math
import os
import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf
from zlib_ng.zlib_ng import crc32

import egokeras
from egokeras.data import frame_files, sliding_windows, staging, worker_pool
from egokeras.errors import InputError
from egokeras.files import TEMPORARY, atomic, full_disk_said, locked, read_json, write_json
from egokeras.progress import track
from egokeras.protocol import STEP
from egokeras.recogniser import BATCH

FORMAT = 1
INDEX = "index.json"
QUARANTINE = "quarantine.csv"
ORIGIN = ".made_from.json"  # of an unfinished folder
LOCK = ".lock"
CHUNK_BYTES = 32 << 20  # pixels that a worker hands over at once


def extract(recogniser, videos, out, *, step=STEP, frame_rate=None, workers=None, timeout=600.0):
    """Features along time of every video of a folder; the same call after an interruption goes on.

    Args:
        recogniser: a `Recogniser`, or an `ExportedRecogniser`.
        videos: folder, see `sliding_windows.find`.
        out: folder of the result, new or left by an interrupted call: `NAME.npy` (T, F) float16 for each video, `quarantine.csv` and,
            last, `index.json` with `format`, `modality`, `step`, `features` (F), `videos` ({name: {"rows", "crc32"}}, the checksum
            that of the array's bytes), `quarantined` and `made_from`; `egokeras observe --features` reads it.
        step: seconds between two vectors.
        frame_rate: of videos that are there as frames.
        workers: processes that decode; None is one per processor.
        timeout: seconds that a worker may take for 32 MB of pixels.

    Returns:
        Summary as a dict: `path`, `modality`, `videos`, `rows`, `features`, `quarantined`, `bytes`.

    Raises:
        InputError: nothing to do it with, features beyond float16, or `out` holds something else.
    """
    if not 0 < step < float("inf"):
        raise InputError(f"step is {step:g} s; give more than 0.")
    out, files = pathlib.Path(out), sliding_windows.find(videos, frame_rate)
    made_from = _origin(recogniser, files, step)
    with full_disk_said(out, "run the same command again to go on"):
        _check_folder(out, made_from)
        out.mkdir(parents=True, exist_ok=True)
        with locked(out / LOCK, f"another `features` is at work in {out}; waiting for it to end"):
            if (out / INDEX).exists():
                _say(f"{out} is complete already; nothing to do")
            else:
                write_json(out / ORIGIN, made_from)
                lost = _make_all(recogniser, files, out, step, workers or os.cpu_count() or 1, timeout)
                _finish(recogniser, files, lost, out, made_from, step)
    return _summary(out)


def _say(text):
    print(text, file=sys.stderr, flush=True)


def _origin(recogniser, files, step):
    """All that the features depend on."""
    sizes = [[name, frame_files.weight(path), repr(rate)] for name, (path, rate) in files.items()]
    settings = recogniser.settings
    return {
        "model": recogniser.sha256,
        "artifact": recogniser.artifact,
        **{name: getattr(settings, name) for name in ("frames", "size", "resize")},
        "flow": dataclasses.asdict(settings.flow) if settings.flow else None,
        "clip_seconds": recogniser.clip_seconds,
        "step": step,
        "videos": hashlib.sha256(json.dumps(sizes).encode()).hexdigest(),
        "batch": BATCH,
        **{module.__name__: module.__version__ for module in (egokeras, keras, tf)},
    }


def _check_folder(out, made_from):
    """Refuse a folder with files of others, or with features made from something else."""
    record = out / INDEX if (out / INDEX).exists() else out / ORIGIN
    if not record.exists():
        if out.exists() and (not out.is_dir() or any(not path.name.startswith(".") for path in out.iterdir())):
            raise InputError(f"{out} is not empty and not an unfinished `features`; choose another folder.")
        return
    theirs = read_json(record)
    theirs = theirs.get("made_from") if record.name == INDEX else theirs
    differing = [name for name, value in made_from.items() if not isinstance(theirs, dict) or theirs.get(name) != value]
    if differing:
        raise InputError(f"{out} holds features made with another {', '.join(differing)}; choose another folder or delete it.")


def _target(out, name):
    return out / f"{name}.npy"


def _make_all(recogniser, files, out, step, workers, timeout):
    """Write the features of all videos that have none yet; returns name to reason of those that cannot be had."""
    for left in [file for file in out.rglob(".*") if TEMPORARY.fullmatch(file.name)]:  # of a killed process
        left.unlink()
    todo = [name for name in files if not _target(out, name).exists()]
    if len(todo) < len(files):
        _say(f"going on: {len(files) - len(todo)} of {len(files)} videos are done")
    pool = {"workers": workers, "timeout": timeout, "setup": staging.setup(workers)}
    probes = [functools.partial(sliding_windows.probe, *files[name]) for name in todo]
    found = [index for _, index in sorted(_run(probes, "look through", "videos", pool), key=lambda result: result[0])]
    indexes = {name: index for name, index in zip(todo, found, strict=True) if not isinstance(index, str)}
    lost = {name: reason for name, reason in zip(todo, found, strict=True) if isinstance(reason, str)}
    plans = {name: _plan(recogniser, index, step) for name, index in indexes.items()}
    for name in [name for name, plan in plans.items() if not len(plan)]:
        _write(_target(out, name), np.zeros((0, recogniser.width)))
    chunks = [(name, numbers) for name, plan in plans.items() for numbers in _chunks(plan, recogniser.settings)]
    tasks = [functools.partial(sliding_windows.decode, indexes[name], numbers, recogniser.settings) for name, numbers in chunks]
    with contextlib.closing(_ahead(_in_order(_run(tasks, "features", "parts", pool)))) as decoded:
        parts = ((name, numbers, pictures) for (name, numbers), pictures in zip(chunks, decoded, strict=True))
        for name, of_video in itertools.groupby(parts, key=lambda part: part[0]):
            try:
                _write(_target(out, name), _embed(recogniser, plans[name], of_video))
            except _Damaged as damage:
                lost[name] = str(damage)
    return lost


def _plan(recogniser, index, step):
    """`sliding_windows.frame_numbers` of a video."""
    how = {"step": step, "clip_seconds": recogniser.clip_seconds, "frames": recogniser.settings.frames}
    return sliding_windows.frame_numbers(index.seconds, index.duration, **how)


class _Damaged(Exception):
    """A video is damaged in the way that the message says."""


def _run(tasks, label, unit, pool):
    """(number, result or reason) as they finish; a task whose worker is lost is done once more, alone."""
    done = worker_pool.results(tasks, **pool, ahead=2 * pool["workers"], split=lambda number: [tasks[number]])
    with contextlib.closing(done):
        for number, result in track(done, label, total=len(tasks), unit=unit):
            result = result[0] if isinstance(result, list) else result
            yield number, result.reason if isinstance(result, worker_pool.Lost) else result


def _in_order(results):
    """The results in the order of their numbers."""
    waiting, due = {}, 0
    with contextlib.closing(results):
        for number, result in results:
            waiting[number] = result
            while due in waiting:
                yield waiting.pop(due)
                due += 1


def _ahead(items):
    """The items, each asked for while the one before is used, so that the workers always have something to do."""
    with contextlib.closing(items), concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, items, None)
        while (item := waiting.result()) is not None:
            waiting = pool.submit(next, items, None)
            yield item


def _chunks(plan, settings):
    """The frames that a plan shows, each once, ascending, in parts that fill batches."""
    numbers = np.unique(plan)
    whole = BATCH * settings.frames
    size = max(1, CHUNK_BYTES // (math.prod(settings.picture) * 3 * whole)) * whole
    return [numbers[at : at + size] for at in range(0, len(numbers), size)]


def _embed(recogniser, plan, parts):
    """Features (rows, F) float16 of a video.

    Args:
        plan: (rows, frames) numbers of the frames of each window.
        parts: (name, numbers of frames, their pictures or a reason) in order; what no later window shows is let go.
    """
    features, held, numbers = [], None, np.zeros(0, np.int64)
    done = 0
    for _, more, pictures in parts:
        if isinstance(pictures, str):
            raise _Damaged(pictures)
        encoded = recogniser.of_frames(pictures)
        held = encoded if held is None else np.concatenate([held, encoded])
        numbers = np.concatenate([numbers, more])
        ready = int(np.searchsorted(plan[:, -1], more[-1], side="right"))
        for at in range(done, ready, BATCH):
            windows = held[np.searchsorted(numbers, plan[at : min(at + BATCH, ready)])]
            features.append(recogniser.of_windows(windows))
        done = ready
        kept = numbers >= (plan[done, 0] if done < len(plan) else numbers[-1] + 1)
        held, numbers = held[kept], numbers[kept]
    return np.concatenate([np.zeros((0, recogniser.width), np.float32), *features])


def _write(path, features):
    """Write features (rows, F) as float16, whole or not at all."""
    with np.errstate(over="ignore"):
        half = features.astype("float16")
    if not np.isfinite(half).all():
        found = features[~np.isfinite(half)][0]
        raise InputError(f"{path}: float16 cannot hold the feature {found:g}; train the recogniser again, with a weight decay.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as file:
        np.lib.format.write_array(file, half, allow_pickle=False)


def _finish(recogniser, files, lost, out, made_from, step):
    """Quarantine list, then the index."""
    if len(lost) == len(files):
        name, reason = next(iter(lost.items()))
        raise InputError(f"{out}: none of {len(files)} videos could be used; the first, {name!r}: {reason}; check the videos.")
    with atomic(out / QUARANTINE, "w") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerows([("video", "reason"), *sorted(lost.items())])
    kept = [name for name in files if name not in lost]
    index = {
        "format": FORMAT,
        "modality": "flow_features" if recogniser.settings.flow else "rgb_features",
        "step": step,
        "features": recogniser.width,
        "resize": recogniser.settings.resize,
        "channels": recogniser.settings.channels,
        "videos": {name: _described(_target(out, name)) for name in kept},
        "quarantined": len(lost),
        "made_from": made_from,
    }
    write_json(out / INDEX, index)
    (out / ORIGIN).unlink(missing_ok=True)


def _described(path):
    features = np.load(path, allow_pickle=False)
    return {"rows": len(features), "crc32": crc32(features)}


def _summary(out):
    index = read_json(out / INDEX)
    return {
        "path": str(out),
        "modality": index["modality"],
        "videos": len(index["videos"]),
        "rows": sum(video["rows"] for video in index["videos"].values()),
        "features": index["features"],
        "quarantined": index["quarantined"],
        "bytes": sum(_target(out, name).stat().st_size for name in index["videos"]),
    }
