"""A bundle runs on a machine that has numpy and ai-edge-litert alone: here a process to which nothing else can be imported."""

import ast
import json
import os
import subprocess
import sys
import zipfile

import ai_edge_litert
import pytest

from egokeras.device import bundle
from egokeras.errors import InputError

ALLOWED = ("numpy", "ai_edge_litert", "flatbuffers", "ml_dtypes", "google", "typing_extensions", "backports", "tqdm")  # what pip brings


@pytest.fixture
def bare_python(tmp_path):
    """Function that runs a script as the device would: in isolation from this checkout, its environment and its packages."""
    packages = tmp_path / "packages"
    packages.mkdir()
    site = os.path.dirname(os.path.dirname(ai_edge_litert.__file__))
    for name in os.listdir(site):
        if name.partition("-")[0].partition(".")[0] in ALLOWED:
            (packages / name).symlink_to(os.path.join(site, name))

    def run(script, *arguments):
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(packages)}
        command = [sys.executable, "-S", str(script), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, cwd="/", check=False)

    return run


def test_it_runs_where_egokeras_is_not(tiny, bare, tmp_path, bare_python):
    out = bundle.write(tmp_path / "there", [tiny, bare], ["--seconds", "0.05", "--threads", "2"])
    done = bare_python(out / "latency.py", "--sustained", "0.3", "--fps", "20", "--frame-size", "32x24", "--threads", "1")
    assert done.returncode == 0, done.stderr
    record = json.loads((out / "latency.json").read_text())
    assert [(result["artifact"], result["threads"]) for result in record["results"]] == [("tiny", 1), ("bare", 1)]
    assert all(set(result["sustained"]["stages"]) == {"resize", "model"} for result in record["results"])
    assert record["host"]["processor"] in done.stdout
    refused = bare_python(out / "latency.py", "--html", "page.html")
    assert refused.returncode == 1 and "this is a bundle of it" in refused.stderr


def test_a_zip_holds_one_folder(tiny, tmp_path):
    video = tmp_path / "any.mp4"
    video.write_bytes(b"frames")
    out = bundle.write(tmp_path / "device.zip", [tiny, tiny], ["--fps", "5"], video)
    with zipfile.ZipFile(out) as archive:
        names = set(archive.namelist())
        script, readme = (archive.read(f"device/{name}").decode() for name in (bundle.SCRIPT, "README.txt"))
        assert archive.read("device/video.mp4") == b"frames"
        assert archive.read("device/models/tiny-2/model.tflite") == (tiny / "model.tflite").read_bytes()
    assert {name.partition("/")[0] for name in names} == {"device"}
    assert "['models/tiny', 'models/tiny-2', '--json', 'latency.json', '--fps', '5', '--video', 'video.mp4']" in script
    assert "./benchmark_model --graph=models/tiny-2/model.tflite --signature_to_run_for=serving_default" in readme
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_it_has_every_module_that_its_modules_import(root):
    """All but what --html and --untrained need, which say that they are missing."""
    elsewhere = {"egokeras.report", "egokeras.recipe", "egokeras.untrained", "egokeras.layers"}
    for module in bundle.MODULES:
        for node in ast.walk(ast.parse((root / "egokeras" / module).read_text())):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("egokeras"):
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
                paths = [name.partition(".")[2].replace(".", "/") for name in names]
                there = any(f"{path}{end}" in bundle.MODULES for path in paths for end in (".py", "/__init__.py"))
                assert there or node.module == "egokeras" or node.module in elsewhere, f"{module}: {names}"


def test_what_exists_is_not_written_over(tiny, tmp_path):
    with pytest.raises(InputError, match="exists already"):
        bundle.write(tmp_path, [tiny])
    with pytest.raises(InputError, match="does not exist; make it first"):
        bundle.write(tmp_path / "none" / "a.zip", [tiny])
    with pytest.raises(InputError, match=r"none\.tflite"):
        bundle.write(tmp_path / "new", [tmp_path / "none.tflite"])
    assert list(tmp_path.iterdir()) == []
