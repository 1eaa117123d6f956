"""`egokeras verify`: check every checksum and count of shards, features, runs and artifacts; find leaks between splits; test artifacts."""

import contextlib
import importlib.metadata
import json
import math
import pathlib
import re
import sys
import zipfile
import zlib

from egokeras.errors import InputError, plain, said
from egokeras.files import TEMPORARY, UNFINISHED, read_json, sha256

EXAMPLE = """egokeras verify shards/epic100
         egokeras verify runs/demo/demo/exports/onnx --trtexec fp16.output_*.json fp16.times.json"""
WORK, CHECKSUMS, OBSERVING, FEATURES = ".work", ".checksums", ".observing", ".made_from.json"
IN_WORK = (WORK, CHECKSUMS, OBSERVING, ".lock")
SHARD = re.compile(r"shard-\d+\.npy")
# Names that `files.atomic`, `tempfile` and `train.save` give to what is not whole yet; `export` works in `exports`.
LEFT_OVER = re.compile(TEMPORARY.pattern + r"|\..+\.tmp\.keras", re.DOTALL)
EXPORTING = re.compile(r"\.[a-z0-9_]{8}")
CLIPS = re.compile("(uid|video|logits_.*|label_.*).npy")
ARCHIVES = ("model.keras", "predictions.npz", "train_predictions.npz", "snapshots/*.npz")
RECORDS = ("recipe.json", "classes.json", "metrics.json", "latency.json")


def add_arguments(parser):
    parser.add_argument(
        "path",
        metavar="PATH",
        help="a folder of shards, of features, of an observation set, of a run or of an exported artifact, or one with such folders in it",
    )
    parser.add_argument(
        "--trtexec",
        nargs="+",
        metavar="FILE",
        help="PATH is an artifact: judge its TensorRT engine by what trtexec exported, outputs in the order of the clips, and times, "
        "which go into latency.json there",
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(args):
    path = pathlib.Path(args.path)
    if args.trtexec:
        return _engine(args, path)
    found, results = list(findings(path)), list(tests(path))
    found += [result.sentence for result in results if not result.passed]
    passed = [result.sentence for result in results if result.passed]
    if args.json:
        print(json.dumps({"path": str(path), "findings": found, "passed": passed}, indent=1))
    else:
        print("\n".join(map(plain, [*(found or [f"{path}: everything is as it was written"]), *passed])))
    return 1 if found else 0


def _engine(args, path):
    """Judge a TensorRT engine, and note its times if it is right."""
    from egokeras.device import latency, trtexec
    from egokeras.device.artifact import Artifact

    artifact, (outputs, times) = Artifact.open(path), trtexec.read(args.trtexec)
    judged = trtexec.judge(artifact, outputs)
    failed = list(trtexec.failures(artifact, judged))
    host = {**latency.host(), "runtime": "TensorRT, by trtexec"}
    del host["ai-edge-litert"]
    rows = [] if failed else [trtexec.latency(artifact, file, milliseconds, host) for file, milliseconds in times]
    if args.json:
        print(json.dumps({"path": str(path), "findings": failed, "heads": judged, "latency": rows}, indent=1))
        return 1 if failed else 0
    for head, figures in judged.items():
        print(
            plain(f"{head}: {figures['agreement']:.1f}% of {figures['clips']} clips agree, by up to {figures['max_difference']:.2g} apart")
        )
    for row in rows:
        named = ", ".join(f"{name.removesuffix('_ms')} {row[name]:.2f} ms" for name in ("p50_ms", "p90_ms", "p95_ms", "p99_ms"))
        print(plain(f"{row['artifact']}: {named} over {row['runs']} runs on {host['processor']}, in {artifact.folder / trtexec.LATENCY}"))
    for phrase in failed:
        print(plain(f"error: {phrase}"), file=sys.stderr)
    return 1 if failed else 0


def findings(path):
    """Yield a sentence for everything at or below the folder that is not as it was written.

    Raises:
        InputError: there is nothing of ours.
    """
    places = _places(path)
    if not places:
        kinds = "shards, features or observations (index.json) nor a run (recipe.json) nor an artifact (artifact.json)"
        raise InputError(f"{path} holds neither {kinds}; check the path.")
    for folder, check in places:
        yield from check(folder)
    yield from _left_over(path)


def tests(path):
    """Yield the `egokeras.device.selftest.Result` of every artifact at or below the folder that is whole, each from its own process."""
    for folder, check in _places(path):
        if check is _artifact and not list(_artifact(folder)):
            from egokeras.device import selftest

            yield selftest.in_child(folder)


def _places(path):
    """(folder, its check) for all that can be checked, in order; what has lost its index is known by its other files."""
    checks = {"index.json": _shards, "clips.npy": _shards, "recipe.json": _run, "artifact.json": _artifact}
    checks |= {UNFINISHED: _unfinished, FEATURES: _unfinished_features}
    found: dict = {}
    for file in sorted(path.rglob("*")) if path.is_dir() else ():
        check = _shards if file.name in (WORK, CHECKSUMS, OBSERVING) or SHARD.fullmatch(file.name) else checks.get(file.name)
        if check and not any(map(_temporary, file.relative_to(path).parents)):
            found[file.parent, check] = None
    return list(found)


def _temporary(path):
    return path.name in IN_WORK or bool(
        LEFT_OVER.fullmatch(path.name) or (path.parent.name == "exports" and EXPORTING.fullmatch(path.name))
    )


def _left_over(path):
    for file in sorted(path.rglob(".*")):
        unfinished = file.name in IN_WORK and not (file.parent / "index.json").exists()  # said already
        if _temporary(file) and not unfinished and not any(map(_temporary, file.relative_to(path).parents)):
            yield f"{file} was left by a command that was interrupted, or is still running; run that again, or delete this."


def _run(path):
    """Files of a run: there, whole, of one Keras and of one set of shards."""
    if not (path / "model.keras").is_file() and not (path / UNFINISHED).exists():
        yield from _unfinished(path)
    for name in RECORDS:
        if (path / name).is_file():
            yield from said(read_json, path / name)
    for file in [file for pattern in ARCHIVES for file in sorted(path.glob(pattern)) if file.is_file()]:
        yield from _archive(file)
    yield from said(_check_data, path)
    if (path / "checksums.json").is_file() and not (path / UNFINISHED).exists():
        yield from _altered(path)


def _altered(path):
    """What a finished training has written, against its checksums."""
    try:
        sums = read_json(path / "checksums.json")
        if not isinstance(sums, dict):
            raise InputError(f"{path / 'checksums.json'} is not a list of checksums; train again.")
    except InputError as error:
        yield str(error)
        return
    for name, checksum in sums.items():
        file = path / name
        if not file.resolve().is_relative_to(path.resolve()) or not file.is_file() or sha256(file) != checksum:
            yield f"{file} is missing or was altered after the training; restore it or train again."


def _unfinished(path):
    yield f"{path} is not finished; run its `egokeras train` again."


def _unfinished_features(path):
    if not (path / "index.json").exists():
        yield f"{path} is not finished; run its `egokeras features` again, which goes on."


def _archive(file):
    """A zip archive holds a checksum of each part; arrays need no pickle and have as many rows as there are clips."""
    try:
        with zipfile.ZipFile(file) as archive:
            broken = archive.testzip()
            if not broken and file.suffix == ".npz":
                _check_arrays(archive)
            elif not broken:
                yield from _keras_version(file, archive)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError):
        broken = "all of it"
    except (KeyError, TypeError, ValueError) as error:
        broken = str(error)[:200]
    if broken:
        yield f"{file} is damaged ({broken}); restore it or train again."


def _check_arrays(archive):
    """Only their headers are read, so that a small file cannot ask for much memory."""
    import numpy as np

    lengths = {}
    for part in archive.infolist():
        with archive.open(part) as member:
            header = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}[np.lib.format.read_magic(member)[0]]
            shape, _, dtype = header(member)
            size = part.file_size - member.tell()
        if dtype.hasobject:
            raise ValueError(f"{part.filename} holds objects, which run as code when they are read")
        if math.prod(shape) * dtype.itemsize != size:
            raise ValueError(f"{part.filename} has {size} bytes for {shape} {dtype}")
        if CLIPS.match(part.filename):
            lengths[part.filename] = shape[:1]
    if len(set(lengths.values())) > 1:
        raise ValueError(f"arrays of different length: {', '.join(lengths)}")


def _keras_version(file, archive):
    """Keras reads what an older one wrote, not always the other way."""
    wrote, reads = str(json.loads(archive.read("metadata.json"))["keras_version"]), _installed("keras")
    if reads and _numbers(wrote) > _numbers(reads):
        yield f"{file} was written by Keras {wrote!r}, this is {reads}; update keras before you load it."


def _installed(package):
    """Version of a package, None if it is not there."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return None


def _numbers(version):
    return [int(number) for number in re.findall(r"\d+", version)[:3]]


def _check_data(path):
    """The shards, or sets joined, that lie where the run's lay are still those it was trained on, and those it was judged by."""
    from egokeras.data.joined import folders, open_sets
    from egokeras.data.shards import INDEX

    recipe = read_json(path / "recipe.json")
    data = recipe.get("data") if isinstance(recipe, dict) else None
    known = recipe.get("data_sha256") if isinstance(recipe, dict) else None
    if not isinstance(data, dict) or not isinstance(data.get("shards"), str) or not known:
        return
    there = all(pathlib.Path(folder, INDEX).is_file() for folder in folders(data["shards"]))
    if there and open_sets(data["shards"]).sha256 != known:
        raise InputError(f"{path} was trained on other shards than those that lie in {data['shards']!r} now; its scores are not of these.")


def _artifact(path):
    from egokeras.device.artifact import Artifact

    yield from said(Artifact.open, path)


def _shards(path):
    from egokeras.data import shard_checks
    from egokeras.data.shards import Shards

    if (path / CHECKSUMS).exists() and not (path / "index.json").exists():
        yield f"{path} is not finished; a training that wants these features goes on with them, or delete it."
        return
    if _has_videos(path / "index.json"):
        yield from _video_features(path)
        return
    try:
        data = Shards(path)
    except InputError as error:
        yield str(error)
        return
    yield from _versions(path, data)
    yield from shard_checks.findings(data)


def _has_videos(file):
    """Whether an index is that of a folder of `egokeras features`, not of shards."""
    try:
        return "videos" in read_json(file)
    except (InputError, TypeError):
        return False


def _video_features(path):
    """Every video's features are there and as they were written."""
    from egokeras.data.npy_features import NpyFolder
    from egokeras.data.segments import is_inside

    try:
        features = NpyFolder(path, None)
    except InputError as error:
        yield str(error)
        return
    for video in read_json(path / "index.json")["videos"]:
        if is_inside(video):
            yield from said(features.width, video)
        else:
            yield f"{path / 'index.json'} lists {video!r}, which is not a path below its folder; restore it or make the features again."


def _versions(path, data):
    """Features are of the versions that computed them; a training with others does not take them."""
    made_from = data.index.get("made_from")
    for package in ("egokeras", "keras", "tensorflow") if isinstance(made_from, dict) else ():
        wrote, here = made_from.get(package), _installed(package)
        if wrote and here and wrote != here:
            yield f"{path} was computed with {package} {wrote}, this is {here}: trainings compute these features anew; delete it."
