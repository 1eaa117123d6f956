"""What `egokeras evaluate ARTIFACT --continuous` does: events of whole videos, beside saying nothing and saying the same always."""

import dataclasses
import json
import sys

QUARANTINED = 3
MOST_CLASSES = 20  # that the table lists; --json has all
FIELDS = ("f1", "precision", "recall")


def add_arguments(parser):
    group = parser.add_argument_group(
        "an artifact on whole videos",
        "example: egokeras evaluate runs/demo/demo/exports/int8 --continuous videos/ EPIC_100_validation.csv --dataset epic100",
    )
    group.add_argument(
        "--continuous",
        nargs="+",
        metavar=("VIDEOS", "ANNOTATIONS"),
        help="judge the events that it finds in these videos, from first to last frame",
    )
    group.add_argument("--dataset", default="table", metavar="NAME", help="format of the annotations, as for `prepare` (default: table)")
    group.add_argument("--stride", type=float, default=0.5, metavar="S", help="seconds between predictions (default: 0.5)")
    group.add_argument(
        "--choose",
        metavar="SPLIT",
        help="first choose smoothing and thresholds by the F1 on the videos of another split, and keep them in the artifact",
    )
    group.add_argument("--frame-rate", type=float, metavar="N", help="frames in a second, for videos that are folders or tars of frames")
    group.add_argument("--workers", type=int, metavar="N", help="processes (default: one per processor)")


def check(args):
    """What would only show after the work."""
    from egokeras.errors import InputError

    if len(args.continuous) < 2 or len(args.folders) > 1:
        raise InputError("--continuous takes one artifact, the folder of the videos, and one or more files of annotations.")
    given = [name for name in ("mean", "data", "submission", "confusion") if getattr(args, name)]
    if given or args.clips != 1:
        raise InputError(f"--{(*given, 'clips')[0]} is for runs; with --continuous leave it out.")
    if args.workers is not None and args.workers < 1:
        raise InputError(f"--workers is {args.workers}; give at least 1.")
    if args.choose and args.choose == args.split:
        raise InputError(f"--choose {args.choose} is the split that judges; choose on another one.")


def run(args):
    """Watch, choose if that is asked for, judge, print; returns the exit code."""
    check(args)
    from egokeras.data import readers
    from egokeras.device.artifact import Artifact
    from egokeras.device.events import Smoothing
    from egokeras.whole_videos import watch

    artifact = Artifact.open(args.folders[0])
    videos, *paths = args.continuous
    annotations = readers.read(args.dataset, paths)
    settings = {"stride": args.stride, "frame_rate": args.frame_rate, "workers": args.workers}
    smoothing = Smoothing.of(artifact.manifest)
    if args.choose:
        seen, lost = watch(artifact, annotations, videos, split=args.choose, **settings)
        _warn(lost)
        smoothing = _chosen(artifact, seen, args.stride)
    seen, lost = watch(artifact, annotations, videos, split=args.split, **settings)
    _warn(lost)
    found = {"artifact": artifact.name, "split": args.split or "held out", "stride": args.stride, **_judged(artifact, seen, smoothing)}
    found["skipped"] = lost
    print(json.dumps(found, indent=1) if args.json else "\n".join(lines(found)))
    return QUARANTINED if lost else 0


def _warn(lost):
    for name, reason in sorted(lost.items()):
        print(f"warning: {name} is left out: {reason}", file=sys.stderr)


def _chosen(artifact, seen, stride):
    """The best `Smoothing` on these videos, which the artifact has from now on."""
    from egokeras.device.manifest import MANIFEST, write_manifest
    from egokeras.events import choose

    smoothing = choose(list(seen.values()), artifact.classes, artifact.clip_seconds)
    write_manifest(artifact.folder, {**artifact.manifest, "events": dataclasses.asdict(smoothing)})
    said = ", ".join(f"{name} {value}" for name, value in dataclasses.asdict(smoothing).items())
    print(f"{artifact.folder / MANIFEST}: events are found with {said}, chosen every {stride:g} s on {len(seen)} videos", file=sys.stderr)
    return smoothing


def _judged(artifact, seen, smoothing):
    """`events.judge` of the answer and, where that has two heads, of each."""
    from egokeras import events
    from egokeras.device.events import answer

    heads = answer(artifact.classes)
    watched = [events.detect(video, artifact.classes, smoothing) for video in seen.values()]
    parts = {" ".join(heads): heads, **{head: (head,) for head in heads}}
    judged = {}
    for name, chosen in parts.items():
        places = [heads.index(head) for head in chosen]
        judged[name] = events.judge([events.part(video, places) for video in watched], [artifact.classes[head] for head in chosen])
    return {"videos": len(watched), "events": dataclasses.asdict(smoothing), "heads": judged}


def lines(found):
    """The result as a table."""
    model = next(iter(found["heads"].values()))["model"]
    said = ", ".join(f"{name} {value}" for name, value in found["events"].items())
    length = f"{found['videos']} videos, {model['seconds'] / 60:.1f} minutes, {model['segments']} segments"
    yield f"{found['artifact']}, {found['split']}: {length}"
    yield f"predictions every {found['stride']:g} s; events: {said}"
    yield (
        f"\n  {'':<20}{'':<11}{'F1@10':>7}{'25':>7}{'50':>7}{'precision':>11}{'recall':>8}{'events':>8}"
        f"{'false alarms/min':>18}{'idle':>7}{'delay s':>9}{'time %':>8}"
    )
    for head, ranked in found["heads"].items():
        for number, name in enumerate(("model", "background", "majority")):
            yield f"  {'' if number else head:<20}{name:<11}{_row(ranked[name])}"
    yield "\nF1 at an overlap in time of 10, 25 and 50 %; what follows at 10 %; idle: false alarms where nothing is annotated;"
    yield "time: labelled right, of all seconds; background says nothing, majority always the commonest label of these segments"
    head, ranked = next(iter(found["heads"].items()))
    classes = list(ranked["classes"].items())
    yield f"\n  {head:<31}{'F1@10':>7}{'precision':>11}{'recall':>8}{'segments':>10}{'events':>8}{'delay s':>9}"
    for name, one in classes[:MOST_CLASSES]:
        counts = f"{one['segments']:10}{one['events']:8}{_seconds(one['delay']):>9}"
        yield f"  {name[:30]:<31}{one['f1']['10']:7.1f}{one['precision']['10']:11.1f}{one['recall']['10']:8.1f}{counts}"
    if len(classes) > MOST_CLASSES:
        yield f"  and {len(classes) - MOST_CLASSES} more (--json lists all)"


def _row(one):
    f1 = "".join(f"{value:7.1f}" for value in one["f1"].values())
    alarms = f"{one['false_alarms']:18.2f}{one['idle_alarms']:7.2f}{_seconds(one['delay']):>9}{one['time']:8.1f}"
    return f"{f1}{one['precision']['10']:11.1f}{one['recall']['10']:8.1f}{one['events']:8}{alarms}"


def _seconds(value):
    return "-" if value is None else f"{value:.2f}"
