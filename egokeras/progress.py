"""Progress of long work: a bar with rate and time left on a terminal, a plain line now and then elsewhere."""

import sys
import time

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10.0


def track(items, label, total=None, unit="it"):
    """Yield from `items` and show progress on standard error."""
    total = len(items) if total is None and hasattr(items, "__len__") else total
    if sys.stderr.isatty():
        yield from tqdm(items, desc=label, total=total, unit=unit)
        return
    started = shown = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - shown >= SECONDS_BETWEEN_LINES:
            shown = now
            print(_line(label, done, total, unit, now - started), file=sys.stderr, flush=True)


def _line(label, done, total, unit, seconds):
    rate = done / seconds
    if not total:
        return f"{label}: {done} {unit}, {rate:.1f} {unit}/s"
    return f"{label}: {done}/{total} {unit}, {rate:.1f} {unit}/s, {(total - done) / rate:.0f} s left"
