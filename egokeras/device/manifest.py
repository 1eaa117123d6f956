"""artifact.json: what an exported model takes and gives, checked before anything relies on it.

Three kinds of artifact are exported. A `clip` takes the frames of a clip at once, of one modality or of several. A `stream` takes one
frame and a state, every `clip_seconds / frames` seconds, and an `anticipation_step` one observation and a state, every
`anticipation.step` seconds; both give predictions and the new state, whose tensors have the names of the old. A clip or a stream may also
give the vector that its classifiers see, of `embedding` numbers, which an anticipator observes. What computes this are
`parts`: TFLite or ONNX files, or SavedModels (`model/saved_model.pb`, in a folder of its own as TensorFlow wants it), each of which takes
inputs of the artifact and what those before it gave. With early exits each part of a clip ends in one, and a stream has two parts for
each: what a frame shows to the exit, and what the exit sees in the window of the last frames, see `egokeras.device.exit_stream`.
`pairs` are inputs, a file of raw numbers for each clip, with the logits that these files gave where they were exported, see
`egokeras.device.selftest`. `seal` is the checksum of the rest, or null in what was edited on purpose; with pairs it is never missing.
"""

import re

import numpy as np

from egokeras.device.events import Smoothing
from egokeras.errors import CONTROL, InputError
from egokeras.files import seal, sha256, write_json

FORMAT = 2
MANIFEST = "artifact.json"
INPUT = "rgb"
EMBEDDING = "embedding"
LABELS = "labels"  # the input of past actions, whose verbs and nouns `vocabulary` names
CLIP, STREAM, STEP = "clip", "stream", "anticipation_step"
WINDOW, CARRIED = "window", "carried"  # what the state of a stream is: what the last frames showed, or that of a recurrent layer
WINDOWED = "_window"
CHANNELS = ("RGB", "flow", "rgb_difference", "residual", "motion_vector")  # what the pictures of an input show
RESIZES = ("squash", "crop", "pad")
DTYPES = ("float32", "int32")  # of the tensors of a step
MOST = 1 << 24  # numbers in a tensor of a step: 64 MiB


def check_manifest(file, manifest):
    """Refuse a description in which a field that is used is missing or has another type or range.

    Args:
        file: where it was read, for the message.
        manifest: its content.

    Raises:
        InputError: names the field.
    """
    if not isinstance(manifest, dict):
        raise InputError(f"{file} is not the description of an artifact; export it again.")
    found = _field(file, manifest, "format", int)
    if found != FORMAT:
        raise InputError(f"{file}: format is {found}, this egokeras reads {FORMAT}; use the egokeras that wrote it, or export again.")
    if manifest.get("seal", "" if "pairs" in manifest else None) not in (None, seal(manifest)):
        raise InputError(f"{file} was altered: its seal does not fit; copy it again, or make `seal` null if you mean the change.")
    for name in ("name", "quantization"):
        _require(not CONTROL.search(_field(file, manifest, name, str)), file, name, manifest[name])
    kind = manifest.get("kind", CLIP)
    checks = {CLIP: _check_clip, STREAM: _check_stream, STEP: _check_step}
    _require(isinstance(kind, str) and kind in checks, file, "kind", kind)
    checks[kind](file, manifest)
    _check_outputs(file, manifest)
    files = _field(file, manifest, "files", dict)
    for number, part in enumerate(_field(file, manifest, "parts", list)):
        for name in ("file", "signature", "quantization"):
            _require(isinstance(part, dict) and isinstance(part.get(name), str), file, f"parts.{number}.{name}", part)
            _require(not CONTROL.search(part[name]), file, f"parts.{number}.{name}", part[name])
        if part["file"] not in files:
            raise InputError(f"{file}: files has no entry for {part['file']!r} of parts; export it again.")
    _require(manifest["parts"], file, "parts", [])
    if "exits" in manifest:
        _check_exits(file, manifest)
    if EMBEDDING in manifest:
        _require(kind != STEP and "exits" not in manifest and EMBEDDING not in manifest["outputs"], file, EMBEDDING, manifest[EMBEDDING])
        _require(_sizes([manifest[EMBEDDING]]) and manifest[EMBEDDING] <= MOST, file, EMBEDDING, manifest[EMBEDDING])
    try:
        Smoothing.of(manifest)
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    for name, entry in files.items():
        _require(isinstance(entry, dict) and isinstance(entry.get("bytes"), int), file, f"files.{name}.bytes", entry)
        _require(re.fullmatch("[0-9a-f]{64}", str(entry.get("sha256"))), file, f"files.{name}.sha256", entry.get("sha256"))
    if "pairs" in manifest:
        _check_pairs(file, manifest)


def write_manifest(folder, manifest):
    """Write artifact.json into the folder of an artifact, with the seal of what it says now."""
    write_json(folder / MANIFEST, {**manifest, "seal": seal(manifest)})


def file_entries(folder, files):
    """What `files` of artifact.json says of files in the artifact's folder."""
    return {file.relative_to(folder).as_posix(): {"sha256": sha256(file), "bytes": file.stat().st_size} for file in files}


def run_bytes(manifest):
    """Bytes of the files that are run."""
    return sum(manifest["files"][part["file"]]["bytes"] for part in manifest["parts"])


def tensors(manifest):
    """Names of all inputs, the state's too, to (shape as a list, name of the dtype)."""
    described = {**manifest["inputs"], **manifest.get("state", {})}
    return {name: (entry["shape"], entry["dtype"]) for name, entry in described.items()}


def exit_output(head, number):
    """What the answer of a head at an exit (from 0) is called in an artifact."""
    return f"{head}_{number + 1}"


def window_of(name):
    """What the last frames' outputs `name` are called, (1, frames, ...), in the `state` of a stream with early exits."""
    return f"{name}{WINDOWED}"


def given(manifest):
    """Names of all that the files have to give, to (shape as a list, name of the dtype)."""
    state = {name: (entry["shape"], entry["dtype"]) for name, entry in manifest.get("state", {}).items()}
    if "exits" in manifest:
        state = {name.removesuffix(WINDOWED): ([1, 1, *shape[2:]], dtype) for name, (shape, dtype) in state.items()}
    vector = {EMBEDDING: ([1, manifest[EMBEDDING]], "float32")} if EMBEDDING in manifest else {}
    return state | vector | {name: (shape, "float32") for name, shape in logits(manifest).items()}


def logits(manifest):
    """Output to the shape of its logits, as a list: one for each head, or with early exits for each head and exit, `verb_1`."""
    if "exits" in manifest:
        exits = range(len(manifest["exits"]["names"]))
        return {exit_output(head, number): [1, len(names)] for head, names in manifest["outputs"].items() for number in exits}
    times = [len(manifest["anticipation"]["times"])] if manifest.get("kind", CLIP) == STEP else []
    return {head: [1, *times, len(names)] for head, names in manifest["outputs"].items()}


def pair_tensors(manifest):
    """(`inputs` or `outputs`, name) to (shape as a list, name of the dtype) of the pairs, all in one array."""
    pairs, kind = manifest["pairs"], manifest.get("kind", CLIP)
    times = {STREAM: lambda: [manifest["sampling"]["frames"]], STEP: lambda: [manifest["anticipation"]["steps"]]}.get(kind, list)()
    taken = {
        ("inputs", name): ([pairs["count"], *([] if name == LABELS else times), *entry["shape"][1:]], entry["dtype"])
        for name, entry in manifest["inputs"].items()
    }
    return taken | {("outputs", name): ([pairs["count"], *shape[1:]], "float32") for name, shape in logits(manifest).items()}


def _check_pairs(file, manifest):
    pairs = _field(file, manifest, "pairs", dict)
    count, steps = (_field(file, pairs, name, kind, "pairs.") for name, kind in (("count", int), ("steps", dict)))
    _require(0 < count <= MOST, file, "pairs.count", count)
    for side, names in (("inputs", manifest["inputs"]), ("outputs", logits(manifest))):
        found = _field(file, pairs, side, dict, "pairs.")
        _require(set(found) == set(names), file, f"pairs.{side}", list(found))
        for name, stored in found.items():
            plain = isinstance(stored, list) and stored and all(isinstance(each, str) and not CONTROL.search(each) for each in stored)
            _require(plain, file, f"pairs.{side}.{name}", stored)
            missing = [each for each in stored if each not in manifest["files"]]
            if missing:
                raise InputError(f"{file}: files has no entry for {missing[0]!r} of pairs; export it again.")
    fine = all(type(step) in (int, float) and 0 <= step < float("inf") for step in steps.values())
    _require(fine and set(steps) == set(pairs["outputs"]), file, "pairs.steps", steps)


def _check_clip(file, manifest):
    inputs, sampling = _field(file, manifest, "inputs", dict), _field(file, manifest, "sampling", dict)
    for name in inputs or (INPUT,):
        _require(not CONTROL.search(name), file, "inputs", name)
        frames = _check_pictures(file, f"inputs.{name}.", _field(file, inputs, name, dict, "inputs."), name == INPUT)
        _require(sampling.get("frames") == frames, file, "sampling.frames", sampling.get("frames"))
    _require(_seconds(sampling.get("clip_seconds")), file, "sampling.clip_seconds", sampling.get("clip_seconds"))


def _check_stream(file, manifest):
    inputs, sampling = _field(file, manifest, "inputs", dict), _field(file, manifest, "sampling", dict)
    _require(set(inputs) == {INPUT}, file, "inputs", list(inputs))
    _check_pictures(file, f"inputs.{INPUT}.", _field(file, inputs, INPUT, dict, "inputs."), True, axes=4)
    frames = sampling.get("frames")
    _require(type(frames) is int and 0 < frames <= 10_000, file, "sampling.frames", frames)
    _require(_seconds(sampling.get("clip_seconds")), file, "sampling.clip_seconds", sampling.get("clip_seconds"))
    _check_tensors(file, "state", _field(file, manifest, "state", dict))
    _require(manifest.get("memory") in (WINDOW, CARRIED), file, "memory", manifest.get("memory"))
    reset = manifest.get("reset_frames", frames)
    _require(type(reset) is int and reset >= frames, file, "reset_frames", reset)
    if "exits" in manifest:
        _require(manifest["memory"] == WINDOW and "reset_frames" not in manifest, file, "memory", manifest["memory"])
        for name, entry in manifest["state"].items():
            _require(name.endswith(WINDOWED) and entry["shape"][1:2] == [frames], file, f"state.{name}", entry)


def _check_pictures(file, at, pixels, colours, axes=5):
    """One input of clips, or of frames with an axis less; returns its number of frames."""
    shape = _field(file, pixels, "shape", list, at)
    _require(_sizes(shape) and len(shape) == axes and shape[0] == 1 and (shape[-1] == 3 or not colours), file, f"{at}shape", shape)
    for name, allowed in (("dtype", ("uint8",)), ("channels", ("RGB",) if colours else CHANNELS), ("resize", RESIZES)):
        _require(pixels.get(name) in allowed, file, at + name, pixels.get(name))
    whole = pixels.get("cut_from", shape[-3:-1])
    fits = isinstance(whole, list) and len(whole) == 2 and _sizes(whole) and whole[0] >= shape[-3] and whole[1] >= shape[-2]
    _require(fits, file, f"{at}cut_from", whole)
    return shape[1]


def _check_step(file, manifest):
    names: set = set()
    for field in ("inputs", "state"):
        entries = _field(file, manifest, field, dict)
        _require(not names & set(entries), file, field, list(entries))
        names |= set(entries)
        _check_tensors(file, field, entries)
    if LABELS in manifest["inputs"]:
        vocabulary = _field(file, manifest, "vocabulary", dict)
        for space in ("verb", "noun"):
            _require(_field(file, vocabulary, space, list, "vocabulary."), file, f"vocabulary.{space}", [])
    about = _field(file, manifest, "anticipation", dict)
    _require(_seconds(about.get("step")), file, "anticipation.step", about.get("step"))
    times, steps = (_field(file, about, name, kind, "anticipation.") for name, kind in (("times", list), ("steps", int)))
    _require(times and all(map(_seconds, times)), file, "anticipation.times", times)
    _require(len(times) <= steps <= 1000, file, "anticipation.steps", steps)


def _check_exits(file, manifest):
    exits = _field(file, manifest, "exits", dict)
    names = _field(file, exits, "names", list, "exits.")
    plain = all(isinstance(name, str) and not CONTROL.search(name) for name in names)
    parts = {CLIP: len(names), STREAM: 2 * len(names)}.get(manifest.get("kind", CLIP))
    _require(plain and len(manifest["parts"]) == parts, file, "exits.names", names)
    weights, thresholds = (_field(file, exits, field, dict, "exits.") for field in ("weights", "thresholds"))
    for field, found in (("weights", weights), ("thresholds", thresholds)):
        _require(set(found) == set(manifest["outputs"]), file, f"exits.{field}", list(found))
    for head, rows in weights.items():
        square = (
            isinstance(rows, list) and len(rows) == len(names) and all(isinstance(row, list) and len(row) == len(names) for row in rows)
        )
        finite = square and all(type(value) in (int, float) and abs(value) < MOST for row in rows for value in row)
        _require(finite, file, f"exits.weights.{head}", rows)
    for head, threshold in thresholds.items():
        _require(type(threshold) in (int, float) and 0 <= threshold <= 1, file, f"exits.thresholds.{head}", threshold)


def _check_tensors(file, field, entries):
    """Tensors of a step."""
    _require(entries, file, field, entries)
    for name, entry in entries.items():
        plain = isinstance(entry, dict) and entry.get("dtype") in DTYPES and not CONTROL.search(name)
        _require(plain, file, f"{field}.{name}", entry)
        shape = _field(file, entry, "shape", list, f"{field}.{name}.")
        _require(_sizes(shape) and shape[0] == 1 and np.prod(shape, dtype=float) <= MOST, file, f"{field}.{name}.shape", shape)


def _check_outputs(file, manifest):
    outputs = _field(file, manifest, "outputs", dict)
    _require(outputs and not set(outputs) & set(manifest.get("state", ())), file, "outputs", outputs)
    for head, names in outputs.items():
        plain = isinstance(names, list) and names and all(isinstance(name, str) and not CONTROL.search(name) for name in [head, *names])
        _require(plain, file, f"outputs.{head}", names)


def _sizes(shape):
    return bool(shape) and all(type(size) is int and size > 0 for size in shape)


def _seconds(value):
    return type(value) in (int, float) and 0 < value < float("inf")


def _field(file, record, name, kind, at=""):
    if name not in record:
        raise InputError(f"{file}: {at}{name} is missing; export it again.")
    _require(type(record[name]) is kind, file, at + name, record[name])
    return record[name]


def _require(fine, file, field, found):
    if not fine:
        raise InputError(f"{file}: {field} is {found!r:.80}, which no artifact can have; export it again.")
