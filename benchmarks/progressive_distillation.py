"""PKD and WISE on compressed video: who teaches the internal classifiers best, and what weighing all exits and leaving early are worth.

Trains the networks of the recipe `pkd_wise` with `small=true` (18 layers of 16 channels, three segments of 64 pixels) from scratch, once
per seed, and then their internal classifiers, the networks frozen, by the labels (CE), by the I-frame network (I-frame KD), by motion
vectors, residuals and I-frames in turn (PKD) and in the reversed order, all for equally many epochs. Data is the rendered kitchen, judged
on participants that nothing has looked at, or the fights of a folder with `clips.csv`, too few to order methods by.

    python benchmarks/progressive_distillation.py --out build/progressive_distillation
    python benchmarks/progressive_distillation.py --fights DATA/fight_surv --out build/progressive_fights

Tables: top-1 of every exit for each method; the exits' answers alone, as their mean and weighed by WISE, whose weights are fitted on
the training clips as published, or on other held-out groups than those they are judged by (five folds); leaving early at thresholds that
other held-out groups have chosen, in multiply-accumulates and, for PKD, in milliseconds of this machine. `curve_*.png` draw accuracy over
cost. The same command goes on after an interruption; with more seeds it adds them.
"""

import dataclasses
import re
import sys

import numpy as np

import clips
import experiment
from intervals import bounded
from processes import in_processes

METHODS = {
    "CE": None,
    "I-frame KD": ("iframe",),
    "PKD": ("motion_vector", "residual", "iframe"),
    "reversed": ("iframe", "residual", "motion_vector"),
}
TIMED = "PKD"
FIT_ON = ("train", "held-out")
PARTS = {"logits": "", "labels": "_labels", "groups": "_groups"}  # of clips in `logits.npz`
ORDER = ("residual", "motion_vector", "iframe")  # in which the exits are computed
LOST = 0.5  # points of accuracy that leaving early may lose


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much of everything.

    Attributes:
        participants: of the rendered world, that are learned from.
        held_out: that judge.
        pixels: side of the pictures.
        width: channels of the first stage.
        epochs: of the networks; None is the recipe's.
        exit_epochs: of the internal classifiers; None is the recipe's.
    """

    participants: int = 4
    held_out: int = 4
    pixels: int = 64
    width: int = 16
    epochs: int | None = None
    exit_epochs: int | None = None


TINY = Sizes(participants=1, held_out=2, width=2, epochs=1, exit_epochs=3)


def prepare_clips(out, annotations, videos, sizes):
    """The three sets of annotated videos, as one `data.shards`."""
    from egokeras.data.coded_clips import MODALITIES, Coded
    from egokeras.data.preparation import Preparation
    from egokeras.data.prepare import prepare

    made = []
    for modality in MODALITIES:
        coded = Coded(modality=modality, copies=str(out / "copies"))
        made.append(prepare(annotations, videos, out / "sets" / modality, Preparation(frames=3, size=sizes.pixels, coded=coded, windows=0)))
    return ",".join(summary["path"] for summary in made)


def stages_of(method, shards, sizes, seed):
    """(networks, networks with exits) of the recipe, by modality."""
    from egokeras import recipe
    from egokeras.distill import SupervisedExits

    changes = ["dataset=own", "small=true", f"data.shards={shards}", f"model.width={sizes.width}", f"seed={seed}"]
    changes += [f"teachers={','.join(METHODS[method])}"] if METHODS[method] else []
    stages = recipe.load("pkd_wise", changes)
    networks = [dataclasses.replace(stage, epochs=sizes.epochs or stage.epochs) for stage in stages[:3]]
    exits = [dataclasses.replace(stage, epochs=sizes.exit_epochs or stage.epochs) for stage in stages[3:]]
    if METHODS[method] is None:
        exits = [dataclasses.replace(stage, method=SupervisedExits()) for stage in exits]
    return tuple({stage.model.modality: stage for stage in group} for group in (networks, exits))


def train_network(out, shards, sizes, seed, modality):
    """Train the network of a modality, without exits."""
    networks, _ = stages_of("CE", shards, sizes, seed)
    _trained(networks[modality], out / f"seed-{seed}" / modality)


def train_exits(out, shards, sizes, seed, method):
    """Train the exits of all networks, and write the logits of all labelled clips beside them."""
    from egokeras.files import atomic

    for modality, stage in stages_of(method, shards, sizes, seed)[1].items():
        _trained(stage, out / f"seed-{seed}" / f"{method}-{modality}")
    ensemble = opened(out, shards, sizes, seed, method)
    found = {"costs": ensemble.costs(), "exits": np.array(ensemble.names)}
    for part, rows in zip(("train", "judged"), ensemble.data.judged(ensemble.shards), strict=True):
        for space, known in ensemble.labelled(rows).items():
            found |= {f"{part}_{space}{end}": getattr(known, name) for name, end in PARTS.items()}
    with atomic(_logits(out, seed, method)) as file:
        np.savez(file, **found)


def opened(out, shards, sizes, seed, method):
    """The `Ensemble` of the networks that a method has taught."""
    import egokeras
    from egokeras import train
    from egokeras.exit_ensemble import Ensemble

    _, stages = stages_of(method, shards, sizes, seed)
    networks = {modality: egokeras.load_model(out / f"seed-{seed}" / f"{method}-{modality}" / "model.keras") for modality in ORDER}
    stage = stages[ORDER[0]]
    data = train.open_shards(stage)
    return Ensemble(networks=networks, data=stage.data, shards=data, spaces=tuple(train.class_counts(stage, data)))


def _trained(stage, folder):
    from egokeras import train

    if not (folder / "model.keras").exists():
        folder.mkdir(parents=True, exist_ok=True)
        train.fit(stage, folder, quiet=True, resume=True)


def _logits(out, seed, method):
    return out / f"seed-{seed}" / f"{method}.npz"


def train_all(out, shards, sizes, seeds, methods, workers):
    """Whatever is missing, networks first."""
    networks = [(out, shards, sizes, seed, modality) for seed in range(seeds) for modality in ORDER]
    exits = [(out, shards, sizes, seed, method) for seed in range(seeds) for method in methods]
    calls = {
        train_network: [call for call in networks if not (out / f"seed-{call[3]}" / call[4] / "model.keras").exists()],
        train_exits: [call for call in exits if not _logits(out, *call[3:]).exists()],
    }
    for function, missing in calls.items():
        for number, ((*_, seed, what), _) in enumerate(in_processes(function, missing, workers), 1):
            print(f"{function.__name__} {number}/{len(missing)}: {what}, seed {seed}", file=sys.stderr, flush=True)


def judge(found, space, fit_on):
    """What the logits of one training say about a label space: `exit_ensemble.judge`, where folds choose the threshold."""
    from egokeras import exit_ensemble, wise

    train, judged = (
        exit_ensemble.Clips(**{name: found[f"{part}_{space}{end}"] for name, end in PARTS.items()}) for part in ("train", "judged")
    )
    weigh = exit_ensemble.constant(wise.fit_wise(train.logits, train.labels)) if fit_on == "train" else wise.fit_wise
    return exit_ensemble.judge(weigh, judged, None, found["costs"], wise.Wish(lost=LOST))


def milliseconds(out, shards, sizes, seeds):
    """What the weights are fitted on to `exit_ensemble.measure`, once for each seed, of PKD's networks on the clips that judge."""
    from egokeras.exit_ensemble import measure
    from egokeras.files import read_json, write_json

    found: dict[str, list] = {fit_on: [] for fit_on in FIT_ON}
    for seed in range(seeds):
        files = {fit_on: out / f"seed-{seed}" / f"milliseconds-{fit_on}.json" for fit_on in FIT_ON}
        if not all(file.exists() for file in files.values()):
            logits, ensemble = np.load(_logits(out, seed, TIMED)), opened(out, shards, sizes, seed, TIMED)
            for fit_on, file in files.items():
                heads = {space: judge(logits, space, fit_on) for space in ensemble.spaces}
                write_json(file, measure(ensemble, heads, ensemble.data.judged(ensemble.shards)[1]))
        for fit_on, file in files.items():
            found[fit_on].append(read_json(file))
    return found


def exit_table(exits, judged):
    """Top-1 of every exit by method, and what each method gains over CE."""
    gains = [method for method in judged if method != "CE" and "CE" in judged]
    yield f"| exit, top-1 % (95 % over seeds) | {' | '.join([*judged, *(f'{method} - CE' for method in gains)])} |"
    yield "|---|" + "---:|" * (len(judged) + len(gains))
    alone = {method: np.array([one["accuracy"]["alone"] for one in found]) for method, found in judged.items()}  # (seeds, exits)
    internal = [number for number, name in enumerate(exits) if not name.endswith(" 4")]
    for name, at in [*((name, [number]) for number, name in enumerate(exits)), ("**mean of the internal classifiers**", internal)]:
        values = {method: found[:, at].mean(axis=1) for method, found in alone.items()}
        cells = [bounded(found) for found in values.values()] + [bounded(values[method] - values["CE"], "+.1f") for method in gains]
        yield f"| {name} | {' | '.join(cells)} |"


def wise_table(judged, costs):
    """What weighing all exits so far is worth: after the last, and in the mean over exits; and leaving early.

    Args:
        judged: (method, what the weights are fitted on) to what `judge` says of each seed.
        costs: of everything up to each exit.
    """
    columns = ("each alone", "equal weights", "WISE", "WISE - alone", "WISE - equal", "points lost by leaving", "share of the cost")
    yield f"| method | weights fitted on | | {' | '.join(columns)} |"
    yield "|---|---|---|" + "---:|" * len(columns)
    for (method, fit_on), found in judged.items():
        for what, mean in (("last exit", lambda top1: top1[-1]), ("mean of exits", np.mean)):
            alone, equal, weighed = (np.array([mean(one["accuracy"][name]) for one in found]) for name in ("alone", "equal", "WISE"))
            cells = [*map(bounded, (alone, equal, weighed)), bounded(weighed - alone, "+.1f"), bounded(weighed - equal, "+.1f")]
            last = (
                [bounded(column, ".2f") for column in np.array([early(one, costs) for one in found]).T] if what == "last exit" else ["", ""]
            )
            yield f"| {method} | {fit_on} | {what} | {' | '.join(cells + last)} |"


def early(judged, costs):
    """(points lost, share of the whole cost) of clips that leave at thresholds which other clips have chosen."""
    return judged["accuracy"]["WISE"][-1] - judged["leaving"]["accuracy"], judged["leaving"]["cost"] / costs[-1]


def draw(file, judged, exits, costs):
    """Accuracy over cost, the mean over seeds: a line for each method's WISE with clips that leave early, dots for PKD's exits alone."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    grid = np.geomspace(costs[0], costs[-1], 80)
    for method, found in judged.items():
        curves = [{name: np.array(values) for name, values in one["trade_off"].items()} for one in found]
        best = [[curve["accuracy"][curve["cost"] <= cost + 1e-9].max() for cost in grid] for curve in curves]
        axes.plot(grid / 1e6, np.mean(best, axis=0), label=f"{method}, WISE, leaving early")
    dotted = "PKD" if "PKD" in judged else method
    alone = np.mean([one["accuracy"]["alone"] for one in judged[dotted]], axis=0)
    axes.scatter(costs / 1e6, alone, color="black", s=18, label=f"{dotted}, each exit alone")
    for name, cost, top1 in zip(exits, costs, alone, strict=True):
        axes.annotate(name, (cost / 1e6, top1), fontsize=6, xytext=(3, -7), textcoords="offset points")
    axes.set(xscale="log", xlabel="million multiply-accumulates a clip", ylabel="top-1 %")
    axes.legend()
    figure.savefig(file, dpi=130)
    pyplot.close(figure)


def report(out, seeds, methods, timed):
    """All tables, and a plot for each label space; `timed` as from `milliseconds`, or empty."""
    first = np.load(_logits(out, 0, methods[0]))
    exits, costs = [str(name) for name in first["exits"]], first["costs"]
    yield f"{seeds} seeds; all exits of a clip cost {costs[-1] / 1e6:.0f} M multiply-accumulates."
    for space in [name.removeprefix("judged_").removesuffix("_labels") for name in first.files if re.fullmatch("judged_.*_labels", name)]:
        found = {method: [np.load(_logits(out, seed, method)) for seed in range(seeds)] for method in methods}
        judged = {(method, fit_on): [judge(one, space, fit_on) for one in found[method]] for method in methods for fit_on in FIT_ON}
        published = {method: judged[method, FIT_ON[0]] for method in methods}
        labels, learned = (first[f"{part}_{space}_labels"] for part in ("judged", "train"))
        majority, chance = 100 * (labels == np.bincount(learned).argmax()).mean(), 100 / first[f"judged_{space}"].shape[2]
        said = f"{len(learned)} clips to learn from, {len(labels)} to judge by; majority {majority:.1f} %, chance {chance:.1f} %"
        yield from ("", f"## {space}: {said}")
        yield from ("", *exit_table(exits, published), "", *wise_table(judged, costs))
        draw(out / f"curve_{space}.png", {method: judged[method, FIT_ON[1]] for method in methods}, exits, costs)
        for fit_on, seen in timed.items():
            whole, leaving = ([seed["everything"] for seed in seen], [seed["heads"][space]["leaving"] for seed in seen])
            share = bounded([part / every for part, every in zip(leaving, whole, strict=True)], ".2f")
            said = f"{bounded(whole)} ms for all exits of a clip, {bounded(leaving)} where it leaves early: {share} of it"
            yield from ("", f"{TIMED}, weights fitted on {fit_on}: {said}.")


def main():
    """Train what is missing, and write `table.md` and the curves."""
    parser = experiment.parser(__doc__, "progressive_distillation", seeds=5)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), help="(all)")
    clips.add_arguments(parser)
    args = experiment.begin(parser)
    sizes = TINY if args.tiny else Sizes()
    shards = prepare_clips(args.out, *clips.chosen(args, sizes), sizes)
    train_all(args.out, shards, sizes, args.seeds, args.methods, args.workers)
    timed = milliseconds(args.out, shards, sizes, args.seeds) if TIMED in args.methods else {}
    experiment.end(args.out / "table.md", report(args.out, args.seeds, args.methods, timed))


if __name__ == "__main__":
    main()
