"""TFLite's own tool `benchmark_model`: the command line for an artifact, and what it prints as our figures.

https://ai.google.dev/edge/litert/models/measurement
"""

import re
import shlex
import struct

from egokeras.device.artifact import RUNTIMES
from egokeras.device.latency import resolve
from egokeras.device.timing import MIN_RUNS, WARMUP
from egokeras.errors import InputError

BINARY = "benchmark_model"
NUMBER = r"([\d.]+(?:e[+-]?\d+)?)"
COUNT = re.compile(rf"count=(\d+)\b.*? avg={NUMBER}(?: std=\S+)?(?: p5=\S+ median={NUMBER} p95={NUMBER})?")
TIMINGS = re.compile(rf"Inference timings in us: Init: {NUMBER}, First inference: {NUMBER}")
MEMORY = re.compile(rf"Memory footprint delta from the start of the tool \(MB\): init=\S+ overall={NUMBER}")


def commands(path, threads=1, seconds=3.0, binary=BINARY, place=str):
    """(file, arguments that time it as `egokeras benchmark` does) of each file of an artifact, or of a bare TFLite file.

    Args:
        binary: path of the tool where it runs.
        place: function from a file here to its path where the tool runs.

    Raises:
        InputError: the file is missing, altered, or no TFLite file.
    """
    _, model, artifact = resolve(path)
    if artifact and artifact.runtime != RUNTIMES["tflite"]:
        raise InputError(f"{path} is run by {artifact.runtime}, and {BINARY} times TFLite files alone; give an export that has some.")
    parts = [(artifact.folder / part["file"], part["signature"]) for part in artifact.manifest["parts"]] if artifact else []
    runs = [f"--num_threads={threads}", f"--warmup_runs={WARMUP}", f"--num_runs={MIN_RUNS}", f"--min_secs={seconds:g}"]
    found = []
    for file, signature in parts or [(model, _signature(model))]:
        named = [f"--signature_to_run_for={signature}"] if signature else []  # the tool refuses a file of several signatures without it
        found.append((file, [str(binary), f"--graph={place(file)}", *named, *runs, "--use_xnnpack=true"]))
    return found


def lines(path, threads=1, seconds=3.0):
    """`commands` for a shell."""
    return "\n".join(shlex.join(command) for _, command in commands(path, threads, seconds))


def parse(output):
    """The figures in the tool's output.

    Returns:
        runs, load_ms, first_ms, p50_ms and p95_ms (None from an old tool, which has no percentiles), p90_ms (None), mean_ms,
        peak_memory_mb (None where it says none).

    Raises:
        InputError: there are none; ends with the tool's last line.
    """
    counts, timings, memory = COUNT.findall(output), TIMINGS.search(output), MEMORY.search(output)
    if not counts or not timings:
        last = (output.strip().splitlines() or ["nothing"])[-1]
        raise InputError(f"{BINARY} gave no timings; its last line: {last:.300}")
    runs, mean, median, p95 = counts[-1]  # the first are of the warm-up
    load, first = timings.groups()
    times = {"load_ms": load, "first_ms": first, "p50_ms": median, "p90_ms": None, "p95_ms": p95, "mean_ms": mean}
    return {
        "runs": int(runs),
        **{name: round(float(value) / 1e3, 4) if value else None for name, value in times.items()},
        "peak_memory_mb": round(float(memory[1]), 1) if memory else None,
    }


def _signature(model):
    """Name of a bare file's first signature, read without running it; None if it has none."""
    from ai_edge_litert import schema_py_generated as schema

    content = model.read_bytes()
    try:
        if content[4:8] != b"TFL3":
            raise ValueError
        root = schema.Model.GetRootAs(content, 0)
        return root.SignatureDefs(0).SignatureKey().decode() if root.SignatureDefsLength() else None
    except (struct.error, AttributeError, IndexError, TypeError, ValueError):
        raise InputError(f"{model} is damaged or no TFLite file; export it again.") from None
