"""Half of the multiply-accumulates in whole channels: what that saves in time, and what it costs in accuracy.

    python benchmarks/channel_pruning.py --out build/channel_pruning
    python benchmarks/channel_pruning.py --out build/channel_pruning --parts accuracy --seeds 5

`speed`: MobileNetV2-1.0 and a ResNet-18 at 224 pixels, one frame, as TFLite files of one thread: whole, as wide everywhere as half of the
multiply-accumulates allow, and pruned to half by `Pruned`, which weighs channels by multiply-accumulates or by the milliseconds that
`egokeras layers` and `egokeras benchmark --layers` find on this machine, for float32 and for int8. Weights are random, which changes no
time. Files take turns; a turn is measured in processor time of its one thread, because that hardly depends on what else a machine does.

`accuracy`: the recipe `prune_channels` on the rendered kitchen, judged on participants that nothing has looked at, once per seed: the whole
network, what is left of it, distilled (by the norms of kernels or by the scales of BatchNorm) or trained on by the labels alone, and in
points what each loses to the whole. The same command goes on after an interruption; with more seeds it adds them.
"""

import dataclasses
import pathlib
import sys
import time

import numpy as np

import clips
import experiment
from intervals import bounded
from processes import in_processes

SHARE = 0.5  # of the multiply-accumulates to keep
KINDS = ("float32", "int8")
SIZE = 224
CLASSES = 10
RUNS = 6  # of a file in its turn
VARIANTS = {  # stage of the recipe's second model to the changes that make it
    "distilled, magnitude": (),
    "distilled, bn_scale": ("prune_channels.model.importance=bn_scale",),
    "labels alone": ("prune_channels.method=Supervised",),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much of everything in `accuracy`.

    Attributes:
        participants: of the rendered world, that are learned from.
        held_out: that judge.
        epochs: of every stage; None is the recipe's.
    """

    participants: int = 7
    held_out: int = 3
    epochs: int | None = None


TINY = Sizes(participants=1, held_out=1, epochs=1)


def networks():
    """Name to function of whether the network is the narrow one, with about half of the multiply-accumulates."""
    from egokeras.models import AverageHead, Backbone, FrameModel, ResNet2D

    def built(backbone):
        return FrameModel(backbone=backbone, head=AverageHead()).build(classes={"action": CLASSES}, frames=1, size=SIZE)

    return {
        "MobileNetV2": lambda narrow: built(Backbone(weights=None, trainable_from="", alpha=0.62 if narrow else 1.0)),
        "ResNet-18": lambda narrow: built(ResNet2D(width=45 if narrow else 64)),
    }


def candidates(out, name):
    """Contender to its `keras.Model`, after the layers of the whole network have been measured."""
    from egokeras.compress.layer_files import write_layers
    from egokeras.compress.pruned import Pruned
    from egokeras.device import latency
    from egokeras.files import write_json

    build = networks()[name]
    whole = build(narrow=False)
    yield "whole", whole
    yield "uniform width", build(narrow=True)
    yield "by MACs", Pruned(macs=SHARE).prune(whole)
    whole.save(out / f"{name}.keras")
    for kind in KINDS:
        table = out / f"{name}.{kind}.json"
        if not table.exists():
            folder = out / f"{name}.{kind}.layers"
            if not (folder / "layers.json").exists():
                write_layers(out / f"{name}.keras", folder, kind)
            write_json(table, latency.layers(folder))
        for multiple in (8, 16):
            yield f"by {kind} ms, of {multiple}", Pruned(macs=SHARE, latencies=str(table), multiple_of=multiple).prune(whole)


def convert_all(out, name):
    """Contender to its share of the multiply-accumulates; their TFLite files lie in `out`."""
    from egokeras.compress.conversion import Conversion, convert
    from egokeras.compress.cost import cost
    from egokeras.files import read_json, write_json

    record = out / f"{name}.macs.json"
    if record.exists():
        return read_json(record)
    np.save(out / "calibration.npy", np.random.default_rng(0).integers(0, 256, (4, 1, SIZE, SIZE, 3), np.uint8))
    macs = {}
    for contender, model in candidates(out, name):
        macs[contender] = cost(model)["macs"]["whole"]
        model.save(out / "model.keras")
        files = {kind: str(tflite(out, name, contender, kind)) for kind in KINDS}
        source = {"model": str(out / "model.keras"), "outputs": ("action",), "calibration": {"rgb": str(out / "calibration.npy")}}
        jobs = [Conversion(kind=kind, file=file, **source) for kind, file in files.items() if not pathlib.Path(file).exists()]
        for error in filter(None, convert(jobs) if jobs else ()):
            raise error
        print(f"{name}, {contender}: {macs[contender] / macs['whole']:.3f} of the multiply-accumulates", file=sys.stderr, flush=True)
    write_json(record, {contender: count / macs["whole"] for contender, count in macs.items()})
    return read_json(record)


def tflite(out, name, contender, kind):
    """A contender's file."""
    return out / f"{name}.{contender.replace(' ', '_').replace(',', '')}.{kind}.tflite"


def speed_ups(files, rounds):
    """(milliseconds (files,), how often as fast as the first (rounds, files)), in processor time of the thread that computes."""
    from egokeras.device.timing import Model

    models = [Model(file, 1) for file in files]
    times = np.empty((rounds, len(models)))
    for model in models:
        model.run()
    for turn in range(rounds):
        for number, model in list(enumerate(models))[:: -1 if turn % 2 else 1]:
            runs = []
            for _ in range(RUNS):
                start = time.thread_time()
                model.run()
                runs.append(1e3 * (time.thread_time() - start))
            times[turn, number] = np.median(runs)
    return np.median(times, axis=0), times[:, :1] / times


def speed(out, names, rounds):
    """Lines of a table: times and speed-ups, median and 10th to 90th percentile of the rounds."""
    yield f"| network | channels | MACs | {' | '.join(f'{kind} ms | speed-up' for kind in KINDS)} |"
    yield "|---|---|---:|" + "---:|---:|" * len(KINDS)
    for name in names:
        shares = convert_all(out, name)
        measured = [speed_ups([tflite(out, name, contender, kind) for contender in shares], rounds) for kind in KINDS]
        for number, (contender, share) in enumerate(shares.items()):
            cells = []
            for times, ratios in measured:
                low, middle, high = np.percentile(ratios[:, number], [10, 50, 90])
                cells += [f"{times[number]:.2f}", f"{middle:.2f} ({low:.2f} to {high:.2f})"]
            yield f"| {name} | {contender} | {share:.2f} | {' | '.join(cells)} |"


def stages(shards, sizes, seed, variant):
    """The recipe's two stages; the whole network is one for all variants."""
    from egokeras import recipe

    whole, pruned = recipe.load("prune_channels", [f"data.shards={shards}", f"seed={seed}", *VARIANTS[variant]])
    pruned = dataclasses.replace(pruned, name=variant)
    return tuple(dataclasses.replace(stage, epochs=sizes.epochs or stage.epochs) for stage in (whole, pruned))


def train(out, shards, sizes, seed, variant):
    """Train a variant, or the whole network where it is None, and write its scores."""
    from egokeras import evaluate
    from egokeras import train as training
    from egokeras.files import write_json

    whole, pruned = stages(shards, sizes, seed, variant or next(iter(VARIANTS)))
    stage = pruned if variant else whole
    folder = out / f"seed-{seed}" / stage.name
    folder.mkdir(parents=True, exist_ok=True)
    model = training.fit(stage, folder, quiet=True, resume=True)
    data = training.open_shards(stage)
    learned, judged = stage.data.judged(data)
    metrics, _ = evaluate.evaluate_rows(model, data, judged, learned)
    found = {space: {"top1": head["top1"], "majority": head["majority"]["top1"]} for space, head in metrics["heads"].items()}
    write_json(folder / "top1.json", {"clips": len(judged), "heads": found})


def train_all(out, shards, sizes, seeds, workers):
    """Whatever is missing, whole networks first."""
    for group in ([None], list(VARIANTS)):
        missing = [(out, shards, sizes, seed, one) for seed in range(seeds) for one in group if not scores(out, seed, one).exists()]
        for number, ((*_, seed, variant), _) in enumerate(in_processes(train, missing, workers), 1):
            print(f"{number}/{len(missing)}: {variant or 'whole'}, seed {seed}", file=sys.stderr, flush=True)


def scores(out, seed, variant):
    """File of the scores of a training."""
    return out / f"seed-{seed}" / (variant or "whole") / "top1.json"


def accuracy(out, seeds):
    """Lines of a table for each label space: top-1, and points against the whole network, with 95 % over seeds."""
    from egokeras.files import read_json

    found = {one: [read_json(scores(out, seed, one)) for seed in range(seeds)] for one in (None, *VARIANTS)}
    first = found[None][0]
    for space, head in first["heads"].items():
        top1 = {one: np.array([scores["heads"][space]["top1"] for scores in each]) for one, each in found.items()}
        yield from ("", f"## {space}: {seeds} seeds, {first['clips']} clips to judge by, majority {head['majority']:.1f} %", "")
        yield "| network | top-1 % (95 % over seeds) | points against the whole |"
        yield "|---|---:|---:|"
        yield f"| whole | {bounded(top1[None])} | |"
        for variant in VARIANTS:
            yield f"| {variant} | {bounded(top1[variant])} | {bounded(top1[variant] - top1[None], '+.1f')} |"


def main():
    """Whatever is missing of the chosen parts, and their tables in `speed.md` and `accuracy.md`."""
    parser = experiment.parser(__doc__, "channel_pruning", seeds=5)
    parser.add_argument("--parts", nargs="+", choices=("speed", "accuracy"), default=["speed", "accuracy"], help="(all)")
    parser.add_argument("--networks", nargs="+", choices=("MobileNetV2", "ResNet-18"), default=["MobileNetV2", "ResNet-18"], help="(all)")
    parser.add_argument("--rounds", type=experiment.positive, default=30, help="turns that each file takes (%(default)s)")
    clips.add_arguments(parser)
    args = experiment.begin(parser)
    from egokeras.data.preparation import Preparation
    from egokeras.data.prepare import prepare

    for part in args.parts:
        if part == "speed":
            lines = speed(args.out, args.networks, args.rounds)
        else:
            sizes = TINY if args.tiny else Sizes()
            prepared = prepare(*clips.chosen(args, sizes), args.out / "shards", Preparation(frames=10, size=64))
            train_all(args.out, prepared["path"], sizes, args.seeds, args.workers)
            lines = accuracy(args.out, args.seeds)
        experiment.end(args.out / f"{part}.md", lines)


if __name__ == "__main__":
    main()
