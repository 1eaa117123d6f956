"""How long a TFLite file takes on this machine, and how much memory.

Every file is measured in a fresh process (`egokeras.device.timing`): the first inference is then a first one, the memory is the model's
own, and a damaged file takes that process with it instead of ours. One run is the way from input arrays to output arrays, copies included.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

from egokeras.device.artifact import Artifact
from egokeras.device.host import host
from egokeras.device.manifest import CLIP, INPUT, MANIFEST, STREAM, run_bytes
from egokeras.device.timing import WARMUP
from egokeras.errors import InputError
from egokeras.files import LAYERS, read_json

ROUND_SECONDS = 0.1
LAYER_ROUNDS = 15
LAYER_SECONDS = 0.01
LIMIT = 900.0  # seconds for a child; a model that needs longer is not for a device


def record(results):
    """`results` with what they were measured on, as the files that `egokeras benchmark --json` writes."""
    return {"host": host(), "results": results}


def measure(path, threads=1, seconds=3.0, warmup=WARMUP):
    """Latency and memory of an artifact, or of a bare TFLite file with fixed input shapes.

    Args:
        threads: of the interpreter.
        seconds: time to run for, after `warmup` runs; at least `egokeras.device.timing.MIN_RUNS` runs are made.

    Returns:
        A dict: artifact (name), path, bytes, threads, runs, load_ms, first_ms, p50_ms, p90_ms, p95_ms, mean_ms,
        peak_memory_mb (MiB that the model added to its process; None where the system does not tell).

    Raises:
        InputError: the file is damaged, cannot be run, or crashes the interpreter.
    """
    name, model, artifact = resolve(path)
    size = run_bytes(artifact.manifest) if artifact else model.stat().st_size
    job = {"kind": "measure", "models": [str(model)], "threads": threads, "seconds": seconds, "warmup": warmup}
    return {"artifact": name, "path": str(path), "bytes": size, "threads": threads, **_child(job)}


def sustain(path, threads=1, seconds=60.0, fps=None, stride=None, video=None, frame_size=None):
    """An artifact, or a bare TFLite file, as one stream in a process that begins with it.

    Args:
        threads: of the interpreter.
        seconds, fps, stride: as for `egokeras.device.sustained.sustain`.
        video: file whose pictures are decoded and resized to the model's size, if it takes pictures; needs PyAV or OpenCV.
        frame_size: (height, width) of noise to resize, where there is no video or nothing to decode it.

    Returns:
        What `egokeras.device.sustained.sustain` returns, with load_ms, first_ms, cold_start_ms (from the start of the process to the first
        answer, with the file in the system's cache if it was read before) and decoder (its name, or None).

    Raises:
        InputError: as for `measure`, or the video cannot be decoded.
    """
    _, model, artifact = resolve(path)
    job = {"kind": "sustain", "models": [str(model)], "threads": threads, "seconds": seconds, "fps": fps, "stride": stride}
    job |= {"video": video and str(video), "frame_size": frame_size, "picture": artifact and _picture(artifact)}
    return _child(job | {"started": time.monotonic()}, LIMIT + seconds)


def compare(paths, threads=1, rounds=30, seconds=ROUND_SECONDS):
    """Files against the first of them, round by round in one process, so that a machine that drifts slows all of them.

    Args:
        rounds: each runs every file for `seconds`, every second round in reverse order.

    Returns:
        For each path a dict: artifact, path, threads, rounds, p50_ms (over all runs), ratio (median over the rounds of its p50 against
        the first's), ratio_low and ratio_high (10th and 90th percentile of that).
    """
    files = [resolve(path) for path in paths]
    job = {"kind": "compare", "models": [str(model) for _, model, _ in files], "threads": threads, "rounds": rounds, "seconds": seconds}
    results = _child(job)
    common = {"threads": threads, "rounds": rounds}
    return [
        {"artifact": name, "path": str(path), **common, **result} for (name, *_), path, result in zip(files, paths, results, strict=True)
    ]


def layers(folder, threads=1, rounds=LAYER_ROUNDS):
    """How long each layer of a model takes, whole and in part; inputs are there, outputs stay: inside a model nobody copies them.

    Args:
        folder: that `egokeras layers` wrote.
        rounds: each runs every layer for `LAYER_SECONDS`, in one process.

    Returns:
        A dict: kind, threads, rounds, and layers, a list of dicts: layer, share (of its work that the part does), whole_ms, part_ms
        (medians over the rounds of medians).

    Raises:
        InputError: the folder is none of layers, or one cannot be run.
    """
    folder = pathlib.Path(folder)
    index = read_json(folder / LAYERS)
    try:
        files = [str(folder / row[key]) for row in index["layers"] for key in ("whole", "part")]
        found = [{"layer": row["layer"], "share": float(row["share"])} for row in index["layers"]]
        kind = index["kind"]
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{folder / LAYERS} is no list of layers; write the folder with `egokeras layers`.") from None
    times = _child({"kind": "layers", "models": files, "threads": threads, "rounds": rounds, "seconds": LAYER_SECONDS})
    for row, whole, part in zip(found, times[::2], times[1::2], strict=True):
        row |= {"whole_ms": whole, "part_ms": part}
    return {"kind": kind, "threads": threads, "rounds": rounds, "layers": found}


def resolve(path):
    """(name, what to run, `Artifact` or None): a bare TFLite file, or the folder of an artifact, whose checksums are verified."""
    path = pathlib.Path(path)
    if path.suffix == ".tflite" and path.is_file() and not path.with_name(MANIFEST).exists():
        return path.stem, path, None
    artifact = Artifact.open(path)
    return artifact.name, artifact.folder, artifact


def _picture(artifact):
    """Height and width that an artifact's frames are resized to, and how; None if it takes no frames."""
    takes = artifact.kind in (CLIP, STREAM) and list(artifact.manifest["inputs"]) == [INPUT]
    return [*artifact.stored, artifact.resize] if takes else None


def _child(job, limit=LIMIT):
    """Run a job in a process of its own; its answer, or `InputError` with what became of it."""
    files = " or ".join(job["models"][:2])
    root = str(pathlib.Path(__file__).parents[2])
    # one thread of BLAS, as `egokeras predict` has
    environment = {
        "OPENBLAS_NUM_THREADS": "1",
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
    }
    command = [sys.executable, "-m", "egokeras.device.timing", json.dumps(job)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        raise InputError(f"{files} did not finish within {limit:.0f} s.") from None
    if done.returncode < 0:
        raise InputError(
            f"{files} crashes the interpreter ({signal.Signals(-done.returncode).name}): the file is damaged; export it again."
        )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"{files} cannot be run: {reason}")
    return json.loads(done.stdout.splitlines()[-1])
