"""How fast clips come from disk to batches, and what they weigh, by storage format. Needs Linux for the memory figures.

    python benchmarks/input_throughput.py

Three parts. Sizes: one file of clips as the report stored them (npz of uint8 or float32, compressed or not) against shards, over the number
of clips. Throughput: shuffled batches of 16 from our loader and its peers, all files in the page cache, contestants taking turns; the
ratio is to the ceiling of the same turn, one thread that copies the same clips from the page cache in random order into four batches'
worth of memory, and does nothing else. Memory: anonymous resident memory of a process that reads 20 epochs.

The npz groups are the report's road: files of many clips, loaded one after another and shuffled within. They are spared its conversion
to float32. TFRecords are shuffled within a buffer of 64 clips. Only our loader and the ceiling see the whole set at random.
"""

import argparse
import itertools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

SHAPES = {"S": (16, 128, 171, 3), "L": (20, 256, 256, 3)}
TINY = {"S": (2, 16, 24, 3), "L": (3, 32, 32, 3)}
BATCH = 16
GROUP = 32  # clips in an npz file
BUFFER = 64  # clips that TFRecords are shuffled among
QUALITY = 90
RING = 4  # batches in flight, between reader and consumer
WARM_UP = 4  # batches


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=300, help="of pixels in each set (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="turns that each contestant takes (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.5, help="length of a turn (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=20, help="that the memory is watched over (default: %(default)s)")
    parser.add_argument("--folder", help="where the temporary files lie (default: the system's place)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--tiny", action="store_true", help="tiny clips, to try the script")
    parser.add_argument("--memory", help=argparse.SUPPRESS)  # the child process: print the memory after each epoch over this set
    args = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if args.memory:
        print(json.dumps(memory(args.memory, args.epochs)))
        return
    shapes, counts = (TINY, (2, 4)) if args.tiny else (SHAPES, (4, 8, 16))
    result = {"sizes": [], "throughput": {}, "memory": {}}
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        folder = pathlib.Path(folder)
        result["sizes"] = sizes(folder, shapes["L"], counts)
        print(sizes_text(result["sizes"], shapes["L"]), flush=True)
        for name, shape in shapes.items():
            count = max(2 * BATCH, 10**6 * args.megabytes // int(np.prod(shape)) if not args.tiny else 0)
            sets = Sets(folder / name, shape, count)
            result["throughput"][name] = throughput(sets, args.rounds, args.seconds)
            print(throughput_text(name, sets, result["throughput"][name]), flush=True)
        for name, encoding in [("S", "raw")] if args.tiny else itertools.product(shapes, ("raw", "jpeg")):
            result["memory"][f"{name}, {encoding}"] = watched(folder / name / encoding, args.epochs)
        print(memory_text(result["memory"]))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


def clips(shape, count):
    """Moving smooth pictures with a little noise, as JPEG and zlib would meet them: yields (time, height, width, 3) uint8."""
    import cv2

    rng = np.random.default_rng(0)
    frames, height, width, _ = shape
    for _ in range(count):
        scene = cv2.resize(rng.uniform(0, 255, (9, 12, 3)).astype("float32"), (width + frames, height), interpolation=cv2.INTER_CUBIC)
        scene = np.clip(scene + rng.standard_normal(scene.shape, "float32"), 0, 255).astype("uint8")
        yield np.stack([scene[:, t : t + width] for t in range(frames)])


def write_shards(folder, shape, count, encoding):
    from zlib_ng.zlib_ng import crc32

    from egokeras.data.shards import ShardWriter, encode_jpeg, table_dtype

    folder.mkdir(parents=True)
    writer = ShardWriter(folder, shape=shape, encoding=encoding, shard_bytes=64 << 20)
    table = np.zeros(count, table_dtype(8, 1, 1, ["verb"]))
    for number, clip in enumerate(clips(shape, count)):
        payload = clip if encoding == "raw" else encode_jpeg(clip, QUALITY)
        table[number] = (f"{number}", "", "", 0, 1, *writer.append(payload), crc32(payload), 1, 0)
    writer.finish(table, {"modality": "rgb", "channels": "RGB", "classes": {"verb": ["take"]}, "splits": ["train"], "quarantined": 0})
    return folder


class Sets:
    """The same clips in every format, in `folder`."""

    def __init__(self, folder, shape, count):
        self.folder, self.shape, self.count = folder, shape, count
        for encoding in ("raw", "jpeg"):
            write_shards(folder / encoding, shape, count, encoding)
        self._write_groups()
        self._write_records()

    def _write_groups(self):
        source = clips(self.shape, self.count)
        for number in itertools.count():
            group = list(itertools.islice(source, GROUP))
            if not group:
                return
            np.savez(self.folder / f"group-{number:03d}.npz", clips=np.stack(group))

    def _write_records(self):
        import tensorflow as tf

        from egokeras.data.shards import encode_jpeg

        encoders = {"raw": lambda clip: clip.tobytes(), "jpeg": lambda clip: encode_jpeg(clip, QUALITY).tobytes()}
        for encoding, encode in encoders.items():
            with tf.io.TFRecordWriter(str(self.folder / f"{encoding}.tfrecord")) as writer:
                for clip in clips(self.shape, self.count):
                    value = tf.train.Feature(bytes_list=tf.train.BytesList(value=[encode(clip)]))
                    writer.write(tf.train.Example(features=tf.train.Features(feature={"clip": value})).SerializeToString())

    def contestants(self):
        """Name to a function that gives an endless iterator of batches."""
        return {
            "ceiling": self.ceiling,
            "shards, raw": lambda: ours(self.folder / "raw"),
            "shards, JPEG": lambda: ours(self.folder / "jpeg"),
            "npz groups": self.groups,
            "TFRecord, raw": lambda: self.records("raw"),
            "TFRecord, JPEG": lambda: self.records("jpeg"),
        }

    def ceiling(self):
        flat = [np.load(file, mmap_mode="r") for file in sorted((self.folder / "raw").glob("shard-*.npy"))]
        every = [clip for shard in flat for clip in shard]
        ring = [np.ones((BATCH, *self.shape), np.uint8) for _ in range(RING)]
        rng = np.random.default_rng(0)
        for batch in itertools.cycle(ring):
            for clip, row in zip(batch, rng.integers(0, len(every), BATCH), strict=True):
                clip[...] = every[row]
            yield batch

    def groups(self):
        import tensorflow as tf

        rng = np.random.default_rng(0)
        files = sorted(self.folder.glob("group-*.npz"))
        while True:
            for number in rng.permutation(len(files)):
                with np.load(files[number], allow_pickle=False) as group:
                    held = group["clips"]
                order = rng.permutation(len(held))
                for start in range(0, len(held), BATCH):
                    yield tf.convert_to_tensor(held[order[start : start + BATCH]])

    def records(self, encoding):
        import tensorflow as tf

        def parse(record):
            content = tf.io.parse_single_example(record, {"clip": tf.io.FixedLenFeature((), tf.string)})["clip"]
            pixels = tf.io.decode_raw(content, tf.uint8) if encoding == "raw" else tf.io.decode_jpeg(content)
            return tf.reshape(pixels, self.shape)

        data = tf.data.TFRecordDataset(str(self.folder / f"{encoding}.tfrecord")).repeat().shuffle(BUFFER, seed=0)
        return iter(data.map(parse, tf.data.AUTOTUNE).batch(BATCH).prefetch(2))


def ours(folder):
    from egokeras.data.input_pipeline import stream
    from egokeras.data.shards import Shards

    data = Shards(folder)
    return (inputs["rgb"] for inputs, _ in stream(data, data.rows("train"), heads=("verb",), batch_size=BATCH, seed=0))


def throughput(sets, rounds, seconds):
    """Contestant to clips per second, ratio to the ceiling of the same round, and CPU milliseconds per clip: lists of one per round."""
    found = {name: {"clips_per_s": [], "ratio": [], "cpu_ms": []} for name in sets.contestants()}
    for turn in range(-1, rounds):  # the first warms up
        for name, start in sets.contestants().items():
            rate, cpu = timed(start(), seconds)
            if turn >= 0:
                found[name]["clips_per_s"].append(rate)
                found[name]["cpu_ms"].append(cpu)
                found[name]["ratio"].append(rate / found["ceiling"]["clips_per_s"][-1])
    return found


def timed(batches, seconds):
    """Clips per second and CPU milliseconds per clip, of all threads, over at least `seconds`."""
    for _ in range(WARM_UP):
        next(batches)
    count, cpu, start = 0, time.process_time(), time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds or count < 2 * BATCH:
        count += len(next(batches))
    return count / elapsed, 1000 * (time.process_time() - cpu) / count


def sizes(folder, shape, counts):
    """The report's Figure 19 as rows: format, clips, megabytes on disk and in memory, seconds to load all."""
    rows = []
    for count in counts:
        held = np.stack(list(clips(shape, count)))
        for (kind, save), dtype in itertools.product((("npz", np.savez), ("npz compressed", np.savez_compressed)), ("uint8", "float32")):
            file = folder / "sizes.npz"
            save(file, clips=held.astype(dtype))
            rows.append({"format": f"{kind}, {dtype}", "clips": count, **loaded(load_npz, file)})
        for encoding in ("raw", "jpeg"):
            path = write_shards(folder / f"sizes-{encoding}-{count}", shape, count, encoding)
            rows.append({"format": f"shards, {encoding}", "clips": count, **loaded(load_shards, path)})
    return rows


def load_npz(file):
    with np.load(file, allow_pickle=False) as held:
        return held["clips"]


def load_shards(path):
    from egokeras.data.shards import Shards

    data = Shards(path)
    return data.read(range(len(data)))


def loaded(load, path):
    start = time.perf_counter()
    held = load(path)
    seconds = time.perf_counter() - start
    files = path.iterdir() if path.is_dir() else [path]
    return {"disk_mb": sum(file.stat().st_size for file in files) / 1e6, "memory_mb": held.nbytes / 1e6, "load_s": seconds}


def watched(folder, epochs):
    """Megabytes of anonymous resident memory after each epoch, in a process of its own; None where the system does not tell."""
    if not pathlib.Path("/proc/self/status").exists():
        return None
    command = [sys.executable, __file__, "--memory", str(folder), "--epochs", str(epochs)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout.splitlines()[-1])


def memory(folder, epochs):
    from egokeras.data.shards import Shards

    steps, batches, found = len(Shards(folder)) // BATCH, ours(folder), []
    for _ in range(epochs):
        for _ in range(steps):
            next(batches)
        status = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
        found.append(int(status["RssAnon"].split()[0]) / 1024)
    return found


def sizes_text(rows, shape):
    lines = [f"\nStorage of clips of {'x'.join(map(str, shape))} (the report's Figure 19)"]
    lines.append(f"{'format':26}{'clips':>6}{'disk MB':>10}{'memory MB':>11}{'load s':>9}")
    lines += [f"{r['format']:26}{r['clips']:6}{r['disk_mb']:10.1f}{r['memory_mb']:11.1f}{r['load_s']:9.4f}" for r in rows]
    return "\n".join(lines)


def throughput_text(name, sets, found):
    gigabytes = np.prod(sets.shape) * statistics.median(found["ceiling"]["clips_per_s"]) / 1e9
    lines = [f"\n{name}: {sets.count} clips of {'x'.join(map(str, sets.shape))}, shuffled batches of {BATCH}; ceiling {gigabytes:.1f} GB/s"]
    lines.append(f"{'':18}{'clips/s':>10}{'CPU ms/clip':>13}{'to the ceiling':>16}  (least to most){'ours, raw, is':>17}")
    for contestant, figures in found.items():
        rate, cpu, ratio = (statistics.median(figures[key]) for key in ("clips_per_s", "cpu_ms", "ratio"))
        times = statistics.median(np.divide(found["shards, raw"]["clips_per_s"], figures["clips_per_s"]))
        spread = f"({min(figures['ratio']):.3f} to {max(figures['ratio']):.3f})"
        lines.append(f"{contestant:18}{rate:10.0f}{cpu:13.3f}{ratio:16.3f}  {spread:17}{times:13.2f} x")
    return "\n".join(lines)


def memory_text(found):
    lines = [f"\nAnonymous resident memory of our loader\n{'set':10}{'epoch 1, MB':>13}{'last, MB':>10}{'largest change since':>22}"]
    for name, values in found.items():
        if values is None:
            return lines[0] + "\nnot told by this system"
        change = max(abs(value / values[0] - 1) for value in values)
        lines.append(f"{name:10}{values[0]:13.1f}{values[-1]:10.1f}{change:22.1%}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
