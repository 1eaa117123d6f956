"""What zeros in the weights give a TFLite file: its size, its size when compressed, its latency; and whether all of them are in the file.

    python benchmarks/sparsity.py --weights mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5

MobileNetV2-224 (one frame, 1001 classes) unpruned, with 80 % zeros and with 2 of every 4 input channels, in float32 and int8; depthwise
kernels stay dense. Weights are pruned at once: what they are changes neither size nor time, and accuracy is another question. The ratios
are those of `egokeras benchmark --against`; then the zeros of small networks of every other kind of kernel are counted, before and after.
"""

import argparse
import json
import pathlib
import sys
import tempfile

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

CLASSES = 1001
QUANTIZATIONS = ("float32", "int8")
CALIBRATION = 4  # clips; ranges change neither size nor time


def prunings():
    """Name to `Pruning`; None is unpruned."""
    from egokeras.compress.prune import Pruning

    return {"dense": None, "80 %": Pruning(sparsity=0.8), "2:4": Pruning(pattern="2:4")}


def pruned(model, pruning):
    """Prune a model at once; returns (weights, zeros) of the kernels that were pruned."""
    from egokeras.compress.prune import masks

    kernels = list(pruning.kernels(model).values())
    whole = [np.asarray(kernel.value) for kernel in kernels]
    kept = masks(whole, [np.ones(values.shape, bool) for values in whole], pruning, pruning.final)
    for kernel, values, mask in zip(kernels, whole, kept, strict=True):
        kernel.assign(values * mask)
    return sum(mask.size for mask in kept), sum(int((~mask).sum()) for mask in kept)


def export(model, folder, name, quantizations=QUANTIZATIONS):
    """Write `NAME.float32.tflite` and `NAME.int8.tflite`; returns the files."""
    from egokeras.compress.conversion import Conversion, convert

    shape = model.input["rgb"].shape[1:]
    model.save(folder / "model.keras")
    np.save(folder / "clips.npy", np.random.default_rng(0).integers(0, 256, (CALIBRATION, *shape), np.uint8))
    files = [folder / f"{name}.{kind}.tflite" for kind in quantizations]
    clips = {"rgb": str(folder / "clips.npy")}
    source = {"model": str(folder / "model.keras"), "outputs": ("action",), "calibration": clips}
    jobs = [Conversion(kind=kind, file=str(file), **source) for kind, file in zip(quantizations, files, strict=True)]
    for error in filter(None, convert(jobs)):
        raise error
    return files


def mobilenet(weights, size, folder):
    """Files of MobileNetV2: (quantization, pruning) to the file, and what of the kernels was pruned."""
    import keras

    from egokeras.models import Backbone, MobileNetV2Average

    found = {}
    for number, (name, pruning) in enumerate(prunings().items()):
        keras.utils.set_random_seed(0)
        backbone = Backbone(weights=weights, trainable_from="")
        model = MobileNetV2Average(CLASSES, frames=1, size=size, backbone=backbone)
        counts = pruned(model, pruning) if pruning else None
        for kind, file in zip(QUANTIZATIONS, export(model, folder, f"mobilenet-{number}"), strict=True):
            found[kind, name] = (file, counts)
    return found


def networks():
    """Kind of kernel to a small network with it."""
    from egokeras.models import ConvLSTMHead, ConvNet1DHead, FrameModel, LSTMHead, ResNet3D, SmallBackbone

    heads = {"LSTM": LSTMHead(units=16), "ConvLSTM2D": ConvLSTMHead(kernel=3, strides=1), "Conv1D": ConvNet1DHead()}
    found = {kind: FrameModel(backbone=SmallBackbone(channels=(8, 16)), head=head) for kind, head in heads.items()}
    return {**found, "Conv3D": ResNet3D(depth=18, width=4, variant="tran")}  # without 3D pooling, which TFLite lacks


def kinds(folder):
    """Rows of kind, pruning, quantization, zeros that were made and zeros in the file."""
    from egokeras.compress.sparsity import weights

    rows = []
    for number, (kind, spec) in enumerate(networks().items()):
        for name, pruning in list(prunings().items())[1:]:
            model = spec.build(classes={"action": 8}, frames=8, size=32)
            _, zeros = pruned(model, pruning)
            quantizations = QUANTIZATIONS[:1] if kind == "Conv3D" else QUANTIZATIONS  # TFLite has no int8 Conv3D
            files = export(model, folder, f"kind-{number}-{name[0]}", quantizations)
            for quantization, file in zip(quantizations, files, strict=True):
                there = sum(tensor.zeros for tensor in weights(file.read_bytes()))
                rows.append({"kernel": kind, "pruning": name, "quantization": quantization, "zeros": zeros, "in_file": there})
    return rows


def sizes(files, threads, rounds):
    """Rows of MobileNetV2: bytes, compressed bytes, zeros, and p50 against the unpruned file of the same kind."""
    from egokeras.compress.sparsity import summary, weights
    from egokeras.device import latency

    rows = []
    for quantization in QUANTIZATIONS:
        chosen = {name: value for (kind, name), value in files.items() if kind == quantization}
        timed = latency.compare([file for file, _ in chosen.values()], threads=threads, rounds=rounds)
        for (name, (file, counts)), times in zip(chosen.items(), timed, strict=True):
            content = file.read_bytes()
            row = {"quantization": quantization, "pruning": name, "bytes": len(content), **summary(content)}
            row |= {"zeros": counts[1] if counts else 0, "in_file": sum(tensor.zeros for tensor in weights(content))}
            rows.append({**row, **{key: times[key] for key in ("p50_ms", "ratio", "ratio_low", "ratio_high")}})
    return rows


def table(rows):
    yield "| MobileNetV2 | MB | compressed | zeros of all weights | zeros made | in the file | p50 against dense |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        cells = [f"{row['quantization']}, {row['pruning']}", *(f"{row[key] / 1e6:.2f}" for key in ("bytes", "compressed_bytes"))]
        cells += [f"{row['sparsity']:.1%}", f"{row['zeros']:,}", f"{row['in_file']:,}"]
        yield f"| {' | '.join(cells)} | {row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f}) |"


def counted(rows):
    for row in rows:
        where = f"{row['kernel']}, {row['pruning']}, {row['quantization']}"
        yield f"{where}: {row['zeros']:,} zeros made, {row['in_file']:,} in the file"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", metavar="H5", help="MobileNetV2 weights without top, alpha 1.0 (random without it)")
    parser.add_argument("--size", type=int, default=224, help="of a frame (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=30, help="turns that each file takes (%(default)s)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="also write the figures there")
    args = parser.parse_args()

    from egokeras.device import latency
    from egokeras.files import write_json

    with tempfile.TemporaryDirectory() as folder:
        rows = sizes(mobilenet(args.weights, args.size, pathlib.Path(folder)), args.threads, args.rounds)
        print("\n".join([json.dumps(latency.host()), *table(rows)]), flush=True)
        others = kinds(pathlib.Path(folder))
    print("\n".join(counted(others)))
    if args.json:
        write_json(args.json, {"host": latency.host(), "mobilenet": rows, "kinds": others})


if __name__ == "__main__":
    main()
