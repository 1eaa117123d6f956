"""`egokeras predict`: what is done, or is about to be done, in a video file, before a camera or in raw frames from standard input."""

import contextlib
import itertools
import json
import os
import pathlib
import sys

from egokeras.commands import picture_size
from egokeras.device import frame_sinks, frame_sources
from egokeras.errors import InputError, library

EXAMPLE = """egokeras predict runs/demo/demo/exports/int8 kitchen.mp4 --output labelled.mp4
         egokeras predict runs/demo/demo/exports/int8 --camera "v4l2src ! videoconvert ! appsink" --json
         egokeras predict anticipation_step --recogniser int8 kitchen.mp4
         ffmpeg -i kitchen.mp4 -f rawvideo -pix_fmt rgb24 - | egokeras predict int8 - --size 640x480 --fps 30"""
STDIN = pathlib.Path("-")
AHEAD = 1.0  # seconds, at which anticipation is compared


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
    parser.add_argument(
        "--recogniser", metavar="ARTIFACT", help="of an artifact that anticipates: the one whose embedding and events it observes"
    )
    parser.add_argument("--ahead", type=float, metavar="S", help=f"with --recogniser: the time from now that is shown ({AHEAD:g})")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), metavar="N", help="of the interpreter (all cores)")
    parser.add_argument("--json", action="store_true", help="print one JSON object per prediction")


def run(args):
    _check(args)
    # A frame is too small to be resized by several threads of BLAS, which would fight the interpreter's; read when numpy is loaded.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from egokeras.device.artifact import Artifact

    artifact = Artifact.open(args.artifact, threads=args.threads)
    watcher = Anticipation(args, artifact) if args.recogniser else Recognition(args, artifact)
    with contextlib.ExitStack() as stack:
        frames, rate = stack.enter_context(_source(args))
        show = stack.enter_context(frame_sinks.window()) if args.camera is not None else None
        write = stack.enter_context(frame_sinks.writer(args.output, rate)) if args.output else None
        _label(args, watcher, frames, [sink for sink in (show, write) if sink])
    if args.output:
        print(f"{args.output}: annotated video", file=sys.stderr)


def _source(args):
    if args.camera is not None:
        return frame_sources.camera(args.camera)
    return frame_sources.raw(sys.stdin.buffer, args.size, args.fps) if args.video == STDIN else frame_sources.video(args.video)


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
    if args.recogniser and args.events:
        raise InputError("--events are of what is done, and --recogniser is for what is about to be; give one of the two.")
    if args.ahead is not None and not args.recogniser:
        raise InputError("--ahead is of an artifact that anticipates; give the recogniser that it observes with --recogniser.")
    if args.output is None:
        return
    if args.output.suffix.lower() not in frame_sinks.OUTPUTS:
        raise InputError(f"--output {args.output}: the name must end in {', '.join(frame_sinks.OUTPUTS)}.")
    if not args.output.parent.is_dir():
        raise InputError(f"--output {args.output}: the folder {args.output.parent} does not exist; make it first.")
    if args.video is not None and args.output.exists() and args.video.exists() and args.output.samefile(args.video):
        raise InputError(f"--output {args.output} is the video itself; give another name.")
    library("cv2", "to draw labels (--output)", "opencv-python-headless")


def _label(args, watcher, frames, sinks):
    """Print what a watcher sees in `frames` and hand each frame with the newest to the sinks, until one has had enough."""
    lines: list[str] = []
    seconds = 0.0
    # A camera ends with Ctrl-C as well as with q, and what was recorded is kept.
    with contextlib.suppress(KeyboardInterrupt) if args.camera is not None else contextlib.nullcontext():
        for seconds, picture in frames:
            found = watcher.add(seconds, picture)
            lines = lines if found is None else found
            annotated = frame_sinks.labelled(frame_sources.as_array(picture), lines) if sinks else None
            wanted = [sink(seconds, annotated) for sink in sinks]
            if not all(wanted):
                break
    watcher.finish(seconds)


class Recognition:
    """Prints what is done, or events."""

    def __init__(self, args, artifact):
        from egokeras.device.events import Detector, Smoothing
        from egokeras.device.frame_stream import begin

        self.args, self.artifact = args, artifact
        self.stream = begin(artifact, args.stride)
        self.detector = Detector(artifact.classes, Smoothing.of(artifact.manifest)) if args.events else None

    def add(self, seconds, picture):
        """Take the next frame; returns lines for the picture where there is something new, else None."""
        logits = self.stream.add(seconds, picture)
        return None if logits is None else self._announce(logits)

    def finish(self, seconds):
        """The frames have ended."""
        logits = self.stream.finish()
        if logits is not None:
            self._announce(logits)
        if self.detector:
            self._print_event(self.detector.finish(seconds))

    def _announce(self, logits):
        """Print one prediction, or the event that it ends; returns lines for the picture."""
        start, stop = self.stream.span
        if self.detector:
            self._print_event(self.detector.add(stop, logits))
            going = self.detector.current
            return [f"{self._name(going)}  {going.score:.2f}"] if going else []
        top = self.artifact.top(logits, self.args.top)
        if self.args.json:
            _print({"start": round(start, 3), "stop": round(stop, 3), "top": _records(top)})
        else:
            print(f"{stop:.1f} s  {'  '.join(_lines(top))}", flush=True)
        return _lines(top)

    def _print_event(self, event):
        if event is None:
            return
        name = self._name(event)
        if self.args.json:
            _print({"event": name, "start": round(event.start, 3), "stop": round(event.stop, 3), "probability": round(event.score, 4)})
        else:
            print(f"{event.start:.1f} to {event.stop:.1f} s  {name}  {event.score:.2f}", flush=True)

    def _name(self, event):
        from egokeras.device.events import answer

        classes = self.artifact.classes
        return " ".join(classes[head][number] for head, number in zip(answer(classes), event.label, strict=True))


class Anticipation:
    """Prints what is about to be done."""

    def __init__(self, args, artifact):
        from egokeras.device.artifact import Artifact
        from egokeras.device.frame_anticipation import FrameAnticipator
        from egokeras.device.stream import check_stride

        check_stride(args.stride)
        self.args, self.ahead = args, AHEAD if args.ahead is None else args.ahead
        self.stream = FrameAnticipator(artifact, Artifact.open(args.recogniser, threads=args.threads))
        self.observation, self.every = itertools.count(), max(1, round(args.stride / self.stream.anticipator.seconds))
        times = self.stream.anticipator.times
        if self.ahead not in times:
            raise InputError(f"--ahead is {self.ahead:g}; {artifact.folder} anticipates {', '.join(f'{time:g}' for time in times)} s.")

    def add(self, seconds, picture):
        """Take the next frame; returns lines for the picture where there is something new, else None."""
        logits = self.stream.add(seconds, picture)
        return None if logits is None or next(self.observation) % self.every else self._announce(seconds, logits)

    def finish(self, seconds):
        """The frames have ended."""
        logits = self.stream.finish(seconds)
        if logits is not None:
            self._announce(seconds, logits)

    def _announce(self, seconds, logits):
        """Print one prediction; returns lines for the picture."""
        ahead = dict(self.stream.anticipator.top(logits, self.args.top))
        shown = [f"in {self.ahead:g} s:", *_lines(ahead[self.ahead])]
        if self.args.json:
            _print({"time": round(seconds, 3), "ahead": [{"in": time, "top": _records(top)} for time, top in ahead.items()]})
        else:
            print(f"{seconds:.1f} s  {'  '.join(shown)}", flush=True)
        return shown


def _lines(top):
    return [f"{name}  {probability:.2f}" for name, probability in top]


def _records(top):
    return [{"name": name, "probability": round(probability, 4)} for name, probability in top]


def _print(record):
    print(json.dumps(record, ensure_ascii=False), flush=True)
