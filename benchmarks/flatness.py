"""Whether the networks of compressed video end in minima as flat as PKD's paper says: I-frames flattest, motion vectors sharpest.

    python benchmarks/flatness.py runs/pkd_wise/seed-0 runs/pkd_wise/seed-1 runs/pkd_wise/seed-2
    python benchmarks/flatness.py --quick

Soufleri et al., https://arxiv.org/abs/2407.02713, let motion vectors teach first and I-frames last because, they say, the minimum of a
network of I-frames is flatter than that of one of residuals, and this flatter than that of one of motion vectors. RUN is a run of the
recipe `pkd_wise`, or a `seed-0` of `progressive_distillation.py`; several are seeds. Of each of its networks `iframe`, `residual` and
`motion_vector`, on the same training clips for all and with BatchNorm inferring:

- `trace` of the loss's Hessian over all weights (Hutchinson, 1990), and `trace per weight`;
- its `top eigenvalue` (Lanczos);
- `rise`: how much higher than in the minimum the loss is, in the mean over filter-normalised directions (Li et al., 2018,
  https://arxiv.org/abs/1712.09913) and steps along them, up to a length of `--reach` times that of the filters.

The others depend on how long the filters are, which BatchNorm leaves to chance, and on how many there are: the network of I-frames is a
ResNet-50, the others are ResNet-18. The rise does not, so look at it first, and at orders rather than values. What was measured of a
network is kept in OUT; the same command goes on after an interruption.
"""

import argparse
import dataclasses
import hashlib
import itertools
import json
import pathlib
import sys
import warnings

import numpy as np

from intervals import bounded

FLATTEST_FIRST = ("iframe", "residual", "motion_vector")
MEASURES = ("trace", "trace per weight", "top eigenvalue", "rise")
SEED = 4711


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How closely to look.

    Attributes:
        clips: training clips that the loss is of, at most.
        batch: clips at once.
        probes: random vectors of the trace.
        directions: of the curves.
        steps: points of each curve.
        reach: length of the longest step; Li et al. draw up to 1.
    """

    clips: int = 256
    batch: int = 16
    probes: int = 50
    directions: int = 5
    steps: int = 21
    reach: float = 0.5


QUICK = Settings(clips=16, batch=8, probes=4, directions=2, steps=5)


def tiny_runs(out, seeds=2):
    """Folders of runs on a rendered kitchen: the recipe's networks, with exits that nothing has taught, after an epoch."""
    from egokeras import recipe, train
    from egokeras.data import readers
    from egokeras.data.coded_clips import MODALITIES, Coded
    from egokeras.data.preparation import Preparation
    from egokeras.data.prepare import prepare
    from egokeras.data.synthetic import World

    world = World.tiny().render(out / "world")
    annotations = readers.read("epic100", [world])
    for name in MODALITIES:  # two pictures of a clip: with an odd number in a batch TensorFlow 2.21 crashes on networks so narrow
        coded = Coded(modality=name, copies=str(out / "copies"))
        prepare(annotations, world / "videos", out / name, Preparation(frames=2, size=64, windows=0, workers=1, coded=coded))
    shards = ",".join(str(out / name) for name in MODALITIES)
    small = ["dataset=own", "small=true", "model.width=2", "epochs=1", "batch_size=4", f"data.shards={shards}", "data.heads=verb"]
    for seed in range(seeds):
        for stage in recipe.load("pkd_wise", [*small, f"seed={seed}"]):
            folder = out / f"seed-{seed}" / stage.name
            if stage.start_from or (folder / "model.keras").exists():
                continue
            folder.mkdir(parents=True, exist_ok=True)
            with warnings.catch_warnings(action="ignore", category=UserWarning):  # Keras', of weights without a gradient
                train.fit(dataclasses.replace(stage, model=dataclasses.replace(stage.model, exits=None)), folder, quiet=True)
        yield out / f"seed-{seed}"


def batches_of(shards, modality, rows, spaces, size):
    """List of (inputs, targets) of clips."""
    parts = [rows[at : at + size] for at in range(0, len(rows), size)]
    return [({modality: shards.inputs(part)[modality]}, {space: shards.labels(space, part) for space in spaces}) for part in parts]


def measure(loss, settings):
    """What is found of one network, a dict of numbers and lists."""
    from landscape import curvature, curves

    rng = np.random.default_rng(SEED)
    samples = curvature.trace_samples(loss.product, loss.size, settings.probes, rng)
    top = curvature.top_eigenvalue(loss.product, loss.size, rng)
    steps = np.linspace(-settings.reach, settings.reach, settings.steps)
    directions = (curves.filter_normalised([weight.numpy() for weight in loss.weights], rng) for _ in range(settings.directions))
    found = np.array([curves.along(loss, direction, steps) for direction in directions])
    return {
        "weights": loss.size,
        "loss": loss.value(),
        "trace": samples.mean(),
        "trace error": samples.std(ddof=1) / np.sqrt(len(samples)),
        "trace per weight": samples.mean() / loss.size,
        "top eigenvalue": top,
        "rise": (found - loss.value()).mean(),
        "steps": steps.tolist(),
        "curves": found.tolist(),
    }


def of_runs(runs, out, settings):
    """Modality to what was measured of its network in each run."""
    import egokeras
    from egokeras.files import read_json, write_json
    from egokeras.recipe import Data
    from landscape.loss import Loss

    found = {modality: [] for modality in FLATTEST_FIRST}
    for run in runs:
        networks = {modality: egokeras.load_model(run / modality / "model.keras") for modality in FLATTEST_FIRST}
        data = Data.of_run(read_json(run / FLATTEST_FIRST[0] / "recipe.json"))
        shards = data.open()
        spaces = [space for space in networks["iframe"].output if space in shards.classes]
        rows = chosen(shards, data.judged(shards)[0], spaces, settings.clips)
        for modality, model in networks.items():
            about = [dataclasses.asdict(settings), modality, rows.tolist(), str(data), _digest(model)]
            file = out / f"{modality}-{hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]}.json"
            if not file.exists():
                print(f"{run}: {modality}", file=sys.stderr, flush=True)
                write_json(file, measure(Loss(model, batches_of(shards, modality, rows, spaces, settings.batch)), settings))
            found[modality].append(read_json(file))
    return found


def chosen(shards, rows, spaces, count):
    """At most `count` of the rows that have all labels; the same for every network and run."""
    labels = np.array([shards.labels(space, rows) for space in spaces])
    known = rows[(labels >= 0).all(axis=0)]
    return np.sort(np.random.default_rng(SEED).permutation(known)[:count])


def _digest(model):
    digest = hashlib.sha256()
    for values in model.get_weights():
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def table(found):
    """Lines of a Markdown table."""
    yield f"| | weights | loss | {' | '.join(MEASURES)} |"
    yield "|---|" + "---:|" * (2 + len(MEASURES))
    for modality, networks in found.items():
        cells = [bounded([network[name] for network in networks], ".4g") for name in ("loss", *MEASURES)]
        yield f"| {modality} | {networks[0]['weights']:,} | {' | '.join(cells)} |"


def verdict(name, values):
    """A sentence: whether the paper's order holds by one measure.

    Args:
        name: of the measure, of which a smaller value is flatter.
        values: modality to a value of each run.
    """
    from egokeras.scores import interval

    pairs = list(itertools.pairwise(FLATTEST_FIRST))
    above = {pair: np.subtract(values[pair[1]], values[pair[0]]) for pair in pairs}
    bounds = [interval(differences)[1:] for differences in above.values()]
    runs = len(values[FLATTEST_FIRST[0]])
    if runs < 2:
        means = all(differences.mean() > 0 for differences in above.values())
        said = f"is {'seen' if means else 'not seen'} in the one run, which has no interval"
    elif all(low > 0 for low, _ in bounds):
        said = f"holds within the 95 % intervals of {runs} runs"
    elif any(high < 0 for _, high in bounds):
        said = f"does not hold, a difference has the other sign within the 95 % interval of {runs} runs"
    else:
        said = f"is not decided by {runs} runs, an interval holds zero"
    differences = "; ".join(f"{sharp} - {flat} {bounded(found, '+.3g')}" for (flat, sharp), found in above.items())
    return f"By {name} the paper's order ({', '.join(FLATTEST_FIRST)}; flattest first) {said}: {differences}."


def plot(found, path):
    """A PNG of the curves: of each modality the mean over runs and directions, and from the lowest to the highest of them."""
    from matplotlib.figure import Figure

    from egokeras.files import atomic

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for modality, networks in found.items():
        steps = networks[0]["steps"]
        curves = np.concatenate([np.array(network["curves"]) for network in networks])
        starts = np.concatenate([np.full(len(network["curves"]), network["loss"]) for network in networks])
        for axis, values in ((left, curves), (right, curves - starts[:, None])):
            axis.fill_between(steps, values.min(axis=0), values.max(axis=0), alpha=0.15, linewidth=0)
            axis.plot(steps, values.mean(axis=0), label=modality)
    left.set(xlabel="step along a filter-normalised direction", ylabel="loss of training clips")
    right.set(xlabel="step along a filter-normalised direction", ylabel="above the minimum")
    right.set_yscale("symlog", linthresh=0.01)
    for axis in (left, right):
        axis.grid(alpha=0.3)
    left.legend(frameon=False)
    with atomic(path) as file:
        figure.savefig(file, format="png", dpi=110)


def text(found, settings):
    """All lines."""
    runs = len(found[FLATTEST_FIRST[0]])
    yield f"{runs} runs; {settings}"
    yield from ("", "Means and 95 % t-intervals over runs." if runs > 1 else "One run.", "", *table(found), "")
    for modality, networks in found.items():
        errors = [100 * network["trace error"] / abs(network["trace"]) for network in networks]
        yield f"{modality}: the standard error of its traces is {min(errors):.1f} to {max(errors):.1f} % ({settings.probes} probes)."
    yield ""
    yield from (verdict(name, {modality: [one[name] for one in networks] for modality, networks in found.items()}) for name in MEASURES)


def main():
    """Measure, and write `result.json`, `table.md` and `curves.png`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=pathlib.Path, metavar="RUN", help="run folders of pkd_wise; with --quick none is needed")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("build/flatness"), metavar="FOLDER", help="(%(default)s)")
    for field in dataclasses.fields(Settings):
        parser.add_argument(f"--{field.name}", type=field.type, metavar="N", help=f"({field.default})")
    parser.add_argument("--quick", action="store_true", help="few of everything, on tiny networks if no run is given: shows that it works")
    parser.add_argument("--cpu", action="store_true", help="use the CPU although there is a GPU")
    args = parser.parse_args()
    if not args.runs and not args.quick:
        parser.error("give runs of the recipe pkd_wise, or --quick")
    given = {field.name: getattr(args, field.name) for field in dataclasses.fields(Settings) if getattr(args, field.name) is not None}
    settings = dataclasses.replace(QUICK if args.quick else Settings(), **given)
    for name, least in (("clips", 1), ("batch", 1), ("probes", 2), ("directions", 1), ("steps", 2)):
        if getattr(settings, name) < least:
            parser.error(f"--{name} is {getattr(settings, name)}; give at least {least}")
    if not settings.reach > 0:
        parser.error(f"--reach is {settings.reach:g}; give more than 0")

    from egokeras import accelerator
    from egokeras.files import write_json

    accelerator.start(cpu=args.cpu or args.quick)
    args.out.mkdir(parents=True, exist_ok=True)
    found = of_runs(args.runs or list(tiny_runs(args.out / "tiny")), args.out, settings)
    write_json(args.out / "result.json", {"settings": dataclasses.asdict(settings), "networks": found})
    plot(found, args.out / "curves.png")
    lines = list(text(found, settings))
    (args.out / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
