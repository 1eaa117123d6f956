"""The process in which a TFLite file is timed: `python -m egokeras.device.timing JOB`, started by `egokeras.device.latency`."""

import contextlib
import functools
import importlib
import json
import os
import sys
import time
from collections.abc import Callable

import numpy as np

from egokeras.device import host
from egokeras.device.artifact import Artifact
from egokeras.device.manifest import tensors
from egokeras.device.sustained import Pictures, percentiles, sustain

WARMUP = 5
MODULES = {"ai-edge-litert": "ai_edge_litert.interpreter"}  # where the package has another name
MIN_RUNS = 20  # fewer say nothing about a 95th percentile


class Model:
    """An artifact, or a bare TFLite file, with random inputs of its shapes, as a function without arguments.

    Attributes:
        load_ms: from the files to interpreters that are ready, milliseconds.
        added_mb: peak of what loading and running have added to the process, MiB.
        pictures: (height, width) of the pictures that it takes, or None.
    """

    def __init__(self, path, threads):
        runtime = Artifact.open(path, verify=False).runtime if os.path.isdir(path) else "ai-edge-litert"
        with contextlib.suppress(ImportError):  # which its runner says in a sentence
            importlib.import_module(MODULES.get(runtime, runtime))  # neither its time nor its memory is the model's
        self.before = _memory("VmRSS")
        start = time.perf_counter()
        self.run, shapes = _artifact(path, threads) if os.path.isdir(path) else _bare(path, threads)
        self.load_ms = 1e3 * (time.perf_counter() - start)
        self.pictures = next((shape[-3:-1] for shape in shapes if len(shape) > 3 and shape[-1] == 3), None)

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
    """A function that runs all parts of an artifact, and the shapes of its inputs."""
    artifact = Artifact.open(folder, verify=False, threads=threads)
    inputs = {name: _input({"shape": shape, "dtype": dtype}) for name, (shape, dtype) in tensors(artifact.manifest).items()}
    return functools.partial(artifact.parts.run, inputs), [value.shape for value in inputs.values()]


def _bare(path, threads):
    """A function that runs the first signature of a file, or what it has instead, and the shapes of its inputs."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=threads)
    interpreter.allocate_tensors()
    for name in interpreter.get_signature_list():
        runner = interpreter.get_signature_runner(name)
        inputs = {name: _input(details) for name, details in runner.get_input_details().items()}
        return functools.partial(runner, **inputs), [value.shape for value in inputs.values()]
    given = [(details["index"], _input(details)) for details in interpreter.get_input_details()]
    outputs = [details["index"] for details in interpreter.get_output_details()]

    def run():
        for index, value in given:
            interpreter.set_tensor(index, value)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in outputs]

    return run, [value.shape for _, value in given]


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
    lines = [line.split() for line in (host.text("/proc/self/status") or "").splitlines()]
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
    memory = model.added_mb
    return {
        "runs": len(times),
        **_rounded({"load_ms": model.load_ms, "first_ms": first}),
        **percentiles(times, (50, 90, 95)),
        **_rounded({"mean_ms": np.mean(times)}),
        "peak_memory_mb": None if memory is None else round(memory, 1),
    }


def _sustain(models, threads, started, seconds, fps, stride, video, frame_size, picture):
    """As `sustain`, after a cold start; `picture` is what the artifact says: height, width, mode."""
    model = Model(models[0], threads)
    first = model.time()
    cold = 1e3 * (time.monotonic() - started)
    source = Pictures(video, frame_size)
    *size, mode = picture or [*(model.pictures or ()), "squash"]
    if not size:
        source = Pictures()
    found = sustain(model.run, seconds, fps, stride, source or None, size, mode)
    return {**_rounded({"cold_start_ms": cold, "load_ms": model.load_ms, "first_ms": first}), "decoder": source.decoder, **found}


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


def _layers(models, threads, rounds, seconds):
    """Median milliseconds of each file with its inputs set and its outputs left where they are."""
    from ai_edge_litert.interpreter import Interpreter

    interpreters = [Interpreter(str(path), num_threads=threads) for path in models]
    for interpreter in interpreters:
        interpreter.allocate_tensors()
        for details in interpreter.get_input_details():
            interpreter.set_tensor(details["index"], _input(details))
        interpreter.invoke()
    times: list[list[float]] = [[] for _ in interpreters]
    for _ in range(rounds):
        for interpreter, found in zip(interpreters, times, strict=True):
            runs: list[float] = []
            end = time.perf_counter() + seconds
            while not runs or time.perf_counter() < end:
                start = time.perf_counter()
                interpreter.invoke()
                runs.append(1e3 * (time.perf_counter() - start))
            found.append(float(np.median(runs)))
    return [round(float(np.median(found)), 5) for found in times]


def _against(first, found):
    """Median and spread over the rounds of the ratio of medians."""
    ratios = [np.median(ours) / np.median(theirs) for ours, theirs in zip(found, first, strict=True)]
    low, ratio, high = np.percentile(ratios, [10, 50, 90])
    return _rounded({"p50_ms": np.median(np.concatenate(found)), "ratio": ratio, "ratio_low": low, "ratio_high": high})


def _rounded(figures):
    return {name: round(float(value), 4) for name, value in figures.items()}


KINDS: dict[str, Callable] = {"measure": _measure, "compare": _compare, "layers": _layers, "sustain": _sustain}


def _main(job):
    """The child: print the answer as the last line of standard output."""
    job = json.loads(job)
    kind = job.pop("kind")
    try:
        print(json.dumps(KINDS[kind](**job)))
    except (ValueError, RuntimeError, OSError) as error:
        sys.exit(" ".join(str(error).split()))


if __name__ == "__main__":
    _main(sys.argv[1])
