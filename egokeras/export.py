"""Ship a run: model.keras -> TFLite -> gate -> `exports/NAME/`, a folder that explains itself, or nothing.

A file is judged on the run's validation clips and on the windows of its held-out videos; `egokeras.gate` says how. A run that
anticipates is shipped as the step of a stream (`egokeras.models.anticipation_step`).
"""

import dataclasses
import pathlib
import shutil
import tempfile

import egokeras
from egokeras.compress.quantize import write_calibration
from egokeras.compress.tflite import KINDS, SIGNATURE, Conversion, ConversionError, convert
from egokeras.device.manifest import CLIP, FORMAT, MANIFEST, STEP
from egokeras.errors import InputError
from egokeras.files import run_file, sha256, write_json
from egokeras.gate import FAIL, PASS, TOO_FEW, explain
from egokeras.gated_run import open_run
from egokeras.recipe import find, shipped

MODEL = "model.tflite"
UNTESTED = "untested"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Export:
    """One way to ship a model.

    Attributes:
        name: of the artifact's folder.
        kind: of the artifact: `clip`, or `anticipation_step` for a run that anticipates.
        quantization: `float32`, `float16`, `dynamic_range` (int8 weights) or `int8` (weights and activations; clips alone).
        calibration_clips: training clips that show int8 the range of every tensor.
        max_lost_points: top-1 accuracy that any head may lose, in percentage points.
        min_agreement: clips on which any head must give the Keras model's top-1 class, in percent.
        seed: of the choice of calibration clips.
    """

    name: str
    kind: str = CLIP
    quantization: str = "float32"
    calibration_clips: int = 100
    max_lost_points: float = 1.0
    min_agreement: float = 98.0
    seed: int = 0

    def __post_init__(self):
        if self.quantization not in KINDS:
            raise InputError(f"export {self.name!r}: quantization {self.quantization!r} is unknown; it is one of {', '.join(KINDS)}.")
        if not (0 <= self.min_agreement <= 100 and 0 <= self.max_lost_points <= 100):
            found = f"max_lost_points {self.max_lost_points:g}, min_agreement {self.min_agreement:g}"
            raise InputError(f"export {self.name!r}: {found}; give each as a percentage from 0 to 100.")
        if self.kind not in (CLIP, STEP) or (self.kind == STEP and self.quantization == "int8"):
            found = f"kind {self.kind!r} with quantization {self.quantization!r}"
            raise InputError(f"export {self.name!r}: {found} is not made; {CLIP} has all of them, {STEP} all but int8.")
        if self.calibration_clips < 1:
            raise InputError(f"export {self.name!r}: calibration_clips is {self.calibration_clips}; int8 needs at least 1.")


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


def ship_all(exports, run_dir, shards=None, accept_untested=False):
    """Make artifacts of one run; all conversions share a child process and the Keras model's answers.

    Args:
        exports: `Export`s with different names; an artifact of that name is replaced once the new one has passed.
        run_dir: a run folder.
        shards: open `Shards` to calibrate and judge on; None opens those of the run.
        accept_untested: keep a file that the clips are too few to judge, marked `untested`.

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
            files = _convert(run, exports, pathlib.Path(work))
            return [_ship(run, export, file, accept_untested) for export, file in zip(exports, files, strict=True)]
    finally:
        if not any(folder.iterdir()):
            folder.rmdir()


def _check_kinds(exports, run):
    for export in exports:
        if export.kind != run.kind:
            fitting = ", ".join(name for name, file in names().items() if load(file).kind == run.kind)
            found = f"{run.path} is of the kind {run.kind!r}, export {export.name!r} of {export.kind!r}"
            raise InputError(f"{found}; give one of {fitting}.")


def _convert(run, exports, work):
    """A TFLite file, or the `ConversionError`, for each export."""
    conversions = []
    for export in exports:
        folder = work / export.name
        folder.mkdir()
        calibration = None
        if export.quantization == "int8":
            calibration = {name: str(work / f"{export.name}.{name}.npy") for name in run.model.input}
            _calibrate(run, export, calibration)
        conversions.append(Conversion(kind=export.quantization, file=str(folder / MODEL), calibration=calibration))
    model, outputs = run.source(work)
    errors = convert(model, outputs, conversions)
    return [error or pathlib.Path(conversion.file) for error, conversion in zip(errors, conversions, strict=True)]


def _calibrate(run, export, files):
    if not len(run.train):
        raise InputError(f"{run.shards.path} has no training clips to calibrate {export.name} on; give the data of the training.")
    labels = run.shards.labels(next(iter(run.classes)), run.train)
    write_calibration(run.shards, run.train, labels, files, count=export.calibration_clips, seed=export.seed)


def _ship(run, export, file, accept_untested):
    if isinstance(file, ConversionError):
        return Shipment(export=export, reason=str(file))
    gate = run.gate(export, file)
    if gate["answer"] == TOO_FEW and accept_untested:
        gate["answer"] = UNTESTED
    if gate["answer"] == FAIL:
        reason = f"{export.name} fails its gate: {explain(gate)}; {_nearest(run, export, file.parents[1])}."
        return Shipment(export=export, gate=gate, reason=reason)
    if gate["answer"] == TOO_FEW:
        return Shipment(export=export, gate=gate, reason=_too_few(run, export, gate))
    write_json(file.parent / MANIFEST, _describe(run, export, gate, file))
    return Shipment(export=export, gate=gate, path=_move(file.parent, run.path / "exports" / export.name))


def _nearest(run, export, work):
    """The smallest kind of file above the one that failed that would pass the same gate, measured."""
    shipped_as = {(other.kind, other.quantization): other.name for other in map(load, names())}
    kinds = KINDS[KINDS.index(export.quantization) + 1 :]
    milder = [dataclasses.replace(export, name=shipped_as[export.kind, kind], quantization=kind) for kind in kinds]
    with tempfile.TemporaryDirectory(dir=work) as folder:
        files = _convert(run, milder, pathlib.Path(folder)) if milder else []
        for other, file in zip(milder, files, strict=True):
            if not isinstance(file, ConversionError) and run.gate(other, file)["answer"] == PASS:
                return f"the nearest that passes is {other.name}"
    return "no other kind passes either" if milder else "nothing is nearer to the Keras model"


def _too_few(run, export, gate):
    missing = [split for split, count in (("validation", gate["clips"]), ("windows", gate["windows"])) if not count]
    lack = f" (none of split {' or '.join(missing)})" if missing else ""
    return (
        f"{export.name} cannot be judged: {gate['clips']} validation clips and {gate['windows']} windows of {gate['videos']} videos are "
        f"too few{lack}: {explain(gate)}; prepare more of them, or take the file as it is with --accept-untested."
    )


def _describe(run, export, gate, file):
    """Content of artifact.json."""
    return {
        "format": FORMAT,
        "name": export.name,
        "model": MODEL,
        "files": {MODEL: {"sha256": sha256(file), "bytes": file.stat().st_size}},
        "signature": SIGNATURE,
        **run.describe(),
        "parent": {"run": run.path.resolve().name, "model_sha256": sha256(run.path / "model.keras"), "data_sha256": run.shards.sha256},
        "gate": gate,
        "quantization": export.quantization,
        "egokeras": egokeras.__version__,
    }


def _move(folder, target):
    """Give a finished artifact its place, in that of an older one of its name."""
    if target.exists():
        target.rename(folder.parent / f"{target.name}.old")  # goes with the working folder
    shutil.move(folder, target)
    return target
