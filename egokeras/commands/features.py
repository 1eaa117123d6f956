"""`egokeras features`: what a trained recogniser makes of whole videos, one vector every quarter of a second."""

import json
import pathlib

EXAMPLE = "egokeras features runs/demo runs/demo/world/videos features/rgb"
TENSORFLOW = True
RESUMES = True
QUARANTINED = 3


def add_arguments(parser):
    parser.add_argument(
        "run_dir", metavar="RUN", help="run folder of a recognition model, or an artifact of clips that gives its embedding"
    )
    parser.add_argument("videos", metavar="VIDEOS", help="folder of videos; all of them, at any depth, are read")
    parser.add_argument("out", metavar="OUT", help="folder of the features; the same command goes on after an interruption")
    parser.add_argument("--step", type=float, default=0.25, metavar="S", help="seconds between two vectors (%(default)s)")
    parser.add_argument("--data", metavar="SHARDS", help="the shards that the run was trained on, if they are elsewhere now")
    parser.add_argument("--frame-rate", type=float, metavar="N", help="frames in a second, for videos that are folders or tars of frames")
    parser.add_argument("--workers", type=int, metavar="N", help="processes that decode (default: one per processor)")
    parser.add_argument(
        "--timeout", type=float, default=600.0, metavar="S", help="that a process may take for 32 MB of pixels (%(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.add_argument("--cpu", action="store_true", help="use the CPU although there is a GPU")


def run(args):
    from egokeras.device.manifest import MANIFEST
    from egokeras.recogniser import ExportedRecogniser, Recogniser
    from egokeras.video_features import extract

    given = {name: getattr(args, name) for name in ("step", "frame_rate", "workers", "timeout")}
    exported = pathlib.Path(args.run_dir, MANIFEST).is_file()
    recogniser = ExportedRecogniser.open(args.run_dir) if exported else Recogniser.open(args.run_dir, args.data)
    summary = extract(recogniser, args.videos, args.out, **given)
    print(json.dumps(summary, indent=1) if args.json else "\n".join(lines(summary)))
    return QUARANTINED if summary["quarantined"] else 0


def lines(summary):
    """The summary in words."""
    size = f"{summary['rows']:,} vectors of {summary['features']} numbers, {summary['bytes'] / 1e6:.1f} MB"
    yield f"{summary['path']}: {summary['modality']} of {summary['videos']} videos, {size}"
    if summary["quarantined"]:
        yield f"{summary['quarantined']} videos could not be used; the reasons are in {summary['path']}/quarantine.csv"
