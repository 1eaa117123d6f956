"""Segments to shards: in worker processes, resumable after a kill, damaged videos to quarantine with the reason.

Units (up to 16 clips of one video) are decoded in any order, put down in `OUT/.work`, and packed into shards in the order of the
plan, so the bytes of the result depend on neither the number of workers nor interruptions. A unit whose worker is lost is done once
more, clip by clip: what was an accident leaves no trace, and a clip that does it again goes to quarantine alone.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import json
import pathlib
import shutil
import statistics
import sys

import numpy as np
from zlib_ng.zlib_ng import crc32

from egokeras.data import clip_plan, continuous, forecast, shards, staging, worker_pool
from egokeras.data.forecast import AHEAD
from egokeras.data.preparation import Preparation
from egokeras.data.segment_shards import QUARANTINE, contents, is_complete, splits_of, table, write_quarantine
from egokeras.data.segments import held_out, listed
from egokeras.data.shards import Shards, ShardWriter
from egokeras.data.staging import Staged
from egokeras.errors import InputError
from egokeras.files import atomic, full_disk_said, locked, read_json, sha256, write_json
from egokeras.progress import track

__all__ = ["Preparation", "prepare"]

WORK = ".work"
LOCK = ".lock"
PLAN = "plan.json"
JOURNAL = "journal.jsonl"
NOT_FOUND = "video not found"
GO_ON = "run the same command again to go on"


def prepare(annotations, videos, out, settings=None):
    """Cut the segments from the videos into a folder of shards; the same call after an interruption goes on.

    Args:
        annotations: `Annotations`; without splits, a part is held out for validation.
        videos: folder of the videos.
        out: folder of the shards; new, or left by an interrupted call with the same arguments.
        settings: `Preparation`.

    Returns:
        Summary as a dict: `path`, `clips`, `splits` (split to clips), `quarantined`, `videos_quarantined`, `shards`, `bytes`, and with
        `settings.continuous` also `background` (split to clips of unlabelled time, which are among those of `splits`).

    Raises:
        InputError: no video is there, too little room on the disk, a name that leads outside `videos`, or `out` holds something else.
    """
    settings = settings or Preparation()
    out = pathlib.Path(out)
    plan = clip_plan.make_plan(annotations, pathlib.Path(videos), settings)
    if plan.missing:
        _say(f"{len(plan.missing)} videos are not in {videos} and go to quarantine: {listed(plan.missing)}")
    with full_disk_said(out, GO_ON):
        _check_folder(out)
        out.mkdir(parents=True, exist_ok=True)
        with locked(out / LOCK, f"another `prepare` is at work in {out}; waiting for it to end"):
            if is_complete(out, plan.digest, "annotations, videos"):
                _say(f"{out} is complete already; nothing to do")
            else:
                _run(plan, settings, out, _open_work(out, plan))
            shutil.rmtree(out / WORK, ignore_errors=True)
    return _summary(out)


def _say(text):
    print(text, file=sys.stderr, flush=True)


def _check_folder(out):
    """Refuse a folder with files of others."""
    ours = (out / shards.INDEX).exists() or (out / WORK / PLAN).exists()
    if out.exists() and not ours and (not out.is_dir() or any(path.name not in (LOCK, WORK) for path in out.iterdir())):
        raise InputError(f"{out} is not empty and not an unfinished `prepare`; choose another folder.")


def _open_work(out, plan):
    """The folder of unfinished work, which must be of this plan; what a kill left half written is removed."""
    work = out / WORK
    record = work / PLAN
    if record.exists():
        journal = work / JOURNAL
        if read_json(record) != {"plan": plan.digest} and journal.exists() and journal.stat().st_size:
            raise InputError(f"{out} holds unfinished work on other annotations, videos or settings; choose another folder or delete it.")
        for left in [file for file in (*out.glob(".*.*"), *work.glob(".*")) if file.is_file()]:
            left.unlink()
    work.mkdir(exist_ok=True)
    write_json(record, {"plan": plan.digest})
    return work


class _Journal:
    """Results of finished units, one line each; a line that a kill cut off does not count.

    Not synced to the disk, as the clips that it tells of are not either.
    """

    def __init__(self, path):
        self.results = {}
        for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
            with contextlib.suppress(json.JSONDecodeError):
                unit, results = json.loads(line)
                self.results[unit] = [result if isinstance(result, str) else Staged(*result) for result in results]
        with atomic(path, "w") as file:
            file.writelines(self._line(unit) for unit in self.results)
        self._file = open(path, "a")  # noqa: SIM115  open as long as the run

    def add(self, unit, results):
        self.results[unit] = results
        self._file.write(self._line(unit))
        self._file.flush()

    def _line(self, unit):
        results = [result if isinstance(result, str) else list(vars(result).values()) for result in self.results[unit]]
        return json.dumps([unit, results]) + "\n"

    def close(self):
        self._file.close()


def _run(plan, settings, out, work):
    """Decode, pack, and write the index."""
    with contextlib.ExitStack() as stack:
        journal = _Journal(work / JOURNAL)
        stack.callback(journal.close)
        writer = ShardWriter(out, shape=settings.shape, encoding=settings.encoding, shard_bytes=settings.shard_bytes)
        stack.callback(writer.abort)
        _strike_lost(plan, settings, journal, out, work)
        packer = _Packer(plan, journal, writer, work)
        todo = [unit for unit in range(len(plan.units)) if unit not in journal.results]
        tasks = [_task(plan, unit, plan.units[unit][1], settings, work) for unit in todo]
        total = sum(len(plan.units[unit][1]) for unit in todo)
        forecast.check_room(total, settings, out)
        if len(todo) < len(plan.units):
            _say(f"going on: {len(plan.units) - len(todo)} of {len(plan.units)} units are done")
        workers = settings.processes
        done = worker_pool.results(
            tasks,
            workers=workers,
            timeout=settings.timeout,
            ahead=AHEAD * workers,
            setup=staging.setup(workers),
            split=lambda number: [_task(plan, todo[number], [clip], settings, work) for clip in plan.units[todo[number]][1]],
        )
        stack.enter_context(contextlib.closing(done))
        clips = forecast.timed(_as_clips(plan, todo, done, journal, packer), total, workers)
        for _ in track(clips, "prepare", total=total, unit="clips"):
            pass
        packer.pack()
        _finish(plan, settings, packer, writer, out)


def _as_clips(plan, todo, done, journal, packer):
    """Take in the units as they finish; yield once per clip."""
    with concurrent.futures.ThreadPoolExecutor(1) as beside:  # a shard is synced to the disk when it is full: meanwhile others go on
        packing = None
        for number, results in done:
            unit = todo[number]
            journal.add(unit, [_of_clip(result) for result in results])
            if packing:
                packing.result()
            packing = beside.submit(packer.pack)
            yield from plan.units[unit][1]
        if packing:
            packing.result()


def _of_clip(result):
    """What became of a clip, of a unit cut whole or clip by clip."""
    if isinstance(result, worker_pool.Lost):
        return result.reason
    return result[0] if isinstance(result, list) else result


def _task(plan, unit, clips, settings, work):
    """Cut some clips of a unit."""
    items, targets = [plan.clips[clip].item for clip in clips], [str(_staged_file(work, clip)) for clip in clips]
    return functools.partial(staging.stage, str(plan.units[unit][0]), items, settings, targets)


def _staged_file(work, clip):
    return work / f"clip-{clip:07d}"


def _strike_lost(plan, settings, journal, out, work):
    """Strike off the journal what a power cut has taken: clips neither in a finished shard nor whole in the folder of work."""
    scout = ShardWriter(out, shape=settings.shape, encoding=settings.encoding, shard_bytes=settings.shard_bytes)
    packed = True
    for unit, (_, clips) in enumerate(plan.units):
        packed = packed and unit in journal.results
        for clip, result in zip(clips, journal.results.get(unit, clips), strict=True):
            if isinstance(result, Staged):
                packed = packed and scout.skip(result.size) is not None
                if not packed and not _is_whole(_staged_file(work, clip), result):
                    del journal.results[unit]
                    break


def _is_whole(file, staged):
    return file.is_file() and file.stat().st_size == staged.size and crc32(file.read_bytes()) == staged.checksum


class _Packer:
    """Moves staged units into shards in the order of the plan, as far as they are there without a gap."""

    def __init__(self, plan, journal, writer, work):
        self.plan, self.journal, self.writer, self.work = plan, journal, writer, work
        self.placed, self.failed = {}, {clip: NOT_FOUND for clip, found in enumerate(plan.clips) if found.segment.video in plan.missing}
        self._next, self._spent = 0, []

    def pack(self):
        """Pack what has become possible, and remove staged files of clips in finished shards."""
        while self._next in self.journal.results:
            self._pack_unit(self._next)
            self._next += 1
        current = len(self.writer.counts) - 1
        for shard, file in self._spent:
            if shard < current:
                file.unlink(missing_ok=True)
        self._spent = [(shard, file) for shard, file in self._spent if shard >= current]

    def _pack_unit(self, unit):
        for clip, result in zip(self.plan.units[unit][1], self.journal.results[unit], strict=True):
            if isinstance(result, str):
                self.failed[clip] = result
                continue
            file = _staged_file(self.work, clip)
            place = self.writer.skip(result.size) or self.writer.append(np.memmap(file, np.uint8, "r"))
            self.placed[clip] = (result, place)
            self._spent.append((place.shard, file))


def _finish(plan, settings, packer, writer, out):
    """Quarantine list, table, index."""
    failed = _failed(plan, packer)
    if not packer.placed:
        shutil.rmtree(out / WORK, ignore_errors=True)
        first = plan.clips[failed[0][0]].segment.uid
        raise InputError(f"{out}: none of {len(failed)} clips could be made; the first, {first!r}: {failed[0][1]}; check the videos.")
    write_quarantine(out, [(plan.clips[clip].segment, reason) for clip, reason in failed])
    splits = splits_of(clip.segment for clip in plan.clips)
    clips = _table(plan, packer.placed, splits)
    training = sum(1 << bit for bit, split in enumerate(splits) if not held_out(split))
    lengths = (clips["stop"] - clips["start"])[clips["splits"] & training > 0]
    about = {
        "modality": settings.modality,
        "channels": settings.channels,
        "sampling": {"rule": settings.rule, "frames": settings.frames, **({"stride": settings.stride} if settings.rule == "dense" else {})},
        "resize": settings.resize,
        "fps_rule": "timestamps of the file",
        "classes": {space: list(names) for space, names in plan.annotations.classes.items()},
        **({"actions": plan.annotations.actions} if plan.annotations.actions else {}),
        "splits": splits,
        "exclusive": plan.annotations.exclusive,
        "quarantined": len(failed),
        "quarantine_sha256": sha256(out / QUARANTINE),
        "sources": list(plan.sources),
        "clip_seconds": round(statistics.median(lengths.tolist() or (clips["stop"] - clips["start"]).tolist()), 3),
        "plan": plan.digest,
        **({"continuous": dataclasses.asdict(settings.continuous)} if settings.continuous else {}),
        **({"flow": dataclasses.asdict(settings.flow)} if settings.flow else {}),
        **({"difference": dataclasses.asdict(settings.difference)} if settings.difference else {}),
        **({"traced": settings.coded.traced} if settings.coded else {}),
    }
    writer.finish(clips, about)


def _failed(plan, packer):
    """(clip, reason) in the order of the plan; of a video whose labelled clips are among them the windows are not listed too."""
    lost = {plan.clips[clip].segment.video for clip in packer.failed if plan.clips[clip].item.window is None}
    return [
        (clip, reason)
        for clip, reason in sorted(packer.failed.items())
        if plan.clips[clip].item.window is None or plan.clips[clip].segment.video not in lost
    ]


def _table(plan, placed, splits):
    """`clips.npy`: a record per clip, in the order of the plan."""
    kept = sorted(placed)
    spans = [(staged.start, staged.stop) for staged, _ in map(placed.get, kept)]
    places = [(*place, staged.checksum) for staged, place in map(placed.get, kept)]
    return table([plan.clips[clip].segment for clip in kept], plan.annotations.classes, splits, spans, places)


def _summary(out):
    data = Shards(out)
    idle = {"background": continuous.counts(data)} if "continuous" in data.index else {}
    return {"path": str(out), "clips": len(data), **contents(data), **idle, "shards": len(data.index["shards"])}
