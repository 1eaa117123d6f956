"""`egokeras observe`: turn annotations into a set for anticipation, of past actions or of features that another program computed."""

import contextlib
import json

from egokeras.errors import InputError

EXAMPLE = "egokeras observe epic55 rulstm/ek55 EPIC_verb_classes.csv EPIC_noun_classes.csv sets/labels --labels"
QUARANTINED = 3
RESUMES = True
# For each kind of observations; those of --labels are fields of PastLabels.
LABELS = {
    "past": (int, "N", "how many past actions (default: 10)"),
    "known": (("start", "stop"), None, "when an action is known (default: start)"),
    "errors": (float, "0-1", "share of past actions that the recogniser takes for another (default: 0)"),
    "seed": (int, "N", "of its mistakes (default: 0)"),
}
FEATURES = {
    "modality": (str, "NAME", "of the model's input (default: the features' own, or rgb_features)"),
    "fps": (float, "N", "feature frames in a second (default: the features' own; LMDB: 30)"),
    "detections": (int, "CLASSES", "the files are detections (n, 6) of so many classes; bags of them are observed"),
    "first_class": (int, "ID", "of the detections; 1 where 0 is the background (default: 0)"),
}


def add_arguments(parser):
    parser.add_argument("dataset", metavar="DATASET", help="epic55, epic100, egtea, table or my.py:function")
    parser.add_argument("annotations", metavar="ANNOTATIONS", nargs="+", help="annotation files or their folder; of whole videos")
    parser.add_argument("out", metavar="OUT", help="folder of the set")
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--labels", action="store_true", help="observe the verbs and nouns of the past actions")
    kind.add_argument("--features", metavar="PATH", help="observe features: a folder of .npy, an HDF5 file or an LMDB")
    for title, options in (("with --labels", LABELS), ("with --features", FEATURES)):
        group = parser.add_argument_group(title)
        for name, (value, metavar, text) in options.items():
            option = f"--{name.replace('_', '-')}"
            if isinstance(value, tuple):
                group.add_argument(option, choices=value, help=text)
            else:
                group.add_argument(option, type=value, metavar=metavar, help=text)
    parser.add_argument("--group", metavar="REGEX", help="what in a video's name must stay on one side of the split, such as P[0-9]+")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def run(args):
    from egokeras.data import feature_files, readers
    from egokeras.data.feature_windows import Features
    from egokeras.data.observe import observe
    from egokeras.data.past_actions import PastLabels

    given = _given(args, LABELS if args.labels else FEATURES)
    for name in _given(args, FEATURES if args.labels else LABELS):
        raise InputError(f"--{name.replace('_', '-')} is not for --{'labels' if args.labels else 'features'}; leave it out.")
    with contextlib.ExitStack() as stack:
        annotations = readers.read(args.dataset, args.annotations, args.group)
        if args.labels:
            summary = observe(annotations, PastLabels(**given), args.out)
        else:
            opened = feature_files.open_features(args.features, given.get("fps"), given.get("detections"), given.get("first_class", 0))
            source = Features(stack.enter_context(contextlib.closing(opened)), given.get("modality"))
            summary = observe(annotations, source, args.out)
    print(json.dumps(summary, indent=1) if args.json else "\n".join(lines(summary)))
    return QUARANTINED if summary["quarantined"] else 0


def _given(args, options):
    return {name: getattr(args, name) for name in options if getattr(args, name) is not None}


def lines(summary):
    """The summary in words."""
    splits = ", ".join(f"{count} {split}" for split, count in summary["splits"].items())
    size = f"{' x '.join(map(str, summary['shape']))} {summary['modality']}, {summary['bytes'] / 1e6:.1f} MB"
    yield f"{summary['path']}: {summary['segments']} segments ({splits}), {size}"
    if summary["splits"].get("discarded"):
        yield f"discarded are those that start before a first frame could be seen, as RU-LSTM has it: {summary['splits']['discarded']}"
    if summary["quarantined"]:
        yield (
            f"{summary['quarantined']} segments of {summary['videos_quarantined']} videos could not be observed; "
            f"the reasons are in {summary['path']}/quarantine.csv"
        )
