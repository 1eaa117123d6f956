"""What a `prepare` will cost, said before it begins: clips, bytes, room on the disk, time."""

import functools
import math
import shutil
import sys
import time

from egokeras.data import staging, worker_pool
from egokeras.errors import InputError

JPEG_SHARE = 0.1
# Units for each worker that may wait, decoded, for one before them; they need room too.
AHEAD = 8
PROBES = 2
PROBE_LIMIT = 60.0


def announce(tasks, clips, settings, out):
    """Say how many clips, bytes and, after cutting a few on trial, minutes it will take.

    Args:
        tasks: one per unit, as for `worker_pool.results`.
        clips: of each unit.
        settings: `Preparation`.
        out: an existing folder.

    Raises:
        InputError: the disk has too little room.
    """
    clip_bytes = math.prod(settings.shape) * (JPEG_SHARE if settings.encoding == "jpeg" else 1)
    total = sum(clips) * clip_bytes
    waiting = min(total, AHEAD * settings.processes * max(clips, default=0) * clip_bytes + settings.shard_bytes)
    free = shutil.disk_usage(out).free
    if total + waiting > free:
        found = f"{_bytes(total + waiting)} are needed, {_bytes(free)} free"
        raise InputError(f"{out}: {found}; free some space or use encoding 'jpeg' or fewer pixels.")
    _say(f"{sum(clips)} clips to cut, about {_bytes(total)} ({_bytes(free)} free)")
    if len(tasks) > AHEAD * settings.processes:
        seconds = _seconds_per_clip(tasks, clips)
        if seconds is not None:
            _say(f"about {_duration(seconds * sum(clips) / settings.processes)}, processes: {settings.processes}")


def _seconds_per_clip(tasks, clips):
    """Measured in a worker on a few units; None if they are lost."""
    chosen = [len(tasks) * (2 * probe + 1) // (2 * PROBES) for probe in range(PROBES)]
    trials = [functools.partial(_timed, tasks[unit]) for unit in chosen]
    seconds = cut = 0
    for number, result in worker_pool.results(trials, workers=1, timeout=PROBE_LIMIT, setup=staging.setup(1)):
        if not isinstance(result, worker_pool.Lost):
            seconds, cut = seconds + result, cut + clips[chosen[number]]
    return seconds / cut if cut else None


def _timed(task):
    started = time.perf_counter()
    task()
    return time.perf_counter() - started


def _say(text):
    print(text, file=sys.stderr, flush=True)


def _bytes(number):
    power = min(4, int(math.log(max(number, 1), 1000)))
    return f"{number / 1000**power:.1f} {('B', 'KB', 'MB', 'GB', 'TB')[power]}"


def _duration(seconds):
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
