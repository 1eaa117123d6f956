"""TensorRT without its Python: what `trtexec` needs to build, run and time an artifact's ONNX file, and whether its engine answers right.

`write` puts the lines to type into the artifact's folder, where its stored pairs are clips and onnxruntime's answers to them; `judge` and
`latency` read what these lines write. The formats are those of NVIDIA/TensorRT, samples/common: sampleUtils.cpp loads inputs,
sampleReporting.cpp exports.
"""

import json
import pathlib
import re

import numpy as np

from egokeras.device import selftest
from egokeras.device.manifest import CLIP, logits
from egokeras.errors import InputError
from egokeras.files import atomic, read_json, write_json

LINES, LATENCY = "trtexec.txt", "latency.json"
ENGINES = {
    "float32": {"fp16": "--fp16", "fp16_sparse": "--fp16 --sparsity=enable"},
    "int8": {"int8": "--int8 --fp16", "int8_sparse": "--int8 --fp16 --sparsity=enable"},
}
WARM_UP = 200  # milliseconds; older versions export the times of the warm-up, too
MOST_DIFFERENT = 0.1  # of the largest logit: what int8 itself may move, see tests/compress/test_tflite.py
ABOUT = """\
For TensorRT 8.5 to 10 (JetPack 5.1 and 6), in this folder, on the device that shall run the model: an engine fits no other. trtexec lies
in /usr/src/tensorrt/bin. input_*.bin are clips that judged the model, logits_*.bin what onnxruntime answers to them. --sparsity=enable is
faster where the weights are 2:4 sparse, and changes nothing where they are not.
"""


def fits(artifact):
    """Whether `trtexec` can be given an artifact: one ONNX file that takes clips, in a precision that has a line, with stored pairs."""
    one = len(artifact.files) == 1 and artifact.files[0].suffix == ".onnx"
    return one and artifact.kind == CLIP and artifact.manifest["quantization"] in ENGINES and "pairs" in artifact.manifest


def write(artifact):
    """Write `trtexec.txt` into the folder of an artifact that `fits`; returns its path."""
    with atomic(artifact.folder / LINES, "w") as file:
        file.write("\n".join([ABOUT, *_lines(artifact)]))
    return artifact.folder / LINES


def _lines(artifact):
    (file,), pairs = artifact.files, artifact.manifest["pairs"]
    clips = [",".join(f"{name}:{files[number]}" for name, files in pairs["inputs"].items()) for number in range(pairs["count"])]
    for engine, options in ENGINES[artifact.manifest["quantization"]].items():
        saves = [f"--exportOutput={engine}.output_{number:02}.json" for number in range(len(clips))]
        yield (
            f"trtexec --onnx={file.name} {options} --saveEngine={engine}.engine --loadInputs={clips[0]} {saves[0]} "
            f"--warmUp={WARM_UP} --exportTimes={engine}.times.json"
        )
        for clip, save in zip(clips[1:], saves[1:], strict=True):
            yield f"trtexec --loadEngine={engine}.engine --loadInputs={clip} {save} --warmUp=0 --iterations=1 --duration=0"
        yield f"egokeras verify . --trtexec {engine}.output_*.json {engine}.times.json\n"


def read(files):
    """What trtexec has exported.

    Args:
        files: paths of what `--exportOutput` wrote, in the order of the clips, and of what `--exportTimes` wrote.

    Returns:
        [(path, head to logits, float64)] of the outputs, and [(path, milliseconds from the host and back, (runs,))] of the times.

    Raises:
        InputError: a file is neither.
    """
    outputs, times = [], []
    for path in map(pathlib.Path, files):
        found = _load(path)
        rows = found if isinstance(found, list) and found and all(isinstance(row, dict) for row in found) else [{}]
        if all({"name", "dimensions", "values"} <= set(row) for row in rows):
            outputs.append((path, {str(row["name"]): _array(path, row) for row in rows}))
        elif all({"latencyMs", "startComputeMs"} <= set(row) for row in rows):
            times.append((path, _milliseconds(path, rows)))
        else:
            raise InputError(f"{path} is not what trtexec's --exportOutput or --exportTimes writes; give such files.")
    return outputs, times


def _load(path):
    """JSON in which numbers may be written as C++ does: nan, -inf."""
    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(re.sub(r"(?<=[\s,\[])-?(nan|inf)(?=[\s,\]}])", "NaN", text))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON ({error}); let trtexec write it again.") from None


def _array(path, row):
    try:
        shape = tuple(int(size) for size in row["dimensions"].split("x"))
        return np.array(row["values"], np.float64).reshape(shape)
    except (AttributeError, TypeError, ValueError):
        about = f"{row['name']!r} does not have the values of its dimensions {row['dimensions']!r}"
        raise InputError(f"{path}: {about}; let trtexec write it again.") from None


def _milliseconds(path, rows):
    try:
        found = np.array([[row["startComputeMs"], row["latencyMs"]] for row in rows], np.float64)
    except (TypeError, ValueError):
        found = np.zeros((0, 2))
    kept = found[found[:, 0] >= WARM_UP, 1]
    if not len(kept) or not np.isfinite(kept).all():
        raise InputError(f"{path} has no times behind the warm-up of {WARM_UP} ms; run the line of {LINES} again.")
    return kept


def judge(artifact, outputs):
    """Compare an engine's answers with the expected ones.

    Args:
        artifact: the `egokeras.device.artifact.Artifact`.
        outputs: as `read` gives them, of the first clips.

    Returns:
        Head to a dict: clips, agreement (percent with the same best class), max_difference of a logit, max_relative_difference to the
        largest expected logit (at least 1).

    Raises:
        InputError: the artifact has no expected answers, or the files are of another model.
    """
    if not fits(artifact):
        raise InputError(f"{artifact.folder} has no answers for trtexec; export its run with onnx or onnx_int8.")
    count, wanted = artifact.manifest["pairs"]["count"], {head: tuple(shape) for head, shape in logits(artifact.manifest).items()}
    if not 0 < len(outputs) <= count:
        raise InputError(f"{artifact.folder} has {count} clips, there are {len(outputs)} files of --exportOutput; give one a clip.")
    for path, found in outputs:
        shapes = {head: values.shape for head, values in found.items()}
        if shapes != wanted:
            raise InputError(f"{path} has {_said(shapes)}, {artifact.folder} gives {_said(wanted)}; build the engine of this artifact.")
    expected = selftest.stored(artifact)["outputs"]
    return {head: _compared(expected[head][: len(outputs)], np.concatenate([found[head] for _, found in outputs])) for head in wanted}


def _said(shapes):
    return ", ".join(f"{head} {'x'.join(map(str, shape))}" for head, shape in sorted(shapes.items()))


def _compared(expected, found):
    finite = np.isfinite(found).all()
    difference = float(np.abs(expected - found).max()) if finite else float("inf")
    agrees = (expected.argmax(axis=1) == found.argmax(axis=1)) & np.isfinite(found).all(axis=1)
    relative = difference / max(1.0, float(np.abs(expected).max()))
    return {
        "clips": len(found),
        "agreement": 100 * float(agrees.mean()),
        "max_difference": difference,
        "max_relative_difference": relative,
    }


def failures(artifact, judged):
    """A phrase for each figure of `judge` that is worse than the artifact's gate allows."""
    least = artifact.manifest.get("gate", {}).get("limits", {}).get("agreement", 100.0)
    for head, figures in judged.items():
        if not np.isfinite(figures["max_difference"]):
            yield f"{head} has answers that are not numbers"
        elif figures["max_relative_difference"] > MOST_DIFFERENT:
            share = f"{100 * figures['max_relative_difference']:.0f}% of the largest (limit {100 * MOST_DIFFERENT:g}%)"
            yield f"{head} has a logit that differs by {figures['max_difference']:.2g}, {share}"
        if figures["agreement"] < least:
            yield f"{head} agrees on {figures['agreement']:.1f}% of {figures['clips']} clips (limit {least:g}%)"


def latency(artifact, path, milliseconds, host):
    """Add times to `latency.json` beside the artifact, in the form that `egokeras benchmark` writes; a row of the same name gives way.

    Args:
        artifact: the `egokeras.device.artifact.Artifact`.
        path, milliseconds: as `read` gives them.
        host: what they were measured on, see `egokeras.device.latency.host`.

    Returns:
        The row.
    """
    p50, p90, p95, p99 = np.percentile(milliseconds, [50, 90, 95, 99])
    figures = {"p50_ms": p50, "p90_ms": p90, "p95_ms": p95, "p99_ms": p99, "mean_ms": milliseconds.mean()}
    unknown = dict.fromkeys(("bytes", "threads", "load_ms", "first_ms", "peak_memory_mb"))
    row = {
        "artifact": f"{artifact.name} {path.name.removesuffix('.json').removesuffix('.times')}",
        "path": str(artifact.folder),
        "runs": len(milliseconds),
        **unknown,
        **{name: round(float(value), 4) for name, value in figures.items()},
    }
    file = artifact.folder / LATENCY
    records = read_json(file) if file.is_file() else []
    others = [record for record in records if record["host"] != host]
    rows = [row for record in records if record["host"] == host for row in record["results"]]
    kept = [other for other in rows if other["artifact"] != row["artifact"]]
    write_json(file, [*others, {"host": host, "results": [*kept, row]}])
    return row
