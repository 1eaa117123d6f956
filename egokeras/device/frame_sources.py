"""Where frames come from: a video file, a camera, raw bytes; as (seconds, picture), and how many there are in a second."""

import contextlib
import fractions
import itertools
import time

from egokeras.errors import InputError, library

# Containers that are one file each: a playlist could open others.
CONTAINERS = "mov,matroska,avi,gif,mpegts,mpeg,mpegvideo,flv,asf,ogg,ivf,mxf,nut,dv,rm,h264,hevc"


@contextlib.contextmanager
def video(path):
    """Frames of a file as (seconds from its first, `av.VideoFrame`), and its frames per second."""
    av = library("av", "to read video files", "egokeras[video]")
    if not path.is_file():
        raise InputError(f"{path} does not exist or is not a file; give a video file.")
    try:
        container = av.open(f"file:{path}", options={"protocol_whitelist": "file", "format_whitelist": CONTAINERS})
    except av.FFmpegError as error:
        raise InputError(f"{path} cannot be read as a video ({error.strerror}); give another file.") from None
    with container:
        if not container.streams.video:
            raise InputError(f"{path} has no video stream; give a video file.")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        rate = stream.average_rate or stream.guessed_rate or fractions.Fraction(25)
        yield _upright(path, av, container, stream, rate), rate


def _upright(path, av, container, stream, rate):
    first, last, count = None, -1.0, 0
    counted = container.format.name == "avi"  # which has no times, only an order
    try:
        for frame in container.decode(stream):
            seconds = count / float(rate) if counted or frame.time is None else frame.time
            first = seconds if first is None else first
            count += 1
            if seconds - first <= last:
                continue  # a broken file may go back in time
            last = seconds - first
            yield last, frame
    except av.FFmpegError as error:
        raise InputError(f"{path} is damaged after {max(last, 0):.1f} s ({error.strerror}); the predictions end there.") from None
    if not count:
        raise InputError(f"{path} has no frame that can be decoded; give another file.")


@contextlib.contextmanager
def raw(file, picture, fps):
    """Frames of a size (height, width) from a stream of bytes, as (seconds, RGB picture), and their frames per second."""
    yield _cut(file, picture, fps), _rate(fps)


def _cut(file, picture, fps):
    import numpy as np

    height, width = picture
    size = height * width * 3
    for number in itertools.count():
        content = file.read(size)
        if len(content) < size:
            if content or not number:
                found = f"standard input ends {len(content)} bytes into frame {number + 1}, and one of {width}x{height} has {size}"
                raise InputError(f"{found}; check --size, and that the pixels are rgb24.")
            return
        yield number / fps, np.frombuffer(content, np.uint8).reshape(height, width, 3)


def _rate(fps):
    return fractions.Fraction(fps).limit_denominator(1001)


@contextlib.contextmanager
def camera(source):
    """Frames of a camera, as OpenCV opens it, as (seconds from now, RGB picture), and its frames per second."""
    cv2 = library("cv2", "for a camera", "opencv-python")
    if source.isdecimal():
        opened, cure = cv2.VideoCapture(int(source)), f"check that it is plugged in, its number, and the rights to /dev/video{source}"
    elif "!" in source:
        if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
            raise InputError(
                "--camera is a GStreamer pipeline, and this OpenCV was built without GStreamer; JetPack's has it, PyPI's has not."
            )
        opened, cure = cv2.VideoCapture(source, cv2.CAP_GSTREAMER), "try the pipeline with gst-launch-1.0; it has to end in appsink"
    else:
        opened, cure = cv2.VideoCapture(source), "check the path or the address"
    try:
        if not opened.isOpened():
            raise InputError(f"camera {source} does not open; {cure}.")
        yield _capture(opened, source), _rate(opened.get(cv2.CAP_PROP_FPS) or 30)
    finally:
        opened.release()


def _capture(camera, number):
    started = time.monotonic()
    while True:
        arrived, picture = camera.read()
        if not arrived:
            raise InputError(f"camera {number} stopped giving frames after {time.monotonic() - started:.1f} s.")
        yield time.monotonic() - started, picture[:, :, ::-1]


def as_array(picture):
    """A camera's picture or a file's frame as (height, width, 3) uint8 RGB, upright."""
    import numpy as np

    if isinstance(picture, np.ndarray):
        return picture
    return np.rot90(picture.to_ndarray(format="rgb24"), round(picture.rotation / 90) % 4)
