"""The wheel in an environment of its own: the device side works without TensorFlow and Keras, on Python 3.10 too."""

import json
import os
import pathlib
import runpy
import shutil
import subprocess
import sys
import zipfile

import av
import numpy as np
import pytest

from egokeras.cli import COMMANDS

pytestmark = pytest.mark.slow
SOURCES = ("egokeras", "pipelines", "exports", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
ABSENT = ("tensorflow", "keras", "tf_keras", "cv2", "matplotlib")
MINUTES = 10


def run(*command, code=0):
    """Standard output of a command outside the checkout, which must end with `code`."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60 * MINUTES, env=environment, cwd="/")
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + (done.stderr if code else "")


def works_as_310(python):
    question = "import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 10))"
    return python is not None and subprocess.run([python, "-c", question], capture_output=True, check=False).returncode == 0


def python_310():
    """A Python 3.10 that runs; one in the path may be a shim of pyenv for a version that is not chosen."""
    found = [shutil.which("python3.10"), *map(str, pathlib.Path.home().glob(".pyenv/versions/3.10.*/bin/python3.10"))]
    python = next(filter(works_as_310, found), None)
    return python or pytest.skip("no working python3.10 here")


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory):
    """Built from a copy, because a build leaves folders in its source."""
    copy = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        if (root / name).is_dir():
            shutil.copytree(root / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif (root / name).exists():
            shutil.copy(root / name, copy)
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", copy / "wheel", copy)
    (found,) = (copy / "wheel").iterdir()
    return found


@pytest.fixture(scope="module", params=["this", "3.10"])
def bare(request, wheel, tmp_path_factory):
    """Scripts folder of an environment with the wheel and what it asks for, nothing else."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable if request.param == "this" else python_310(), "-m", "venv", folder)
    run(folder / "bin" / "python", "-m", "pip", "install", "--quiet", wheel)
    return folder / "bin"


@pytest.fixture(scope="module")
def tiny(root, tmp_path_factory):
    return runpy.run_path(root / "tests" / "device" / "conftest.py")["build"](tmp_path_factory.mktemp("artifact"))


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Two seconds of blue."""
    path = tmp_path_factory.mktemp("video") / "blue.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(20):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), (0, 0, 220), np.uint8), format="rgb24")))
        output.mux(stream.encode(None))
    return path


def test_nothing_heavy_comes_along(bare):
    question = f"import importlib.util as i; print([name for name in {ABSENT} if i.find_spec(name)])"
    assert run(bare / "python", "-c", question).strip() == "[]"


def test_help_of_every_command(bare):
    assert "egokeras train" in run(bare / "egokeras", "--help")
    assert "usage: egokeras train" in run(bare / "egokeras-train", "--help")
    for command in COMMANDS:
        assert "example: egokeras" in run(bare / "egokeras", command, "--help")


def test_recipes_are_in_the_wheel(bare):
    folders = "[pathlib.Path(egokeras.__file__).parent / name for name in ('pipelines', 'exports', 'device/cpp')]"
    question = f"import egokeras, pathlib; print(*[path.name for folder in {folders} for path in folder.iterdir()])"
    names = run(bare / "python", "-c", question).split()
    assert {"demo.py", "int8.py", "CMakeLists.txt", "README.md", "model.h", "replay.cpp"} <= set(names)


def test_a_recipe_runs_by_its_name_from_the_wheel(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    command = [sys.executable, "-m", "egokeras.cli", "describe", "report_lstm", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60 * MINUTES, env=environment, cwd=tmp_path, check=True)
    assert json.loads(done.stdout)[0]["parameters"]["head"]["trainable"] == 286_547


def test_benchmark(bare, tiny):
    lines = run(bare / "egokeras", "benchmark", tiny, tiny.parent / "bare.tflite", "--seconds", "0.1").splitlines()
    assert [line.split()[0] for line in lines[-2:]] == ["tiny", "bare"]


def test_a_bundle_needs_no_egokeras(bare, tiny, wheel, tmp_path):
    """One bundle, on Python 3.10 and this one: isolated, with what a device has."""
    run(bare / "egokeras", "benchmark", tiny, "--bundle", tmp_path / "there", "--seconds", "0.1", "--sustained", "1", "--fps", "20")
    run(bare / "python", "-m", "venv", tmp_path / "device")
    python = tmp_path / "device" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "numpy", "ai-edge-litert")
    assert run(python, "-c", "import importlib.util; print(importlib.util.find_spec('egokeras'))").strip() == "None"
    lines = run(python, "-I", tmp_path / "there" / "latency.py", "--frame-size", "64x48").splitlines()
    assert [line.split()[0] for line in lines if line.startswith("tiny")] == ["tiny"] * 3
    assert json.loads((tmp_path / "there" / "latency.json").read_text())["results"][0]["sustained"]["frames"] == 20


def test_raw_frames_need_no_extra(bare, tiny):
    """One second of blue, through a pipe."""
    command = [bare / "egokeras", "predict", tiny, "-", "--size", "64x48", "--fps", "10", "--json"]
    blue = np.full((11, 48, 64, 3), (0, 0, 220), np.uint8).tobytes()
    done = subprocess.run(command, input=blue, capture_output=True, timeout=60, check=True, cwd="/")
    assert json.loads(done.stdout)["top"][0]["name"].split()[0] == "pour"


def test_predict_needs_one_extra(bare, tiny, video, wheel):
    assert "pip install egokeras[video]" in run(bare / "egokeras", "predict", tiny, video, code=1)
    run(bare / "python", "-m", "pip", "install", "--quiet", f"{wheel}[video]")
    lines = run(bare / "egokeras", "predict", tiny, video).splitlines()
    assert [line.split()[:4] for line in lines] == [["1.0", "s", "pour", "fridge"], ["1.5", "s", "pour", "fridge"]]
    assert "opencv" in run(bare / "egokeras", "predict", tiny, video, "--output", video.with_name("out.mp4"), code=1)
