"""What a `prepare` will cost: clips, bytes and room on the disk before it begins, the time as soon as the first clips are cut."""

import math
import shutil
import sys
import time

from egokeras.errors import InputError

JPEG_SHARE = 0.1
# Units for each worker that may wait, decoded, for one before them; they need room too.
AHEAD = 8
UNIT_CLIPS = 16
# Units that each worker cuts before the clock starts, and by when it is read.
FIRST, SAMPLE = 1, 3


def check_room(clips, settings, out):
    """Say how many clips and bytes there will be.

    Args:
        clips: how many are to be cut.
        settings: `Preparation`.
        out: an existing folder.

    Raises:
        InputError: the disk has too little room.
    """
    clip_bytes = math.prod(settings.shape) * (JPEG_SHARE if settings.encoding == "jpeg" else 1)
    total = clips * clip_bytes
    waiting = min(total, AHEAD * settings.processes * UNIT_CLIPS * clip_bytes + settings.shard_bytes)
    free = shutil.disk_usage(out).free
    if total + waiting > free:
        found = f"{_bytes(total + waiting)} are needed, {_bytes(free)} free"
        raise InputError(f"{out}: {found}; free some space or use encoding 'jpeg' or fewer pixels.")
    _say(f"{clips} clips to cut, about {_bytes(total)} ({_bytes(free)} free)")


def timed(clips, total, processes):
    """Yield from `clips`, and say how long all `total` of them will take when some are there; nothing where they are few."""
    first, sample = (units * UNIT_CLIPS * processes for units in (FIRST, SAMPLE))
    started = 0.0
    for done, clip in enumerate(clips, 1):
        yield clip
        if done == first:
            started = time.perf_counter()
        if done == sample and total > 2 * sample:
            seconds = (time.perf_counter() - started) / (sample - first)
            _say(f"about {_duration(seconds * (total - done))} more, processes: {processes}")


def _say(text):
    print(text, file=sys.stderr, flush=True)


def _bytes(number):
    power = min(4, int(math.log(max(number, 1), 1000)))
    return f"{number / 1000**power:.1f} {('B', 'KB', 'MB', 'GB', 'TB')[power]}"


def _duration(seconds):
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
