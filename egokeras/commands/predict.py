"""`egokeras predict`: label a video file, a camera or raw frames from standard input with an artifact."""

import contextlib
import fractions
import itertools
import json
import os
import pathlib
import sys
import time

from egokeras.commands import picture_size
from egokeras.errors import InputError
from egokeras.files import atomic

EXAMPLE = """egokeras predict runs/demo/exports/int8 kitchen.mp4 --output labelled.mp4
         egokeras predict runs/demo/exports/int8 --camera "v4l2src ! videoconvert ! appsink" --json
         ffmpeg -i kitchen.mp4 -f rawvideo -pix_fmt rgb24 - | egokeras predict int8 - --size 640x480 --fps 30"""
STDIN = pathlib.Path("-")
# Containers that are one file each: a playlist could open others.
CONTAINERS = "mov,matroska,avi,gif,mpegts,mpeg,mpegvideo,flv,asf,ogg,ivf,mxf,nut,dv,rm,h264,hevc"
OUTPUTS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
CODECS = ("libx264", "mpeg4")
TICK = fractions.Fraction(1, 60_000)  # MPEG-4 takes no finer one
WINDOW = "egokeras"
ESCAPE = 27


def add_arguments(parser):
    parser.add_argument("artifact", metavar="ARTIFACT", help="folder of an artifact")
    parser.add_argument(
        "video", nargs="?", type=pathlib.Path, metavar="VIDEO", help="video file (needs the extra `video`), or - for raw rgb24 frames"
    )
    parser.add_argument(
        "--camera", metavar="SOURCE", help="number of a camera, or what else OpenCV opens: a URL, a GStreamer pipeline; q ends"
    )
    parser.add_argument("--size", type=picture_size, metavar="WxH", help="of the frames on standard input")
    parser.add_argument("--fps", type=float, metavar="F", help="frames per second on standard input")
    parser.add_argument("--output", type=pathlib.Path, metavar="FILE", help="annotated video, .mp4, .mov or .mkv, without sound")
    parser.add_argument("--stride", type=float, default=0.5, metavar="S", help="seconds between predictions (%(default)s)")
    parser.add_argument("--top", type=int, default=1, metavar="K", help="answers to show (%(default)s)")
    parser.add_argument(
        "--events", action="store_true", help="print events, each when it has ended, by the artifact's smoothing and thresholds"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count(), metavar="N", help="of the interpreter (all cores)")
    parser.add_argument("--json", action="store_true", help="print one JSON object per prediction")


def run(args):
    _check(args)
    # A frame is too small to be resized by several threads of BLAS, which would fight the interpreter's; read when numpy is loaded.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from egokeras.device.artifact import Artifact
    from egokeras.device.events import Detector, Smoothing
    from egokeras.device.frame_stream import begin

    artifact = Artifact.open(args.artifact, threads=args.threads)
    stream = begin(artifact, args.stride)
    detector = Detector(artifact.classes, Smoothing.of(artifact.manifest)) if args.events else None
    with contextlib.ExitStack() as stack:
        show = None
        if args.video == STDIN:
            frames, rate = _raw(sys.stdin.buffer, args.size, args.fps), _rate(args.fps)
        elif args.camera is None:
            frames, rate = stack.enter_context(_video(args.video))
        else:
            frames, rate = stack.enter_context(_camera(args.camera))
            show = stack.enter_context(_window())
        sinks = [show, args.output and stack.enter_context(_writer(args.output, rate))]
        _label(args, stream, detector, frames, [sink for sink in sinks if sink])
    if args.output:
        print(f"{args.output}: annotated video", file=sys.stderr)


def _check(args):
    if (args.video is None) == (args.camera is None):
        raise InputError("give either a video file or --camera.")
    if (args.video == STDIN) != (args.size is not None) or (args.video == STDIN) != (args.fps is not None):
        raise InputError("--size and --fps are of raw frames from standard input: give both with -, and with nothing else.")
    if args.fps is not None and not 0 < args.fps <= 1000:
        raise InputError(f"--fps is {args.fps:g}; give more than 0 and at most 1000.")
    for name in ("top", "threads"):
        if getattr(args, name) < 1:
            raise InputError(f"--{name} is {getattr(args, name)}; give at least 1.")
    if args.output is None:
        return
    if args.output.suffix.lower() not in OUTPUTS:
        raise InputError(f"--output {args.output}: the name must end in {', '.join(OUTPUTS)}.")
    if not args.output.parent.is_dir():
        raise InputError(f"--output {args.output}: the folder {args.output.parent} does not exist; make it first.")
    if args.video is not None and args.output.exists() and args.video.exists() and args.output.samefile(args.video):
        raise InputError(f"--output {args.output} is the video itself; give another name.")
    _import("cv2", "to draw labels (--output)", "opencv-python-headless")


def _import(module, purpose, package):
    """A module that the base install lacks."""
    try:
        return __import__(module)
    except ImportError:
        raise InputError(f"{module} is needed {purpose}; install it with: pip install {package}") from None


def _label(args, stream, detector, frames, sinks):
    """Print predictions, or events, over `frames` and hand each frame with the newest one to the sinks, until one has had enough."""
    lines: list[str] = []
    seconds = 0.0
    # A camera ends with Ctrl-C as well as with q, and what was recorded is kept.
    with contextlib.suppress(KeyboardInterrupt) if args.camera is not None else contextlib.nullcontext():
        for seconds, picture in frames:
            logits = stream.add(seconds, picture)
            lines = lines if logits is None else _announce(args, stream, detector, logits)
            annotated = _draw(_array(picture), lines) if sinks else None
            wanted = [sink(seconds, annotated) for sink in sinks]
            if not all(wanted):
                break
    logits = stream.finish()
    if logits is not None:
        _announce(args, stream, detector, logits)
    if detector:
        _print_event(args, stream, detector.finish(seconds))


def _announce(args, stream, detector, logits):
    """Print one prediction, or the event that it ends; returns lines for the picture."""
    start, stop = stream.span
    if detector:
        _print_event(args, stream, detector.add(stop, logits))
        going = detector.current
        return [f"{_name(stream, going)}  {going.score:.2f}"] if going else []
    top = stream.artifact.top(logits, args.top)
    lines = [f"{name}  {probability:.2f}" for name, probability in top]
    if args.json:
        labels = [{"name": name, "probability": round(probability, 4)} for name, probability in top]
        print(json.dumps({"start": round(start, 3), "stop": round(stop, 3), "top": labels}, ensure_ascii=False), flush=True)
    else:
        print(f"{stop:.1f} s  {'  '.join(lines)}", flush=True)
    return lines


def _print_event(args, stream, event):
    if event is None:
        return
    name = _name(stream, event)
    if args.json:
        found = {"event": name, "start": round(event.start, 3), "stop": round(event.stop, 3), "probability": round(event.score, 4)}
        print(json.dumps(found, ensure_ascii=False), flush=True)
    else:
        print(f"{event.start:.1f} to {event.stop:.1f} s  {name}  {event.score:.2f}", flush=True)


def _name(stream, event):
    from egokeras.device.events import answer

    classes = stream.artifact.classes
    return " ".join(classes[head][number] for head, number in zip(answer(classes), event.label, strict=True))


@contextlib.contextmanager
def _video(path):
    """Frames of a file as (seconds from its first, `av.VideoFrame`), and its frames per second."""
    av = _import("av", "to read video files", "egokeras[video]")
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


def _raw(file, picture, fps):
    """Frames of a size (height, width) from a stream of bytes, as (seconds, RGB picture)."""
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
def _camera(source):
    """Frames of a camera, as OpenCV opens it, as (seconds from now, RGB picture), and its frames per second."""
    cv2 = _import("cv2", "for a camera", "opencv-python")
    if source.isdecimal():
        camera, cure = cv2.VideoCapture(int(source)), f"check that it is plugged in, its number, and the rights to /dev/video{source}"
    elif "!" in source:
        if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
            raise InputError(
                "--camera is a GStreamer pipeline, and this OpenCV was built without GStreamer; JetPack's has it, PyPI's has not."
            )
        camera, cure = cv2.VideoCapture(source, cv2.CAP_GSTREAMER), "try the pipeline with gst-launch-1.0; it has to end in appsink"
    else:
        camera, cure = cv2.VideoCapture(source), "check the path or the address"
    try:
        if not camera.isOpened():
            raise InputError(f"camera {source} does not open; {cure}.")
        yield _capture(camera, source), _rate(camera.get(cv2.CAP_PROP_FPS) or 30)
    finally:
        camera.release()


def _capture(camera, number):
    started = time.monotonic()
    while True:
        arrived, picture = camera.read()
        if not arrived:
            raise InputError(f"camera {number} stopped giving frames after {time.monotonic() - started:.1f} s.")
        yield time.monotonic() - started, picture[:, :, ::-1]


@contextlib.contextmanager
def _window():
    """A function that shows a picture and says whether to go on; None where OpenCV or the machine has no display."""
    cv2 = _import("cv2", "for a camera", "opencv-python")
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


def _array(picture):
    """A camera's picture or a file's frame as (height, width, 3) uint8 RGB, upright."""
    import numpy as np

    if isinstance(picture, np.ndarray):
        return picture
    return np.rot90(picture.to_ndarray(format="rgb24"), round(picture.rotation / 90) % 4)


def _draw(picture, lines):
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
def _writer(path, rate):
    """A function that encodes (seconds, picture); the file is there once all of it is."""
    av = _import("av", "to write the annotated video", "egokeras[video]")
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
