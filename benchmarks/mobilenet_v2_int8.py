"""Our int8 MobileNetV2-224 (alpha 1.0, one frame) beside another int8 file of the same network, taking turns in one process.

    python benchmarks/mobilenet_v2_int8.py --peer mobilenet_v2_1.0_224_quant.tflite

The peer that is meant is Coral's file of that name. Ours has the same 1001-way classifier, takes uint8 pixels as they are, normalises
them inside, and is converted by the code that `egokeras export` uses. Weights do not change the time; random ones do. A ratio of the
medians holds on a machine that others use too; the milliseconds do not.
"""

import argparse
import json
import pathlib
import sys
import tempfile

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

SIZE = 224
CLASSES = 1001
CALIBRATION = 16


def pictures(count, seed):
    """Pictures with the spectrum of natural ones, large areas and little noise: (count, 1, SIZE, SIZE, 3) uint8."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.fftfreq(SIZE)[None]) + 1 / SIZE
    noise = np.fft.fft2(rng.standard_normal((count, 1, SIZE, SIZE, 3)), axes=(2, 3))
    found = np.fft.ifft2(noise / frequency[..., None], axes=(2, 3)).real
    low, high = found.min(axis=(2, 3), keepdims=True), found.max(axis=(2, 3), keepdims=True)
    return np.rint(255 * (found - low) / (high - low)).astype(np.uint8)


def export(weights, file):
    """Build the network and write it to `file` as full int8."""
    from egokeras.compress.conversion import Conversion, convert
    from egokeras.models import Backbone, MobileNetV2Average

    model = MobileNetV2Average(CLASSES, frames=1, size=SIZE, backbone=Backbone(weights=weights))
    with tempfile.TemporaryDirectory() as folder:
        path, calibration = pathlib.Path(folder, "model.keras"), pathlib.Path(folder, "calibration.npy")
        model.save(path)
        np.save(calibration, pictures(CALIBRATION, seed=0))
        calibrated = {"rgb": str(calibration)}
        (error,) = convert([Conversion(model=str(path), outputs=("action",), kind="int8", file=str(file), calibration=calibrated)])
    if error is not None:
        raise error


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", required=True, metavar="TFLITE", help="the file to compare with")
    parser.add_argument("--weights", metavar="H5", help="MobileNetV2 weights without top, alpha 1.0 (random without it)")
    parser.add_argument("--threads", type=int, default=1, help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=60, help="turns that each file takes (%(default)s)")
    parser.add_argument("--keep", type=pathlib.Path, metavar="FILE", help="keep our TFLite file there")
    args = parser.parse_args()

    from egokeras.device import latency

    with tempfile.TemporaryDirectory() as folder:
        ours = args.keep or pathlib.Path(folder, "ours.tflite")
        export(args.weights, ours)
        peer, own = latency.compare([args.peer, ours], threads=args.threads, rounds=args.rounds)
    print(json.dumps({"host": latency.host(), "peer": peer, "ours": own}, indent=1))
    print(f"ours takes {own['ratio']:.2f} of the peer's p50 ({own['ratio_low']:.2f} to {own['ratio_high']:.2f} in {args.rounds} rounds)")


if __name__ == "__main__":
    main()
