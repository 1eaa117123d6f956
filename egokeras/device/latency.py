"""How long a TFLite file takes on this machine, and how much memory.

Every file is measured in a fresh process: the first inference is then a first one, the memory is the model's own, and a damaged
file takes that process with it instead of ours. One run is the way from input arrays to output arrays, copies included.
"""

import functools
import importlib
import importlib.metadata
import json
import os
import pathlib
import platform
import signal
import subprocess
import sys
import time

import numpy as np

from egokeras.device.artifact import Artifact
from egokeras.device.manifest import MANIFEST, tensors
from egokeras.errors import InputError

WARMUP = 5
MIN_RUNS = 20  # fewer say nothing about a 95th percentile
ROUND_SECONDS = 0.1
LIMIT = 900.0  # seconds for a child; a model that needs longer is not for a device


def host():
    """What a figure was measured on: processor, cores that this process may use, their governor, system, versions."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _processor(),
        "cores": cores,
        "governor": _text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "ai-edge-litert": importlib.metadata.version("ai-edge-litert"),
    }


def _processor():
    """The board's name where there is one (Jetson, Raspberry Pi), else the processor's."""
    names = [line.partition(":")[2].strip() for line in (_text("/proc/cpuinfo") or "").splitlines() if line.startswith("model name")]
    return _text("/proc/device-tree/model") or next(iter(names), None) or platform.processor() or platform.machine()


def _text(path):
    try:
        return pathlib.Path(path).read_text(errors="replace").strip("\0 \n") or None
    except OSError:
        return None


def measure(path, threads=1, seconds=3.0, warmup=WARMUP):
    """Latency and memory of an artifact, or of a bare TFLite file with fixed input shapes.

    Args:
        threads: of the interpreter.
        seconds: time to run for, after `warmup` runs; at least `MIN_RUNS` runs are made.

    Returns:
        A dict: artifact (name), path, bytes, threads, runs, load_ms, first_ms, p50_ms, p90_ms, p95_ms, mean_ms,
        peak_memory_mb (MiB that the model added to its process; None where the system does not tell).

    Raises:
        InputError: the file is damaged, cannot be run, or crashes the interpreter.
    """
    name, model, size = _resolve(path)
    job = {"kind": "measure", "models": [str(model)], "threads": threads, "seconds": seconds, "warmup": warmup}
    return {"artifact": name, "path": str(path), "bytes": size, "threads": threads, **_child(job)}


def compare(paths, threads=1, rounds=30, seconds=ROUND_SECONDS):
    """Files against the first of them, round by round in one process, so that a machine that drifts slows all of them.

    Args:
        rounds: each runs every file for `seconds`, every second round in reverse order.

    Returns:
        For each path a dict: artifact, path, threads, rounds, p50_ms (over all runs), ratio (median over the rounds of its p50 against
        the first's), ratio_low and ratio_high (10th and 90th percentile of that).
    """
    files = [_resolve(path) for path in paths]
    job = {"kind": "compare", "models": [str(model) for _, model, _ in files], "threads": threads, "rounds": rounds, "seconds": seconds}
    results = _child(job)
    common = {"threads": threads, "rounds": rounds}
    return [
        {"artifact": name, "path": str(path), **common, **result} for (name, *_), path, result in zip(files, paths, results, strict=True)
    ]


def _resolve(path):
    """(name, what to run, bytes of its TFLite files): a bare file, or the folder of an artifact, whose checksums are verified."""
    path = pathlib.Path(path)
    if path.suffix == ".tflite" and path.is_file() and not path.with_name(MANIFEST).exists():
        return path.stem, path, path.stat().st_size
    artifact = Artifact.open(path)
    return artifact.name, artifact.folder, sum(file.stat().st_size for file in artifact.files)


def _child(job):
    """Run a job in a process of its own; its answer, or `InputError` with what became of it."""
    files = " or ".join(job["models"])
    root = str(pathlib.Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
    command = [sys.executable, "-m", "egokeras.device.latency", json.dumps(job)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired:
        raise InputError(f"{files} did not finish within {LIMIT:.0f} s.") from None
    if done.returncode < 0:
        raise InputError(
            f"{files} crashes the interpreter ({signal.Signals(-done.returncode).name}): the file is damaged; export it again."
        )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"{files} cannot be run: {reason}")
    return json.loads(done.stdout.splitlines()[-1])


class Model:
    """An artifact or a TFLite file with random inputs of its shapes, as a function without arguments.

    Attributes:
        load_ms: from the files to interpreters that are ready, milliseconds.
        added_mb: peak of what loading and running have added to the process, MiB.
    """

    def __init__(self, path, threads):
        importlib.import_module("ai_edge_litert.interpreter")  # neither its time nor its memory is the model's
        self.before = _memory("VmRSS")
        start = time.perf_counter()
        self.run = _artifact(path, threads) if os.path.isdir(path) else _bare(path, threads)
        self.load_ms = 1e3 * (time.perf_counter() - start)

    @property
    def added_mb(self):
        peak = _memory("VmHWM")
        return None if peak is None else max(peak - self.before, 0.0)

    def time(self):
        """Milliseconds of one run."""
        start = time.perf_counter()
        self.run()
        return 1e3 * (time.perf_counter() - start)


def _artifact(folder, threads):
    artifact = Artifact.open(folder, verify=False, threads=threads)
    inputs = {name: _input({"shape": shape, "dtype": dtype}) for name, (shape, dtype) in tensors(artifact.manifest).items()}
    return functools.partial(artifact.parts.run, inputs)


def _bare(path, threads):
    """The first signature of a file, or what it has instead."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=threads)
    interpreter.allocate_tensors()
    for name in interpreter.get_signature_list():
        runner = interpreter.get_signature_runner(name)
        return functools.partial(runner, **{name: _input(details) for name, details in runner.get_input_details().items()})
    given = [(details["index"], _input(details)) for details in interpreter.get_input_details()]
    outputs = [details["index"] for details in interpreter.get_output_details()]

    def run():
        for index, value in given:
            interpreter.set_tensor(index, value)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in outputs]

    return run


def _input(details):
    """Noise for pixels and other small integers, 0 to 1 for floats, zeros for what may be an index or a flag."""
    shape, dtype = tuple(details["shape"]), np.dtype(details["dtype"])
    generator = np.random.default_rng(0)
    if dtype in (np.uint8, np.int8):
        limits = np.iinfo(dtype)
        return generator.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    return generator.random(shape, np.float32).astype(dtype) if dtype.kind == "f" else np.zeros(shape, dtype)


def _memory(field):
    """A line of /proc/self/status in MiB: `VmRSS` now, `VmHWM` at most; of this process alone, unlike getrusage's."""
    lines = [line.split() for line in (_text("/proc/self/status") or "").splitlines()]
    return next((int(line[1]) / 1024 for line in lines if line[0] == f"{field}:"), None)


def _measure(models, threads, seconds, warmup):
    model = Model(models[0], threads)
    first = model.time()
    for _ in range(warmup):
        model.run()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < MIN_RUNS or time.perf_counter() < end:
        times.append(model.time())
    p50, p90, p95 = np.percentile(times, [50, 90, 95])
    figures = {"load_ms": model.load_ms, "first_ms": first, "p50_ms": p50, "p90_ms": p90, "p95_ms": p95, "mean_ms": np.mean(times)}
    memory = model.added_mb
    return {"runs": len(times), **_rounded(figures), "peak_memory_mb": None if memory is None else round(memory, 1)}


def _compare(models, threads, rounds, seconds):
    models = [Model(path, threads) for path in models]
    for model in models:
        for _ in range(WARMUP):
            model.run()
    times: list[list[list[float]]] = [[] for _ in models]  # of a model, of a round
    for number in range(rounds):
        order = list(zip(models, times, strict=True))
        for model, found in order[:: -1 if number % 2 else 1]:
            end = time.perf_counter() + seconds
            found.append([model.time()])
            while time.perf_counter() < end:
                found[-1].append(model.time())
    return [_against(times[0], found) for found in times]


def _against(first, found):
    """Median and spread over the rounds of the ratio of medians."""
    ratios = [np.median(ours) / np.median(theirs) for ours, theirs in zip(found, first, strict=True)]
    low, ratio, high = np.percentile(ratios, [10, 50, 90])
    return _rounded({"p50_ms": np.median(np.concatenate(found)), "ratio": ratio, "ratio_low": low, "ratio_high": high})


def _rounded(figures):
    return {name: round(float(value), 4) for name, value in figures.items()}


def _main(job):
    """The child: print the answer as the last line of standard output."""
    job = json.loads(job)
    kind = job.pop("kind")
    try:
        print(json.dumps(_measure(**job) if kind == "measure" else _compare(**job)))
    except (ValueError, RuntimeError) as error:
        sys.exit(" ".join(str(error).split()))


if __name__ == "__main__":
    _main(sys.argv[1])
