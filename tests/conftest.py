"""What all tests share: the optional folder of real data, and TensorFlow kept to a few threads and quiet."""

import dataclasses
import io
import os
import pathlib
import struct
import types
import zipfile
import zlib

import hypothesis
import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if "PYTEST_XDIST_WORKER" in os.environ:  # the other workers have the other cores
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

hypothesis.settings.register_profile("busy", deadline=None)  # how long an example takes depends on what else the machine does
hypothesis.settings.load_profile("busy")

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope="session")
def root():
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data():
    """Folder of real annotations and videos; its files have licences that keep them out of this repository."""
    folder = pathlib.Path(os.environ.get("EGOKERAS_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data not found in {folder}; set EGOKERAS_DATA to its folder")
    return folder


@pytest.fixture(scope="session")
def panning():
    """Function that yields pictures of a view that moves over a larger one: (count, pixels (x, y) a frame, height, width)."""

    def pictures(count, step=(4, 2), height=96, width=128):
        import cv2

        coarse = np.random.default_rng(0).integers(40, 216, (height // 4 + 30, width // 4 + 60, 3)).astype(np.uint8)
        whole = cv2.resize(coarse, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
        for x, y in (np.multiply(step, number) for number in range(count)):
            yield whole[y : y + height, x : x + width]

    return pictures


@pytest.fixture(scope="session")
def pan(panning, tmp_path_factory):
    """A view that moves 4 pixels to the right and 2 down in every frame, so that all that is seen goes the other way; 30 of them."""
    import av

    from egokeras.data import compressed_video

    path = tmp_path_factory.mktemp("pan") / "pan.mp4"
    with av.open(str(path), "w") as container:
        compressed_video.write(container, panning(30), 25, quality=2)
    return path


def moving_square(verb, noun, random):
    """A clip `(8, 24, 24, 3)` uint8 of a square that moves down (verb 0) or up (verb 1) in red, green or blue (the noun)."""
    clip = random.integers(0, 60, (8, 24, 24, 3)).astype("uint8")
    x, start = random.integers(0, 16), random.integers(0, 3)
    for t in range(8):
        y = start + 2 * (t if verb == 0 else 7 - t)
        clip[t, y : y + 7, x : x + 7, noun] = random.integers(180, 256)
    return clip


def write_shards(folder, clips, classes, modality="rgb"):
    """Shards of `clips`: an iterable of (pixels, split, video, group, label names)."""
    from egokeras.data.shards import Shards, ShardWriter, table_dtype

    splits, clips = ["train", "validation", "windows"], list(clips)
    writer = ShardWriter(folder, shape=clips[0][0].shape)
    table = np.zeros(len(clips), table_dtype(8, 8, 8, tuple(classes)))
    for row, (pixels, split, video, group, labels) in enumerate(clips):
        ids = [names.index(labels[space]) if space in labels else -1 for space, names in classes.items()]
        table[row] = (f"c{row}", video, group, 0, 1, *writer.append(pixels), zlib.crc32(pixels), 1 << splits.index(split), *ids)
    about = {
        "modality": modality, "channels": "RGB", "classes": classes, "clip_seconds": 1.0, "splits": splits, "quarantined": 0, "sources": [],
        "sampling": {"rule": "uniform", "frames": len(clips[0][0])}, "resize": "squash", "fps_rule": "timestamps of the file",
    }  # fmt: skip
    writer.finish(table, about)
    return Shards(folder)


@pytest.fixture(scope="session")
def write_clips():
    """`write_shards`."""
    return write_shards


@pytest.fixture(scope="session")
def squares(tmp_path_factory):
    """Shards of 160 training, 60 validation and 80 unlabelled clips of moving squares; time decides the verb, colour the noun."""
    random, classes = np.random.default_rng(0), {"verb": ["lower", "raise"], "noun": ["red", "green", "blue"]}

    def clips():
        for row in range(300):
            verb, noun = random.integers(2), random.integers(3)
            split = "train" if row < 160 else "validation" if row < 220 else "windows"
            participant = row % 4 if split == "train" else 4 + row % 3
            labels = {} if split == "windows" else {"verb": classes["verb"][verb], "noun": classes["noun"][noun]}
            yield moving_square(verb, noun, random), split, f"v{participant}-{row % 7}", f"p{participant}", labels

    return write_shards(tmp_path_factory.mktemp("squares"), clips(), classes)


THREE_CLIPS = {"uid": ["c1", "c2", "c3"], "video": ["v1", "v1", "v2"], "label_verb": [0, 1, 1]}


def write_run(folder, *, heads=None, clips=None, seconds=None, history=None, metrics=None, **recipe):
    """A run folder without its model.

    Args:
        heads: of `metrics.json`; or one number, the top-1 of 3 verbs.
        clips: column to values of `predictions.npz`.
        seconds, history: contents of `seconds.csv` and `history.csv`.
        metrics: more of `metrics.json`.
        recipe: fields of its recipe.
    """
    import json

    from egokeras.recipe import Recipe, as_json

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.json").write_text(json.dumps({**as_json(Recipe(**{"name": "run", **recipe})), "data_sha256": "0" * 64}))
    if not isinstance(heads, dict):
        chance, majority = {"top1": 33.3, "top5": 100.0}, {"top1": 40.0, "top5": 100.0}
        heads = {"verb": {"top1": 60.0 if heads is None else heads, "top5": 100.0, "chance": chance, "majority": majority}}
    clips = clips or THREE_CLIPS
    found = {"split": "validation", "clips": len(clips["uid"]), "heads": heads, **(metrics or {})}
    (folder / "metrics.json").write_text(json.dumps(found))
    np.savez(folder / "predictions.npz", **{column: np.array(values) for column, values in clips.items()})
    for name, content in (("seconds.csv", seconds), ("history.csv", history)):
        if content is not None:
            (folder / name).write_text(content)
    return folder


@pytest.fixture(scope="session")
def make_run():
    """`write_run`."""
    return write_run


@pytest.fixture(scope="session")
def epic_noise(tmp_path_factory):
    """Twelve clips of noise, 8 frames of 128 px, with EPIC-KITCHENS-100's label spaces."""
    random, sizes = np.random.default_rng(0), {"verb": 97, "noun": 300, "verb_category": 13, "noun_category": 21}
    classes = {space: [f"{space} {i}" for i in range(size)] for space, size in sizes.items()}

    def clips():
        for row in range(12):
            labels = {space: names[random.integers(len(names))] for space, names in classes.items()}
            split = "train" if row < 8 else "validation"
            yield random.integers(0, 256, (8, 128, 128, 3)).astype("uint8"), split, f"v{row}", f"p{row}", labels

    return write_shards(tmp_path_factory.mktemp("epic_noise"), clips(), classes)


ACTIONS = ((0, 0), (0, 1), (1, 0), (1, 2), (2, 2))  # verb and noun of each: METHODS' fixture of five actions


def write_observations(folder, windows, segments, modality="rgb_features", uids=None):
    """An anticipation set.

    Args:
        windows: (segments, *shape) float16 or int16.
        segments: (splits with spaces between them, video, start, action) of each, all actions one of ACTIONS.
    """
    from egokeras.data.shards import Shards, ShardWriter, table_dtype

    classes = {"verb": ["open", "take", "wash"], "noun": ["fridge", "cup", "door"]}
    classes["action"] = [f"{classes['verb'][verb]} {classes['noun'][noun]}" for verb, noun in ACTIONS]
    splits = ["train", "validation", "discarded"]
    folder.mkdir(parents=True, exist_ok=True)
    writer = ShardWriter(folder, shape=windows.shape[1:], dtype=windows.dtype)
    table = np.zeros(len(segments), table_dtype(8, 8, 8, tuple(classes)))
    for row, (split, video, start, action) in enumerate(segments):
        uid = f"s{row}" if uids is None else uids[row]
        place = (*writer.append(windows[row]), zlib.crc32(windows[row]), sum(1 << splits.index(name) for name in split.split()))
        table[row] = (uid, video, video[:2], start, start + 1, *place, *ACTIONS[action], action)
    about = {
        "modality": modality, "classes": classes, "splits": splits, "quarantined": 0, "sources": [], "clip_seconds": 3.25,
        "actions": [list(pair) for pair in ACTIONS], "observations": {"step": 0.25, "steps": 14, "known": "start"},
        "sampling": {"rule": "observations", "frames": 14}, "exclusive": "video",
    }  # fmt: skip
    writer.finish(table, about)
    return Shards(folder)


def five_actions(count=120, seed=0):
    """(split, video, start, action) of segments in which the action that follows depends on the one before."""
    random, segments, action = np.random.default_rng(seed), [], 0
    for row in range(count):
        video, position = divmod(row, 12)
        action = int((action + 1) % 5 if random.uniform() < 0.8 else random.integers(5))
        split = ("validation" if video % 3 == 2 else "train") + " discarded" * (position == 0)
        segments.append((split, f"P{video % 4}_{video}", 2.0 * position, action))
    return segments


@pytest.fixture(scope="session")
def observations():
    """What makes small anticipation sets: `write(folder, windows, segments, ...)`, `segments(count, seed)` and `actions`."""
    return types.SimpleNamespace(write=write_observations, segments=five_actions, actions=ACTIONS)


@pytest.fixture(scope="session")
def convert_here():
    """`egokeras.compress.conversion.convert` without another process."""
    from egokeras.compress import conversion as module
    from egokeras.files import write_json

    def convert(conversions):
        for conversion in conversions:
            job = pathlib.Path(conversion.file).with_suffix(".json")
            write_json(job, [dataclasses.asdict(conversion)])
            module.main(job)
            job.unlink()
        return [None] * len(conversions)

    return convert


class Table:
    """A table of a FlatBuffer, read by its number of a field (https://flatbuffers.dev/internals)."""

    def __init__(self, data, at):
        self.data, self.at = data, at

    def _number(self, code, at):
        return struct.unpack_from(f"<{code}", self.data, at)[0]

    def _place(self, slot):
        fields = self.at - self._number("i", self.at)
        inside = 4 + 2 * slot < self._number("H", fields)
        return self.at + offset if inside and (offset := self._number("H", fields + 4 + 2 * slot)) else None

    def number(self, slot, code):
        return 0 if self._place(slot) is None else self._number(code, self._place(slot))

    def table(self, slot):
        place = self._place(slot)
        return None if place is None else Table(self.data, place + self._number("I", place))

    def vector(self, slot, code):
        vector = self.table(slot)
        return [] if vector is None else list(struct.unpack_from(f"<{self._number('I', vector.at)}{code}", self.data, vector.at + 4))

    def text(self, slot):
        return bytes(self.vector(slot, "B")).decode()

    def tables(self, slot):
        return [Table(self.data, self.table(slot).at + 4 + 4 * i + each) for i, each in enumerate(self.vector(slot, "I"))]

    def texts(self, slot):
        return [bytes(self.data[each.at + 4 : each.at + 4 + self._number("I", each.at)]).decode() for each in self.tables(slot)]


def metadata_of_tensor(tensor):
    """What a TensorMetadata of metadata_schema.fbs says."""
    content = tensor.table(3)
    limits = content.table(2)
    return {
        "name": tensor.text(0),
        "description": tensor.text(1),
        "axes": tensor.texts(2),
        "content": {1: "feature", 2: "image"}[content.number(0, "B")],
        "colours": content.table(1).number(0, "b"),
        "range": limits and (limits.number(0, "i"), limits.number(1, "i")),
        "normalization": [(unit.number(0, "B"), unit.table(1).vector(0, "f"), unit.table(1).vector(1, "f")) for unit in tensor.tables(4)],
        "limits": tensor.table(5) and (tensor.table(5).vector(1, "f"), tensor.table(5).vector(0, "f")),
        "files": [(file.text(0), file.number(2, "b")) for file in tensor.tables(6)],
    }


def read_tflite_metadata(content):
    """What a TFLite file says of itself, read without the code that wrote it; with `files`, name to lines."""
    root = Table(content, struct.unpack_from("<I", content)[0])
    (place,) = [entry.number(1, "I") for entry in root.tables(6) if entry.text(0) == "TFLITE_METADATA"]
    packed = bytes(root.tables(4)[place].vector(0, "B"))
    assert packed[4:8] == b"M001"
    model = Table(packed, struct.unpack_from("<I", packed)[0])
    (graph,) = model.tables(3)
    files = {}
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            assert archive.testzip() is None and {file.compress_type for file in archive.infolist()} == {zipfile.ZIP_STORED}
            files = {name: archive.read(name).decode().split("\n")[:-1] for name in archive.namelist()}
    sides = {side: [metadata_of_tensor(tensor) for tensor in graph.tables(slot)] for side, slot in (("inputs", 2), ("outputs", 3))}
    return {"name": model.text(0), "description": model.text(1), "version": model.text(2), "parser": model.text(7), **sides, "files": files}


@pytest.fixture(scope="session")
def tflite_metadata():
    """`read_tflite_metadata`."""
    return read_tflite_metadata
