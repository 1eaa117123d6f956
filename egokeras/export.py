"""Ship a run: model.keras -> TFLite -> gate -> `exports/NAME/`, a folder that explains itself, or nothing.

A file is judged on the run's validation clips and on the windows of its held-out videos; `egokeras.gate` says how.
"""

import dataclasses
import os
import pathlib
import shutil
import tempfile

import numpy as np

import egokeras
from egokeras.compress.quantize import write_calibration
from egokeras.compress.tflite import INPUT, KINDS, SIGNATURE, Conversion, ConversionError, convert
from egokeras.data.shards import Shards
from egokeras.device.artifact import FORMAT, MANIFEST
from egokeras.errors import InputError
from egokeras.files import read_json, run_file, sha256, write_json
from egokeras.gate import FAIL, PASS, TOO_FEW, Limits, explain, judge
from egokeras.progress import track
from egokeras.recipe import Data, find, shipped

MODEL = "model.tflite"
UNTESTED = "untested"
GATE_CLIPS = 2000  # of a split at most: more take long and change no answer
BATCH = 4  # clips in memory at once


@dataclasses.dataclass(frozen=True, kw_only=True)
class Export:
    """One way to ship a model.

    Attributes:
        name: of the artifact's folder.
        quantization: `float32`, `float16`, `dynamic_range` (int8 weights) or `int8` (weights and activations).
        calibration_clips: training clips that show int8 the range of every tensor.
        max_lost_points: top-1 accuracy that any head may lose, in percentage points.
        min_agreement: clips on which any head must give the Keras model's top-1 class, in percent.
        seed: of the choice of calibration clips.
    """

    name: str
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
    run = _Run(pathlib.Path(run_dir), shards)
    folder = run.path / "exports"
    folder.mkdir(exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".") as work:
            files = _convert(run, exports, pathlib.Path(work))
            return [_ship(run, export, file, accept_untested) for export, file in zip(exports, files, strict=True)]
    finally:
        if not any(folder.iterdir()):
            folder.rmdir()


class _Run:
    """A run with what its files are judged against: held-out clips and the Keras model's logits for them."""

    def __init__(self, path, shards):
        self.path = path
        self.recipe = read_json(path / "recipe.json")
        self.shards = shards or _open_shards(self.recipe, path)
        self.model = egokeras.load_model(path / "model.keras")
        classes = read_json(path / "classes.json")
        self.classes = {head: names for head, names in classes.items() if head in self.model.output}
        self.shards.check_fits(self.model, self.classes)
        self.train, validation = Data.of_run(self.recipe).rows(self.shards)
        windows = self.shards.rows("windows") if "windows" in self.shards.splits else validation[:0]
        video = self.shards.clips["video"]
        windows = windows[~np.isin(video[windows], video[self.train])]  # of several splits, one trains on what another holds out
        validation, windows = _some(validation), _some(windows)
        self.rows = np.concatenate([validation, windows])
        self.videos = video[self.rows]
        self.counts = {"clips": len(validation), "windows": len(windows), "videos": len(np.unique(self.videos))}
        unlabelled = np.full(len(windows), -1, np.int32)
        self.labels = {head: np.concatenate([self.shards.labels(head, validation), unlabelled]) for head in self.classes}
        self.logits = self._logits(lambda clips: self.model.predict_on_batch({INPUT: clips}), "Keras")

    def _logits(self, predict, label):
        """Logits by head, (clips, classes) float32, for the gate's clips; a few clips are in memory at a time."""
        parts = {head: [np.zeros((0, len(names)), np.float32)] for head, names in self.classes.items()}
        for start in track(range(0, len(self.rows), BATCH), f"gate, {label}", unit="batch"):
            outputs = predict(self.shards.read(self.rows[start : start + BATCH]))
            for head, found in parts.items():
                found.append(np.asarray(outputs[head]))
        return {head: np.concatenate(found) for head, found in parts.items()}

    def gate(self, export, file):
        """What the gate measures on a TFLite file."""
        from ai_edge_litert.interpreter import Interpreter

        runner = Interpreter(str(file), num_threads=os.cpu_count()).get_signature_runner(SIGNATURE)

        def predict(clips):
            outputs = [runner(**{INPUT: clip[None]}) for clip in clips]
            return {head: np.concatenate([output[head] for output in outputs]) for head in self.classes}

        limits = Limits(lost_points=export.max_lost_points, agreement=export.min_agreement)
        logits = self._logits(predict, export.name)
        return {**self.counts, **judge(self.logits, logits, self.labels, self.videos, limits, exact=export.quantization == "float32")}


def _open_shards(recipe, path):
    folder = recipe.get("data", {}).get("shards")
    if not folder or not pathlib.Path(folder).is_dir():
        raise InputError(f"{path / 'recipe.json'}: the data {folder!r} is not here; give its folder with --data.")
    return Shards(folder)


def _some(rows):
    """At most `GATE_CLIPS` of `rows`, the same ones every time."""
    return rows if len(rows) <= GATE_CLIPS else np.sort(np.random.default_rng(0).permutation(rows)[:GATE_CLIPS])


def _convert(run, exports, work):
    """A TFLite file, or the `ConversionError`, for each export."""
    conversions = []
    for export in exports:
        folder = work / export.name
        folder.mkdir()
        calibration = None
        if export.quantization == "int8":
            calibration = str(work / f"{export.name}.npy")
            _calibrate(run, export, calibration)
        conversions.append(Conversion(kind=export.quantization, file=str(folder / MODEL), calibration=calibration))
    errors = convert(run.path / "model.keras", list(run.classes), conversions)
    return [error or pathlib.Path(conversion.file) for error, conversion in zip(errors, conversions, strict=True)]


def _calibrate(run, export, path):
    if not len(run.train):
        raise InputError(f"{run.shards.path} has no training clips to calibrate {export.name} on; give the data of the training.")
    labels = run.shards.labels(next(iter(run.classes)), run.train)
    write_calibration(run.shards, run.train, labels, path, count=export.calibration_clips, seed=export.seed)


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
    milder = [dataclasses.replace(export, name=kind, quantization=kind) for kind in KINDS[KINDS.index(export.quantization) + 1 :]]
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
    index = run.shards.index
    pixels = {"shape": [1, *run.shards.shape], "dtype": "uint8", "channels": index["channels"], "resize": index["resize"]}
    return {
        "format": FORMAT,
        "name": export.name,
        "model": MODEL,
        "files": {MODEL: {"sha256": sha256(file), "bytes": file.stat().st_size}},
        "signature": SIGNATURE,
        "inputs": {INPUT: pixels},
        "outputs": run.classes,
        "sampling": {**index["sampling"], "clip_seconds": index["clip_seconds"]},
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
