"""The windows of a video that end every so many seconds: which frames each shows, and those frames, each decoded once.

What is computed from a window is known at its end: no frame after it is in it.
"""

import contextlib
import os
import pathlib

import numpy as np

from egokeras.data import frame_files, frame_rates, staging, video
from egokeras.data.action_folders import SUFFIXES
from egokeras.data.video_index import ROUNDING
from egokeras.errors import InputError


def frame_numbers(seconds, duration, *, step, clip_seconds, frames):
    """Frames of all windows of a video.

    Row i is the window that ends at `(i + 1) * step` and reaches `clip_seconds` back; the frames are the middle ones of equal parts of
    it, as in `clip_sampling.uniform`. Before the start of the video stands its first frame.

    Args:
        seconds: (n,) times of the video's frames, ascending, the first 0.
        duration: of the video in seconds.
        step, clip_seconds: seconds.
        frames: of a window.

    Returns:
        (rows, frames) int64, ascending along both axes; as many rows as windows end in the video.
    """
    ends = step * np.arange(1, int(duration / step + 1e-6) + 1)
    last = np.searchsorted(seconds, ends + 1e-6, side="right")  # of the video, one behind the window
    first = np.searchsorted(seconds, ends - clip_seconds - ROUNDING)
    rate = len(seconds) / duration
    before = np.rint(np.maximum(clip_seconds - ends, 0) * rate).astype(np.int64)  # repetitions of the first frame
    parts = (2 * np.arange(frames) + 1) * (before + last - first)[:, None] // (2 * frames)
    found = first[:, None] + np.maximum(parts - before[:, None], 0)
    return np.minimum(found, last[:, None] - 1)


def find(folder, frame_rate=None):
    """The videos of a folder: name, the path below it without suffix and with `/` between parts, to (path, `FrameRate` or None).

    Args:
        folder: of video files, or of folders or tars of frames, at any depth; hidden files and folders are left out.
        frame_rate: of folders and tars of frames; None looks for a `*video_info*.csv` in the folder.

    Raises:
        InputError: no such folder, none in it, two that differ in their suffix alone, or a frame rate that nothing tells.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the folder of the videos.")
    found: dict[str, pathlib.Path] = {}
    for path in _videos(folder):
        below = path.relative_to(folder)
        name = below.with_suffix("").as_posix() if path.is_file() else below.as_posix() if below.parts else folder.resolve().name
        if name in found:
            raise InputError(f"{found[name]} and {path} would have features of one name; move one of them away.")
        found[name] = path
    if not found:
        raise InputError(f"{folder}: no video in it; files must end in {', '.join(SUFFIXES)}.")
    of_frames = {name: path for name, path in found.items() if frame_files.are_frames(path)}
    rates, _ = frame_rates.find(of_frames, [folder / "any"], frame_rate)
    return {name: (path, rates.get(name)) for name, path in sorted(found.items())}


def _videos(folder):
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if any(map(frame_files.is_frame, files)):
            yield pathlib.Path(place)
        for file in sorted(files):
            if file.lower().endswith((*SUFFIXES, frame_files.TAR)) and not file.startswith("."):
                yield pathlib.Path(place, file)


def probe(path, frame_rate):
    """The index of a video, or the reason (str) why it has none."""
    try:
        return video.index(path) if frame_rate is None else frame_files.index(path, frame_rate)
    except Exception as error:  # whatever a strange file makes the decoder raise, it is this video's to bear
        return staging.why(error)


def decode(index, numbers, settings):
    """Frames of ascending `numbers` as (len(numbers), size, size, 3) uint8, or the reason (str) why one cannot be had.

    Args:
        index: what `probe` gave.
        settings: a `Preparation`; its `size`, `resize` and `flow` count.
    """
    pictures = np.empty((len(numbers), *settings.shape[1:]), np.uint8)
    try:
        with contextlib.closing(staging.pictures(index, np.asarray(numbers).tolist(), settings)) as decoded:
            for place, picture in zip(pictures, decoded, strict=True):
                place[:] = picture
    except Exception as error:  # as above
        return staging.why(error)
    return pictures
