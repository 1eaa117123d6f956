"""Where labelled frames go: a window, a video file; functions of (seconds, picture) that say whether to go on."""

import contextlib
import fractions
import os
import sys

from egokeras.errors import InputError, library
from egokeras.files import atomic

OUTPUTS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
CODECS = ("libx264", "mpeg4")
TICK = fractions.Fraction(1, 60_000)  # MPEG-4 takes no finer one
WINDOW = "egokeras"
ESCAPE = 27


@contextlib.contextmanager
def window():
    """A function that shows a picture and says whether to go on; None where OpenCV or the machine has no display."""
    cv2 = library("cv2", "for a camera", "opencv-python")
    # Asked before the first call, because a window toolkit without a display ends the process.
    seen = sys.platform != "linux" or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
    try:
        if seen:
            cv2.namedWindow(WINDOW, cv2.WINDOW_NORMAL)
    except cv2.error:
        seen = False
    if not seen:
        yield None
        return

    def show(_, picture):
        cv2.imshow(WINDOW, picture[:, :, ::-1])
        closed = cv2.getWindowProperty(WINDOW, cv2.WND_PROP_VISIBLE) < 1
        return not closed and cv2.waitKey(1) & 0xFF not in (ord("q"), ESCAPE)

    try:
        yield show
    finally:
        cv2.destroyAllWindows()


def labelled(picture, lines):
    """The picture with the lines on a dark bar at its foot; (height, width, 3) uint8."""
    import cv2
    import numpy as np

    picture = np.array(picture, order="C")  # a copy: the stream may hold this very frame
    height, width = picture.shape[:2]
    step = max(12, height // 16)
    foot = step * len(lines) + step // 3 if lines else 0
    picture[height - foot :] //= 3
    for number, line in enumerate(lines):
        base = height - foot + step * (number + 1) - step // 8
        scale = min(step / 30, (width - step) / max(1, 18 * len(line)))
        cv2.putText(picture, line, (step // 2, base), cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), max(1, step // 20), cv2.LINE_AA)
    return picture


@contextlib.contextmanager
def writer(path, rate):
    """A function that encodes (seconds, picture); the file is there once all of it is."""
    av = library("av", "to write the annotated video", "egokeras[video]")
    codec = next((name for name in CODECS if name in av.codecs_available), None)
    if codec is None:
        raise InputError(f"this build of av has none of the encoders {', '.join(CODECS)}; install the wheel: pip install egokeras[video]")
    with atomic(path) as file, av.open(file, "w", format=OUTPUTS[path.suffix.lower()]) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 4_000_000
        stream.codec_context.time_base = TICK

        def write(seconds, picture):
            height, width = (size - size % 2 for size in picture.shape[:2])  # yuv420p has no odd sizes
            if not stream.codec_context.is_open:
                stream.height, stream.width = height, width
            frame = av.VideoFrame.from_ndarray(picture[:height, :width], format="rgb24")
            frame.pts, frame.time_base = round(seconds / TICK), TICK
            container.mux(stream.encode(frame))
            return True

        yield write
        container.mux(stream.encode(None))
