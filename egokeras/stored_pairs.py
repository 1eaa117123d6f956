"""What an artifact holds to prove itself: a few of the clips that judged it, with the answers that its own files gave here."""

import math

import numpy as np

from egokeras.compress.quantize import pick
from egokeras.device import selftest
from egokeras.device.manifest import file_entries, logits, pair_tensors

BYTES = 4_000_000  # of the pairs of TFLite files, unless one alone is larger
STEPS = 255  # of int8, over the spread of the logits


def write(kind, artifact, found):
    """Write pairs into the folder of an artifact: raw numbers, one file for each output and for each clip of an input, as `trtexec`
    loads them.

    Args:
        kind: one of `egokeras.artifact_kinds`.
        artifact: the `egokeras.device.artifact.Artifact`, whose description names no pairs yet.
        found: its answers by what is judged, (clips, classes).

    Returns:
        artifact.json's content with the pairs.
    """
    manifest = artifact.manifest
    most = kind.export.stored_pairs
    if kind.export.format != "onnx":  # whose TensorRT engine is judged by them
        most = min(most, max(1, BYTES // _bytes_of_one(manifest)))
    if not most or not len(kind.run.rows):
        return manifest
    sure = _surer_half(found)
    classes = next(iter(found.values()))[sure].argmax(axis=1)
    rows = kind.run.rows[sure[pick(classes, most, kind.export.seed)]]
    given = kind.run.shards.inputs(rows)
    about = {
        "count": len(rows),
        "inputs": {name: [f"input_{number}_{row:02}.bin" for row in range(len(rows))] for number, name in enumerate(manifest["inputs"], 1)},
        "outputs": {name: [f"logits_{number}.bin"] for number, name in enumerate(logits(manifest), 1)},
        "steps": _steps(kind, found),
    }
    described = {**manifest, "pairs": about}
    dtypes = {side_and_name: dtype for side_and_name, (_, dtype) in pair_tensors(described).items()}
    inputs = {name: np.asarray(given[name], dtypes["inputs", name]) for name in about["inputs"]}
    arrays = {"inputs": inputs, "outputs": selftest.predict(artifact, inputs)}
    written = []
    for side, name in dtypes:
        files = [artifact.folder / file for file in about[side][name]]
        values = np.asarray(arrays[side][name], dtypes[side, name])
        for file, part in zip(files, np.split(values, len(files)), strict=True):
            file.write_bytes(part.tobytes())
            written.append(file)
    return {**described, "files": {**manifest["files"], **file_entries(artifact.folder, written)}}


def _surer_half(found):
    """The clips, ascending, whose best class is ahead in all that is judged by more than in the other half: rounding does not tip them."""
    ahead = [np.inf if z.shape[1] == 1 else np.diff(np.partition(z, -2, axis=1)[:, -2:]).ravel() / (np.ptp(z) or 1) for z in found.values()]
    least = np.broadcast_to(np.min(np.broadcast_arrays(*ahead), axis=0), len(next(iter(found.values()))))
    return np.sort(np.argsort(-least, kind="stable")[: math.ceil(len(least) / 2)])


def _bytes_of_one(manifest):
    tensors = pair_tensors({**manifest, "pairs": {"count": 1}})
    return sum(math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in tensors.values())


def _steps(kind, found):
    """Output to a quantization step of its logits, of those that share it (anticipation times) the largest."""
    steps: dict[str, float] = {}
    for name, _, output, _ in kind.judged():
        steps[output] = max(steps.get(output, 0.0), float(np.ptp(found[name])) / STEPS)
    return steps
