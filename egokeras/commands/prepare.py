"""`egokeras prepare`: turn annotated videos into shards of clips."""

import json
import pathlib
import shutil
import sys

EXAMPLE = "egokeras prepare epic100 EPIC_100_train.csv EPIC_100_validation.csv videos/ shards/epic100 --encoding jpeg"
QUARANTINED = 3
RESUMES = True
# Beside the reader's name and paths; each is a field of Preparation.
OPTIONS = {
    "frames": (int, "N", "frames of a clip (default: 20)"),
    "size": (int, "PIXELS", "height of the picture (default: 256)"),
    "width": (int, "PIXELS", "width of the picture (default: as its height)"),
    "rule": (("uniform", "dense", "report"), None, "which frames: of all the segment, or in a row from its middle (default: uniform)"),
    "stride": (int, "N", "of dense, from one frame of the clip to the next (default: 1)"),
    "resize": (("squash", "crop", "pad"), None, "how a picture gets its shape (default: squash)"),
    "frame_rate": (float, "N", "frames in a second, for videos that are folders or tars of frames (default: EPIC_100_video_info.csv says)"),
    "checksums": (str, "FILE", "of the videos, as sha256sum writes it (also MD5, SHA-1); a video of another goes to quarantine"),
    "encoding": (("raw", "jpeg"), None, "raw is fastest to read, jpeg a fifteenth of its size (default: raw)"),
    "quality": (int, "1-100", "of the JPEG (default: 90)"),
    "windows": (int, "N", "unlabelled windows of the held-out videos, for judging exports (default: up to 600 with the labelled clips)"),
    "workers": (int, "N", "processes (default: one per processor)"),
    "timeout": (float, "SECONDS", "that up to 16 clips of a video may take before they go to quarantine (default: 600)"),
    "seed": (int, "N", "of all that is drawn (default: 0)"),
}
# With --continuous; each is a field of Continuous.
CONTINUOUS = {
    "background": (float, "RATE", "clips of unlabelled time (class `background`) for each clip of an action (default: 1; 0 is none)"),
    "margin": (float, "S", "seconds that these keep away from every action (default: 0.5)"),
    "overlap": (float, "SHARE", "of its action that a clip shows at least, or of the clip if that is shorter (default: 0.5)"),
}
# With --modality flow; each is a field of Flow.
FLOW = {
    "method": (("dis", "farneback", "tvl1"), None, "how optical flow is computed; tvl1 needs opencv-contrib (default: dis)"),
    "bound": (float, "PIXELS", "motion at which its 8 bits end, in pixels of the resized picture (default: 20)"),
    "seconds": (float, "S", "it is the motion since the frame so long before (default: 0.1)"),
    "stack": (int, "N", "flows, one after another, as an input of its own beside RGB, such as TSN's 5 (default: one, in the place of RGB)"),
}
# With --modality rgb_difference; each is a field of RGBDifference.
DIFFERENCE = {
    "stack": (int, "N", "changes shown of a frame, one after another (default: 5)"),
    "seconds": (float, "S", "from one frame of them to the next (default: 0.04)"),
}


def add_arguments(parser):
    parser.add_argument(
        "dataset", metavar="DATASET", help="epic55, epic100, egtea, ucf101, hmdb51, kinetics, folders, table or my.py:function"
    )
    parser.add_argument("annotations", metavar="ANNOTATIONS", nargs="+", help="annotation files; for folders, the folder of class folders")
    parser.add_argument("videos", metavar="VIDEOS", help="folder of the videos, found by name in any folder below it")
    parser.add_argument("out", metavar="OUT", help="folder of the shards; the same command goes on after an interruption")
    parser.add_argument("--group", metavar="REGEX", help="what in a file's name must stay on one side of the split, such as P[0-9]+")
    parser.add_argument(
        "--modality",
        choices=("rgb", "flow", "rgb_difference", "compressed"),
        default="rgb",
        help="pictures, the motion or what changes in them, or what files hold: OUT/iframe, OUT/residual, OUT/motion_vector (default: rgb)",
    )
    parser.add_argument(
        "--continuous",
        type=float,
        metavar="SECONDS",
        help="for a model that will see video without end: clips of this length, at random places into and out of the actions, and of time "
        "that no action covers (default: the actions as they were trimmed)",
    )
    options = OPTIONS | CONTINUOUS | {f"flow_{name}": option for name, option in FLOW.items()}
    options |= {f"difference_{name}": option for name, option in DIFFERENCE.items()}
    for name, (kind, metavar, text) in options.items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(kind, tuple):
            parser.add_argument(option, choices=kind, help=text)
        else:
            parser.add_argument(option, type=kind, metavar=metavar, help=text)
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def run(args):
    from egokeras.data import readers
    from egokeras.data.preparation import Preparation
    from egokeras.data.prepare import prepare

    given = {name: getattr(args, name) for name in OPTIONS if getattr(args, name) is not None}
    given |= _continuous(args)
    shown = _shown(args)
    annotations = readers.read(args.dataset, args.annotations, args.group)
    if args.modality == "compressed":
        summaries = _compressed(annotations, args.videos, pathlib.Path(args.out), given)
    else:
        summaries = [prepare(annotations, args.videos, args.out, Preparation(**given, **shown))]
    for summary in summaries:
        print(json.dumps(summary, indent=1) if args.json else "\n".join(lines(summary)))
    return QUARANTINED if any(summary["quarantined"] for summary in summaries) else 0


def _continuous(args):
    """The field of `Preparation` that says how windows slide, if they do."""
    from egokeras.data.continuous import Continuous
    from egokeras.errors import InputError

    options = {name: getattr(args, name) for name in CONTINUOUS if getattr(args, name) is not None}
    if args.continuous is None and options:
        raise InputError(f"--{next(iter(options))} goes with --continuous SECONDS; give that too, or leave it out.")
    return {} if args.continuous is None else {"continuous": Continuous(seconds=args.continuous, **options)}


def _compressed(annotations, videos, out, given):
    """The three modalities of the same clips, from the same copies of videos that had to be encoded anew."""
    from egokeras.data.coded_clips import MODALITIES, Coded
    from egokeras.data.preparation import Preparation
    from egokeras.data.prepare import prepare

    copies = out / ".copies"
    sets = {name: Preparation(**given, coded=Coded(modality=name, copies=str(copies))) for name in MODALITIES}
    summaries = [prepare(annotations, videos, out / name, settings) for name, settings in sets.items()]
    anew = len(list(copies.glob("*.mkv")))
    if anew:
        print(
            f"{anew} videos tell no motion as they are (their codec, B-frames, rotation or container) and were encoded anew",
            file=sys.stderr,
        )
    shutil.rmtree(copies, ignore_errors=True)
    return summaries


def _shown(args):
    """The field of `Preparation` that says what clips show; none for the pictures themselves, and for the three of `_compressed`."""
    from egokeras.data.optical_flow import Flow
    from egokeras.data.rgb_differences import RGBDifference

    flow, difference = _options(args, "flow", FLOW, "flow"), _options(args, "difference", DIFFERENCE, "rgb_difference")
    if args.modality == "flow":
        return {"flow": Flow(**flow)}
    return {"difference": RGBDifference(**difference)} if args.modality == "rgb_difference" else {}


def _options(args, prefix, names, modality):
    """Those of the options `--prefix-name` that were given, by name."""
    from egokeras.errors import InputError

    given = {name: value for name in names if (value := getattr(args, f"{prefix}_{name}")) is not None}
    if args.modality != modality and given:
        raise InputError(f"--{prefix}-{next(iter(given))} goes with --modality {modality}; give that too, or leave it out.")
    return given


def lines(summary):
    """The summary in words."""
    splits = ", ".join(f"{count} {split}" for split, count in summary["splits"].items())
    yield f"{summary['path']}: {summary['clips']} clips ({splits}) in {summary['shards']} shards, {summary['bytes'] / 1e6:.1f} MB"
    if "background" in summary:
        yield "of them without an action: " + ", ".join(f"{count} {split}" for split, count in summary["background"].items())
    if summary["quarantined"]:
        yield (
            f"{summary['quarantined']} clips of {summary['videos_quarantined']} videos could not be made; "
            f"the reasons are in {summary['path']}/quarantine.csv"
        )
