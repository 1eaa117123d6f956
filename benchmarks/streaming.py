"""What a frame of an endless stream costs: the step of a stream beside its whole clip, and beside another streaming network's file.

    python benchmarks/streaming.py --peer movinet/a0_int8.tflite

Random weights, which do not change the time, in MobileNetV2-1.0 on 20 frames of 224 pixels with the report's heads, and in the student of
the demo; made into artifacts by the code that `egokeras export` uses. A ratio is the median over rounds of the ratio of medians, all files
of a table taking turns in one process, with the 10th and 90th percentile; it holds on a machine that others use too, milliseconds do not.
The peer that is meant is MoViNet-A0-stream in int8, which takes a frame and its state as our step does.
"""

import argparse
import dataclasses
import functools
import json
import pathlib
import sys
import tempfile
import zlib

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

CLIPS = 4  # of noise, to calibrate int8 on
CLASSES = {"verb": 97, "noun": 300}
EXPORTS = ("float32", "stream_float32", "mixed", "stream")


def networks(size, frames):
    """Name to a function that builds the model."""
    from egokeras import recipe, untrained
    from egokeras.models import Backbone, ConvLSTMHead, ConvNet1DHead, FrameModel, LSTMHead

    heads = {"ConvNet1D": ConvNet1DHead(), "LSTM": LSTMHead(), "ConvLSTM": ConvLSTMHead()}
    found = {
        f"MobileNetV2 {name}": functools.partial(
            FrameModel(backbone=Backbone(weights=None), head=head, frames=frames, size=size).build, classes=CLASSES
        )
        for name, head in heads.items()
    }
    stages = recipe.load("demo")
    return {**found, "demo": lambda: untrained.build(stages[-1], stages)[0]}


def run_of(model, folder):
    """A run folder of an untrained model with clips of noise."""
    from egokeras.data.shards import ShardWriter, table_dtype
    from egokeras.files import write_json

    classes = {head: [f"{head} {number}" for number in range(model.output[head].shape[-1])] for head in CLASSES}
    shape = model.input["rgb"].shape[1:]
    (folder / "shards").mkdir(parents=True)
    writer, table = ShardWriter(folder / "shards", shape=shape), np.zeros(CLIPS, table_dtype(8, 8, 0, classes))
    for number, clip in enumerate(np.random.default_rng(0).integers(0, 256, (CLIPS, *shape), np.uint8)):
        table[number] = (f"c{number}", f"v{number}", "", 0, 1, *writer.append(clip), zlib.crc32(clip), 1 + number % 2, 0, 0)
    about = {"modality": "rgb", "channels": "RGB", "resize": "squash", "sampling": {"rule": "uniform", "frames": shape[0]}}
    writer.finish(table, {**about, "clip_seconds": 2.0, "classes": classes, "splits": ["train", "validation"], "quarantined": 0})
    model.save(folder / "model.keras")
    write_json(folder / "classes.json", classes)
    write_json(folder / "recipe.json", {"data": {"shards": str(folder / "shards")}})
    return folder


def artifacts(model, folder, names=EXPORTS):
    """Export to the folder of its artifact, of an untrained model: nothing is judged."""
    from egokeras.export import load, ship_all

    exports = [dataclasses.replace(load(name), calibration_clips=CLIPS, min_agreement=0.0, max_lost_points=100.0) for name in names]
    shipments = ship_all(exports, run_of(model, folder), accept_untested=True)
    for shipment in shipments:
        if shipment.path is None:
            raise SystemExit(shipment.reason)
    return {shipment.export.name: shipment.path for shipment in shipments}


def measure(folder, builders, peer, rounds, threads):
    """The tables: their titles to what `egokeras.device.latency.compare` gives."""
    from egokeras.device.latency import compare

    tables = {}
    for name, build in builders.items():
        made = artifacts(build(), folder / name.replace(" ", "_"))
        for clip, step in (("float32", "stream_float32"), ("mixed", "stream")):
            tables[f"{name}: a step against the clip, {clip}"] = compare([made[clip], made[step]], threads, rounds)
        if peer:
            tables[f"{name}: a step against {peer.stem}"] = compare([peer, made["stream"]], threads, rounds)
    return tables


def lines(tables, host):
    """A table in markdown."""
    yield f"{host['processor']}, one frame:\n"
    yield "| | step, ms | against, ms | ratio of the medians | one part in |"
    yield "|---|---:|---:|---:|---:|"
    for title, (first, step) in tables.items():
        spread = f"{step['ratio']:.3f} ({step['ratio_low']:.3f} - {step['ratio_high']:.3f})"
        yield f"| {title} | {step['p50_ms']:.2f} | {first['p50_ms']:.2f} | {spread} | {1 / step['ratio']:.1f} |"


def main():
    """Make the artifacts, time them, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=pathlib.Path, metavar="TFLITE", help="also compare with this streaming file")
    parser.add_argument("--only", metavar="TEXT", default="", help="of the networks those whose name has this in it")
    parser.add_argument("--size", type=int, default=224, help="of MobileNetV2's frames (%(default)s)")
    parser.add_argument("--frames", type=int, default=20, help="of its clips (%(default)s)")
    parser.add_argument("--rounds", type=int, default=30, help="turns that each file takes (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="(%(default)s)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write host and results there")
    args = parser.parse_args()
    if args.peer and not args.peer.is_file():
        parser.error(f"--peer {args.peer} does not exist; give a TFLite file.")

    from egokeras import accelerator
    from egokeras.device.host import host
    from egokeras.files import write_json

    accelerator.start(cpu=True)
    builders = {name: build for name, build in networks(args.size, args.frames).items() if args.only in name}
    with tempfile.TemporaryDirectory() as folder:
        tables = measure(pathlib.Path(folder), builders, args.peer, args.rounds, args.threads)
    print("\n".join(lines(tables, host())))
    if args.json:
        write_json(args.json, json.loads(json.dumps({"host": host(), "tables": tables}, default=str)))


if __name__ == "__main__":
    main()
