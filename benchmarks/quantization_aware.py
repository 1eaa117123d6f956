"""Quantization-aware training beside quantization after training: what int8 costs a network that is hard to quantize, over seeds.

Trains MobileNetV2 at alpha 0.35 from random weights, whose depthwise convolutions leave channels of very different size, and the small
backbone of the demo as a control that int8 costs little. Each trained network becomes `int8` and `int8_qat` by the code of `egokeras
export`, and, to tell what it is that costs, `mixed`, whose head computes in float32, and `dynamic_range`, whose weights alone were rounded
before. They are compared with the Keras model on clips of participants that none of them has seen, labelled clips and windows: agreement is
the share with the same top-1 class, lost is top-1 in points. The learning rate of `QAT` was lowered after a first look at seeds 0 to 3,
where its loss on training clips first doubled; seeds from 5 on were looked at once, after that.

    python benchmarks/quantization_aware.py --out build/quantization_aware
    python benchmarks/quantization_aware.py --out build/quantization_aware --first-seed 5 --seeds 10 --networks mobilenet

The same command goes on after an interruption; other seeds add to what is there, and only those that a command names are in its table.
"""

import dataclasses
import sys

import clips
import experiment
from intervals import bounded
from processes import in_processes

NETWORKS = ("mobilenet", "small")
FIGURES = ("lost", "agreement")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much of everything.

    Attributes:
        participants: of the rendered world, that are learned from.
        held_out: that judge.
        epochs: of the float training.
        frames, size: of a clip.
        trained: fields of `QAT`.
    """

    participants: int = 6
    held_out: int = 4
    epochs: int = 40
    frames: int = 8
    size: int = 64
    trained: dict = dataclasses.field(default_factory=lambda: {"epochs": 10})


TINY = Sizes(participants=2, held_out=1, epochs=1, frames=5, size=32, trained={"epochs": 1, "clips": 4})


def prepare_clips(out, annotations, videos, sizes):
    """Shards of annotated videos: their folder."""
    from egokeras.data.preparation import Preparation
    from egokeras.data.prepare import prepare

    return prepare(annotations, videos, out / "shards", Preparation(frames=sizes.frames, size=sizes.size))["path"]


def recipe_of(network, shards, sizes, seed):
    """How a network learns in float."""
    from egokeras.models import Backbone, ConvNet1DHead, FrameModel, SmallBackbone
    from egokeras.optim import Cosine, Optim
    from egokeras.recipe import Data, Recipe

    backbone = {"mobilenet": Backbone(alpha=0.35, weights=None, trainable_from=""), "small": SmallBackbone()}[network]
    return Recipe(
        name=network,
        data=Data(shards=str(shards)),
        model=FrameModel(backbone=backbone, head=ConvNet1DHead(filters=48, last_filters=96, dropout=0.3)),
        optim=Optim(optimizer="adamw", learning_rate=2e-3, schedule=Cosine(), weight_decay=1e-4),
        epochs=sizes.epochs,
        seed=seed,
    )


def contestants(sizes):
    """The exports; none is refused, however bad it is."""
    from egokeras.compress.qat import QAT
    from egokeras.export import Export

    limits = {"max_lost_points": 100.0, "min_agreement": 0.0}
    for quantization in ("int8", "mixed", "dynamic_range"):
        yield Export(name=quantization, quantization=quantization, **limits)
    yield Export(name="int8_qat", quantization="int8", qat=QAT(**sizes.trained), **limits)


def measure_one(out, network, shards, sizes, seed):
    """Train and export: export's name to head to figures."""
    from egokeras import train
    from egokeras.export import ship_all

    folder = out / f"{network}-seed{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    train.fit(recipe_of(network, shards, sizes, seed), folder, quiet=True, resume=True)
    shipments = ship_all(list(contestants(sizes)), folder, accept_untested=True)
    failed = [shipment.reason for shipment in shipments if shipment.gate is None]
    if failed:
        raise RuntimeError(failed[0])
    return {shipment.export.name: shipment.gate["heads"] for shipment in shipments}


def measure(out, shards, sizes, seeds, networks, workers):
    """Everything: the content of `result.json`.

    Args:
        out: folder of the trainings, and of their figures.
        shards: of `prepare_clips`.
        sizes: how much of everything.
        seeds: a sequence of them.
        networks: of `NETWORKS`.
        workers: trainings at once.
    """
    from egokeras.files import read_json, write_json

    (done := out / "rows").mkdir(exist_ok=True)
    wanted = {(network, seed): done / f"{network}-seed{seed}.json" for network in networks for seed in seeds}
    calls = [(out / "runs", network, shards, sizes, seed) for (network, seed), file in wanted.items() if not file.exists()]
    for number, ((_, network, _, _, seed), found) in enumerate(in_processes(measure_one, calls, workers), 1):
        write_json(wanted[network, seed], found)
        print(f"{number}/{len(calls)} {network}, seed {seed}", file=sys.stderr, flush=True)
    results = {network: [read_json(wanted[network, seed]) for seed in seeds] for network in networks}
    return {"seeds": list(seeds), "sizes": dataclasses.asdict(sizes), "networks": results}


def text(result):
    """A table for each network and head; the last columns are quantization-aware training less the same after training, seed by seed."""
    for network, runs in result["networks"].items():
        for head in next(iter(runs[0].values())):
            keras = [run["int8"][head]["keras_top1"] for run in runs]
            known = "" if None in keras else f", Keras top-1 {bounded(keras)} %"
            yield from ("", f"## {network}, {head}{known}; {_seeds(result['seeds'])}", "")
            yield "| | points lost | agreement % | points lost by training | agreement gained |"
            yield "|---|---:|---:|---:|---:|"
            for name in runs[0]:
                cells = [_cell(runs, name, head, figure) for figure in FIGURES] + [_gain(runs, name, head, figure) for figure in FIGURES]
                yield f"| {name} | {' | '.join(cells)} |"


def _seeds(seeds):
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"


def _cell(runs, name, head, figure):
    values = [run[name][head][figure] for run in runs]
    return "-" if None in values else bounded(values, ".2f")


def _gain(runs, name, head, figure):
    after = name.removesuffix("_qat")
    if after == name:
        return ""
    pairs = [(run[name][head][figure], run[after][head][figure]) for run in runs]
    return "-" if None in pairs[0] else bounded([aware - plain for aware, plain in pairs], "+.2f")


def main():
    """Measure, and write `result.json` and `table.md`."""
    parser = experiment.parser(__doc__, "quantization_aware", seeds=5)
    parser.add_argument("--first-seed", type=int, default=0, metavar="N", help="and those that follow (%(default)s)")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS, help="(all)")
    clips.add_arguments(parser)
    args = experiment.begin(parser)
    from egokeras.files import write_json

    sizes = TINY if args.tiny else Sizes()
    shards = prepare_clips(args.out, *clips.chosen(args, sizes), sizes)
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    result = measure(args.out, shards, sizes, seeds, args.networks, args.workers)
    write_json(args.out / "result.json", result)
    experiment.end(args.out / "table.md", text(result))


if __name__ == "__main__":
    main()
