"""Does an artifact answer here as it did where it was exported? It holds inputs with the logits that its own files gave there.

Needs numpy and ai-edge-litert, or onnxruntime for ONNX files, or TensorFlow for SavedModels. On a device,
`python -m egokeras.device.selftest ARTIFACT` answers in one sentence.
"""

import dataclasses
import importlib
import json
import math
import os
import pathlib
import platform
import signal
import subprocess
import sys

import numpy as np

from egokeras.device.anticipation import Anticipator
from egokeras.device.artifact import Artifact
from egokeras.device.early_exit import StagedArtifact
from egokeras.device.exit_stream import ExitStream
from egokeras.device.frame_stream import FrameStream
from egokeras.device.manifest import INPUT, MANIFEST, STEP, STREAM, exit_output, pair_tensors
from egokeras.errors import InputError

EXACT = 1e-4  # of float32, relative to the largest logit (at least 1)
STEPS = 16  # of anything smaller, in quantization steps of its logits; two kernels for int8 of one processor differed by 7
LIMIT = 900.0  # seconds for a child


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """What a test found.

    Attributes:
        passed: whether the answers are the same.
        pairs: how many were answered.
        sentence: what was found, and where it is not as it should be, what to do.
    """

    passed: bool
    pairs: int
    sentence: str


def predict(artifact, inputs):
    """All that an artifact can answer.

    Args:
        artifact: an `egokeras.device.artifact.Artifact` of any kind.
        inputs: name to (count, ...): clips; for a stream the frames of clips; for a step windows of observations.

    Returns:
        Output to logits (count, classes), of a step (count, times, classes); with early exits those of every exit, `verb_1`.
    """
    answer = _answer(artifact)
    count = len(next(iter(inputs.values())))
    found = [answer({name: values[number] for name, values in inputs.items()}) for number in range(count)]
    return {output: np.stack([logits[output] for logits in found]) for output in found[0]}


def _answer(artifact):
    """Function of one clip, stream of frames or window."""
    if artifact.kind == STEP:
        return Anticipator(artifact).window
    if "exits" in artifact.manifest:
        steps = _steps(artifact)
        return lambda inputs: {
            exit_output(head, number): logits for number, answer in enumerate(steps(inputs)) for head, logits in answer.items()
        }
    if artifact.kind == STREAM:
        stream = FrameStream(artifact)
        return lambda inputs: stream.clip(inputs[INPUT])
    return artifact.predict


def _steps(artifact):
    """Function of one clip to the answers of its exits."""
    if artifact.kind == STREAM:
        stream = ExitStream(artifact)
        return lambda inputs: stream.steps(inputs[INPUT])
    staged = StagedArtifact(artifact)
    return lambda clips: staged.steps({name: clip[None] for name, clip in clips.items()})


def replay(artifact):
    """Answer an artifact's stored pairs again, in this process, which a damaged file may end.

    Float32 must give the same logits to 1e-4 of the largest; anything smaller to a few quantization steps, each a 255th of the spread of
    the logits on the clips that judged the export. The top-1 class must be the same wherever it was sure by more than that.

    Args:
        artifact: an open `egokeras.device.artifact.Artifact`.

    Returns:
        A `Result`.

    Raises:
        InputError: a file of pairs is not what artifact.json says, or the artifact cannot be run.
    """
    about, exact = artifact.manifest.get("pairs"), artifact.manifest["quantization"] == "float32"
    if about is None:
        _ = artifact.parts
        return Result(passed=True, pairs=0, sentence=f"{artifact.folder}: its files load, and it holds no pairs to answer.")
    pairs = stored(artifact)
    found = predict(artifact, pairs["inputs"])
    figures = [_compare(expected, found[output], about["steps"][output], exact) for output, expected in pairs["outputs"].items()]
    share, largest, other = (np.array(values) for values in zip(*figures, strict=True))
    worst = int(np.argmax(np.where(np.isnan(share), np.inf, share)))
    changed = int(np.any(other, axis=0).sum())
    limit = (
        f"{largest[worst]:.2g} (limit {EXACT:g} of the largest)"
        if exact
        else f"{share[worst] * STEPS:.2g} quantization steps (limit {STEPS})"
    )
    runtime = f"{artifact.runtime} {_version(artifact.runtime)} on {platform.machine()}"
    apart = f"logits of {list(pairs['outputs'])[worst]} differ by up to {limit}"
    count = about["count"]
    if bool((share <= 1).all()) and not changed:
        sentence = f"{artifact.folder}: {runtime} answers its {count} stored pairs as where it was exported, {apart}."
        return Result(passed=True, pairs=count, sentence=sentence)
    sentence = (
        f"{artifact.folder}: {runtime} answers otherwise than where it was exported: {apart}, {changed} of {count} pairs have another top-1"
    )
    return Result(passed=False, pairs=count, sentence=f"{sentence}; do not use it with this runtime, or export it again.")


def _compare(expected, found, step, exact):
    """The largest difference as a share of what is allowed, and itself; which pairs have another class, (pairs,)."""
    scale = max(1.0, float(np.abs(expected).max()))
    tolerance = EXACT * scale if exact else max(EXACT * scale, STEPS * step)
    difference = float(np.abs(found - expected).max())
    theirs = np.take_along_axis(expected, found.argmax(axis=-1)[..., None], axis=-1)[..., 0]
    other = (expected.max(axis=-1) - theirs > tolerance).reshape(len(expected), -1).any(axis=1)
    return difference / tolerance, difference, other


def _version(package):
    """Of the module: that of onnxruntime comes in packages of several names."""
    return importlib.import_module(package.replace("-", "_")).__version__


def stored(artifact):
    """The pairs of an artifact that has some: `inputs` and `outputs`, each name to (pairs, ...).

    Raises:
        InputError: their files are not what artifact.json says.
    """
    arrays: dict = {"inputs": {}, "outputs": {}}
    for (side, name), (shape, dtype) in pair_tensors(artifact.manifest).items():
        data = b"".join((artifact.folder / file).read_bytes() for file in artifact.manifest["pairs"][side][name])
        if len(data) != math.prod(shape) * np.dtype(dtype).itemsize:
            found = f"its pairs have {len(data)} bytes of {name!r}"
            raise InputError(f"{artifact.folder}: {found}, {MANIFEST} says {shape} {dtype}; export it again.")
        arrays[side][name] = np.frombuffer(data, dtype).reshape(shape)
    return arrays


def in_child(path):
    """As `replay` of the artifact at `path`, in a process of its own: an interpreter that crashes takes that with it; a `Result`."""
    root = str(pathlib.Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
    command = [sys.executable, "-m", "egokeras.device.selftest", "--json", str(path)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return _failed(f"{path}: its test did not finish within {LIMIT:.0f} s; export it again.")
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        sums = f"although the checksums in {MANIFEST} fit, so they were made for a damaged file"
        return _failed(f"{path} crashes the interpreter ({name}), {sums}; do not use it, export it again.")
    lines = done.stdout.splitlines()
    if not lines:
        return _failed(f"{path} cannot be tested: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return Result(**json.loads(lines[-1]))


def _failed(sentence):
    return Result(passed=False, pairs=0, sentence=sentence)


def _tested(path):
    try:
        return replay(Artifact.open(path))
    except InputError as error:
        return _failed(str(error))
    except Exception as error:  # whatever a runtime makes of a file that is damaged
        return _failed(f"{path} cannot be run ({type(error).__name__}: {' '.join(str(error).split())[:200]}); export it again.")


def main(arguments):
    """Print what a test of the artifact found; 1 if it did not pass."""
    as_json, paths = "--json" in arguments, [text for text in arguments if text != "--json"]
    if len(paths) != 1:
        print("usage: python -m egokeras.device.selftest [--json] ARTIFACT", file=sys.stderr)
        return 2
    result = _tested(paths[0])
    print(json.dumps(dataclasses.asdict(result)) if as_json else result.sentence)
    return 0 if result.passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
