"""What changing and cropping training clips costs: CPU milliseconds per clip of 16x112x112, fused against a chain of `tf.image`.

    python benchmarks/augmentation.py

Contestants take turns in one process, so that a machine that gets slower meanwhile slows all. Changes: each of SKD-SRL's alone, by its
probability 0.5, inversion and noise; all of SKD-SRL's and of its authors' code in our fused passes; and SKD-SRL's as one writes them
first, a map over the clips with a `tf.cond` for every change, in float32 with `tf.image` and a depthwise convolution. Crops: from stored
clips of 24x129x172, against a plain copy of as many bytes as come out. Ratios are those of the same turn.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

CLIP, STORED, BATCH = (16, 112, 112), (24, 129, 172), 16
TINY, TINY_STORED = (2, 16, 16), (3, 20, 24)
SIDES = (129, 112, 96, 84)
CHAIN, FUSED, COPY = "naive chain of SKD-SRL's", "SKD-SRL's, fused", "copy of the bytes"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="turns that each contestant takes (default: %(default)s)")
    parser.add_argument("--batches", type=int, default=6, help=f"of {BATCH} clips in each turn (default: %(default)s)")
    parser.add_argument("--out", type=pathlib.Path, metavar="FILE", help="write the figures there too, as JSON")
    parser.add_argument("--quick", action="store_true", help="tiny clips: shows that the script works, measures nothing")
    args = parser.parse_args()
    if args.rounds < 2 or args.batches < 1:
        parser.error("a range needs at least 2 rounds, a turn at least 1 batch.")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from egokeras import accelerator

    accelerator.start(strict=False)
    import tensorflow as tf

    from egokeras.device import latency

    clip, stored = (TINY, TINY_STORED) if args.quick else (CLIP, STORED)
    result = {"host": latency.host(), "clip": clip, "stored": stored, "batch": BATCH}
    print(f"{result['host']['processor']}, {result['host']['cores']} cores; {args.rounds} turns of {args.batches} batches of {BATCH} clips")
    with tf.device("/CPU:0"):  # where the input pipeline runs
        for name, against, runs in (("changes", FUSED, changes(clip)), ("crops", COPY, crops(stored, clip))):
            result[name] = turns(runs, args.rounds, args.batches)
            print("\n".join(text(result[name], against)), flush=True)
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


def clips(shape):
    """A batch of smooth pictures with a little noise: (batch, *shape, 3) uint8."""
    import cv2
    import numpy as np

    rng = np.random.default_rng(0)
    frames, height, width = shape
    scenes = [cv2.resize(rng.uniform(0, 255, (7, 9, 3)).astype("float32"), (width, height)) for _ in range(BATCH)]
    noise = rng.normal(0, 3, (BATCH, frames, height, width, 3))
    return np.clip(np.stack(scenes)[:, None] + noise, 0, 255).astype("uint8")


def changes(shape):
    """Contestant to a function of keys, (batch, 3), that changes a batch of clips."""
    import tensorflow as tf

    from egokeras.data.transforms import Augment

    whole, pixels = Augment.skd_srl(), tf.constant(clips(shape))
    alone = {
        "flip": ("flip",),
        "contrast": ("contrast", "contrast_chance"),
        "brightness": ("brightness", "brightness_chance"),
        "hue": ("hue", "hue_chance"),
        "blur": ("blur", "blur_chance"),
        "channel split": ("channel_split",),
    }
    contestants = {name: Augment(**{field: getattr(whole, field) for field in fields}) for name, fields in alone.items()}
    contestants |= {"inversion": Augment(invert=0.5), "noise": Augment(noise=0.05, noise_chance=0.5)}
    contestants |= {FUSED: whole, "the authors' code's, fused": Augment.self_kd(), CHAIN: Chain(whole)}
    return {name: bound(tf.function(change), pixels) for name, change in contestants.items()}


def crops(stored, shape):
    """Contestant to a function of keys that cuts clips of `shape` out of stored ones, or copies as many bytes."""
    import numpy as np
    import tensorflow as tf

    from egokeras.data.transforms import Crop

    frames, size, _ = shape
    pixels, held = tf.constant(clips(stored)), np.zeros((BATCH, *shape, 3), np.uint8)
    plain = Crop(frames=frames, size=size)
    scaled = Crop(frames=frames, size=size, sides=tuple(size * side // 112 for side in SIDES))
    return {
        COPY: lambda keys: held.copy(),
        "random": bound(tf.function(plain.random), pixels),
        "random, resized from 4 sides": bound(tf.function(scaled.random), pixels),
        "centre": bound(tf.function(lambda clips, keys: plain.centre(clips)), pixels),
        "10 windows (per window)": bound(tf.function(lambda clips, keys: plain.spread(clips, 10)), pixels),
    }


def bound(change, pixels):
    return lambda keys: change(pixels, keys)


class Chain:
    """The changes of an `Augment` one after another, clip by clip."""

    def __init__(self, augment):
        self.augment = augment

    def __call__(self, clips, keys):
        import tensorflow as tf

        return tf.map_fn(self._one, (clips, keys), fn_output_signature=tf.TensorSpec(clips.shape[1:], tf.uint8))

    def _one(self, given):
        import tensorflow as tf

        clip, key = given
        augment = self.augment
        low, high = augment.blur
        seed = tf.random.experimental.stateless_fold_in(key[:2], key[2])
        chance, share = tf.unstack(tf.random.stateless_uniform((2, 6), seed))
        pair = tf.random.stateless_uniform((2,), seed, 0, 3, tf.int32)
        changes = [
            (augment.flip, tf.image.flip_left_right),
            (augment.channel_split, lambda clip: self._split(clip, pair)),
            (augment.contrast_chance, lambda clip: tf.image.adjust_contrast(clip, 1 + augment.contrast * (2 * share[2] - 1))),
            (augment.brightness_chance, lambda clip: tf.image.adjust_brightness(clip, augment.brightness * (2 * share[3] - 1))),
            (augment.hue_chance, lambda clip: tf.image.adjust_hue(clip, augment.hue * share[4])),
            (augment.blur_chance, lambda clip: self._blur(clip, low + (high - low) * share[5])),
        ]
        clip = tf.image.convert_image_dtype(clip, tf.float32)
        for number, (probability, change) in enumerate(changes):
            clip = self._perhaps(clip, chance[number] < probability, change)
        return tf.image.convert_image_dtype(clip, tf.uint8, saturate=True)

    @staticmethod
    def _perhaps(clip, chosen, change):
        import tensorflow as tf

        return tf.cond(chosen, lambda: tf.clip_by_value(change(clip), 0, 1), lambda: clip)

    @staticmethod
    def _split(clip, pair):
        import tensorflow as tf

        channels = tf.tensor_scatter_nd_update(tf.range(3), pair[:1, None], pair[1:])
        return tf.gather(clip, channels, axis=-1)

    @staticmethod
    def _blur(clip, sigma):
        import tensorflow as tf

        line = tf.exp(-((tf.range(-3.0, 4.0) / sigma) ** 2) / 2)
        line /= tf.reduce_sum(line)
        kernel = tf.tile((line[:, None] * line)[:, :, None, None], (1, 1, 3, 1))
        padded = tf.pad(clip, ((0, 0), (3, 3), (3, 3), (0, 0)), "REFLECT")
        return tf.nn.depthwise_conv2d(padded, kernel, (1, 1, 1, 1), "VALID")


def turns(runs, rounds, batches):
    """Contestant to CPU and wall milliseconds per clip, a list of one per round each; before the first round, one that warms up."""
    import tensorflow as tf

    found = {name: {"cpu_ms": [], "wall_ms": []} for name in runs}
    for number in range(-1, rounds):
        rows = range(BATCH * batches)
        keys = tf.split(tf.constant([(0, number + 1, row) for row in rows], tf.int64), batches)
        for name, run in runs.items():
            cpu, start = time.process_time(), time.perf_counter()
            for some in keys:
                run(some)
            if number >= 0:
                clips = len(rows) * (10 if name.startswith("10 ") else 1)
                found[name]["wall_ms"].append(1000 * (time.perf_counter() - start) / clips)
                found[name]["cpu_ms"].append(1000 * (time.process_time() - cpu) / clips)
    return found


def text(found, against):
    """A line for each contestant; the ratio is its CPU time to that of `against` in the same turn."""
    yield f"\n{'':30}{'CPU ms/clip':>12}  {'(least to most)':18}{'wall':>8}   to {against} (least to most)"
    for name, figures in found.items():
        ratios = [own / other for own, other in zip(figures["cpu_ms"], found[against]["cpu_ms"], strict=True)]
        cpu, wall, ratio = map(statistics.median, (figures["cpu_ms"], figures["wall_ms"], ratios))
        spread = f"({min(figures['cpu_ms']):.3f} to {max(figures['cpu_ms']):.3f})"
        yield f"{name:30}{cpu:12.3f}  {spread:18}{wall:8.3f}{ratio:9.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


if __name__ == "__main__":
    main()
