"""Heads trained on cached features against training the same frozen model on frames: clips per second, scores, and EPIC-100's size.

    python benchmarks/feature_cache.py --weights mobilenet_v2_0.35_224_no_top.weights.h5

Three parts. `speed`: the report's MobileNetV2 (width 1.0) and ConvNet1D for 97 verbs and 300 nouns on clips of 20x256x256; the two
roads take turns in one process, so that a machine that gets slower meanwhile slows both, and the ratio of each turn is what counts;
then how much of the time of making the cache the backbone has. `scores`: the same training, with and without the cache, on drawn
clips of which the motion is the verb and the colour the noun. `epic`: one epoch over 67,217 clips of random features in float16.
Folders are temporary.
"""

import argparse
import dataclasses
import math
import pathlib
import shutil
import statistics
import sys
import tempfile
import time

PARTS = ("speed", "scores", "epic")
CLASSES = {"verb": 97, "noun": 300}
FEATURES = (20, 1280)
DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, -1))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """What is measured.

    Attributes:
        frames, pixels, alpha: of the clips and of the backbone of `speed`.
        batch: clips per step, the recipes' default.
        frame_steps, feature_steps: steps of one turn, on frames and on features.
        turns: how often the two roads take turns.
        cached_clips: clips of random features that `speed` trains on.
        train, held_out, epochs: clips and epochs of `scores`; its clips have 8 frames of 64 pixels, its backbone the width 0.35.
        epic_clips: training clips of EPIC-KITCHENS-100.
    """

    frames: int = 20
    pixels: int = 256
    alpha: float = 1.0
    batch: int = 16
    frame_steps: int = 1
    feature_steps: int = 300
    turns: int = 5
    cached_clips: int = 4096
    train: int = 480
    held_out: int = 1000
    epochs: int = 12
    epic_clips: int = 67_217


QUICK = Sizes(pixels=32, alpha=0.35, feature_steps=4, turns=2, cached_clips=64, train=32, held_out=32, epochs=1, epic_clips=100)


def write(folder, clips, classes, modality, count, shape, dtype):
    """Shards of (pixels or features, split, class ids); `count` of them."""
    import numpy as np
    from zlib_ng.zlib_ng import crc32

    from egokeras.data.shards import Shards, ShardWriter, table_dtype

    folder.mkdir(parents=True)
    splits = ["train", "validation"]
    writer = ShardWriter(folder, shape=shape, dtype=dtype, shard_bytes=64 << 20)
    table = np.zeros(count, table_dtype(8, 8, 0, tuple(classes)))
    for row, (content, split, ids) in enumerate(clips):
        table[row] = (f"c{row}", f"v{row}", "", 0, 1, *writer.append(content), crc32(content), 1 << splits.index(split), *ids)
    names = {space: [f"{space} {number}" for number in range(size)] for space, size in classes.items()}
    writer.finish(table, {"modality": modality, "classes": names, "splits": splits, "exclusive": "video", "quarantined": 0})
    return Shards(folder)


def random_clips(count, seed=0):
    """Features from 1 to 2 in float16 with random labels."""
    import numpy as np

    random = np.random.default_rng(seed)
    for _ in range(count):
        bits = random.integers(0, 1 << 10, FEATURES, np.uint16) | 0x3C00  # the mantissa is random, the exponent that of 1
        yield bits.view("float16"), "train", [random.integers(size) for size in CLASSES.values()]


def noise(count, shape):
    """Clips of random pixels with random labels."""
    import numpy as np

    random = np.random.default_rng(0)
    for _ in range(count):
        yield random.integers(0, 256, shape, np.uint8), "train", [random.integers(size) for size in CLASSES.values()]


def drawn(train, held_out, shape):
    """Clips of a square that moves one way (the verb) in one colour of eight (the noun) over noise."""
    import numpy as np

    random = np.random.default_rng(0)
    frames, size = shape[:2]
    side = size // 3
    middle = (size - side) // 2
    for row in range(train + held_out):
        verb, noun = random.integers(len(DIRECTIONS)), random.integers(8)
        clip = np.repeat(random.integers(0, 60, (1, *shape[1:])).astype(np.uint8), frames, axis=0)
        colour = np.array([noun & 1, noun >> 1 & 1, noun >> 2]) * 170 + random.integers(0, 80, 3)
        start = middle + random.integers(-(size // 20), size // 20 + 1, 2)
        for step in range(frames):
            y, x = start + np.array(DIRECTIONS[verb]) * (2 * step - frames + 1) * middle // (frames + 1)
            clip[step, y : y + side, x : x + side] = colour
        yield clip, "train" if row < train else "validation", (verb, noun)


class Road:
    """A student trained on shards as `egokeras train` does it."""

    def __init__(self, student, source, batch, seed=0):
        from egokeras.data.input_pipeline import stream
        from egokeras.distill import Distiller

        self.batch = batch
        self.distiller = Distiller(student)
        self.distiller.compile("adam")
        self.data = stream(source, source.rows("train"), heads=tuple(source.classes), batch_size=batch, seed=seed)

    def train(self, steps):
        """Clips per second, and clips per second of processor time, over some steps."""
        started, used = time.perf_counter(), time.process_time()
        self.distiller.fit(self.data, epochs=1, steps_per_epoch=steps, verbose=0, shuffle=False)
        clips = steps * self.batch
        return clips / (time.perf_counter() - started), clips / (time.process_time() - used)


def speed(sizes, folder):
    """Clips per second of both roads, the ratio of every turn, and what of making the cache is not the backbone's.

    On a CPU, the ratio in processor time holds while others use the machine; on idle cores the ratio in wall time is a little lower
    than that, as the backbone uses all of them and the head about one.
    """
    from egokeras.models import Backbone, MobileNetV2ConvNet1D

    shape = (sizes.frames, sizes.pixels, sizes.pixels, 3)
    frames = write(folder / "frames", noise(sizes.batch, shape), CLASSES, "rgb", sizes.batch, shape, "uint8")
    features = write(folder / "features", random_clips(sizes.cached_clips), CLASSES, "features", sizes.cached_clips, FEATURES, "float16")
    backbone = Backbone(alpha=sizes.alpha, weights=None)
    model, other = (MobileNetV2ConvNet1D(CLASSES, frames=sizes.frames, size=sizes.pixels, backbone=backbone) for _ in range(2))
    uncached, cached = Road(model, frames, sizes.batch), Road(other.get_layer("head"), features, sizes.batch)
    uncached.train(1), cached.train(8)
    turns = [(uncached.train(sizes.frame_steps), cached.train(sizes.feature_steps)) for _ in range(sizes.turns)]
    found = {}
    for number, kind in enumerate(("", " of processor time")):
        found[f"frames, clips/s{kind}"] = spread([on_frames[number] for on_frames, _ in turns])
        found[f"features, clips/s{kind}"] = spread([on_features[number] for _, on_features in turns])
        found[f"ratio{kind}"] = spread([on_features[number] / on_frames[number] for on_frames, on_features in turns])
    return {
        **found,
        "making the cache, share not in the backbone": extraction(model.get_layer("backbone"), frames, folder / "cache"),
    }


def extraction(backbone, frames, folder):
    """Share of the time of `cached` that the backbone does not compute in; its first batch, which builds the graph, came before."""
    from egokeras import features

    predict, inside = backbone.predict_on_batch, []
    predict({"rgb": frames.read(range(features.BATCH))})

    def timed(inputs):
        started = time.perf_counter()
        found = predict(inputs)
        inside.append(time.perf_counter() - started)
        return found

    backbone.predict_on_batch = timed
    started = time.perf_counter()
    features.cached(backbone, frames, folder)
    elapsed = time.perf_counter() - started
    backbone.predict_on_batch = predict
    return 1 - sum(inside) / elapsed


def scores(sizes, folder, weights, seeds):
    """Top-1 on held-out clips after the same training with and without the cache, in percent, and how far the outputs are apart."""
    import keras
    import numpy as np

    from egokeras.features import cached
    from egokeras.models import Backbone, MobileNetV2ConvNet1D

    shape, classes = (8, 64, 64, 3), {"verb": len(DIRECTIONS), "noun": 8}
    clips = write(folder / "drawn", drawn(sizes.train, sizes.held_out, shape), classes, "rgb", sizes.train + sizes.held_out, shape, "uint8")
    rows, rounds = clips.rows("validation"), []
    for seed in range(seeds):
        found = {}
        for road in ("frames", "features"):
            keras.utils.set_random_seed(seed)
            model = MobileNetV2ConvNet1D(classes, frames=8, size=64, backbone=Backbone(alpha=0.35, weights=weights))
            on_features = cached(model.get_layer("backbone"), clips, folder / "cache")
            student, source = (model, clips) if road == "frames" else (model.get_layer("head"), on_features)
            Road(student, source, sizes.batch, seed).train(sizes.epochs * math.ceil(sizes.train / sizes.batch))
            found[road] = model.predict({"rgb": clips.read(rows)}, verbose=0)  # both models take frames
        labels = {space: clips.labels(space, rows) for space in classes}
        top1 = {
            f"{space}, {road}": 100 * float(np.mean(outputs[space].argmax(-1) == labels[space]))
            for space in classes
            for road, outputs in found.items()
        }
        apart = {space: float(np.abs(found["frames"][space] - found["features"][space]).max()) for space in classes}
        rounds.append({"seed": seed, **top1, "largest difference of logits": apart})
    return {
        "seeds": rounds,
        **{f"{space}, points apart": [entry[f"{space}, features"] - entry[f"{space}, frames"] for entry in rounds] for space in classes},
    }


def epic(sizes, folder):
    """Seconds of one epoch over features as many as EPIC-KITCHENS-100 has training clips, and minutes of 100 such."""
    from egokeras.models import ConvNet1DHead

    need, free = sizes.epic_clips * 2 * math.prod(FEATURES), shutil.disk_usage(folder).free
    if need > 0.9 * free:
        sys.exit(f"{folder}: the features take {need / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; free some space or give --clips.")
    features = write(folder / "epic", random_clips(sizes.epic_clips), CLASSES, "features", sizes.epic_clips, FEATURES, "float16")
    road = Road(ConvNet1DHead().build(feature_shape=FEATURES, classes=CLASSES), features, sizes.batch)
    road.train(8)
    steps = math.ceil(sizes.epic_clips / sizes.batch)
    rate, _ = road.train(steps)
    seconds = steps * sizes.batch / rate
    return {
        "clips": sizes.epic_clips,
        "gigabytes": need / 1e9,
        "clips/s": rate,
        "seconds": seconds,
        "minutes of 100 epochs": seconds * 100 / 60,
    }


def spread(values):
    """Median, least and most."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def text(result):
    """The result, a line for each finding."""
    if "speed" in result:
        for name, found in result["speed"].items():
            if isinstance(found, dict):
                yield f"{name:46}{found['median']:10,.1f}   ({found['low']:,.1f} to {found['high']:,.1f})"
            else:
                yield f"{name:46}{100 * found:9.1f}%"
    if "scores" in result:
        for entry in result["scores"]["seeds"]:
            top1 = ", ".join(f"{name} {value:.1f}" for name, value in entry.items() if isinstance(value, float))
            apart = ", ".join(f"{space} {value:.2g}" for space, value in entry["largest difference of logits"].items())
            yield f"seed {entry['seed']}, top-1 %: {top1}; logits at most apart by: {apart}"
        for name, values in result["scores"].items():
            if name != "seeds":
                yield f"{name:46}{', '.join(f'{value:+.1f}' for value in values)}"
    if "epic" in result:
        found = result["epic"]
        where = f"one epoch of {found['clips']:,} clips ({found['gigabytes']:.2f} GB)"
        yield f"{where:46}{found['seconds']:10.1f} s, {found['clips/s']:,.0f} clips/s; 100 epochs: {found['minutes of 100 epochs']:.1f} min"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (all)")
    parser.add_argument("--weights", metavar="H5", help="MobileNetV2 weights of width 0.35 without top, for `scores` (random without it)")
    parser.add_argument("--batch", type=int, help=f"clips per step ({Sizes.batch})")
    parser.add_argument("--clips", type=int, help=f"of `epic` ({Sizes.epic_clips:,})")
    parser.add_argument("--seeds", type=int, default=2, help="trainings of `scores` (%(default)s)")
    parser.add_argument("--folder", help="where the temporary folder is made, with room for 4 GB")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the result there")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that the script works, measures nothing")
    args = parser.parse_args()
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"there is no part {sorted(unknown)[0]!r}; choose from {', '.join(PARTS)}")
    given = {name: value for name, value in {"batch": args.batch, "epic_clips": args.clips}.items() if value}
    sizes = dataclasses.replace(QUICK if args.quick else Sizes(), **given)

    from egokeras import accelerator
    from egokeras.device import latency
    from egokeras.files import write_json

    accelerator.start()
    result = {"host": latency.host(), "sizes": dataclasses.asdict(sizes)}
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = pathlib.Path(name)
        measures = {
            "speed": lambda: speed(sizes, folder),
            "scores": lambda: scores(sizes, folder, args.weights, args.seeds),
            "epic": lambda: epic(sizes, folder),
        }
        for part in args.parts or PARTS:
            result[part] = measures[part]()
            print("\n".join(text({part: result[part]})), flush=True)
    if args.json:
        write_json(args.json, result)


if __name__ == "__main__":
    main()
