"""What a video file is, which of its frames are whole pictures, and what was coded of some of them: for `egokeras inspect`."""

import contextlib
import dataclasses
import functools
import itertools
import math
import pathlib
import tempfile

import av
import numpy as np

from egokeras.data import compressed_video, frame_types, optical_flow, staging, video, worker_pool
from egokeras.data.frame_types import BROKEN, NAMES
from egokeras.data.motion_vectors import Motion
from egokeras.data.video import VideoError
from egokeras.data.video_index import opened
from egokeras.errors import InputError

LONGEST = 60.0  # seconds of which all frames are decoded, unless more is asked for
MOST_FRAMES = 16
PANEL, SMALL, FEW = (240, 320), (150, 200), 6  # height and width that a picture is made to fit, where there are few and where many
TIMEOUT = 600.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to look at.

    Attributes:
        at: seconds of the frames to show; empty takes `frames` of them, evenly from the stretch.
        frames: how many.
        stretch: from when to when all frames are decoded, in seconds; None is all of a short video, a minute of a longer one.
    """

    at: tuple[float, ...] = ()
    frames: int = 5
    stretch: tuple[float, float] | None = None

    def __post_init__(self):
        if not (1 <= self.frames <= MOST_FRAMES and len(self.at) <= MOST_FRAMES):
            raise InputError(f"{len(self.at) or self.frames} frames are asked for; a sheet has room for 1 to {MOST_FRAMES}.")
        start, stop = self.stretch or (0.0, math.inf)
        if not (0 <= start < stop and start < math.inf):
            raise InputError(f"the stretch goes from {start:g} to {stop:g} s; give two times, the earlier one first.")
        for seconds in self.at:
            if not (start <= seconds <= stop and seconds < math.inf):
                place = f"from {start:g} to {stop:g} s" if self.stretch else "from 0 s on"
                raise InputError(f"a frame at {seconds:g} s is asked for; give a time {place}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class File:
    """A video file.

    Attributes:
        container, codec, profile: FFmpeg's names; the profile may be empty.
        width, height: pixels of the upright picture.
        turns: quarter turns counter-clockwise that make it upright.
        fps: frames per second on average.
        steps: shortest and longest time from one frame to the next, in seconds.
        frames: how many.
        seconds: duration.
        untold: why it does not tell the motion as it is needed (see `compressed_video.untold`); empty if it does.
    """

    container: str
    codec: str
    profile: str
    width: int
    height: int
    turns: int
    fps: float
    steps: tuple[float, float]
    frames: int
    seconds: float
    untold: str


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """A frame and what was coded of it, in the file or in the copy that `prepare` makes of one that does not tell; made to fit.

    Attributes:
        number: of the frame.
        seconds: its time.
        kind: its type in the file.
        shape: (height, width) before it was made to fit; motion is in pixels of this.
        picture: (h, w, 3) uint8, RGB.
        whole: number of the whole picture that it goes back to: its own for a whole picture, which has nothing of the following; None
            where that cannot be had.
        motion: the `Motion` from the frame before.
        residual: (h, w, 3) int16, what that leaves over.
        traced_motion: (h, w, 2) float32 pixels that everything has come since the whole picture.
        traced_residual: (h, w, 3) int16.
        flow: (h, w, 2) float32, optical flow (DIS) from the frame before; None where that cannot be had.
    """

    number: int
    seconds: float
    kind: str
    shape: tuple[int, int]
    picture: np.ndarray
    whole: int | None = None
    motion: Motion | None = None
    residual: np.ndarray | None = None
    traced_motion: np.ndarray | None = None
    traced_residual: np.ndarray | None = None
    flow: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Inspection:
    """A file, the types of the frames of a stretch, and some of them.

    Attributes:
        file: the `File`.
        first: number of the first frame of the stretch.
        seconds: (frames,) times of its frames.
        kinds: their types, a letter each (see `frame_types`).
        views: a `View` of each of the frames to show.
    """

    file: File
    first: int
    seconds: np.ndarray
    kinds: str
    views: tuple[View, ...]

    @property
    def types(self):
        """Name of each type that there is to its number of frames."""
        return {name: self.kinds.count(kind) for kind, name in NAMES.items() if kind in self.kinds}

    @property
    def gops(self):
        """Frames from each whole picture of the stretch to the next."""
        whole = [number for number, kind in enumerate(self.kinds) if kind == "I"]
        return [after - before for before, after in itertools.pairwise(whole)]

    @property
    def broken(self):
        """Spans of frames that cannot be had: (start, stop) in seconds, both of frames."""
        runs = [list(run) for kind, run in itertools.groupby(range(len(self.kinds)), self.kinds.__getitem__) if kind == BROKEN]
        return [(float(self.seconds[run[0]]), float(self.seconds[run[-1]])) for run in runs]


def inspect(path, wanted=None):
    """The `Inspection` of a video file, made in a worker process.

    Args:
        path: of the file.
        wanted: a `Wanted`.

    Raises:
        InputError: it is no file, cannot be decoded, or has nothing at the times that are wanted.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise InputError(f"{path} {'is a folder' if path.is_dir() else 'does not exist'}; give a video file.")
    with tempfile.TemporaryDirectory() as folder:  # of this process, which outlives the worker
        task = functools.partial(_look, path, wanted or Wanted(), pathlib.Path(folder))
        [(_, found)] = worker_pool.results([task], workers=1, timeout=TIMEOUT, setup=staging.setup(1))
    if isinstance(found, worker_pool.Lost):
        raise VideoError(path, found.reason)
    if isinstance(found, InputError):
        raise found
    return found


def _look(path, wanted, folder):
    """`examine`, with what goes wrong as the result."""
    try:
        return examine(path, wanted, folder)
    except InputError as error:
        return error
    except Exception as error:  # whatever a strange file makes the decoder raise
        return VideoError(path, staging.why(error))


def examine(path, wanted, folder):
    """The `Inspection` of a video file, made in this process.

    Args:
        path: of the file.
        wanted: a `Wanted`.
        folder: for parts that are encoded anew.

    Raises:
        InputError: as for `inspect`.
    """
    index = video.index(path)
    late = [seconds for seconds in (*wanted.at, *(wanted.stretch or ())[:1]) if seconds >= index.duration]
    if late:
        raise InputError(f"{path}: there is no frame at {late[0]:g} s; it lasts {index.duration:.3f} s.")
    file = _file(index)
    stretch = index.span(*_stretch(index.duration, wanted))
    kinds = frame_types.of_frames(index, stretch)
    if set(kinds) == {BROKEN}:
        start, stop = (index.seconds[number] for number in (stretch[0], stretch[-1]))
        raise VideoError(path, f"none of the frames from {start:.3f} to {stop:.3f} s can be decoded")
    numbers = [index.span(seconds, seconds)[0] for seconds in wanted.at] or _spread(stretch, kinds, wanted.frames, file.untold)
    numbers = sorted(set(numbers))
    views = tuple(_view(index, number, file, folder, PANEL if len(numbers) <= FEW else SMALL) for number in numbers)
    return Inspection(file=file, first=stretch[0], seconds=index.seconds[stretch[0] : stretch[-1] + 1], kinds=kinds, views=views)


def _file(index):
    with opened(index.path) as (container, stream):
        names = container.format.name.split(",")[0], stream.codec_context.name, stream.profile or ""
    steps = np.diff(index.seconds) if len(index.ticks) > 1 else np.array([1 / index.fps])
    return File(
        container=names[0],
        codec=names[1],
        profile=names[2],
        width=index.width,
        height=index.height,
        turns=index.turns,
        fps=index.fps,
        steps=(float(steps.min()), float(steps.max())),
        frames=len(index.ticks),
        seconds=index.duration,
        untold=compressed_video.untold(index.path) or "",
    )


def _stretch(duration, wanted):
    """(start, stop) in seconds, stop None for the end."""
    if wanted.stretch:
        start, stop = wanted.stretch
    else:
        start = max(0.0, min(min(wanted.at, default=0.0), duration - LONGEST))
        stop = max(start + LONGEST, max(wanted.at, default=0.0))
    return start, (None if stop >= duration else stop)


def _spread(stretch, kinds, count, untold):
    """Numbers of `count` frames from the middles of as many parts; rather one after a whole picture, which has no motion."""
    sound = {number: kind for number, kind in zip(stretch, kinds, strict=True) if kind != BROKEN}
    numbers = list(sound)
    for part in range(count):
        number = numbers[int((part + 0.5) * len(numbers) / count)]
        whole = number % compressed_video.GOP == 0 if untold else sound[number] == "I"
        yield number + 1 if whole and number + 1 in sound else number


def _view(index, number, file, folder, panel):
    """A frame's `View`, made to fit a `panel`."""
    before, picture = _pictures(index, number)
    height, width = picture.shape[:2]
    size = video.fitted(height, width, panel, "pad")
    shown = View(
        number=number,
        seconds=float(index.seconds[number]),
        kind=frame_types.of_frame(next(video.frames(index, [number]))),
        shape=(height, width),
        picture=video.resize(picture, size),
        flow=None if before is None else video.resize(optical_flow.displacement("dis", *map(optical_flow.grey, (before, picture))), size),
    )
    try:
        source, first = _anew(index, number, folder) if file.untold else (index, 0)
    except VideoError:  # a frame before it is damaged, from which it was not made, but the copy would be
        return shown
    found = compressed_video.traced(source, number - first)
    shown = dataclasses.replace(shown, whole=first + found.whole.number)
    if found.coded is found.whole:
        return shown
    return dataclasses.replace(
        shown,
        motion=found.coded.motion,
        residual=video.resize(found.residual, size),
        traced_motion=video.resize(found.trace.motion.astype(np.float32), size),
        traced_residual=video.resize(found.traced_residual, size),
    )


def _pictures(index, number):
    """The frame before, None if there is none or it cannot be had, and the frame."""
    if number:
        with contextlib.suppress(VideoError):
            return [np.ascontiguousarray(picture) for picture in video.decode(index, [number - 1, number])]
    return [None, *map(np.ascontiguousarray, video.decode(index, [number]))]


def _anew(index, number, folder):
    """The frame's group of the copy that `prepare` would make of the video, and the number of its first frame, the whole picture."""
    first, path = number - number % compressed_video.GOP, folder / f"{number}.mkv"
    with av.open(f"file:{path}", "w") as container:
        compressed_video.write(container, video.decode(index, range(first, number + 1)), index.fps)
    return video.index(path), first
