"""Do the demo's networks see time? Accuracy on unseen participants, and on verbs that are each other's time reversal.

Trains the demo's teacher and student with several seeds on one rendered world, and beside them a student without a teacher, and scores
the held-out clips as they are and with the frames of each clip shuffled. For a pair such as open/close only the two verbs' logits count,
so chance is 50 %.

    python benchmarks/time_order.py --out build/time_order
"""

import argparse
import dataclasses
import json
import pathlib

PAIRS = (("open", "close"), ("take", "put"), ("pour-out", "fill"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="build/time_order", help="folder for world, shards, runs and the result (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="trainings (default: %(default)s)")
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument("--tiny", action="store_true", help="a world of three short videos, to try the script")
    args = parser.parse_args()
    print(text(measure(pathlib.Path(args.out), args.seeds, args.epochs, args.tiny)))


def measure(out, seeds, epochs, tiny):
    """Train and score; writes `result.json` and returns its content."""
    from egokeras import accelerator

    accelerator.start(cpu=True)
    from egokeras import recipe, train
    from egokeras.data.shards import Shards
    from egokeras.distill import Supervised
    from egokeras.files import fresh_folder, write_json

    teacher, student = recipe.load("demo")
    shards = Shards(_prepared(out, teacher.model, tiny))
    alone = dataclasses.replace(student, name="student alone", method=Supervised())
    found = {stage.name: [] for stage in (teacher, student, alone)}
    for seed in range(seeds):
        for stage in (teacher, student, alone):
            data = dataclasses.replace(stage.data, shards=str(shards.path))
            stage = dataclasses.replace(stage, data=data, seed=seed, epochs=epochs or stage.epochs)
            model = train.fit(stage, fresh_folder(out / f"seed-{seed}" / stage.name), quiet=True)
            found[stage.name].append(_scores(model, shards, seed))
            print(f"{stage.name}, seed {seed}: {json.dumps(found[stage.name][-1])}", flush=True)
    result = {net: {name: _summary([row[name] for row in rows]) for name in rows[0]} for net, rows in found.items()}
    write_json(out / "result.json", result)
    return result


def _prepared(out, model, tiny):
    from egokeras.data import readers
    from egokeras.data.preparation import Preparation
    from egokeras.data.prepare import prepare
    from egokeras.data.synthetic import World

    out.mkdir(parents=True, exist_ok=True)
    world = (World.tiny() if tiny else World.demo()).render(out / "world")
    return prepare(readers.read("epic100", [world]), world / "videos", out / "shards", Preparation(frames=model.frames, size=model.size))[
        "path"
    ]


def _scores(model, shards, seed):
    """Accuracy in percent by name; majority beside the whole label spaces."""
    import numpy as np

    from egokeras.evaluate import evaluate

    metrics, _ = evaluate(model, shards)
    found = {}
    for head in ("verb", "noun"):
        found[head] = metrics["heads"][head]["top1"]
        found[f"{head}, majority"] = metrics["heads"][head]["majority"]["top1"]
    rows = shards.rows("validation")
    clips, random = shards.read(rows), np.random.default_rng(seed)
    shuffled = np.stack([random.permutation(clip) for clip in clips])
    for order, pixels in (("in order", clips), ("shuffled", shuffled)):
        logits = model.predict({"rgb": pixels}, verbose=0)["verb"]
        found |= {f"{name}, {order}": score for name, score in _pairs(logits, shards, rows)}
    return found


def _pairs(logits, shards, rows):
    import numpy as np

    verbs, labels = shards.classes["verb"], shards.labels("verb", rows)
    right = []
    for pair in PAIRS:
        ids = np.array([verbs.index(verb) for verb in pair])
        of_pair = np.isin(labels, ids)
        if of_pair.any():
            right.append(ids[logits[of_pair][:, ids].argmax(1)] == labels[of_pair])
            yield "/".join(pair), float(100 * right[-1].mean())
    yield "all pairs", float(100 * np.concatenate(right).mean())


def _summary(values):
    from egokeras.scores import interval

    mean, low, high = interval(values)
    return {"mean": mean, "low": low, "high": high, "per_seed": values}


def text(result):
    """The result as a table: mean over seeds with its 95 % t-interval."""
    lines = []
    for net, rows in result.items():
        lines += [f"{net + ': held-out participants, top-1 %':50}{'mean':>7}{'95 % over seeds':>20}"]
        for name, row in rows.items():
            interval = f"{row['low']:.1f} to {row['high']:.1f}"
            lines.append(f"{name:50}{row['mean']:7.1f}{interval:>20}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
