"""`egokeras verify`: check every checksum and count of shards, a run or an artifact."""

import collections
import csv
import json
import pathlib
import zipfile

from egokeras.errors import InputError
from egokeras.files import UNFINISHED

EXAMPLE = "egokeras verify shards/epic100"


def add_arguments(parser):
    parser.add_argument("path", metavar="PATH", help="a folder of shards, a run folder or an exported artifact")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(args):
    path = pathlib.Path(args.path)
    found = list(findings(path))
    if args.json:
        print(json.dumps({"path": str(path), "findings": found}, indent=1))
    else:
        print("\n".join(found) if found else f"{path}: everything is as it was written")
    return 1 if found else 0


def findings(path):
    """Yield a sentence for everything in the folder that is not as it was written.

    Raises:
        InputError: the folder is none of ours.
    """
    artifacts = sorted(path.rglob("artifact.json")) if path.is_dir() else []
    if (path / "index.json").is_file() or list(path.glob("shard-*.npy")):
        yield from _shards(path)
    elif artifacts or (path / "recipe.json").is_file():
        trained = (path / "model.keras").is_file() or not (path / "recipe.json").is_file()
        if not trained or (path / UNFINISHED).exists():
            yield f"{path} is not finished; run its `egokeras train` again."
        for index in sorted(path.glob("*/index.json")):
            yield from _shards(index.parent)
        for file in sorted([*path.glob("model.keras"), *path.glob("predictions.npz")]):
            yield from _archive(file)
        for artifact in artifacts:
            yield from _artifact(artifact)
    else:
        raise InputError(
            f"{path} holds neither shards (index.json) nor a run (recipe.json) nor an artifact (artifact.json); check the path."
        )


def _archive(file):
    """Files of a run that are zip archives, and so hold a checksum of each part."""
    try:
        with zipfile.ZipFile(file) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, OSError):
        broken = "all of it"
    if broken:
        yield f"{file} is damaged ({broken}); restore it or train again."


def _artifact(description):
    from egokeras.device.artifact import Artifact

    try:
        Artifact.open(description)
    except InputError as error:
        yield str(error)


def _shards(path):
    from egokeras.data.shards import Shards
    from egokeras.progress import track

    try:
        data = Shards(path)
    except InputError as error:
        yield str(error)
        return
    for row in track(range(len(data)), "verify", unit="clips"):
        try:
            data.read([row])
        except InputError as error:
            yield str(error)
    yield from _counts(path, data)
    yield from _leaks(data)


def _counts(path, data):
    held = sum(shard["clips"] for shard in data.index["shards"])
    if not len(data) == data.index["clips"] == held:
        yield f"{path}: {len(data)} clips in the table, {data.index['clips']} in the index, {held} in the shards; make them again."
    listed = path / "quarantine.csv"
    lost = 0
    if listed.is_file():
        with open(listed, newline="", encoding="utf-8") as file:
            lost = sum(1 for _ in csv.DictReader(file))
    if lost != data.index["quarantined"]:
        yield f"{listed} lists {lost} clips, the index counts {data.index['quarantined']}; restore the file."


def _leaks(data):
    """Videos, or groups where they matter, on both sides of a numbering of the splits."""
    from egokeras.data.segments import EXCLUSIVE, held_out, numbering

    for field in EXCLUSIVE[data.index.get("exclusive", "video")]:
        sides = collections.defaultdict(set)
        for value, mask in zip(data.clips[field].tolist(), data.clips["splits"].tolist(), strict=True):
            for bit, split in enumerate(data.splits):
                if value and mask >> bit & 1:
                    sides[value, numbering(split)].add(split)
        for (value, _), splits in sorted(sides.items()):
            if len({held_out(split) for split in splits}) > 1:
                yield f"{field} {value!r} is in {' and '.join(sorted(splits))}: scores on such a split mean nothing; part the data again."
