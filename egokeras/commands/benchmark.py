"""`egokeras benchmark`: latency, memory and size of artifacts on this machine, or in a bundle for another."""

import argparse
import contextlib
import importlib.util
import itertools
import json
import pathlib
import re
import tempfile

from egokeras.commands import picture_size
from egokeras.errors import InputError, plain
from egokeras.files import read_json, write_json
from egokeras.progress import track

EXAMPLE = """egokeras benchmark runs/demo/demo/exports/int8 --threads 1,2
         egokeras benchmark runs/demo/demo/exports/int8 --sustained 60 --fps 30 --stride 0.5
         egokeras benchmark runs/demo/demo/exports/int8 --bundle for_the_device.zip
         egokeras benchmark --untrained report_convnet1d report_lstm --classes verb=97,noun=300
         egokeras benchmark layers --layers --json latencies.json        (of `egokeras layers`; what `Pruned` weighs channels by)
         egokeras benchmark --merge desk.json jetson.json --html page.html"""
STDOUT = "-"
CHOOSING = {"sustained": 10.0, "fps": 30.0, "stride": 0.5, "frame_size": (256, 456)}  # of --untrained; EPIC-KITCHENS' small frames


def add_arguments(parser):
    parser.add_argument("artifacts", nargs="+", metavar="ARTIFACT", help="folder of an artifact, or a bare .tflite file")
    parser.add_argument("--threads", type=_threads, default=(1,), metavar="N[,N...]", help="measure with each of these (1)")
    parser.add_argument("--seconds", type=_number(600), default=3.0, help="time to run each for, after the warm-up (%(default)s)")
    parser.add_argument("--against", metavar="FILE", help="also give p50 as a ratio to this one's, taking turns in one process")
    parser.add_argument("--json", metavar="FILE", help=f"write host and results there; {STDOUT} prints them instead of the table")
    stream = parser.add_argument_group("one stream, from a cold start")
    stream.add_argument("--sustained", type=_number(86400), metavar="S", help="also run each as one stream for at least S seconds")
    stream.add_argument("--fps", type=_number(1000), metavar="F", help="frames per second of the stream (each as soon as the last is done)")
    stream.add_argument("--stride", type=_number(600), metavar="S", help="seconds between inferences (one for every frame)")
    stream.add_argument("--video", metavar="FILE", help="also decode and resize its frames (PyAV or OpenCV decodes)")
    stream.add_argument("--frame-size", type=picture_size, metavar="WxH", help="resize noise of this size where no video is decoded")
    other = parser.add_argument_group("instead of measuring trained artifacts here")
    mode = other.add_mutually_exclusive_group()
    mode.add_argument(
        "--untrained",
        action="store_true",
        help="ARTIFACT is a recipe, or KEY=VALUE for all: time it before training, by default also for 10 s at 30 fps",
    )
    mode.add_argument("--layers", action="store_true", help="ARTIFACT is the folder of `egokeras layers`: time of each layer")
    mode.add_argument("--merge", action="store_true", help="ARTIFACT is a file that --json wrote: one table of them all")
    mode.add_argument("--benchmark-model-line", action="store_true", help="print the line that times it with TFLite's benchmark_model")
    other.add_argument("--classes", type=_classes, metavar="NAME=N,...", help="label spaces of --untrained, for example verb=97,noun=300")
    other.add_argument("--bundle", metavar="OUT", help="write a folder or .zip that measures with numpy and ai-edge-litert alone")
    other.add_argument("--html", metavar="FILE", help="also write the tables as a page")


def run(args):
    _check(args)
    if args.merge:
        _show(args, [record for file in args.artifacts for record in _records(file)])
    elif args.layers:
        _layers(args)
    elif args.benchmark_model_line:
        from egokeras.device import benchmark_model

        print("\n".join(benchmark_model.lines(path, threads, args.seconds) for path, threads in _jobs(args)))
    else:
        with _files(args) if args.untrained else contextlib.nullcontext():
            _bundle(args) if args.bundle else _show(args, [_measure(args)])


def _check(args):
    for option in ("json", "html"):
        file = getattr(args, option)
        if file not in (None, STDOUT) and not pathlib.Path(file).parent.is_dir():
            raise InputError(f"--{option} {file}: the folder {pathlib.Path(file).parent} does not exist; make it first.")
    if args.untrained:
        for option, value in CHOOSING.items():
            setattr(args, option, getattr(args, option) or value)
    for option in ("fps", "stride", "video", "frame_size"):
        needed = "fps" if option == "stride" else "sustained"
        if getattr(args, option) and not getattr(args, needed):
            raise InputError(f"--{option.replace('_', '-')} is of a stream; give --{needed}, too.")
    if args.classes and not args.untrained:
        raise InputError("--classes is of recipes; give --untrained, too.")
    if args.video and not pathlib.Path(args.video).is_file():
        raise InputError(f"--video {args.video} does not exist; give a video file.")
    if args.bundle and args.against:
        raise InputError("--against is measured here, and --bundle for another machine; give one of them.")
    wanted = "--html" if args.html else "--untrained" if args.untrained else None
    if wanted and importlib.util.find_spec("egokeras.report") is None:
        raise InputError(f"{wanted} needs all of egokeras, and this is a bundle of it; copy the results to where it is installed.")


def _layers(args):
    """The time of each layer, to the screen and to a file, or as JSON to the screen alone."""
    from egokeras.device import latency
    from egokeras.device.host import host

    if len(args.artifacts) > 1 or len(args.threads) > 1 or args.against:
        raise InputError("--layers takes one folder, one number of threads and no --against.")
    record = {"host": host(), **latency.layers(args.artifacts[0], *args.threads)}
    print(json.dumps(record, indent=1) if args.json == STDOUT else layer_lines(record))
    if args.json not in (None, STDOUT):
        write_json(args.json, record)


def layer_lines(record):
    """Each layer's time, whole and in part, the longest first."""
    rows = sorted(record["layers"], key=lambda row: row["whole_ms"], reverse=True)
    lines = [f"{'layer':<48}{'ms':>9}{'part ms':>9}{'of its work':>13}"]
    lines += [f"{plain(row['layer']):<48}{row['whole_ms']:9.3f}{row['part_ms']:9.3f}{row['share']:13.0%}" for row in rows]
    return "\n".join([*lines, f"{'all':<48}{sum(row['whole_ms'] for row in rows):9.3f}{sum(row['part_ms'] for row in rows):9.3f}"])


def _jobs(args):
    return list(itertools.product(args.artifacts, args.threads))


def _measure(args):
    """The record of this machine."""
    from egokeras.device import latency

    results = [latency.measure(path, threads, args.seconds) for path, threads in track(_jobs(args), "benchmark", unit="file")]
    if args.sustained:
        stream = {"fps": args.fps, "stride": args.stride, "video": args.video, "frame_size": args.frame_size}
        for result in track(results, "one stream", unit="file"):
            result["sustained"] = latency.sustain(result["path"], result["threads"], args.sustained, **stream)
    record = latency.record(results)
    if args.against:
        record["comparison"] = [latency.compare([args.against, *args.artifacts], threads) for threads in args.threads]
    return record


def _show(args, records):
    from egokeras.device import tables

    content = records if args.merge else records[0]
    if args.json == STDOUT:
        print(json.dumps(content, indent=1))
    else:
        print(tables.text(records))
    if args.json not in (None, STDOUT):
        write_json(args.json, content)
    if args.html:
        from egokeras.report import devices

        devices.write(args.html, records)


def _records(file):
    """What --json wrote, of one device or of several."""
    from egokeras.device import tables

    found = read_json(file)
    records = found if isinstance(found, list) else [found]
    try:
        tables.text(records)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        said = f"{type(error).__name__}: {error}"
        raise InputError(f"{file} is not what `egokeras benchmark --json` writes ({said:.200}); give such files.") from None
    return records


def _bundle(args):
    from egokeras.device import bundle

    options = ["--threads", ",".join(map(str, args.threads)), "--seconds", str(args.seconds)]
    for name in ("sustained", "fps", "stride"):
        options += [f"--{name}", str(getattr(args, name))] if getattr(args, name) else []
    options += ["--frame-size", "{1}x{0}".format(*args.frame_size)] if args.frame_size else []
    out = bundle.write(args.bundle, args.artifacts, options, args.video)
    print(f"{out}: copy it to the device; there, `python3 {bundle.SCRIPT}` needs {' and '.join(bundle.packages(args.artifacts))} alone")


@contextlib.contextmanager
def _files(args):
    """Put the untrained models of recipes, and a video to decode, in the place of `args.artifacts` and `args.video` for a while."""
    from egokeras import accelerator

    accelerator.start(cpu=True)
    from egokeras import recipe, untrained

    changes = [text for text in args.artifacts if "=" in text]
    changes += [f"data.classes={args.classes}"] if args.classes else []
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for name in [text for text in args.artifacts if "=" not in text]:
            stage = recipe.load(name, changes)[-1]
            found, assumed = untrained.write_tflite(stage, folder)
            files += found
            print(f"{stage.name}: random weights" + (f", assuming {', '.join(assumed)}" if assumed else ""), flush=True)
        args.artifacts = files
        args.video = args.video or untrained.write_video(pathlib.Path(folder) / "video.mp4", args.fps, *args.frame_size)
        yield


def _threads(text):
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not numbers such as 1 or 1,2,4") from None
    if min(found) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: give at least 1")
    return found


def _number(most):
    """Type of an argument above 0 and up to `most`."""

    def number(text):
        try:
            found = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
        if not 0 < found <= most:
            raise argparse.ArgumentTypeError(f"{text!r}: give more than 0 and at most {most:g}")
        return found

    return number


def _classes(text):
    if not re.fullmatch(r"\w+=[1-9]\d{0,5}(,\w+=[1-9]\d{0,5})*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not sizes of label spaces such as verb=97,noun=300")
    return {name: int(count) for name, _, count in (part.partition("=") for part in text.split(","))}
