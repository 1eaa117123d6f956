"""Damaged artifacts, as they are and with checksums made for the damage: what opening them and their own test make of them."""

import collections
import contextlib
import json
import random
import shutil

from damaged import BYTES, SIDES, contents

ENDS = ("opening", "test", "crash", "harmless", "silent", "died")  # what reports a damaged artifact
EXPORTS = ("float32", "int8", "stream")


def export_network(folder):
    """Artifacts of an untrained network, of one file and of several: folders."""
    import dataclasses

    import keras
    import numpy as np
    from zlib_ng.zlib_ng import crc32

    from egokeras.data.shards import ShardWriter, table_dtype
    from egokeras.export import load, ship_all
    from egokeras.files import write_json
    from egokeras.models import ConvNet1DHead, FrameModel, SmallBackbone

    keras.utils.set_random_seed(0)
    data, run = folder / "data", folder / "run"
    for path in (data, run):
        path.mkdir(parents=True)
    clips = np.random.default_rng(0).integers(0, 256, (12, 5, 16, 16, 3), np.uint8)
    writer, table = ShardWriter(data, shape=clips.shape[1:]), np.zeros(12, table_dtype(4, 4, 0, ["action"]))
    for number, clip in enumerate(clips):
        table[number] = (f"c{number}", f"v{number}", "", 0, 1, *writer.append(clip), crc32(clip), 1 + number % 2, number % 3)
    about = {"modality": "rgb", "channels": "RGB", "resize": "squash", "sampling": {"rule": "uniform", "frames": 5}, "clip_seconds": 1.0}
    writer.finish(table, {**about, "classes": {"action": ["a", "b", "c"]}, "splits": list(SIDES), "quarantined": 0})
    model = FrameModel(backbone=SmallBackbone(channels=(4,)), head=ConvNet1DHead(filters=4, last_filters=4))
    model.build(classes={"action": 3}, frames=5, size=16).save(run / "model.keras")
    write_json(run / "classes.json", {"action": ["a", "b", "c"]})
    write_json(run / "recipe.json", {"data": {"shards": str(data)}})
    lenient = {"calibration_clips": 3, "max_lost_points": 100.0, "min_agreement": 0.0}
    shipments = ship_all([dataclasses.replace(load(name), **lenient) for name in EXPORTS], run, accept_untested=True)
    return [shipment.path for shipment in shipments]


def damaged_artifacts(folder, count, seed):
    """Counts of what reports, by damage: of artifacts damaged in one file chosen at random, and of these with checksums made for it."""
    artifacts, rng = export_network(folder / "export"), random.Random(seed + 2)
    whole = {path: contents(path) for path in artifacts}
    counts, failures, damages = collections.Counter(), [], list(BYTES)
    for number in range(count):
        damage, path = damages[number % len(damages)], artifacts[number // len(damages) % len(artifacts)]
        names = sorted(whole[path])
        name = rng.choice([name for name in names if name.endswith(".tflite")] if number % 2 else names)
        other = rng.choice([data for other in artifacts for data in whole[other].values() if data != whole[path][name]])
        data = BYTES[damage](bytearray(whole[path][name]), rng, other)
        for hashed in (False, True):
            copy = folder / "artifact"
            shutil.copytree(path, copy)
            (copy / name).unlink()
            if data is not None:
                (copy / name).write_bytes(data)
            if hashed:
                rehash(copy)
            end, said = judge_artifact(copy, meaning(contents(copy)) == meaning(whole[path]))
            counts[damage, hashed, end] += 1
            if end == "died" or (end in ("silent", "test", "crash") and not hashed):
                failures.append(f"{path.name}, {damage} in {name}{', hashed again' * hashed}: {end} {said}")
            shutil.rmtree(copy)
    tables = [[[damage, *(counts[damage, hashed, end] for end in ENDS)] for damage in damages] for hashed in (False, True)]
    return {"artifacts": tables[0], "rehashed": tables[1], "failures": failures}


def meaning(files):
    """An artifact's files with the description as JSON, in which 1e-5 and 1E-5 are the same."""
    try:
        return {**files, "artifact.json": json.loads(files["artifact.json"])}
    except (KeyError, ValueError):
        return files


def rehash(folder):
    """Make checksums for what is in the folder of an artifact, as whoever alters it on purpose can."""
    from egokeras.device.manifest import file_entries, write_manifest

    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError, KeyError):  # what is no description stays as it is
        about = json.loads((folder / "artifact.json").read_text("utf-8"))
        about["files"] = file_entries(folder, [folder / name for name in about["files"] if (folder / name).is_file()])
        write_manifest(folder, about)


def judge_artifact(folder, intact):
    """What reports the damage, and what it says."""
    from egokeras.device import selftest
    from egokeras.device.artifact import Artifact
    from egokeras.errors import InputError

    try:
        Artifact.open(folder)
    except InputError as error:
        return "opening", str(error)
    except Exception as error:
        return "died", repr(error)
    try:
        result = selftest.in_child(folder)
    except Exception as error:
        return "died", repr(error)
    if not result.passed:
        return "crash" if "crashes the interpreter" in result.sentence else "test", result.sentence
    return ("harmless" if intact else "silent"), result.sentence
