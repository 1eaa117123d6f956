"""LSTM against ConvLSTM, and one deep temporal convolution against several shallow ones (the egocentric report's Figures 8 and 9).

Figure 8 grows the number of frames and the width (units or filters); Figure 9 compares a single convolution over all frames
with a stack of convolutions of kernel 3. Each head is timed on features of random numbers, as they would come from a per-frame
backbone: maps for the ConvLSTM, their spatial means for the others. The compared heads take turns within one run, so that a
machine that gets slower meanwhile slows all of them; ratios are medians over the turns.
"""

import argparse
import csv
import dataclasses
import pathlib
import statistics
import time

CLASSES = {"verb": 97, "noun": 300}
TIMES = ("forward", "train")
PANELS = {
    "parameters": "parameters",
    "macs": "multiply-adds per clip",
    "forward_ms": "forward, ms per batch",
    "train_ms": "training step, ms per batch",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """What is measured; the defaults are MobileNetV2 on frames of 256 pixels, with the width of 50 of the report's text."""

    lengths: tuple[int, ...] = (5, 10, 20, 40)
    widths: tuple[int, ...] = (8, 16, 32, 64)
    length: int = 20
    width: int = 50
    channels: int = 1280
    maps: int = 8
    batch: int = 8
    runs: int = 15


QUICK = Sizes(lengths=(3, 5), widths=(4,), length=5, width=8, channels=16, maps=4, batch=2, runs=3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """Heads to be timed in turns, and where they stand in a figure.

    Attributes:
        figure: `8` or `9`.
        axis: what grows along the figure: `frames` or `width`.
        value: its value here.
        heads: name to (head, shape of its features); ratios are to the first.
    """

    figure: str
    axis: str
    value: int
    heads: dict


def comparisons(sizes):
    """Every `Comparison` of the two figures, in order."""
    from egokeras.models import ConvLSTMHead, ConvNet1DHead, LSTMHead

    def vectors(frames):
        return (frames, sizes.channels)

    def recurrent(frames, width):
        maps = (frames, sizes.maps, sizes.maps, sizes.channels)
        return {"LSTM": (LSTMHead(units=width), vectors(frames)), "ConvLSTM": (ConvLSTMHead(filters=width), maps)}

    def convolutions(frames):
        heads = {
            "stack of kernel 3": ConvNet1DHead(),
            "one, 10 filters": ConvNet1DHead(blocks=0, last_filters=10),
            "one, 100 filters": ConvNet1DHead(blocks=0, last_filters=100),
        }
        return {name: (head, vectors(frames)) for name, head in heads.items()}

    for frames in sizes.lengths:
        yield Comparison(figure="8", axis="frames", value=frames, heads=recurrent(frames, sizes.width))
    for width in sizes.widths:
        yield Comparison(figure="8", axis="width", value=width, heads=recurrent(sizes.length, width))
    for frames in sizes.lengths:
        yield Comparison(figure="9", axis="frames", value=frames, heads=convolutions(frames))


def steps_of(model, shape, batch):
    """`{"forward": call, "train": call}`: one inference and one Adam step on a batch of random features; each waits for its result."""
    import keras
    import tensorflow as tf

    features = {"features": tf.random.stateless_normal((batch, *shape), seed=(0, 0))}
    targets = {space: tf.zeros(batch, tf.int32) for space in CLASSES}
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build(model.trainable_variables)

    @tf.function
    def forward(inputs):
        return model(inputs, training=False)["verb"]

    @tf.function
    def train(inputs):
        with tf.GradientTape() as tape:
            outputs = model(inputs, training=True)
            loss = sum(cross_entropy(targets[space], outputs[space]) for space in CLASSES)
        optimizer.apply_gradients(zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True))
        return loss

    return {"forward": lambda: forward(features).numpy(), "train": lambda: train(features).numpy()}


def measure(comparison, sizes):
    """Rows of the table for one comparison: parameters, multiply-adds, and median and quartiles of the times and their ratios."""
    from egokeras.compress.cost import cost

    models = {name: head.build(feature_shape=shape, classes=CLASSES) for name, (head, shape) in comparison.heads.items()}
    calls = {name: steps_of(model, comparison.heads[name][1], sizes.batch) for name, model in models.items()}
    taken = {(name, kind): [] for kind in TIMES for name in calls}
    for turn in range(-2, sizes.runs):  # two turns to warm up
        for (name, kind), times in taken.items():
            started = time.perf_counter()
            calls[name][kind]()
            elapsed = time.perf_counter() - started
            if turn >= 0:
                times.append(1000 * elapsed)
    first = next(iter(models))
    for name, model in models.items():
        row = {"figure": comparison.figure, "axis": comparison.axis, "value": comparison.value, "head": name}
        row |= {
            "parameters": sum(weight.value.shape.num_elements() for weight in model.trainable_weights),
            "macs": cost(model)["macs"]["whole"],
        }
        for kind in TIMES:
            ratios = [own / other for own, other in zip(taken[name, kind], taken[first, kind], strict=True)]
            row |= _spread(f"{kind}_ms", taken[name, kind]) | _spread(f"{kind}_ratio", ratios)
        yield row


def _spread(key, values):
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return {key: round(median, 3), f"{key}_low": round(low, 3), f"{key}_high": round(high, 3)}


def table(rows):
    """The rows as a Markdown table; times and ratios as `median (lower quartile - upper quartile)`."""

    def cell(row, key):
        return f"{row[key]:.2f} ({row[f'{key}_low']:.2f} - {row[f'{key}_high']:.2f})"

    yield "| figure | grows | | head | parameters | MMACs/clip | forward ms | ratio | training step ms | ratio |"
    yield "|---|---|---:|---|---:|---:|---:|---:|---:|---:|"
    for row in rows:
        facts = [row["figure"], row["axis"], row["value"], row["head"], f"{row['parameters']:,}", f"{row['macs'] / 1e6:.2f}"]
        times = [cell(row, f"{kind}_{what}") for kind in TIMES for what in ("ms", "ratio")]
        yield f"| {' | '.join(map(str, facts + times))} |"


def plot(rows, figure, path):
    """A PNG with a row of panels for each axis of one figure: parameters, multiply-adds, times with their quartiles as bands."""
    from matplotlib.figure import Figure

    rows = [row for row in rows if row["figure"] == figure]
    axes = list(dict.fromkeys(row["axis"] for row in rows))
    picture = Figure(figsize=(14, 3.2 * len(axes)), layout="constrained")
    grid = picture.subplots(len(axes), len(PANELS), squeeze=False)
    for line, axis in zip(grid, axes, strict=True):
        for panel, (key, title) in zip(line, PANELS.items(), strict=True):
            for head in dict.fromkeys(row["head"] for row in rows):
                points = [row for row in rows if row["axis"] == axis and row["head"] == head]
                values = [row["value"] for row in points]
                panel.plot(values, [row[key] for row in points], marker="o", markersize=4, label=head)
                if key.endswith("_ms"):
                    panel.fill_between(values, [row[f"{key}_low"] for row in points], [row[f"{key}_high"] for row in points], alpha=0.2)
            panel.set(xlabel={"frames": "frames", "width": "units or filters"}[axis], title=title, yscale="log")
            panel.set_xscale("log", base=2)
            panel.set_xticks(values, values)
            panel.grid(alpha=0.3, which="both")
    picture.legend(*grid[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    picture.savefig(path, dpi=110)


def write(folder, rows, sizes, host):
    """Write `table.md`, `results.csv`, `results.json`, `figure_8.png` and `figure_9.png`."""
    from egokeras.files import write_json

    write_json(folder / "results.json", {"host": host, "sizes": dataclasses.asdict(sizes), "results": rows})
    with open(folder / "results.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    features = f"features {sizes.maps}x{sizes.maps}x{sizes.channels}"
    processor = ", ".join(host["gpus"]) or f"{host['processor']}, {host['cores']} cores"
    where = f"{processor}; batch {sizes.batch}, {features}, {sizes.runs} runs"
    lines = [f"Measured on {where}. Median (quartiles); ratios are to the first head of each group, turn by turn.", "", *table(rows)]
    (folder / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for figure in ("8", "9"):
        plot(rows, figure, folder / f"figure_{figure}.png")
    return lines


def machine():
    """The host, TensorFlow's version and the GPUs that it uses."""
    import tensorflow as tf

    from egokeras.device import latency

    gpus = [
        tf.config.experimental.get_device_details(device).get("device_name", device.name)
        for device in tf.config.list_physical_devices("GPU")
    ]
    return latency.host() | {"tensorflow": tf.__version__, "gpus": gpus}


def main():
    """Measure, and write the results to a fresh folder."""
    example = "example: python benchmarks/temporal_heads.py --output results/heads"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=example)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("temporal_heads"), metavar="FOLDER", help="(%(default)s)")
    parser.add_argument("--runs", type=int, help=f"timed turns per comparison ({Sizes.runs})")
    parser.add_argument("--quick", action="store_true", help="tiny features and few runs: shows that the script works, measures nothing")
    args = parser.parse_args()
    sizes = QUICK if args.quick else Sizes()
    if args.runs is not None:
        if args.runs < 2:
            parser.error(f"--runs is {args.runs}; a spread needs at least 2.")
        sizes = dataclasses.replace(sizes, runs=args.runs)

    from egokeras.files import fresh_folder
    from egokeras.progress import track

    host = machine()
    rows = [row for comparison in track(list(comparisons(sizes)), "heads") for row in measure(comparison, sizes)]
    folder = fresh_folder(args.output)
    print("\n".join(write(folder, rows, sizes, host)))
    print(f"\n{folder}: table.md, results.csv, results.json, figure_8.png, figure_9.png")


if __name__ == "__main__":
    main()
