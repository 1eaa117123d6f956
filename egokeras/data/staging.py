"""What a worker process of `prepare` does: decode the clips of one video and put them down for the shards."""

import collections
import contextlib
import dataclasses
import functools
import itertools
import math
import os
import pathlib

import cv2
import numpy as np
from zlib_ng.zlib_ng import crc32

from egokeras.data import clip_sampling, shards, video, worker_pool
from egokeras.data.video import VideoError
from egokeras.errors import InputError
from egokeras.files import atomic

RESIZES = ("squash", "crop", "pad")
ENCODINGS = ("raw", "jpeg")
JPEG_LIMIT = 65535
LEAST_MEMORY = 4.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preparation:
    """How clips are cut from videos and stored.

    Attributes:
        frames: of a clip.
        size: side of the square picture in pixels.
        rule: which frames: `uniform`, or `report` (see `clip_sampling`).
        resize: `squash`, `crop` or `pad` (see `video.resize`).
        encoding: `raw`, or `jpeg` (a fifteenth of the size, slower to read, slightly lossy).
        quality: of the JPEG, 1 to 100.
        windows: unlabelled windows cut from the held-out videos; None fills the labelled held-out clips up to 600, as far as the
            videos are long enough for windows that differ.
        shard_bytes: bytes of a shard.
        workers: processes; None is one per processor.
        timeout: seconds that up to 16 clips of one video may take.
        seed: of what is drawn: repeated frames, windows, held-out groups.
    """

    frames: int = 20
    size: int = 256
    rule: str = "uniform"
    resize: str = "squash"
    encoding: str = "raw"
    quality: int = 90
    windows: int | None = None
    shard_bytes: int = 256 << 20
    workers: int | None = None
    timeout: float = 600.0
    seed: int = 0

    def __post_init__(self):
        for field, known in (("rule", clip_sampling.RULES), ("resize", RESIZES), ("encoding", ENCODINGS)):
            if getattr(self, field) not in known:
                raise InputError(f"{field} {getattr(self, field)!r} is unknown; there are {', '.join(known)}.")
        for field, least in (("frames", 1), ("size", 1), ("windows", 0), ("workers", 1), ("quality", 1)):
            value = getattr(self, field)
            if value is not None and value < least:
                raise InputError(f"{field} is {value}; it must be at least {least}.")
        if self.quality > 100:
            raise InputError(f"quality is {self.quality}; it must be at most 100.")
        if not self.timeout > 0:
            raise InputError(f"timeout is {self.timeout:g} s; give more than 0.")
        if self.encoding == "jpeg" and self.frames * self.size > JPEG_LIMIT:
            found = f"{self.frames} frames of {self.size} pixels"
            raise InputError(f"{found} do not fit one tall JPEG of {JPEG_LIMIT} rows; use encoding 'raw'.")

    @property
    def shape(self):
        """Of a clip: (frames, size, size, 3)."""
        return (self.frames, self.size, self.size, 3)

    @property
    def processes(self):
        """Worker processes."""
        return self.workers or os.cpu_count() or 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
    """A clip to cut: from `start` to `stop` seconds (None: the end), or a window whose place depends on the video's length.

    Attributes:
        uid: names the clip and seeds what is drawn for it.
        window: None, or (longest duration in seconds, place as share of the room, longest duration as share of the video).
    """

    uid: str
    start: float = 0.0
    stop: float | None = None
    window: tuple[float, float, float] | None = None


@dataclasses.dataclass(frozen=True)
class Staged:
    """A clip that was put down: its span in seconds, bytes and checksum."""

    start: float
    stop: float
    size: int
    checksum: int


def stage(path, items, settings, target):
    """Decode clips of one video into the file `target`, one payload after another.

    Returns:
        For each item a `Staged`, or the reason (str) why there is none.

    Raises:
        InputError: `target` cannot be written.
    """
    found = _cut_all(path, items, settings)
    try:
        with atomic(target) as file:
            return [_put_down(one, settings, file) for one in found]
    except OSError as error:
        folder = pathlib.Path(target).parent
        raise InputError(f"{folder}: {error.strerror}; free some space and run the same command again to go on.") from None


def _cut_all(path, items, settings):
    """What `cut` gives, for each item, or the reason why it gives nothing."""
    try:
        index = _index(path)
    except Exception as error:  # whatever a strange file makes the decoder raise, it is this video's, not the run's, to bear
        return [_reason(error)] * len(items)
    return _cut_each(index, items, settings)


def _cut_each(index, items, settings):
    """All items in one pass, or one by one so that damage costs only those that it touches."""
    try:
        return list(cut(index, items, settings))
    except Exception as error:  # as above
        if len(items) == 1:
            return [_reason(error)]
    return [one for item in items for one in _cut_each(index, [item], settings)]


def _reason(error):
    if isinstance(error, VideoError):
        return error.reason
    if isinstance(error, MemoryError):
        return "more memory needed than a worker process has"
    return f"cannot be decoded ({type(error).__name__}: {error})"


def _put_down(one, settings, file):
    if isinstance(one, str):
        return one
    start, stop, clip = one
    payload = memoryview(shards.encode_jpeg(clip, settings.quality) if settings.encoding == "jpeg" else clip).cast("B")
    file.write(payload)
    return Staged(start, stop, len(payload), crc32(payload))


@functools.lru_cache(maxsize=2)
def _index(path):
    """Kept for the next items of the same video."""
    return video.index(path)


def cut(index, items, settings):
    """Cut clips from a video in one pass.

    Returns:
        For each item (start in seconds, stop, clip), clips being (frames, size, size, 3) uint8.

    Raises:
        VideoError: the frames of one of them cannot be had.
    """
    spans, wanted = [], collections.defaultdict(list)
    for number, item in enumerate(items):
        start, stop = _window(index.duration, *item.window) if item.window else (item.start, item.stop)
        shown = index.span(start, stop)
        rng = np.random.default_rng([settings.seed, crc32(item.uid.encode())])
        for row, frame in enumerate(clip_sampling.RULES[settings.rule](len(shown), settings.frames, rng).tolist()):
            wanted[shown.start + frame].append((number, row))
        spans.append((start, index.duration if stop is None else stop))
    clips = np.empty((len(items), *settings.shape), np.uint8)
    frames = sorted(wanted)
    with contextlib.closing(video.decode(index, frames)) as pictures:
        for frame, picture in zip(frames, pictures, strict=True):
            small = video.resize(picture, settings.size, settings.resize)
            for place in wanted[frame]:
                clips[place] = small
    return [(*span, clip) for span, clip in zip(spans, clips, strict=True)]


def _window(duration, longest, place, share):
    length = min(longest, share * duration)
    start = place * (duration - length)
    return start, start + length


def setup(processes):
    """A `setup` for the worker pool: one thread for each of `processes`, and its share of the memory, but not so little that
    a large picture fails."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 if hasattr(os, "sysconf") else math.inf
    return functools.partial(_set_up, max(LEAST_MEMORY, total / processes))


def _set_up(gigabytes):
    cv2.setNumThreads(1)
    worker_pool.limit_memory(gigabytes)


def place_windows(videos, durations, total, seed):
    """Yield (video, Item) for `total` windows spread evenly over `videos`, with lengths drawn from `durations` (seconds)."""
    rng = np.random.default_rng([seed, 1])
    for number, name in enumerate(itertools.islice(itertools.cycle(videos), total)):
        longest = float(rng.choice(durations)) if durations else math.inf
        window = (longest, float(rng.random()), float(rng.uniform(0.6, 1.0)))
        yield name, Item(uid=f"window-{name}-{number // len(videos)}", window=window)
