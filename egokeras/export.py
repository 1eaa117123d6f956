"""Ship a run: model.keras -> TFLite, ONNX or SavedModel -> gate -> `exports/NAME/`, a folder that explains itself, or nothing.

An artifact is judged on the run's validation clips and on the windows of its held-out videos; `egokeras.gate` says how, and
`egokeras.artifact_kinds` what a run can become.
"""

import dataclasses
import functools
import os
import pathlib
import shutil
import tempfile

import egokeras
from egokeras import stored_pairs
from egokeras.artifact_kinds import FORMATS, KINDS, MIXED, QUANTIZATIONS, Clips, made_of
from egokeras.compress import sparsity
from egokeras.compress.conversion import SIGNATURE, convert
from egokeras.compress.extras import need
from egokeras.compress.qat import QAT
from egokeras.compress.tflite import WEIGHT_ONLY
from egokeras.device import selftest, trtexec
from egokeras.device.artifact import Artifact
from egokeras.device.manifest import CARRIED, CLIP, FORMAT, STREAM, WINDOW, file_entries, write_manifest
from egokeras.errors import InputError
from egokeras.file_descriptions import describe_files
from egokeras.files import read_json, run_file
from egokeras.gate import FAIL, PASS, TOO_FEW, explain
from egokeras.gated_run import open_run
from egokeras.recipe import find, shipped

UNTESTED = "untested"
ONNX = ("onnx", "onnxruntime", "tf2onnx")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Export:
    """One way to ship a model.

    Attributes:
        name: of the artifact's folder.
        kind: of the artifact: `clip`; `stream`, a frame at a time; `early_exit`, a clip that is computed no further than its exit;
            `stream_early_exit`, the same of the clip of the last frames, a frame at a time; `anticipation_step` for a run that anticipates.
        format: of its files: `tflite`, `onnx` for onnxruntime and TensorRT, or `savedmodel` for TensorFlow and what reads its graphs.
        quantization: `float32`, `float16`, `weight_only` (int8 weights, computed in float32), `dynamic_range` (int8 weights, computed in
            int8 where the kernel can), `mixed` (features in int8, the head over time in float32) or `int8` (weights and activations; clips
            alone). In ONNX int8 is in Q/DQ nodes, and float16 is TensorRT's own; a SavedModel is float32.
        calibration_clips: training clips that show int8 the range of every tensor.
        qat: trains the features to answer in int8 before, for `mixed` and `int8` of clips and streams; in `int8` the head is then a file
            of its own, quantized after training. None does not train.
        memory: of a stream: `window`, the features of the last frames, so that every answer is that of their clip; or `carried`, the state
            of the head's recurrent layer, which is cheaper and goes on beyond the length of a clip.
        reset_frames: of a stream: frames after which the memory begins anew; 0 is never.
        embedding: of clips and streams in tflite: they also give the vector that the classifiers see, as `egokeras features` computes it,
            which an anticipator on the device observes.
        lost_by_leaving: of early exits: accuracy that leaving may cost on top, in percentage points.
        max_lost_points: top-1 accuracy that any head may lose, in percentage points.
        min_agreement: clips on which any head must give the Keras model's top-1 class, in percent.
        stored_pairs: clips or windows that the artifact holds with its own answers to them, at most (in TFLite about 4 MB, but one), so
            that a device can tell whether it gives the same, and with ONNX a TensorRT engine; 0 gives none of the data away.
        seed: of the choice of calibration clips.
    """

    name: str
    kind: str = CLIP
    format: str = "tflite"
    quantization: str = "float32"
    calibration_clips: int = 100
    qat: QAT | None = None
    memory: str = WINDOW
    reset_frames: int = 0
    embedding: bool = False
    lost_by_leaving: float = 0.5
    max_lost_points: float = 1.0
    min_agreement: float = 98.0
    stored_pairs: int = 8
    seed: int = 0

    def __post_init__(self):
        for field, known in (
            ("kind", tuple(KINDS)),
            ("format", tuple(FORMATS)),
            ("quantization", QUANTIZATIONS),
            ("memory", (WINDOW, CARRIED)),
        ):
            if getattr(self, field) not in known:
                raise InputError(f"export {self.name!r}: {field} {getattr(self, field)!r} is unknown; it is one of {', '.join(known)}.")
        if not (0 <= self.min_agreement <= 100 and 0 <= self.max_lost_points <= 100):
            found = f"max_lost_points {self.max_lost_points:g}, min_agreement {self.min_agreement:g}"
            raise InputError(f"export {self.name!r}: {found}; give each as a percentage from 0 to 100.")
        made = [name for name in KINDS[self.kind].quantizations if name in FORMATS[self.format]]
        if self.quantization not in made:
            found = f"kind {self.kind!r} with quantization {self.quantization!r}"
            raise InputError(f"export {self.name!r}: {found} is not made in {self.format}; give one of {', '.join(made)}.")
        if self.qat and (self.quantization not in ("int8", MIXED) or self.kind not in (CLIP, STREAM) or self.format != "tflite"):
            found = f"qat with kind {self.kind!r}, format {self.format!r} and quantization {self.quantization!r}"
            raise InputError(
                f"export {self.name!r}: {found} is not made; it trains int8 or mixed features of a clip or a stream in tflite."
            )
        if self.embedding and (self.kind not in (CLIP, STREAM) or self.format != "tflite"):
            found = f"embedding with kind {self.kind!r} and format {self.format!r}"
            raise InputError(f"export {self.name!r}: {found} is not made; clips and streams in tflite give theirs.")
        if self.calibration_clips < 1:
            raise InputError(f"export {self.name!r}: calibration_clips is {self.calibration_clips}; int8 needs at least 1.")
        if not 0 <= self.stored_pairs <= 100:
            raise InputError(f"export {self.name!r}: stored_pairs is {self.stored_pairs}; give 0 to 100.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shipment:
    """What became of an export.

    Attributes:
        export: the `Export`.
        path: the artifact's folder; None if it was refused.
        gate: what was measured (see `egokeras.gate.judge`) with the numbers of `clips`, `windows` and `videos`; None if there was no file.
        reason: why it was refused, in one sentence.
    """

    export: Export
    path: pathlib.Path | None = None
    gate: dict | None = None
    reason: str = ""


def names():
    """Export name to its file, for all exports that come with egokeras."""
    return shipped("exports")


def load(export):
    """The `Export` in a file, given by its path or, for those that come with egokeras, by its name.

    Raises:
        InputError: no such export, or the file has no `EXPORT`.
    """
    path = find("export", export, names())
    found = getattr(run_file(path), "EXPORT", None)
    if not isinstance(found, Export):
        raise InputError(f"{path} has no EXPORT = Export(...); an export file needs one.")
    return found


def ship(export, run_dir, shards=None, accept_untested=False):
    """Make one artifact; returns its folder, `run_dir/exports/NAME`. Arguments as for `ship_all`.

    Raises:
        InputError: also where the gate refuses the file.
    """
    shipment = ship_all([export], run_dir, shards, accept_untested)[0]
    if shipment.path is None:
        raise InputError(shipment.reason)
    return shipment.path


def ship_all(exports, run_dir, shards=None, accept_untested=False, nearest=True):
    """Make artifacts of one run; all conversions share a child process and the Keras model's answers.

    Args:
        exports: `Export`s with different names; an artifact of that name is replaced once the new one has passed.
        run_dir: a run folder.
        shards: open `Shards` to calibrate and judge on; None opens those of the run.
        accept_untested: keep a file that the clips are too few to judge, marked `untested`.
        nearest: of a file that fails, also make the kinds above it, to say which would pass.

    Returns:
        A `Shipment` for each export, in order.

    Raises:
        InputError: the run or the data cannot be used.
    """
    if len({export.name for export in exports}) < len(exports):
        raise InputError(f"two exports have the same name: {', '.join(export.name for export in exports)}; give each once.")
    run = open_run(pathlib.Path(run_dir), shards)
    _check_kinds(exports, run)
    folder = run.path / "exports"
    folder.mkdir(exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".") as work:
            made = _convert(run, exports, pathlib.Path(work))
            return [_ship(run, export, one, accept_untested, nearest) for export, one in zip(exports, made, strict=True)]
    finally:
        if not any(folder.iterdir()):
            folder.rmdir()


def _check_kinds(exports, run):
    kinds = made_of(run)
    for export in exports:
        if export.kind not in kinds:
            fitting = ", ".join(name for name, file in names().items() if load(file).kind in kinds)
            raise InputError(
                f"{run.path} becomes {' or '.join(kinds)}, export {export.name!r} makes {export.kind!r}; give one of {fitting}."
            )
        vector = run.model.output.get("features")
        if export.embedding and (vector is None or len(vector.shape) != 2):
            raise InputError(f"{run.path}: its model makes no vector `features` of a clip; export {export.name!r} without embedding.")
        frames = next(iter(run.inputs.values())).shape[1]
        if 0 < export.reset_frames < frames:
            raise InputError(
                f"export {export.name!r}: reset_frames is {export.reset_frames}; a clip has {frames} frames: give at least that."
            )


def _convert(run, exports, work):
    """For each export a `_Made`, or the `InputError` that says why there is none."""
    kinds = [KINDS[export.kind](run, export) for export in exports]
    planned = [_planned(kind, work) for kind in kinds]
    conversions = [part for parts in planned if not isinstance(parts, InputError) for part in parts]
    errors = dict(zip([part.file for part in conversions], convert(conversions) if conversions else [], strict=True))
    results = []
    for kind, parts in zip(kinds, planned, strict=True):
        failed = [parts] if isinstance(parts, InputError) else [errors[part.file] for part in parts if errors[part.file]]
        results.append(failed[0] if failed else _Made(kind, _artifact(kind, parts, work)))
    return results


def _planned(kind, work):
    (work / kind.export.name).mkdir()
    try:
        if kind.export.format == "onnx":
            need(f"export {kind.export.name!r}", "onnx", *ONNX)
        if kind.export.quantization == WEIGHT_ONLY:
            need("weight_only", "weight_only", "ai_edge_quantizer")
        return kind.conversions(work)
    except InputError as error:
        return error


@dataclasses.dataclass(frozen=True)
class _Made:
    """An artifact whose files are there and whose artifact.json is not."""

    kind: Clips
    artifact: Artifact

    def judge(self):
        """What the gate measures, what artifact.json says of the artifact's own answers, and these: by what is judged, (clips, classes)."""
        run, kind = self.kind.run, self.kind
        found = run.answers(kind, functools.partial(selftest.predict, self.artifact), kind.export.name)
        logits = {name: found[name] for name, *_ in kind.judged()}
        return run.gate(kind, found), kind.decided(logits), logits


def _artifact(kind, parts, work):
    run, folder, files = kind.run, work / kind.export.name, [pathlib.Path(part.file) for part in parts]
    about = {
        **kind.describe(),
        "parent": {"run": run.path.resolve().name, "model_sha256": "+".join(run.sources), "data_sha256": run.shards.sha256},
        "quantization": kind.export.quantization,
        "egokeras": egokeras.__version__,
    }
    if kind.export.format == "tflite":
        describe_files(files, {"name": kind.export.name, **about})
    entries = file_entries(folder, files)
    described = [
        {"file": name, "signature": SIGNATURE, "quantization": part.kind, **sparsity.summary(file.read_bytes()), **_trained(part)}
        for name, file, part in zip(entries, files, parts, strict=True)
    ]
    manifest = {"format": FORMAT, "name": kind.export.name, "parts": described, "files": entries, **about}
    return Artifact(folder=folder, threads=os.cpu_count() or 1, manifest=manifest)


def _trained(part):
    """How a file's weights were trained for int8."""
    return {"qat": read_json(part.training.report)} if part.training else {}


def _ship(run, export, made, accept_untested, nearest):
    if isinstance(made, InputError):
        return Shipment(export=export, reason=str(made))
    try:
        gate, decided, found = made.judge()
    except InputError as error:
        return Shipment(export=export, reason=str(error))
    artifact = made.artifact
    if gate["answer"] == TOO_FEW and accept_untested:
        gate["answer"] = UNTESTED
    if gate["answer"] == FAIL:
        milder = f"; {_nearest(run, export, artifact.folder.parent)}" if nearest else ""
        return Shipment(export=export, gate=gate, reason=f"{export.name} fails its gate: {explain(gate)}{milder}.")
    if gate["answer"] == TOO_FEW:
        return Shipment(export=export, gate=gate, reason=_too_few(run, export, gate))
    artifact = dataclasses.replace(artifact, manifest={**stored_pairs.write(made.kind, artifact, found), **decided, "gate": gate})
    lines = file_entries(artifact.folder, [trtexec.write(artifact)] if trtexec.fits(artifact) else [])
    write_manifest(artifact.folder, {**artifact.manifest, "files": {**artifact.manifest["files"], **lines}})
    return Shipment(export=export, gate=gate, path=_move(artifact.folder, run.path / "exports" / export.name))


def _nearest(run, export, work):
    """The smallest kind of file above the one that failed that would pass the same gate, measured."""
    known = [other for other in map(load, names()) if not other.qat]
    same = [other for other in known if (other.kind, other.format) == (export.kind, export.format)]
    shipped_as = {other.quantization: other.name for other in same}
    kinds = [kind for kind in QUANTIZATIONS[QUANTIZATIONS.index(export.quantization) + 1 :] if kind in shipped_as]
    milder = [dataclasses.replace(export, name=shipped_as[kind], quantization=kind, qat=None) for kind in kinds]
    with tempfile.TemporaryDirectory(dir=work) as folder:
        for other, made in zip(milder, _convert(run, milder, pathlib.Path(folder)), strict=True):
            if not isinstance(made, InputError) and made.judge()[0]["answer"] == PASS:
                return f"the nearest that passes is {other.name}"
    return "no other kind passes either" if milder else "nothing is nearer to the Keras model"


def _too_few(run, export, gate):
    missing = [split for split, count in (("validation", gate["clips"]), ("windows", gate["windows"])) if not count]
    lack = f" (none of split {' or '.join(missing)})" if missing else ""
    return (
        f"{export.name} cannot be judged: {gate['clips']} validation clips and {gate['windows']} windows of {gate['videos']} videos are "
        f"too few{lack}: {explain(gate)}; prepare more of them, or take the file as it is with --accept-untested."
    )


def _move(folder, target):
    """Give a finished artifact its place, in that of an older one of its name."""
    if target.exists():
        target.rename(folder.parent / f"{target.name}.old")  # goes with the working folder
    shutil.move(folder, target)
    return target
