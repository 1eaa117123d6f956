"""The pairs of an artifact are clips that judged it, sure and of many classes, small, with the answers of its own files."""

import types

import numpy as np
import pytest

from egokeras import stored_pairs
from egokeras.device import selftest
from egokeras.errors import InputError
from egokeras.export import Export
from egokeras.files import sha256

CLASSES = {"verb": ["a", "b", "c"]}


@pytest.fixture
def write(tmp_path, monkeypatch):
    """A function that writes pairs of 40 clips of 2 frames of 4 pixels; their logits are given, and the artifact's are those again."""

    def written(logits, stored=8, format="tflite"):
        rows = np.arange(30, 30 + len(logits))
        by_pixels = {pixels()[row].tobytes(): value for row, value in zip(rows, logits, strict=True)}
        inputs = {"rgb": {"shape": [1, 2, 4, 4, 3], "dtype": "uint8"}}
        artifact = types.SimpleNamespace(folder=tmp_path, manifest={"inputs": inputs, "outputs": CLASSES, "files": {"model.tflite": {}}})
        monkeypatch.setattr(selftest, "predict", lambda _, given: {"verb": np.stack([by_pixels[clip.tobytes()] for clip in given["rgb"]])})
        shards = types.SimpleNamespace(inputs=lambda rows: {"rgb": pixels()[rows], "flow": None})
        kind = types.SimpleNamespace(
            run=types.SimpleNamespace(rows=rows, shards=shards),
            export=Export(name="x", stored_pairs=stored, format=format),
            judged=lambda: [("verb", "verb", "verb", np.s_[:])],
        )
        return stored_pairs.write(kind, artifact, {"verb": logits})

    return written


def pixels():
    return np.random.default_rng(0).integers(0, 256, (100, 2, 4, 4, 3), np.uint8)


def some(count=40):
    """Logits whose best class is 1 ahead or, in the second half, 0.1."""
    logits = np.zeros((count, 3), np.float32)
    logits[np.arange(count), np.arange(count) % 3] = np.where(np.arange(count) < count / 2, 1.0, 0.1)
    return logits


def test_pairs_are_sure_and_of_all_classes(write, tmp_path):
    about = write(some())
    assert about["pairs"] == {
        "count": 8, "inputs": {"rgb": [f"input_1_0{number}.bin" for number in range(8)]}, "outputs": {"verb": ["logits_1.bin"]},
        "steps": {"verb": pytest.approx(1 / 255)},
    }  # fmt: skip
    for file in ("input_1_00.bin", "input_1_07.bin", "logits_1.bin"):
        assert about["files"][file] == {"sha256": sha256(tmp_path / file), "bytes": (tmp_path / file).stat().st_size}
    logits = np.fromfile(tmp_path / "logits_1.bin", np.float32).reshape(8, 3)
    assert np.bincount(logits.argmax(axis=1)).tolist() in ([3, 3, 2], [3, 2, 3], [2, 3, 3])
    assert (logits.max(axis=1) == 1).all()
    first = np.fromfile(tmp_path / "input_1_00.bin", np.uint8).reshape(2, 4, 4, 3)
    (row,) = (row for row, clip in enumerate(pixels()) if np.array_equal(clip, first))
    np.testing.assert_array_equal(some()[row - 30], logits[0])


def test_pairs_are_small_but_one_is_there(write, monkeypatch):
    size = 2 * 4 * 4 * 3 + 3 * 4
    for most, count in ((3 * size, 3), (3 * size - 1, 2), (1, 1), (100 * size, 8)):
        monkeypatch.setattr(stored_pairs, "BYTES", most)
        assert write(some())["pairs"]["count"] == count
        assert write(some(), format="onnx")["pairs"]["count"] == 8


def test_none_are_stored_where_none_are_wanted_or_none_judged(write, tmp_path):
    for about in (write(some(), stored=0), write(some(0))):
        assert "pairs" not in about and not list(tmp_path.iterdir())
    for count in (-1, 101):
        with pytest.raises(InputError, match=f"stored_pairs is {count}; give 0 to 100"):
            Export(name="x", stored_pairs=count)


def test_one_clip_and_one_class(write, monkeypatch):
    assert write(some(1))["pairs"]["count"] == 1
    monkeypatch.setitem(CLASSES, "verb", ["a"])
    assert write(np.ones((5, 1), np.float32))["pairs"] | {"inputs": 0, "outputs": 0} == {
        "count": 3, "steps": {"verb": 0.0}, "inputs": 0, "outputs": 0
    }  # fmt: skip
