"""The rows of SKD-SRL's Table II, small: plain, augmented, KD from a larger net, Self-KD, SKD-SRL.

Trains the recipes `r3d_baseline`, `r3d_augmented`, `kd_r50_r18`, `self_kd` and `skd_srl` with `small=true` (18 layers of 16 channels, 8
frames of 64 pixels) from scratch, once per seed, and scores them on clips that nothing has looked at; a quarter of the training clips
lowers the learning rate and chooses Self-KD's teacher. Data is the rendered kitchen of a few participants, judged on three others, or the
fights of a folder with `clips.csv`, which are too few to order methods by.

    python benchmarks/self_distillation.py --out build/self_distillation
    python benchmarks/self_distillation.py --fights DATA/fight_surv --out build/fights

Two tables: after equally many steps, for which SKD-SRL computes twice (two views) and KD and Self-KD once more forward (the teacher); and
after the same work, where the others go on until they have computed as much as SKD-SRL (multiply-accumulates; a step is three times the
forward pass of each clip it learns from, and once that of a teacher). What KD's teacher costs comes on top. The same command goes on after
an interruption; with more seeds it adds them.
"""

import dataclasses
import json
import sys

import clips
import experiment
from intervals import bounded
from processes import in_processes

ROWS = ("r3d_baseline", "r3d_augmented", "kd_r50_r18", "self_kd", "skd_srl")
PLAIN = ("r3d_baseline", "r3d_augmented")
BATCH = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much of everything.

    Attributes:
        participants: of the rendered world, that are learned from.
        held_out: that judge.
        epochs: of the first table.
        width: channels of the first stage.
        stored: frames and pixels of the stored clips, of which the network sees `seen`.
        seen: frames and pixels.
        hold_out: share of the training clips that the schedule looks at.
    """

    participants: int = 3
    held_out: int = 3
    epochs: int = 60
    width: int = 16
    stored: tuple[int, int] = (12, 72)
    seen: tuple[int, int] = (8, 64)
    hold_out: float = 0.25


TINY = Sizes(participants=2, held_out=1, epochs=1, width=2, stored=(6, 36), seen=(4, 32), hold_out=0.5)


def prepare_clips(out, annotations, videos, sizes):
    """Shards of annotated videos: their folder."""
    from egokeras.data.preparation import Preparation
    from egokeras.data.prepare import prepare

    frames, size = sizes.stored
    return prepare(annotations, videos, out / "shards", Preparation(frames=frames, size=size, windows=0))["path"]


def stages_of(row, shards, sizes, seed):
    """The recipes of a row: what it trains one after another."""
    from egokeras import recipe

    head = "action" if "action" in _classes(shards) else "verb"
    frames, size = sizes.seen
    changes = ["dataset=own", "small=true", f"data.shards={shards}", f"model.width={sizes.width}", f"batch_size={BATCH}"]
    changes += [f"data.crop.frames={frames}", f"data.crop.size={size}", f"data.hold_out={sizes.hold_out}", "data.test=validation"]
    stages = recipe.load(row, [*changes, f"epochs={sizes.epochs}", f"seed={seed}", f"monitor=val_{head}_top1"])
    return stages if len(stages) == 1 else (dataclasses.replace(stages[0], seed=0), stages[1])  # one teacher for all seeds


def _classes(shards):
    from egokeras.data.shards import Shards

    return Shards(shards).classes


def work(row, macs):
    """Multiply-accumulates of a step for each clip, relative to plain training; `macs` of a forward pass by name of a network."""
    student, teacher = macs["student"], macs["teacher"] if row == "kd_r50_r18" else macs["student"]
    return {"skd_srl": 2.0, "kd_r50_r18": 1 + teacher / student / 3, "self_kd": 1 + teacher / student / 3}.get(row, 1.0)


def budgets(row, macs, epochs):
    """Epochs of the two tables."""
    return epochs, max(epochs, round(epochs * work("skd_srl", macs) / work(row, macs)))


def train_row(out, row, shards, sizes, seed, epochs):
    """Train a row's student up to each of `epochs`, and score it there: a list of the top-1 of each head, seconds, and what is beside.

    Args:
        out: folder of the runs.
        row: of ROWS.
        shards: folder.
        sizes: `Sizes`.
        seed: of the student.
        epochs: ascending.
    """
    from egokeras import train
    from egokeras.evaluate import evaluate_rows
    from egokeras.files import read_json, write_json

    *before, student = stages_of(row, shards, sizes, seed)
    for stage in before:
        if not (out / stage.name / "model.keras").exists():
            _go_on(stage, out / stage.name, stage.epochs)
    folder, found = out / f"{row}-seed{seed}", []
    for count in dict.fromkeys(epochs):
        file = folder / f"scores-{count}.json"  # before the training goes on from there
        if not file.exists():
            model, data = _go_on(student, folder, count), train.open_shards(student)
            train_rows, judged = student.data.judged(data)
            heads = evaluate_rows(model, data, judged, train_rows, 32)[0]["heads"]
            scores = {
                "top1": {head: found["top1"] for head, found in heads.items()},
                "majority": {head: found["majority"]["top1"] for head, found in heads.items()},
                "chance": {head: found["chance"]["top1"] for head, found in heads.items()},
            }
            write_json(file, {"epochs": count, "clips": [len(train_rows), len(judged)], "parameters": model.count_params(), **scores})
        found.append(read_json(file))
    seconds = [float(line.split(",")[1]) for line in (folder / "seconds.csv").read_text().splitlines()]
    return {"scores": found, "seconds_per_epoch": sum(seconds) / found[-1]["epochs"]}


def _go_on(stage, folder, epochs):
    from egokeras import train

    folder.mkdir(parents=True, exist_ok=True)
    return train.fit(dataclasses.replace(stage, epochs=epochs), folder, quiet=True, resume=True)


def measure(out, shards, sizes, seeds, rows, workers):
    """Everything: the content of `result.json`."""
    from egokeras.files import read_json, write_json

    macs = _macs(shards, sizes)
    done = out / "rows"
    done.mkdir(exist_ok=True)
    wanted = {(row, seed): done / f"{row}-seed{seed}.json" for row in rows for seed in range(seeds)}
    if any(row == "kd_r50_r18" and not file.exists() for (row, _), file in wanted.items()):
        teacher = out / "runs" / "teacher_r50"  # before the processes that need it
        if not (teacher / "model.keras").exists():
            print("train the teacher", file=sys.stderr, flush=True)
            list(in_processes(_teacher, [(out / "runs", shards, sizes)], min(workers, 1)))
    calls = [
        (out / "runs", row, shards, sizes, seed, budgets(row, macs, sizes.epochs))
        for (row, seed), file in sorted(wanted.items(), key=lambda item: item[0][1])
        if not file.exists()
    ]
    for number, ((_, row, *_, seed, _), found) in enumerate(in_processes(train_row, calls, workers), 1):
        write_json(wanted[row, seed], found)
        print(f"{number}/{len(calls)} {row}, seed {seed}: {json.dumps(found['scores'][-1]['top1'])}", file=sys.stderr, flush=True)
    results = {row: [read_json(wanted[row, seed]) for seed in range(seeds)] for row in rows}
    return {"macs": macs, "seeds": seeds, "sizes": dataclasses.asdict(sizes), "rows": results}


def _teacher(out, shards, sizes):
    stage = stages_of("kd_r50_r18", shards, sizes, 0)[0]
    _go_on(stage, out / stage.name, stage.epochs)


def _macs(shards, sizes):
    """Multiply-accumulates of a forward pass of student and teacher for one clip."""
    from egokeras import students, train
    from egokeras.compress.cost import cost

    found = {}
    for name, stage in zip(("teacher", "student"), stages_of("kd_r50_r18", shards, sizes, 0), strict=True):
        data = train.open_shards(stage)
        model = students.build(stage.model, train.class_counts(stage, data), data.modalities)
        found[name] = cost(model)["macs"]["whole"]
    return found


def table(result, number, head):
    """Lines of a table: number 0 after equally many steps, 1 after the same work."""
    rows = result["rows"]
    yield "| | epochs | top-1 % (95 % over seeds) | - r3d_baseline | - r3d_augmented | seconds an epoch |"
    yield "|---|---:|---:|---:|---:|---:|"
    at = {row: [found["scores"][min(number, len(found["scores"]) - 1)] for found in runs] for row, runs in rows.items()}
    top1 = {row: [score["top1"][head] for score in scores] for row, scores in at.items()}
    for row, values in top1.items():
        gains = ["" if row == other or other not in top1 else bounded(_differences(values, top1[other]), "+.1f") for other in PLAIN]
        seconds = sorted(found["seconds_per_epoch"] for found in rows[row])[len(values) // 2]
        yield f"| {row} | {at[row][0]['epochs']} | {bounded(values)} | {' | '.join(gains)} | {seconds:.1f} |"
    one = next(iter(at.values()))[0]
    yield f"| majority | | {one['majority'][head]:.1f} | | | |"
    yield f"| chance | | {one['chance'][head]:.1f} | | | |"


def _differences(values, others):
    return [value - other for value, other in zip(values, others, strict=True)]


def text(result):
    """All tables."""
    first = next(iter(result["rows"].values()))[0]["scores"][0]
    learned, judged = first["clips"]
    student, teacher = (result["macs"][name] / 1e6 for name in ("student", "teacher"))
    yield f"{result['seeds']} seeds; {learned} clips to learn from, {judged} to judge by; {first['parameters']:,} parameters; student"
    yield f"{student:.0f} M, teacher {teacher:.0f} M MACs a clip. Seconds are of trainings side by side, one thread each."
    for number, title in enumerate(("after equally many steps", "after the same work")):
        for head in first["top1"]:
            yield from ("", f"## {head}, {title}", "", *table(result, number, head))


def main():
    """Measure, and write `result.json` and `table.md`."""
    parser = experiment.parser(__doc__, "self_distillation", seeds=5)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS, help="(all)")
    parser.add_argument("--epochs", type=int, help=f"of the first table ({Sizes.epochs})")
    clips.add_arguments(parser)
    args = experiment.begin(parser)
    from egokeras.files import write_json

    sizes = TINY if args.tiny else Sizes()
    sizes = dataclasses.replace(sizes, epochs=args.epochs or sizes.epochs)
    shards = prepare_clips(args.out, *clips.chosen(args, sizes), sizes)
    result = measure(args.out, shards, sizes, args.seeds, args.rows, args.workers)
    write_json(args.out / "result.json", result)
    experiment.end(args.out / "table.md", text(result))


if __name__ == "__main__":
    main()
