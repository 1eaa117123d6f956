"""What training for the stream is worth: one network learns from trimmed segments, or from windows that slide, and a background class.

Renders long videos of the kitchen with idle time between the actions. The network of the recipe `continuous_demo` learns from the same
participants in equally many steps: `trimmed`, clips that begin and end with their action; `windows`, clips of one length at random places
into and out of the actions; `stream`, the same with clips of time that no action covers, as a class. Each is exported as `stream`, and
this artifact watches whole videos of unseen participants frame by frame; smoothing and thresholds are chosen for each by the F1 on
participants that are neither learned from nor judged by. Beside them stands what says nothing, and what always says the commonest action.

    python benchmarks/continuous.py --out build/continuous

The table counts an event as right where label and overlap in time are (`egokeras.events`). The same command goes on after an
interruption; with more seeds it adds them.
"""

import dataclasses
import sys

import numpy as np

import experiment
from intervals import bounded
from processes import in_processes

METHODS = {"trimmed": None, "windows": 0.0, "stream": 1.0}  # background clips for each action
STRIDE = 0.25  # seconds between predictions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much of everything.

    Attributes:
        participants: of the rendered world, that are learned from.
        choosing, judging: participants by whose videos thresholds are chosen, and the result is judged.
        videos: of each participant.
        seconds: shortest and longest video.
        pixels: side of the pictures.
        epochs: over the trimmed clips, so about half as many over those of `stream`, of which half show no action.
    """

    participants: int = 10
    choosing: int = 2
    judging: int = 4
    videos: int = 2
    seconds: tuple[float, float] = (150.0, 180.0)
    pixels: int = 64
    epochs: int = 100


TINY = Sizes(participants=1, choosing=1, judging=1, videos=1, seconds=(40.0, 40.0), pixels=32, epochs=1)


def annotated(world, sizes):
    """(annotations to learn from, to choose by, to judge by) of a rendered world."""
    from egokeras.data import readers

    whole = readers.read("epic100", [world])
    people = sorted({segment.group for segment in whole.segments})
    ends = np.cumsum([sizes.participants, sizes.choosing, sizes.judging])
    groups = np.split(np.array(people), ends[:-1])
    return tuple(
        dataclasses.replace(whole, segments=tuple(segment for segment in whole.segments if segment.group in group)) for group in groups
    )


def prepare_sets(out, world, annotations, sizes):
    """Method to its folder of clips; all clips that slide are as long as the median of the trimmed ones."""
    from egokeras.data.continuous import Continuous
    from egokeras.data.preparation import Preparation
    from egokeras.data.prepare import prepare
    from egokeras.data.shards import Shards

    made = {}
    for method, background in METHODS.items():
        continuous = None if background is None else Continuous(seconds=_clip_seconds(made["trimmed"]), background=background)
        settings = Preparation(frames=10, size=sizes.pixels, windows=0, continuous=continuous)
        made[method] = Shards(prepare(annotations, world / "videos", out / "sets" / method, settings)["path"])
    return {method: str(shards.path) for method, shards in made.items()}


def _clip_seconds(shards):
    return shards.index["clip_seconds"]


def stage_of(method, sets, sizes, seed):
    """The recipe for one training; every method takes as many steps as the trimmed clips do."""
    from egokeras import recipe
    from egokeras.data.shards import Shards

    changes = [f"data.shards={sets[method]}", f"seed={seed}", f"model.size={sizes.pixels}", "data.classes={}"]
    (stage,) = recipe.load("continuous_demo", changes)
    clips = {name: len(Shards(path).rows("train")) for name, path in sets.items()}
    epochs = sizes.epochs * clips["trimmed"] / clips[method]
    return dataclasses.replace(stage, epochs=max(1, round(epochs)))


def train_and_watch(out, sets, sizes, seed, method):
    """Train, and write what the artifact says over the videos that choose and judge."""
    from egokeras import train
    from egokeras.files import atomic
    from egokeras.whole_videos import watch

    folder = out / f"seed-{seed}" / method
    if not (folder / "model.keras").exists():
        folder.mkdir(parents=True, exist_ok=True)
        train.fit(stage_of(method, sets, sizes, seed), folder, quiet=True, resume=True)
    artifact, found = shipped(folder), {}
    for annotations in annotated(out / "world", sizes)[1:]:
        watched, lost = watch(artifact, unsplit(annotations), out / "world" / "videos", stride=STRIDE, workers=1)
        if lost:
            raise RuntimeError(f"{min(lost)}: {lost[min(lost)]}")
        for name, video in watched.items():
            found |= {f"{name}/times": video.predictions.times, f"{name}/seconds": np.array(video.seconds)}
            found |= {f"{name}/{head}": logits for head, logits in video.predictions.logits.items()}
    with atomic(_file(out, seed, method)) as file:
        np.savez(file, **found)


def unsplit(annotations):
    """The annotations with all segments in no split: every video is to be watched."""
    return dataclasses.replace(annotations, segments=tuple(dataclasses.replace(segment, splits=()) for segment in annotations.segments))


def shipped(folder):
    """The `Artifact` of a training that takes frame by frame: features in int8, the head in float32; none is refused, however bad it is."""
    from egokeras.device.artifact import Artifact
    from egokeras.export import load, ship_all

    export = dataclasses.replace(load("stream"), max_lost_points=100.0, min_agreement=0.0)
    (shipment,) = ship_all([export], folder, accept_untested=True)
    if shipment.path is None:
        raise RuntimeError(shipment.reason)
    return Artifact.open(shipment.path, threads=1)


def _file(out, seed, method):
    return out / f"seed-{seed}" / f"{method}.npz"


def judged(out, sets, sizes, seed, method):
    """`events.judge` of one training, by heads, with the `Smoothing` that was chosen for it; computed once."""
    from egokeras import events
    from egokeras.data.shards import Shards
    from egokeras.files import read_json, write_json

    file = _file(out, seed, method).with_suffix(".json")
    if not file.exists():
        classes = {head: list(Shards(sets[method]).classes[head]) for head in ("verb", "noun")}
        choosing, judging = (seen(out, seed, method, annotations, classes) for annotations in annotated(out / "world", sizes)[1:])
        smoothing = events.choose(choosing, classes, _clip_seconds(Shards(sets[method])))
        watched = [events.detect(video, classes, smoothing) for video in judging]
        heads = {"verb noun": (0, 1), "verb": (0,), "noun": (1,)}
        names = list(classes.values())
        found = {
            name: events.judge([events.part(video, places) for video in watched], [names[place] for place in places])
            for name, places in heads.items()
        }
        write_json(file, {"events": dataclasses.asdict(smoothing), "heads": found})
    return read_json(file)


def seen(out, seed, method, annotations, classes):
    """`events.Seen` for each video of the annotations."""
    from egokeras.events import Predictions, Seen
    from egokeras.whole_videos import segments_of

    known = np.load(_file(out, seed, method))
    return [
        Seen(
            Predictions(known[f"{name}/times"], {head: known[f"{name}/{head}"] for head in classes}), truth, float(known[f"{name}/seconds"])
        )
        for name, truth in segments_of(unsplit(annotations), classes).items()
    ]


COLUMNS = {
    "F1@10": lambda one: one["f1"]["10"],
    "F1@25": lambda one: one["f1"]["25"],
    "F1@50": lambda one: one["f1"]["50"],
    "precision": lambda one: one["precision"]["10"],
    "recall": lambda one: one["recall"]["10"],
    "false alarms/min": lambda one: one["false_alarms"],
    "of them idle": lambda one: one["idle_alarms"],
    "delay s": lambda one: one["delay"],
    "time right %": lambda one: one["time"],
}
PAIRED = {"F1@25": "+.1f", "false alarms/min": "+.2f"}


def table(results, head):
    """Lines of markdown: the methods, then both baselines; `results` is method to what `judged` gave for each seed."""
    yield f"| {head}, mean (95 % over seeds) | {' | '.join(COLUMNS)} |"
    yield "|---|" + "---:|" * len(COLUMNS)
    rows = {method: [one["heads"][head]["model"] for one in found] for method, found in results.items()}
    first = next(iter(results.values()))[0]["heads"][head]
    rows |= {f"always {name}": [first[name]] for name in ("background", "majority")}
    for name, found in rows.items():
        yield f"| {name} | {' | '.join(_cell(found, column) for column in COLUMNS)} |"
    for before in ("trimmed", "windows"):
        if {before, "stream"} <= set(results):
            pairs = list(zip(rows[before], rows["stream"], strict=True))
            gains = {name: [COLUMNS[name](after) - COLUMNS[name](one) for one, after in pairs] for name in PAIRED}
            said = ", ".join(f"{name} {bounded(values, form)}" for (name, values), form in zip(gains.items(), PAIRED.values(), strict=True))
            yield f"\nstream - {before}, paired by seed: {said}"


def _cell(found, column):
    values = [value for one in found if (value := COLUMNS[column](one)) is not None]
    return bounded(values, ".2f" if column in ("false alarms/min", "of them idle", "delay s") else ".1f") if values else "-"


def report(out, sets, sizes, seeds):
    """All tables."""
    results = {method: [judged(out, sets, sizes, seed, method) for seed in range(seeds)] for method in METHODS}
    model = results["trimmed"][0]["heads"]["verb noun"]["model"]
    judged_by = f"{model['segments']} actions in {model['seconds'] / 60:.1f} minutes of unseen participants"
    yield f"{seeds} seeds; {judged_by}; a prediction every {STRIDE} s."
    for head in ("verb noun", "verb", "noun"):
        yield from ("", *table(results, head))
    yield "\nChosen for each training:"
    for method, found in results.items():
        for seed, one in enumerate(found):
            yield f"- {method}, seed {seed}: {', '.join(f'{name} {value}' for name, value in one['events'].items())}"


def main():
    """Train and watch what is missing, and write `table.md`."""
    parser = experiment.parser(__doc__, "continuous", seeds=3)
    parser.add_argument(
        "--idle", type=float, default=3.0, metavar="S", help="seconds without an action after one, on average (%(default)s)"
    )
    args = experiment.begin(parser)
    from egokeras.data.synthetic import World

    sizes = TINY if args.tiny else Sizes()
    people, held_out = sizes.participants + sizes.choosing + sizes.judging, sizes.choosing + sizes.judging
    world = World(
        participants=people, held_out=held_out, videos_per_participant=sizes.videos, seconds=sizes.seconds, idle=args.idle
    ).render(args.out / "world")
    learned, chosen, _ = annotated(world, sizes)
    learned = dataclasses.replace(learned, segments=learned.segments + chosen.segments)  # those that choose are the validation split
    sets = prepare_sets(args.out, world, learned, sizes)
    calls = [(args.out, sets, sizes, seed, method) for seed in range(args.seeds) for method in METHODS]
    missing = [call for call in calls if not _file(args.out, *call[3:]).exists()]
    for number, ((*_, seed, method), _) in enumerate(in_processes(train_and_watch, missing, args.workers), 1):
        print(f"{number}/{len(missing)}: {method}, seed {seed}", file=sys.stderr, flush=True)
    experiment.end(args.out / "table.md", report(args.out, sets, sizes, args.seeds))


if __name__ == "__main__":
    main()
