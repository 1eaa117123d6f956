"""The C++ program gives the verdict of the selftest. It is built where CMake finds TFLite's C API and nlohmann/json, see its README."""

import json
import os
import re
import shutil
import subprocess

import numpy as np
import pytest

from egokeras.device import selftest
from egokeras.files import sha256, write_json

COUNT = 3


@pytest.fixture(scope="module")
def program(root, tmp_path_factory):
    """A function that runs `replay`: (exit status, what it printed)."""
    if not (shutil.which("cmake") and (shutil.which("c++") or os.environ.get("CXX"))):
        pytest.skip("no cmake or no C++ compiler here")
    build = tmp_path_factory.mktemp("cpp")
    configured = subprocess.run(
        ["cmake", "-S", root / "egokeras" / "device" / "cpp", "-B", build, "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror -O0"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if missing := re.findall("TFLITE_INCLUDE|TFLITE_LIBRARY|nlohmann_json", configured.stderr):
        pytest.skip(f"no {missing[0]} here; CMAKE_PREFIX_PATH tells where it is")
    assert configured.returncode == 0, configured.stderr
    subprocess.run(["cmake", "--build", build], check=True, capture_output=True)

    def run(*arguments):
        done = subprocess.run([build / "replay", *map(str, arguments)], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout or done.stderr

    return run


@pytest.fixture
def proven(tiny, tmp_path):
    """The artifact of known answers with three pairs, worked out by hand; a function puts fields into its description."""
    folder = shutil.copytree(tiny, tmp_path / "proven")
    clips = np.random.default_rng(0).integers(0, 256, (COUNT, 4, 12, 16, 3), np.uint8)
    clips[..., 1] = 250
    answers = {"verb": clips.mean((1, 2, 3)) / 16, "noun": clips[:, [0, 3]].mean((2, 3, 4)) / 16}
    clips[:1].tofile(folder / "first.bin")
    clips[1:].tofile(folder / "others.bin")
    for head, values in answers.items():
        values.astype(np.float32).tofile(folder / f"{head}.bin")
    describe(
        folder,
        pairs={
            "count": COUNT,
            "inputs": {"rgb": ["first.bin", "others.bin"]},
            "outputs": {head: [f"{head}.bin"] for head in answers},
            "steps": {"verb": 0.01, "noun": 0.02},
        },
    )
    return folder


def describe(folder, **fields):
    about = json.loads((folder / "artifact.json").read_text()) | fields
    files = {file.name: {"sha256": sha256(file), "bytes": file.stat().st_size} for file in folder.iterdir() if file.suffix != ".json"}
    write_json(folder / "artifact.json", {**about, "files": files, "seal": None})


def shift(folder, file, by):
    logits = np.fromfile(folder / file, np.float32)
    logits[0] += by
    logits.tofile(folder / file)
    describe(folder)


def test_the_same_answers(program, proven):
    status, said = program(proven, 2)
    assert status == 0 and re.search(r"TFLite \S+ answers its 3 stored pairs as where it was exported, logits of ", said)
    assert re.search(r"\n[\d.e-]+ ms a clip, median of 20 on 2 thread\(s\)\.\n$", said)


@pytest.mark.parametrize("quantization", ["float32", "int8"])
@pytest.mark.parametrize(
    ("file", "by"),
    [("verb.bin", 0.001), ("verb.bin", 0.002), ("noun.bin", 0.30), ("noun.bin", 0.34), ("verb.bin", 30), ("noun.bin", np.nan)],
)
def test_the_verdict_is_that_of_the_selftest(program, proven, capsys, quantization, file, by):
    shift(proven, file, by)
    describe(proven, quantization=quantization)
    expected, (status, said) = selftest.main([str(proven)]), program(proven)
    assert status == expected
    if not np.isnan(by):
        assert re.sub("TFLite .* answers", "", said).startswith(re.sub("ai-edge-litert .* answers", "", capsys.readouterr().out))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind": "stream"}, "does not take a clip at once"),
        ({"parts": [{"file": "model.onnx", "signature": "serving_default"}]}, "has no TFLite files; give an export that has"),
        ({"parts": [{"file": "model.tflite", "signature": "other"}]}, "has no signature other; export it again"),
        ({"parts": [{"file": "none.tflite", "signature": "serving_default"}]}, "none.tflite cannot be loaded; copy it again"),
        ({"parts": None}, "parts names no files"),
        ({"pairs": {"count": 1, "inputs": {}, "outputs": {}, "steps": {}}}, "is not what egokeras wrote (map::at)"),
        ({"pairs": {"count": 1, "inputs": {}}}, "is not what egokeras wrote (["),
    ],
)
def test_what_it_does_not_take_gets_a_sentence(program, proven, fields, said):
    describe(proven, **fields)
    status, printed = program(proven)
    assert status == 1 and said in printed


def test_what_is_missing_gets_a_sentence(program, proven):
    (proven / "others.bin").write_bytes((proven / "others.bin").read_bytes()[1:])
    status, printed = program(proven)
    assert status == 1 and "its pairs of rgb are not whole; copy the whole folder again" in printed
    (proven / "others.bin").unlink()
    assert program(proven)[0] == 1 and "others.bin is missing" in program(proven)[1]
    assert program(proven.parent) == (1, f"{proven.parent} has no artifact.json; give the folder that `egokeras export` wrote.\n")
    assert program()[0] == 2 and program(proven, "none")[0] == 2


def test_without_pairs_its_files_load(program, tiny):
    assert program(tiny) == (0, f"{tiny}: its files load, and it holds no pairs to answer.\n")
