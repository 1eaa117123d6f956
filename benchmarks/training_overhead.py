"""What training through egokeras costs beside a step written by hand, and what input costs beside the step.

    python benchmarks/training_overhead.py --json training_overhead.json

**Overhead.** `train.fit` trains as ever: `Distiller.train_step` through Keras' `fit`, with the callbacks, logs and snapshots of a run.
Between its epochs, a hand-written loop does as many steps on the same student, optimizer and kind of batches: one `tf.function` with
cross-entropy, gradients, `optimizer.apply`, running mean of the loss, top-1 and top-5 of every head, with XLA where `fit` uses it. A
ratio is an epoch of ours over the block by hand that follows it; shown are median and quartiles. The first two of each, which trace,
are left out. The CPU ratio is the same of the process' CPU time: on a CPU it stays true where other work takes turns on the machine.

**Input.** Both read clips of noise from shards written to a temporary folder (so from the page cache, and checked by checksum in the
first epoch alone), by `input_pipeline.stream`. `wait` is the share of the hand-written loop's wall time inside `next()`. On a CPU
that hides what input takes from the step, so `CPU share` is the process' CPU-seconds for one batch when the pipeline runs alone,
over the seconds of our step times the cores.

**Snapshots.** At the end the state of the training is snapshot five times: the size, the seconds for which the training waits, and the
CPU-seconds of copying, summing and writing. Their share of 50 s of training, the usual distance of two snapshots, takes all the
CPU-seconds beside the wait as if they were lost to a training that needs every core.

The models are those of the published systems at their clip sizes, and the head that trains on cached features. Batches are small, to
get many steps in a short time; step and input both grow with the batch, what surrounds them does not. Needs 1 GB in the temporary folder.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import statistics
import tempfile
import time
from unittest import mock

CLASSES = {"verb": 97, "noun": 300}
WARM = 2  # blocks of each side that are left out


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """What is trained.

    Attributes:
        model: name of a function of this file that gives it.
        shape: of a clip, or of its features.
        batch, steps: clips per step, and steps in a block.
    """

    model: str
    shape: tuple[int, ...]
    batch: int
    steps: int


CASES = {
    "convnet1d": Case(model="convnet1d", shape=(20, 256, 256, 3), batch=1, steps=3),
    "lstm": Case(model="lstm", shape=(20, 256, 256, 3), batch=1, steps=3),
    "resnet3d18": Case(model="resnet3d18", shape=(16, 112, 112, 3), batch=1, steps=3),
    "convnet1d-head": Case(model="head", shape=(20, 1280), batch=16, steps=100),
}
QUICK = {
    "frames": Case(model="small", shape=(4, 16, 16, 3), batch=1, steps=3),
    "head": Case(model="head", shape=(8, 16), batch=4, steps=5),
}


def convnet1d():
    from egokeras.models import Backbone, ConvNet1DHead, FrameModel

    return FrameModel(backbone=Backbone(weights=None), head=ConvNet1DHead())


def lstm():
    from egokeras.models import Backbone, FrameModel, LSTMHead

    return FrameModel(backbone=Backbone(weights=None), head=LSTMHead())


def resnet3d18():
    from egokeras.models import ResNet3D

    return ResNet3D(depth=18)


def small():
    from egokeras.models import FrameModel, LSTMHead, SmallBackbone

    return FrameModel(backbone=SmallBackbone(channels=(4,)), head=LSTMHead(units=4))


@dataclasses.dataclass(frozen=True)
class HeadModel:
    """ConvNet1D on features as a model of its own, as it trains from a feature cache."""

    def build(self, *, classes, shapes):
        from egokeras.models import ConvNet1DHead

        return ConvNet1DHead().build(feature_shape=shapes["features"], classes=classes)


head = HeadModel


def write_shards(folder, case):
    """Shards of noise: the clips (uint8) or features (float16) of one block."""
    import numpy as np
    from zlib_ng.zlib_ng import crc32

    from egokeras.data.shards import ShardWriter, table_dtype

    pixels = len(case.shape) == 4
    folder.mkdir()
    random, writer = np.random.default_rng(0), ShardWriter(folder, shape=case.shape, dtype="uint8" if pixels else "float16")
    table = np.zeros(case.batch * case.steps, table_dtype(8, 8, 8, tuple(CLASSES)))
    for row in range(len(table)):
        noise = random.integers(0, 256, case.shape, "uint8") if pixels else random.random(case.shape, "float32").astype("float16")
        labels = [random.integers(count) for count in CLASSES.values()]
        table[row] = (f"c{row}", f"v{row}", f"p{row}", 0, 1, *writer.append(noise), crc32(noise), 1, *labels)
    classes = {space: [f"{space} {i}" for i in range(count)] for space, count in CLASSES.items()}
    about = {
        "modality": "rgb" if pixels else "features", "channels": "RGB", "classes": classes, "clip_seconds": 1.0, "splits": ["train"],
        "quarantined": 0, "sources": [], "sampling": {"rule": "uniform", "frames": case.shape[0]}, "resize": "squash", "fps_rule": "none",
    }  # fmt: skip
    writer.finish(table, about)


def hand_written(student, optimizer, jit_compile):
    """The step that one would write for this student, `step(inputs, labels)`, and its running means by name."""
    import keras
    import tensorflow as tf

    from egokeras.metrics import TopK

    means = {"loss": keras.metrics.Mean()} | {f"{space}_top{k}": TopK(k) for space in CLASSES for k in (1, 5)}
    weights = student.trainable_variables

    @tf.function(jit_compile=jit_compile)
    def step(inputs, labels):
        with tf.GradientTape() as tape:
            outputs = student(inputs, training=True)
            entropy = {space: tf.nn.sparse_softmax_cross_entropy_with_logits(labels[space], outputs[space]) for space in CLASSES}
            loss = sum(tf.reduce_mean(value) for value in entropy.values())
        optimizer.apply(tape.gradient(loss, weights), weights)
        means["loss"].update_state(loss, sample_weight=tf.shape(labels["verb"])[0])
        for space in CLASSES:
            for k in (1, 5):
                means[f"{space}_top{k}"].update_state(labels[space], outputs[space])

    return step, means


@dataclasses.dataclass
class Blocks:
    """What was measured, block by block.

    Attributes:
        ours, by_hand: (wall seconds, CPU-seconds of the process).
        waited: seconds that the loop by hand spent in `next()`.
        logs: the means that it kept.
        data: the `tf.data.Dataset` that `fit` was given.
        snapshots: (bytes, seconds waited, CPU-seconds) of each.
    """

    ours: list = dataclasses.field(default_factory=list)
    by_hand: list = dataclasses.field(default_factory=list)
    waited: list = dataclasses.field(default_factory=list)
    logs: list = dataclasses.field(default_factory=list)
    data: object = None
    snapshots: list = dataclasses.field(default_factory=list)


def clock():
    return time.perf_counter(), time.process_time()


def since(start):
    """(wall seconds, CPU-seconds of the process) since `start`, a `clock()`."""
    return tuple(now - then for now, then in zip(clock(), start, strict=True))


def measured(blocks):
    """A Distiller that is trained in turns with the hand-written step, and notes the times in `blocks`."""
    import keras

    from egokeras.distill import Distiller
    from egokeras.snapshots import Snapshots

    class Turns(keras.callbacks.Callback):
        """Does its block at the end of every epoch; all the time in between is ours."""

        def on_train_begin(self, logs=None):
            distiller = self.model
            self.step, self.means = hand_written(distiller.student, distiller.optimizer, distiller.jit_compile)
            self.input = iter(blocks.data)
            self.started = clock()

        def on_epoch_end(self, epoch, logs=None):
            blocks.ours.append(since(self.started))
            self.block(self.params["steps"])
            self.started = clock()

        def block(self, steps):
            started, waited = clock(), 0.0
            for mean in self.means.values():
                mean.reset_state()
            for _ in range(steps):
                asked = time.perf_counter()
                batch = next(self.input)
                waited += time.perf_counter() - asked
                self.step(*batch)
            logs = {name: float(mean.result()) for name, mean in self.means.items()}  # waits for the device
            blocks.by_hand.append(since(started))
            blocks.waited.append(waited)
            blocks.logs.append(logs)

    class Measured(Distiller):
        def fit(self, data, *, callbacks, **settings):
            blocks.data = data
            trained = super().fit(data, callbacks=[Turns(), *callbacks], **settings)
            blocks.snapshots += [snapshot_cost(callback) for callback in callbacks if isinstance(callback, Snapshots) for _ in range(5)]
            return trained

    return Measured


def snapshot_cost(state):
    """(bytes, seconds that the training waits, CPU-seconds of this process) for a snapshot at the end of the training."""
    state.finish()
    started = clock()
    state._save(state.params["epochs"], 0)
    waited, _ = since(started)
    state.finish()
    _, cpu = since(started)
    return max(file.stat().st_size for file in state.folder.glob("*.npz")), waited, cpu


def input_cost(data, batches):
    """CPU-seconds of this process, and seconds, for one batch when nothing but the input pipeline runs."""
    batch = iter(data)
    for _ in range(max(8, batches)):  # fills the buffers, and past the first pass, in which clips are checked
        next(batch)
    started = clock()
    for _ in range(batches):
        next(batch)
    wall, cpu = since(started)
    return cpu / batches, wall / batches


def measure(name, case, rounds, augment, folder):
    """The row of one case: seconds, ratio, wait and input cost; quartiles end in `_low` and `_high`."""
    from egokeras import train
    from egokeras.data.transforms import Augment
    from egokeras.recipe import Data, Recipe

    write_shards(folder / "shards", case)
    changes = Augment(flip=0.5, shift=0.1, brightness=0.15, contrast=0.2) if augment and len(case.shape) == 4 else None
    recipe = Recipe(
        name=name,
        data=Data(shards=str(folder / "shards"), augment=changes),
        model=globals()[case.model](),
        epochs=WARM + rounds,
        batch_size=case.batch,
        cache_features=False,
    )
    blocks, run = Blocks(), folder / "run"
    run.mkdir()
    with mock.patch.object(train, "Distiller", measured(blocks)):
        train.fit(recipe, run, quiet=True)
    ours, by_hand, waited = (found[WARM:] for found in (blocks.ours, blocks.by_hand, blocks.waited))
    ratios = [[own / other for own, other in zip(*pair, strict=True)] for pair in zip(ours, by_hand, strict=True)]
    from egokeras.snapshots import SECONDS

    size, snapshot_wait, snapshot_cpu = (statistics.median(values) for values in zip(*blocks.snapshots, strict=True))
    cpu, alone = input_cost(blocks.data, max(20, 2 * case.steps))
    return {
        "model": name, "shape": case.shape, "batch": case.batch, "steps": case.steps, "rounds": rounds, "augment": changes is not None,
        **_spread("ours_ms", [1000 * wall / case.steps for wall, _ in ours]),
        **_spread("by_hand_ms", [1000 * wall / case.steps for wall, _ in by_hand]),
        **_spread("ratio", [wall for wall, _ in ratios]),
        **_spread("cpu_ratio", [used for _, used in ratios]),
        "wait": sum(waited) / sum(wall for wall, _ in by_hand), "input_cpu_ms": 1000 * cpu, "input_alone_ms": 1000 * alone,
        "snapshot_mb": size / 1e6, "snapshot_wait_s": snapshot_wait, "snapshot_cpu_s": snapshot_cpu,
        "snapshot_share": (snapshot_wait + max(0, snapshot_cpu - snapshot_wait) / cores()) / SECONDS,
        "input_cpu_share": cpu * case.steps / (statistics.median(wall for wall, _ in ours) * cores()),
    }  # fmt: skip


def cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _spread(key, values):
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return {key: median, f"{key}_low": low, f"{key}_high": high}


def table(rows):
    """The rows as a Markdown table."""

    def spread(row, key):
        return f"{row[key]:.3f} ({row[f'{key}_low']:.3f} - {row[f'{key}_high']:.3f})"

    yield "| model | clip | batch | ours ms/step | by hand ms/step | ratio (quartiles) | CPU ratio | wait | input CPU ms/step | CPU share |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    for row in rows:
        facts = [row["model"], "x".join(map(str, row["shape"])), row["batch"], f"{row['ours_ms']:.2f}", f"{row['by_hand_ms']:.2f}"]
        facts += [spread(row, "ratio"), spread(row, "cpu_ratio"), f"{row['wait']:.2%}"]
        yield f"| {' | '.join(map(str, facts))} | {row['input_cpu_ms']:.2f} | {row['input_cpu_share']:.2%} |"
    yield "\n| model | snapshot MB | training waits s | CPU s | share of 50 s |"
    yield "|---|---:|---:|---:|---:|"
    for row in rows:
        seconds = f"{row['snapshot_wait_s']:.3f} | {row['snapshot_cpu_s']:.3f}"
        yield f"| {row['model']} | {row['snapshot_mb']:.1f} | {seconds} | {row['snapshot_share']:.2%} |"


def main():
    """Measure the chosen models, print the table, and write it as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=CASES, default=list(CASES), metavar="NAME", help=f"of {', '.join(CASES)} (all)")
    parser.add_argument("--rounds", type=int, default=8, help="timed blocks of each side (%(default)s)")
    parser.add_argument("--batch", type=int, help="clips per step, where it is not to be the model's own")
    parser.add_argument("--augment", action="store_true", help="clips are flipped, shifted and changed in brightness and contrast")
    parser.add_argument("--cpu", action="store_true", help="use the CPU even if there is a GPU")
    parser.add_argument("--quick", action="store_true", help="tiny models and clips: shows that the script works, measures nothing")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="also write the figures there")
    args = parser.parse_args()
    if args.rounds < 2:
        parser.error(f"--rounds is {args.rounds}; a spread needs at least 2.")

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # as the command line does
    from egokeras import accelerator

    accelerator.start(cpu=args.cpu, strict=False)
    from egokeras.device import latency
    from egokeras.progress import track

    cases = QUICK if args.quick else {name: CASES[name] for name in args.models}
    rows = []
    for name, case in track(list(cases.items()), "models"):
        with tempfile.TemporaryDirectory() as folder:
            sized = dataclasses.replace(case, batch=args.batch or case.batch)
            rows.append(measure(name, sized, args.rounds, args.augment, pathlib.Path(folder)))
    host = latency.host()
    print(f"{host['processor']}, {host['cores']} cores; {args.rounds} blocks of each side, taking turns\n", *table(rows), sep="\n")
    if args.json:
        args.json.write_text(json.dumps({"host": host, "results": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
