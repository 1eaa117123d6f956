"""R3D-18 (16 x 112 x 112, 400 classes) lowered to 2D convolutions beside TFLite's own Conv3D, taking turns in one process.

    python benchmarks/lowering.py

The first file is the network as it is, in float32, for TFLite has no int8 Conv3D; `egokeras export` would not make it. The others come from
the code that `egokeras export` uses. It is the R3D of Tran et al. because TFLite has no pooling in 3D, which the one of Hara et al. begins
with. Random weights do, as weights do not change the time.
A ratio of the medians holds on a machine that others use too; the milliseconds do not.

`plain` is what the processor can do: eight 3x3 convolutions of pictures in int8, with nothing between them. At their rate the
multiply-accumulates of R3D-18 alone, those with the zeros of its padding too, take so long that computing them all cannot be faster than
the last line says.
"""

import argparse
import json
import pathlib
import sys
import tempfile

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

CALIBRATION = 4
MIB = 2**20


def convert_directly(model, file):
    """Write the network with its Conv3D layers to `file`, in float32."""
    import keras
    import tensorflow as tf

    clip = tf.TensorSpec((1, *model.input["rgb"].shape[1:]), "uint8", name="rgb")
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serving_default", lambda rgb: {"action": model({"rgb": rgb}, training=False)["action"]}, input_signature=[clip])
    with tempfile.TemporaryDirectory() as folder:
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serving_default"])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        file.write_bytes(converter.convert())


def plain():
    """Eight 3x3 convolutions of 192 channels, as wide as the temporal taps of R3D-18's first stage side by side."""
    import keras

    maps = rgb = keras.Input((56, 56, 3), name="rgb", dtype="uint8")
    for _ in range(8):
        maps = keras.layers.Conv2D(192, 3, padding="same", activation="relu")(maps)
    return keras.Model({"rgb": rgb}, {"action": keras.layers.GlobalAveragePooling2D(name="action")(maps)})


def export(model, files):
    """Write `model` lowered, as each kind in `files`, {kind: path}."""
    from egokeras.compress.conversion import Conversion, convert

    with tempfile.TemporaryDirectory() as folder:
        path, calibration = pathlib.Path(folder, "model.keras"), pathlib.Path(folder, "calibration.npy")
        model.save(path)
        shape = (CALIBRATION, *model.input["rgb"].shape[1:])
        np.save(calibration, np.random.default_rng(0).integers(0, 256, shape, np.uint8))
        source = {"model": str(path), "outputs": ("action",), "calibration": {"rgb": str(calibration)}}
        for error in convert([Conversion(kind=kind, file=str(file), **source) for kind, file in files.items()]):
            if error is not None:
                raise error


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1, help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=20, help="turns that each file takes (%(default)s)")
    parser.add_argument("--width", type=int, default=64, help="channels of the first stage (%(default)s)")
    parser.add_argument("--keep", type=pathlib.Path, metavar="FOLDER", help="keep the TFLite files there, and take those that are there")
    args = parser.parse_args()

    from egokeras.compress.cost import cost
    from egokeras.device import latency
    from egokeras.models import ResNet3D

    with tempfile.TemporaryDirectory() as work:
        folder = args.keep or pathlib.Path(work)
        folder.mkdir(parents=True, exist_ok=True)
        files = direct, *ours, bare = [folder / f"{name}.tflite" for name in ("conv3d", "float32", "int8", "plain")]
        model = ResNet3D(variant="tran", width=args.width).build(classes={"action": 400}, frames=16, size=112)
        if not all(file.exists() for file in files):
            convert_directly(model, direct)
            export(model, {file.stem: file for file in ours})
            export(plain(), {"int8": bare})
        results = latency.compare(files, threads=args.threads, rounds=args.rounds)
        for file, result in zip(files, results, strict=True):
            figures = latency.measure(file, threads=args.threads, seconds=0)
            result |= {key: figures[key] for key in ("bytes", "peak_memory_mb")}
    print(json.dumps({"host": latency.host(), "files": results}, indent=1))
    *results, bare = results
    for result in results:
        ratio, low, high = (1 / result[key] for key in ("ratio", "ratio_high", "ratio_low"))
        print(
            f"{result['artifact']:8}{result['p50_ms']:8.0f} ms, {ratio:.2f} times as fast as Conv3D ({low:.2f} to {high:.2f}); "
            f"file {result['bytes'] / MIB:.0f} MiB, memory {result['peak_memory_mb']} MiB"
        )
    macs, rate = cost(model)["macs"]["whole"], cost(plain())["macs"]["whole"] / bare["p50_ms"]
    floor = macs / rate
    print(
        f"plain   {bare['p50_ms']:8.0f} ms, {rate / 1e6:.0f} GMAC/s in int8, at which {macs / 1e9:.1f} GMAC take {floor:.0f} ms: "
        f"at most {results[0]['p50_ms'] / floor:.1f} times as fast as Conv3D"
    )


if __name__ == "__main__":
    main()
