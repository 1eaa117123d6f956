"""An artifact's stored pairs: the same answers pass, others do not, and what is damaged gets a sentence or ends its own process only."""

import json
import shutil
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egokeras import cli
from egokeras.device import selftest
from egokeras.device.artifact import Artifact
from egokeras.device.manifest import write_manifest
from egokeras.errors import InputError
from egokeras.files import sha256, write_json

COUNT = 3


def describe(folder, **changes):
    """Write artifact.json with other fields, with the checksums of the files as they are now."""
    about = json.loads((folder / "artifact.json").read_text()) | changes
    about["files"] = {
        file.name: {"sha256": sha256(file), "bytes": file.stat().st_size} for file in folder.iterdir() if file.suffix != ".json"
    }
    write_json(folder / "artifact.json", {**about, "seal": None})


def store(folder, clips, verbs, nouns):
    """Put pairs into an artifact, the first clip in a file of its own."""
    for name, array in {"first": clips[:1], "others": clips[1:], "verbs": verbs, "nouns": nouns}.items():
        (folder / f"{name}.bin").write_bytes(array.tobytes())
    files = {"inputs": {"rgb": ["first.bin", "others.bin"]}, "outputs": {"verb": ["verbs.bin"], "noun": ["nouns.bin"]}}
    describe(folder, pairs={"count": len(clips), **files, "steps": {"verb": 0.01, "noun": 0.02}})


@pytest.fixture
def proven(tiny, tmp_path):
    """The artifact of known answers with three pairs, worked out by hand."""
    folder = shutil.copytree(tiny, tmp_path / "proven")
    clips = np.random.default_rng(0).integers(0, 256, (COUNT, 4, 12, 16, 3), np.uint8)
    clips[:, 0], clips[..., 1] = 200, 250  # sure of noun 0, mostly, and of verb 1
    verbs, nouns = clips.mean((1, 2, 3)) / 16, clips[:, [0, 3]].mean((2, 3, 4)) / 16
    store(folder, clips, verbs.astype(np.float32), nouns.astype(np.float32))
    return folder


def shift(folder, file, by, row=0, column=0, quantization="float32"):
    array = np.fromfile(folder / file, np.float32).reshape(COUNT, -1)
    array[row, column] += by
    array.tofile(folder / file)
    describe(folder, quantization=quantization)


def replay(folder):
    return selftest.replay(Artifact.open(folder))


def test_the_same_answers(proven, capsys):
    result = replay(proven)
    assert result.passed and result.pairs == COUNT
    assert (
        "answers its 3 stored pairs as where it was exported, logits of" in result.sentence
        and "(limit 0.0001 of the largest)" in result.sentence
    )
    assert selftest.main([str(proven)]) == 0 and capsys.readouterr().out == result.sentence + "\n"
    assert selftest.in_child(proven) == result


@pytest.mark.parametrize(
    ("quantization", "file", "by", "passed", "said"),
    [
        ("float32", "verbs.bin", 0.001, True, "differ by up to 0.001 "),  # of 250 / 16 = 15.6: 0.6e-4
        ("float32", "verbs.bin", 0.002, False, "logits of verb differ by up to 0.002 "),  # 1.3e-4
        ("int8", "verbs.bin", 0.15, True, "15 quantization steps"),
        ("int8", "nouns.bin", 0.30, True, "15 quantization steps"),
        (
            "int8",
            "nouns.bin",
            0.34,
            False,
            "logits of noun differ by up to 17 quantization steps (limit 16), 0 of 3 pairs have another top-1",
        ),
        ("int8", "verbs.bin", 99.0, False, "1 of 3 pairs have another top-1; do not use it with this runtime"),
    ],
)
def test_how_far_answers_may_differ(proven, quantization, file, by, passed, said):
    shift(proven, file, by, quantization=quantization)
    result = replay(proven)
    assert result.passed == passed and said in result.sentence


def test_a_class_that_was_as_good_is_no_other():
    expected = np.array([[1.0, 1.05, 0.0], [2.0, 0.0, 1.0]])
    near = expected + [[0.12, 0, 0], [0, 0, 0]]
    share, _, other = selftest._compare(expected, near, step=0.01, exact=False)
    assert share == pytest.approx(0.12 / 0.16) and not other.any()
    assert selftest._compare(expected, expected[:, [1, 0, 2]], step=0.01, exact=False)[2].tolist() == [False, True]
    share, *_ = selftest._compare(expected, np.where(expected == 0, np.nan, expected), step=0.01, exact=False)
    assert not share <= 1


def test_answers_that_are_no_numbers_do_not_pass(proven, monkeypatch):
    monkeypatch.setattr(Artifact, "predict", lambda self, clip: {"verb": np.full(3, np.nan), "noun": np.zeros(2)})
    assert not replay(proven).passed


def test_without_pairs_the_files_are_loaded(tiny, tmp_path):
    result = replay(tiny)
    assert result.passed and result.pairs == 0 and "its files load, and it holds no pairs" in result.sentence
    copy = shutil.copytree(tiny, tmp_path / "copy")
    (copy / "model.tflite").write_bytes(b"weights")
    describe(copy)
    result = selftest.in_child(copy)
    assert not result.passed and "model.tflite cannot be loaded" in result.sentence


@pytest.mark.parametrize("count", [0, 1, 5, 7])
def test_pairs_of_another_size_are_named(proven, count):
    (proven / "nouns.bin").write_bytes(bytes(4 * count))
    describe(proven)
    with pytest.raises(InputError, match=rf"proven: its pairs have {4 * count} bytes of 'noun', artifact\.json says \[3, 2\] float32"):
        replay(proven)


def test_onnx_answers_too_and_without_onnxruntime_the_way_out_is_said(tiny_onnx, tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(tiny_onnx, tmp_path / "onnx")
    clips = np.random.default_rng(0).integers(0, 256, (2, 4, 12, 16, 3), np.uint8)
    logits = selftest.predict(Artifact.open(folder), {"rgb": clips})
    store(folder, clips, logits["verb"], logits["noun"])
    assert ": onnxruntime 1." in (found := selftest.in_child(folder)).sentence and found.passed and found.pairs == 2
    store(folder, clips, logits["verb"] + 0.1, logits["noun"])
    assert not replay(folder).passed
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert selftest.main([str(folder)]) == 1
    said = "model.onnx is run by onnxruntime, which is not installed; run `pip install onnxruntime`."
    assert capsys.readouterr().out == f"{folder}/{said}\n"


def test_a_missing_file_of_pairs_is_named(proven):
    (proven / "nouns.bin").unlink()
    with pytest.raises(InputError, match=r"nouns\.bin is missing; copy the whole folder again"):
        replay(proven)
    describe(proven)
    with pytest.raises(InputError, match=r"files has no entry for 'nouns\.bin' of pairs; export it again"):
        replay(proven)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("count", 0),
        ("count", "3"),
        ("inputs", {}),
        ("inputs", {"rgb": "first.bin"}),
        ("inputs", {"rgb": []}),
        ("inputs", {"rgb": [3]}),
        ("outputs", {"verb": ["verbs.bin"]}),
        ("outputs", {"verb": ["verbs.bin"], "noun": ["no\x1buns.bin"]}),
        ("steps", {"verb": 0.1}),
        ("steps", {"verb": 0.1, "noun": float("nan")}),
        ("steps", {"verb": 0.1, "noun": -1}),
    ],
)
def test_pairs_that_no_export_writes_are_refused(proven, field, value):
    pairs = json.loads((proven / "artifact.json").read_text())["pairs"]
    describe(proven, pairs={**pairs, field: value})
    with pytest.raises(InputError, match=rf"artifact\.json: pairs\.{field}"):
        Artifact.open(proven)


def test_a_sealed_description_is_not_altered(proven):
    about = json.loads((proven / "artifact.json").read_text())
    write_manifest(proven, about)
    assert replay(proven).passed
    whole = (proven / "artifact.json").read_text()
    for known, altered in (("fridge", "frigde"), ('"seal"', '"sea,"')):
        (proven / "artifact.json").write_text(whole.replace(known, altered))
        with pytest.raises(InputError, match=r"artifact\.json was altered: its seal does not fit"):
            Artifact.open(proven)


def test_a_crash_ends_the_child_alone(proven, monkeypatch, tmp_path):
    crashing = tmp_path / "python"
    crashing.write_text("#!/bin/sh\nkill -SEGV $$\n")
    crashing.chmod(0o755)
    monkeypatch.setattr(selftest.sys, "executable", str(crashing))
    result = selftest.in_child(proven)
    assert not result.passed and "crashes the interpreter (SIGSEGV), although the checksums in artifact.json fit" in result.sentence
    crashing.write_text("#!/bin/sh\necho broken >&2\nexit 3\n")
    assert selftest.in_child(proven).sentence == f"{proven} cannot be tested: broken"
    crashing.write_text("#!/bin/sh\nsleep 9\n")
    monkeypatch.setattr(selftest, "LIMIT", 0.1)
    assert "did not finish within" in selftest.in_child(proven).sentence


def test_verify_says_what_was_found(proven, capsys):
    assert cli.main(["verify", str(proven)]) == 0
    said = capsys.readouterr().out
    assert "everything is as it was written" in said and "answers its 3 stored pairs as where it was exported" in said
    shift(proven, "verbs.bin", 99.0)
    assert cli.main(["verify", str(proven), "--json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert "answers otherwise than where it was exported: logits of verb differ" in finding


FILES = ("model.tflite", "artifact.json", "others.bin", "nouns.bin")


@settings(max_examples=60)
@given(file=st.sampled_from(FILES), place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
def test_damage_is_refused_before_the_interpreter_sees_it(tiny_proven, file, place, bit, cut):
    whole = (tiny_proven / file).read_bytes()
    at = int(place * (len(whole) - 1))  # a description without its last line end is the same
    damaged = bytearray(whole[:at]) if cut else bytearray(whole)
    if not cut:
        damaged[at] ^= 1 << bit
    try:
        (tiny_proven / file).write_bytes(damaged)
        with pytest.raises(InputError, match=str(tiny_proven)) as error:
            Artifact.open(tiny_proven)
        assert len(str(error.value).splitlines()) == 1
    finally:
        (tiny_proven / file).write_bytes(whole)


@settings(max_examples=4)
@given(place=st.floats(0, 1, exclude_max=True), size=st.integers(1, 400))
def test_damage_with_checksums_made_for_it_ends_the_child_alone(tiny_proven, tmp_path_factory, place, size):
    folder = shutil.copytree(tiny_proven, tmp_path_factory.mktemp("damaged") / "copy")
    content = bytearray((folder / "model.tflite").read_bytes())
    at = int(place * (len(content) - 1))
    content[at : at + size] = np.random.default_rng(size).bytes(len(content[at : at + size]))
    (folder / "model.tflite").write_bytes(content)
    describe(folder)
    result = selftest.in_child(folder)
    assert str(folder) in result.sentence and len(result.sentence.splitlines()) == 1


@pytest.fixture(scope="module")
def tiny_proven(tiny, tmp_path_factory):
    """As `proven`, sealed, with the answers of the file itself."""
    folder = shutil.copytree(tiny, tmp_path_factory.mktemp("sealed") / "sealed")
    clips = np.random.default_rng(0).integers(0, 256, (2, 4, 12, 16, 3), np.uint8)
    logits = selftest.predict(Artifact.open(folder), {"rgb": clips})
    store(folder, clips, logits["verb"], logits["noun"])
    write_manifest(folder, json.loads((folder / "artifact.json").read_text()))
    return folder
