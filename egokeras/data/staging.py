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

from egokeras.data import clip_sampling, frame_files, shards, video, video_files, worker_pool
from egokeras.data.frame_rates import FrameRate
from egokeras.data.video import VideoError
from egokeras.errors import InputError

LEAST_MEMORY = 4.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
    """A clip to cut: from `start` to `stop` seconds (None: the end), or a window whose place depends on the video's length.

    Attributes:
        uid: names the clip and seeds what is drawn for it.
        frame_rate: of a video that is there as frames, else None.
        checksum: hexadecimal, of the video's file; None is not known.
        window: None, or (longest duration in seconds, place as share of the room, longest duration as share of the video).
    """

    uid: str
    start: float = 0.0
    stop: float | None = None
    window: tuple[float, float, float] | None = None
    frame_rate: FrameRate | None = None
    checksum: str | None = None


@dataclasses.dataclass(frozen=True)
class Staged:
    """A clip that was put down: its span in seconds, bytes and checksum."""

    start: float
    stop: float
    size: int
    checksum: int


def stage(path, items, settings, targets):
    """Decode clips of one video, each into a file of its own.

    All of them in one pass; what damage keeps from being done so is tried one by one, so that it costs only what it touches.

    Args:
        path: the video.
        items: `Item` for each clip.
        settings: `Preparation`.
        targets: paths of the files.

    Returns:
        For each item a `Staged`, or the reason (str) why there is none.

    Raises:
        InputError: a target cannot be written.
    """
    try:
        index = _index(path, items[0].frame_rate, items[0].checksum, settings.coded)
    except Exception as error:  # whatever a strange file makes the decoder raise, it is this video's, not the run's, to bear
        return [why(error)] * len(items)
    found: dict[int, Staged | str] = {number: reason for number, item in enumerate(items) if (reason := _outside(index, item))}
    inside = [number for number in range(len(items)) if number not in found]
    together, _ = _stage(index, [items[number] for number in inside], settings, [targets[number] for number in inside])
    found |= {inside[number]: staged for number, staged in together.items()}
    for number in inside:
        if number not in found:
            alone = slice(number, number + 1)
            one, reason = _stage(index, items[alone], settings, targets[alone])
            found[number] = one.get(0, reason)
    return [found[number] for number in range(len(items))]


def _outside(index, item):
    """Why an item has no frames in its video; None if it has."""
    try:
        index.span(*_span(index, item))
    except VideoError as error:
        return error.reason


def _span(index, item):
    return _window(index.duration, *item.window) if item.window else (item.start, item.stop)


def _stage(index, items, settings, targets):
    """Put down clips until all are or one cannot be had: (number to `Staged`, reason why not all or None)."""
    payloads = _payloads(index, items, settings)
    found: dict[int, Staged] = {}
    while True:
        try:
            made = next(payloads, None)
        except Exception as error:  # as above
            return found, why(error)
        if made is None:
            return found, None
        number, start, stop, payload = made
        _put_down(targets[number], payload)
        found[number] = Staged(start, stop, len(payload), crc32(payload))


def _payloads(index, items, settings):
    for number, start, stop, clip in cut(index, items, settings):
        payload = shards.encode_jpeg(clip, settings.quality) if settings.encoding == "jpeg" else clip
        yield number, start, stop, memoryview(payload).cast("B")


def _put_down(target, payload):
    """Write a file, whole or not at all.

    Not synced to the disk: a kill loses nothing that was written, and after a power cut what is not whole is cut again, which
    costs less than to wait for the disk each time.
    """
    target = pathlib.Path(target)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(payload)
        unfinished.replace(target)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise InputError(f"{target.parent}: {error.strerror}; free some space and run the same command again to go on.") from None


def why(error):
    """The reason, for the quarantine, why a video or a part of it cannot be had."""
    if isinstance(error, VideoError):
        return error.reason
    if isinstance(error, MemoryError):
        return "more memory needed than a worker process has"
    return f"cannot be decoded ({type(error).__name__}: {error})"


@functools.lru_cache(maxsize=2)
def _index(path, frame_rate, checksum, coded):
    """Kept for the next items of the same video.

    Raises:
        VideoError: the file has another checksum, cannot be read, or holds pictures alone where their motion is wanted.
    """
    if checksum is not None and video_files.checksum(path, checksum) != checksum:
        raise VideoError(path, "its checksum is not the one that was given: the file was damaged or replaced")
    if coded and frame_rate is not None:
        raise VideoError(path, "it is a set of pictures, which hold no motion; give videos")
    if coded:
        return video.index(coded.readable(path))
    return video.index(path) if frame_rate is None else frame_files.index(path, frame_rate)


def cut(index, items, settings):
    """Cut clips from a video in one pass.

    Yields:
        As each clip is complete (number of the item, start in seconds, stop, clip); clips are (frames, height, width, 3) uint8, in
        memory that the next ones use again. A dense clip starts with its first frame and stops when its last one ends.

    Raises:
        VideoError: the frames of one of them cannot be had.
    """
    spans, wanted = [], collections.defaultdict(list)
    for number, item in enumerate(items):
        start, stop = _span(index, item)
        shown = index.span(start, stop)
        stop = index.duration if stop is None else stop
        if settings.rule == "dense":
            chosen = shown.start + clip_sampling.dense(len(shown), settings.frames, settings.stride)
            start, stop = _dense_span(index, chosen, settings.stride)
        else:
            rng = np.random.default_rng([settings.seed, crc32(item.uid.encode())])
            chosen = shown.start + clip_sampling.RULES[settings.rule](len(shown), settings.frames, rng)
        for row, frame in enumerate(chosen.tolist()):
            wanted[frame].append((number, row))
        spans.append((start, stop))
    left = [settings.frames] * len(items)
    open_clips, spare = {}, _memory(settings.shape)
    frames = sorted(wanted)
    with contextlib.closing(pictures(index, frames, settings)) as decoded:
        for frame, picture in zip(frames, decoded, strict=True):
            for number, row in wanted[frame]:
                if number not in open_clips:
                    open_clips[number] = spare.pop() if spare else np.empty(settings.shape, np.uint8)
                open_clips[number][row] = picture
                left[number] -= 1
                if not left[number]:
                    yield number, *spans[number], open_clips[number]
                    spare.append(open_clips.pop(number))


def pictures(index, numbers, settings):
    """Yield the frames of ascending `numbers` as `settings` shows them, uint8; one may last until the next is asked for."""
    if settings.coded:
        return settings.coded.along(index, numbers, settings.picture, settings.resize)
    decode = frame_files.decode if isinstance(index, frame_files.FrameIndex) else video.decode
    if settings.shown is None:
        return decode(index, numbers, settings.picture, settings.resize)
    return settings.shown.along(index.seconds, numbers, lambda needed: decode(index, needed, settings.picture, settings.resize))


def _dense_span(index, frames, stride):
    """Start and stop in seconds of frames `stride` apart: each is shown until the next one would be."""
    first, last = int(frames.min()), int(frames.max())
    return float(index.seconds[first]), float(index.seconds[last]) + stride / index.fps


@functools.lru_cache(maxsize=1)
def _memory(shape):
    """Arrays to use again: the system takes longer to hand out the memory of a clip than the clip to be copied there."""
    return []


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
