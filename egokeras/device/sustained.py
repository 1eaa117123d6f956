"""One stream for as long as a device has to bear it: percentiles, frames that miss their time, throttling, energy.

A frame is due every 1 / fps seconds. It has missed its time if the work on it is not done when the next one is due; frames that come and
go meanwhile are dropped, as from a camera, and have missed theirs. Decoding and resizing are of pictures from a video, or of noise; the
model is run on noise, since its time does not depend on what it sees.
"""

import math
import time

import numpy as np

from egokeras.device.energy import Meter
from egokeras.device.host import ROOT, state
from egokeras.device.stream import resize

IDLE_SECONDS = 2.0  # at rest before the stream, where energy can be counted
TENTH = 10
ROUNDING = 1e-6  # of a frame
PERCENTILES = (50, 90, 95, 99)


def sustain(model, seconds, fps=None, stride=None, source=None, size=None, mode="squash", root=ROOT):
    """Run a model as one stream.

    Args:
        model: function without arguments, one inference.
        seconds: for at least so long.
        fps: frames per second; None starts the next as soon as one is done.
        stride: seconds between inferences; None is one for every frame.
        source: `Pictures` that are resized, and decoded if they are of a video; None times the model alone.
        size: (height, width) that pictures are resized to.
        mode: how, as for `egokeras.device.stream.resize`.
        root: where the machine's files lie.

    Returns:
        A dict: seconds, fps, stride, frames and missed (share of them; None without fps), answers, p50_ms to p99_ms from the frame to
        its answer, drift (median of the last tenth of the answers against that of the first; None for fewer than 20), stages (decode,
        resize and model, each with p50_ms and p95_ms), before and after (see `egokeras.device.host.state`), energy (rail to joules,
        watts, idle_watts before the stream, mj_per_inference; empty where the machine counts none).
    """
    how = model, 0.0 if fps is None or stride is None else stride * fps, source, size, mode
    _Work(*how)(0)  # the first picture imports what resizes it
    work = _Work(*how)
    with Meter(root) as idle:
        if idle.joules:
            time.sleep(IDLE_SECONDS)
    before = state(root)
    with Meter(root) as meter:
        frames, missed = pace(work, seconds, fps)
    answers = work.answers
    return {
        "seconds": round(meter.seconds, 2),
        "fps": fps,
        "stride": stride,
        "frames": frames,
        "missed": None if missed is None else round(missed / frames, 4),
        "answers": len(answers),
        **percentiles(answers),
        "drift": _drift(answers),
        "stages": {name: percentiles(times, (50, 95)) for name, times in work.stages.items() if times},
        "before": before,
        "after": state(root),
        "energy": _energy(meter, idle, len(answers)),
    }


def pace(work, seconds, fps=None, clock=time.perf_counter, sleep=time.sleep):
    """Call `work(number)` for the frames of a stream that lasts `seconds`, each when it is due or, late, as soon as it can be.

    Returns:
        (frames that came, how many of them missed their time); without `fps`, (calls, None).
    """
    start, number = clock(), 0
    if fps is None:
        while number == 0 or clock() - start < seconds:
            work(number)
            number += 1
        return number, None
    frames, missed = math.ceil(seconds * fps), 0
    while number < frames:
        sleep(max(0.0, start + number / fps - clock()))
        work(number)
        newest = min(int((clock() - start) * fps), frames)
        missed += max(0, newest - number)  # this one, and those before the newest, which nobody looked at
        number = max(newest, number + 1)
    sleep(max(0.0, start + frames / fps - clock()))
    return frames, missed


def percentiles(times, wanted=PERCENTILES):
    """`p50_ms` and so on of times in milliseconds."""
    return {f"p{share}_ms": round(float(value), 4) for share, value in zip(wanted, np.percentile(times, wanted), strict=True)}


def _drift(times):
    part = len(times) // TENTH
    return round(float(np.median(times[-part:]) / np.median(times[:part])), 4) if part > 1 else None


def _energy(meter, idle, answers):
    """What every rail used; watts at rest stand beside it, since a rail carries more than the model."""
    return {
        name: {
            "joules": round(joules, 4),
            "watts": round(joules / meter.seconds, 4),
            "idle_watts": round(idle.joules[name] / idle.seconds, 4) if name in idle.joules else None,
            "mj_per_inference": round(1e3 * joules / answers, 4),
        }
        for name, joules in meter.joules.items()
    }


class _Work:
    """What is done with a frame, and how long each part of it took, in milliseconds."""

    def __init__(self, model, every, source, size, mode):
        self._model, self._every, self._source, self._size, self._mode = model, every, source, size, mode
        self._due = 0.0  # number of the frame that the next inference is for
        self.stages: dict[str, list[float]] = {"decode": [], "resize": [], "model": []}
        self.answers: list[float] = []

    def __call__(self, number):
        start = time.perf_counter()
        if self._source is not None:
            height, width = self._size
            picture = self._timed("decode", self._source.read) if self._source.decoder else self._source.read()
            self._timed("resize", lambda: resize(picture, height, width, self._mode))
        late = number + ROUNDING - self._due
        if late >= 0:
            self._due += self._every * (1 + late // self._every) if self._every else 0.0
            self._timed("model", self._model)
            self.answers.append(1e3 * (time.perf_counter() - start))

    def _timed(self, stage, work):
        start = time.perf_counter()
        result = work()
        self.stages[stage].append(1e3 * (time.perf_counter() - start))
        return result


class Pictures:
    """Endless pictures: a video's, again and again, where PyAV or OpenCV is there to decode it; else noise of a given size.

    Attributes:
        decoder: `PyAV`, `OpenCV`, or None.
    """

    def __init__(self, video=None, size=None):
        """`video` is a path, `size` (height, width) of the noise."""
        found = _decoded(video) if video else None
        self.decoder: str | None = found and found[0]
        self._pictures = found[1] if found else _noise(*size) if size else iter(())
        self._any = bool(found or size)

    def __bool__(self):
        return self._any

    def read(self):
        """The next picture, as `egokeras.device.stream.resize` takes it."""
        return next(self._pictures)


def _decoded(video):
    """(name of the decoder, pictures), or None where there is no decoder."""
    for name, module, read in (("PyAV", "av", _by_av), ("OpenCV", "cv2", _by_opencv)):
        try:
            return name, _again(read, __import__(module), str(video))
        except ImportError:
            continue
    return None


def _again(read, module, video):
    while True:
        count = -1
        for count, picture in enumerate(read(module, video)):  # noqa: B007  how many there were
            yield picture
        if count < 0:
            raise ValueError(f"no frame of {video} can be decoded")


def _by_av(av, video):
    with av.open(f"file:{video}", options={"protocol_whitelist": "file"}) as container:
        yield from container.decode(video=0)


def _by_opencv(cv2, video):
    capture = cv2.VideoCapture(video)
    try:
        while True:
            arrived, picture = capture.read()
            if not arrived:
                return
            yield picture[:, :, ::-1]
    finally:
        capture.release()


def _noise(height, width):
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    while True:
        yield picture
