"""From rendered pixels to anticipation: LSTM and RU-LSTM on RGB and flow features, with one-hot and with smoothed labels.

Renders the demo's kitchens, cuts them into clips, trains the demo's recogniser on pictures and another on optical flow, computes both
along the videos, cuts the observations before every action, and trains the recipe `anticipation_demo` on them with every prior; the
participants that judge it were seen by nothing before. The share of the prior and the number of epochs are chosen for each model,
modality and prior on held-out training videos, once, by top-5 accuracy, and so is the prior whose gain is told. Beside the scores stand
chance, the majority, and two Markov baselines: one that is told the past actions, and one that must recognise them in the same features.
Seeds are of the anticipation models; the recognisers are trained once.

    python benchmarks/anticipate_rendered.py --out build/anticipate_rendered

What is finished is kept and not made again: the same command goes on after an interruption, and with more seeds or priors it adds them.
"""

import argparse
import dataclasses
import functools
import hashlib
import json
import pathlib
import shutil

import experiment
from anticipation.epochs import best_epoch
from anticipation.rendered_sets import KINDS, TINY, Sizes, prepare_sets
from anticipation.tables import bounded, columns, numbers

MODALITIES = {"RGB": ("rgb",), "flow": ("flow",), "RGB + flow": KINDS}
MODELS = ("LSTM", "RU-LSTM")
ONE_HOT = "one-hot"
SELECTION_SEED = 1000  # of the trainings that choose, apart from those that count
WIDTH = 5  # epochs that are judged together when a number of them is chosen


def methods(glove=None, priors=()):
    """Name of a way to make targets to a function from alpha to the method: one-hot, and `priors` (default: all there are)."""
    from egokeras.distill import GloVe, LabelSmoothing, Mixture, Supervised, Temporal, Uniform, VerbNoun

    known = {"TE": Temporal(), "uniform": Uniform(), "VN": VerbNoun()}
    if glove:
        vectors = GloVe(vectors=str(glove))
        known |= {"GL": vectors, "GL+VN": Mixture(parts=(vectors, VerbNoun()))}
    smoothed = {name: functools.partial(LabelSmoothing, prior=known[name]) for name in priors or known}
    return {ONE_HOT: lambda alpha: Supervised(), **smoothed}


class Trainings:
    """Trainings of the anticipation recipe, each kept by what it depends on.

    Args:
        out: folder of the JSON files, one for each training.
        sets: kind to the folder of its set.
        sizes: `Sizes`.
    """

    def __init__(self, out, sets, sizes):
        from egokeras import recipe

        out.mkdir(exist_ok=True)
        self.out, self.sets, self.sizes = out, sets, sizes
        (self.stage,) = recipe.load("anticipation_demo")

    def recipe(self, model, modality, method, *, seed, epochs, hold_out=0.0):
        """The `Recipe` of one training."""
        from egokeras.models import AnticipationLSTM

        stage, units = self.stage, self.sizes.units or self.stage.model.units
        shards = ",".join(str(self.sets[kind]) for kind in MODALITIES[modality])
        network = dataclasses.replace(stage.model, units=units)
        if model == "LSTM":
            network = AnticipationLSTM(units=units, dropout=stage.model.dropout)
        data = dataclasses.replace(stage.data, shards=shards, classes={}, hold_out=hold_out)
        return dataclasses.replace(stage, data=data, model=network, method=method, seed=seed, epochs=epochs)

    def best(self, model, modality, name, make, alphas):
        """(alpha, epochs, score) with the best top-5 on held-out training videos."""
        found = []
        for alpha in alphas if name != ONE_HOT else (0.0,):
            stage = self.recipe(
                model, modality, make(alpha=alpha), seed=SELECTION_SEED, epochs=self.sizes.epochs, hold_out=self.sizes.hold_out
            )
            history = self.run(stage, f"{model}, {modality}, {name}, alpha {alpha:g}, to choose")["history"]
            epochs, score = best_epoch(history, WIDTH)
            found.append((score, -alpha, epochs))
        score, alpha, epochs = max(found)
        return -alpha, epochs, score

    def run(self, stage, label):
        """Scores of a training, kept or made now: `heads` at all times on the clips validated on, and `history`, top-5 after each epoch."""
        import keras

        from egokeras import recipe, train
        from egokeras.files import read_json, write_json

        shards = train.open_shards(stage)
        known = {**recipe.as_json(stage), "data": {**recipe.as_json(stage.data), "shards": shards.sha256}}
        file = self.out / f"{hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]}.json"
        if not file.exists():
            print(f"train {label}, seed {stage.seed}, {stage.epochs} epochs", flush=True)
            folder = self.out / file.stem
            folder.mkdir(exist_ok=True)
            model = train.fit(stage, folder, quiet=True, resume=True)
            history = {"history": _history(folder)} if stage.data.hold_out else {}  # of the others it would be the participants that judge
            write_json(file, {"label": label, **_scores(model, shards, stage), **history, "recipe": known})
            shutil.rmtree(folder)
            keras.backend.clear_session()  # it keeps the graphs of all models
        return read_json(file)


def _scores(model, shards, stage):
    from egokeras.evaluate import evaluate_rows

    train_rows, rows = stage.data.rows(shards)
    metrics, _ = evaluate_rows(model, shards, rows, train_rows, 64)
    return {"heads": metrics["anticipation"]["heads"]}


def _history(folder):
    import csv

    with open(folder / "history.csv", newline="", encoding="utf-8") as file:
        return [100 * float(row["val_action_top5"]) for row in csv.DictReader(file)]


def recognised_markov(out, set_path):
    """Top-1 and top-5 at all times of what follows the action that the recogniser sees in the last observation: no label is told.

    The recogniser's classifiers read the features that it gave; p(next) = sum over actions of p(action) p(next | action), the latter
    from the training videos, where counts begin at the training frequencies.
    """
    import numpy as np

    import egokeras
    from egokeras import anticipation_scores
    from egokeras.data.shards import Shards
    from egokeras.distill.training_set import training_set
    from egokeras.scores import softmax

    shards = Shards(set_path)
    train, rows = shards.rows("train"), shards.rows("validation")
    head = egokeras.load_model(out / "run" / "model.keras").get_layer("head")
    seen = shards.read(rows)[:, -8:].astype(np.float64)
    verbs, nouns = (softmax(seen @ kernel + bias) for kernel, bias in (head.get_layer(space).get_weights() for space in ("verb", "noun")))
    pairs = np.array(shards.index["actions"])
    known = verbs[..., pairs[:, 0]] * nouns[..., pairs[:, 1]]
    counts = np.bincount(shards.labels("action", train), minlength=len(pairs))
    follows = np.tile(counts / counts.sum(), (len(pairs), 1))
    for labels in training_set(shards, train, ("action",)).sequences("action"):
        np.add.at(follows, (labels[:-1], labels[1:]), 1)
    following = known / known.sum(-1, keepdims=True) @ (follows / follows.sum(1, keepdims=True))
    found = anticipation_scores.places_over_time(following, shards.labels("action", rows))
    return {f"top{k}": (100 * found.hits(k).mean(axis=0)).tolist() for k in (1, 5)}


def measure(out, sizes, seeds, makes, models=MODELS, modalities=tuple(MODALITIES)):
    """Everything; `makes` as from `methods`. Returns the content of `result.json`."""
    sets, recognisers = prepare_sets(out, sizes)
    trainings, rows = Trainings(out / "trainings", sets, sizes), []
    for model in models:
        for modality in modalities:
            for name, make in makes.items():
                alpha, epochs, held_out = trainings.best(model, modality, name, make, sizes.alphas)
                stages = [trainings.recipe(model, modality, make(alpha=alpha), seed=seed, epochs=epochs) for seed in range(seeds)]
                found = [trainings.run(stage, f"{model}, {modality}, {name}, alpha {alpha:g}")["heads"]["action"] for stage in stages]
                top = {f"top{k}": [heads[f"top{k}"] for heads in found] for k in (1, 5)}
                rows.append(
                    {"model": model, "modality": modality, "method": name, "alpha": alpha, "epochs": epochs, "held_out": held_out, **top}
                )
    baselines = {name: {k: found[0][name][k] for k in ("top1", "top5")} for name in ("markov", "majority", "chance")}
    baselines |= {f"markov, recognised, {kind}": recognised_markov(out / kind, sets[kind]) for kind in KINDS}
    return {"recognisers": recognisers, "rows": rows, "baselines": baselines, "seeds": seeds}


def summary(values):
    """Mean over seeds and its 95% bounds, as text."""
    from egokeras.scores import interval

    mean, low, high = interval(values)
    return bounded(mean, low, high, between=" - ") if len(values) > 1 else f"{mean:.2f}"


def best_prior(result, k="top5"):
    """Lines of the paper's table: a model and modality per line, a prior per column, accuracy at 1 s.

    The last column has the gain, paired by seed, of the prior that was best on held-out training videos, not on those that judge.
    """
    from egokeras.protocol import ANTICIPATION

    at = ANTICIPATION.index(1.0)
    rows = {(row["model"], row["modality"], row["method"]): row for row in result["rows"]}
    names = list(dict.fromkeys(method for *_, method in rows))
    yield f"| {k} at 1 s | {' | '.join(names)} | prior chosen minus {ONE_HOT} |"
    yield "|---" * (len(names) + 2) + "|"
    for model, modality in dict.fromkeys((model, modality) for model, modality, _ in rows):
        found = {name: [seed[at] for seed in rows[model, modality, name][k]] for name in names}
        plain = found[ONE_HOT]
        chosen = max((name for name in names if name != ONE_HOT), key=lambda name: rows[model, modality, name]["held_out"])
        gain = [other - own for other, own in zip(found[chosen], plain, strict=True)]
        cells = [summary(found[name]) for name in names]
        yield f"| {model}, {modality} | {' | '.join(cells)} | {chosen}: {summary(gain)} |"


def over_time(result, k="top5"):
    """Lines of a table: accuracy at all anticipation times, mean over seeds, and the baselines."""
    from egokeras.protocol import ANTICIPATION

    yield f"| {k} | alpha, epochs | {columns()} |"
    yield "|---|---" + "|---:" * len(ANTICIPATION) + "|"
    for row in result["rows"]:
        means = [sum(column) / len(column) for column in zip(*row[k], strict=True)]
        named = f"{row['model']}, {row['modality']}, {row['method']}"
        yield f"| {named} | {row['alpha']:g}, {row['epochs']} | {numbers(means)} |"
    for name, found in result["baselines"].items():
        values = found[k] if isinstance(found[k], list) else [found[k]] * len(ANTICIPATION)
        yield f"| {name} | | {numbers(values)} |"


def text(result):
    """All tables."""
    for kind, heads in result["recognisers"].items():
        said = ", ".join(f"{head} {found['top1']:.1f} (majority {found['majority']:.1f})" for head, found in heads.items())
        yield f"recogniser, {kind}, top-1 % of unseen participants: {said}"
    for k in ("top5", "top1"):
        yield ""
        yield from best_prior(result, k)
        yield ""
        yield from over_time(result, k)


def main():
    """Measure, and write `result.json` and `table.md`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("build/anticipate_rendered"), metavar="FOLDER", help="(%(default)s)"
    )
    parser.add_argument("--seeds", type=experiment.positive, default=3, help="trainings of each kind (%(default)s)")
    parser.add_argument("--participants", type=int, help=f"people of the rendered world ({Sizes.participants}), {Sizes.held_out} held out")
    parser.add_argument("--glove", type=pathlib.Path, metavar="FILE", help="word vectors; without them there is no GL and GL+VN")
    parser.add_argument("--priors", nargs="+", default=(), help="of TE, uniform, VN and, with word vectors, GL, GL+VN (all)")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS, help="(both)")
    parser.add_argument("--modalities", nargs="+", choices=tuple(MODALITIES), default=tuple(MODALITIES), help="(all three)")
    parser.add_argument("--cpu", action="store_true", help="use the CPU although there is a GPU")
    parser.add_argument("--tiny", action="store_true", help="three short videos and next to no training: shows that the script works")
    args = parser.parse_args()
    makes = methods(args.glove, args.priors)
    sizes = TINY if args.tiny else Sizes()
    sizes = dataclasses.replace(sizes, participants=args.participants) if args.participants else sizes

    from egokeras import accelerator
    from egokeras.device import latency
    from egokeras.files import write_json

    accelerator.start(cpu=args.cpu)
    args.out.mkdir(parents=True, exist_ok=True)
    result = measure(args.out, sizes, args.seeds, makes, tuple(args.models), tuple(args.modalities))
    write_json(args.out / "result.json", {"host": latency.host(), "sizes": dataclasses.asdict(sizes), **result})
    experiment.end(args.out / "table.md", text(result))


if __name__ == "__main__":
    main()
