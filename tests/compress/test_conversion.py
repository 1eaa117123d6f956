"""Conversion in a child process: a child that dies is survived."""

import sys

from egokeras.compress import conversion
from egokeras.compress.conversion import Conversion, ConversionError, convert


def child(folder, body):
    """An executable to stand in for Python: runs `body` with the job's `conversions`."""
    script = folder / "child"
    start = f"#!{sys.executable}\nimport json, os, pathlib, sys, time\nconversions = json.load(open(sys.argv[-1]))\n"
    script.write_text(start + body)
    script.chmod(0o755)
    return str(script)


def jobs(folder, *kinds, model="run/model.keras"):
    return [Conversion(model=str(model), outputs=("verb",), kind=kind, file=str(folder / f"{kind}.tflite")) for kind in kinds]


def test_a_crash_fails_its_own_kind_alone(tmp_path, monkeypatch):
    body = """
for item in conversions:
    if item["kind"] == "int8":
        print("building int8\\n\\nloc: lstm", flush=True)
        os.kill(os.getpid(), 11)
    pathlib.Path(item["file"]).write_text(str(len(conversions)))
"""
    monkeypatch.setattr(conversion.sys, "executable", child(tmp_path, body))
    results = convert(jobs(tmp_path, "float32", "int8", "float16"))
    assert results[0] is None and results[2] is None
    assert isinstance(results[1], ConversionError)
    assert "run/model.keras could not be converted to int8: the converter crashed (SIGSEGV); building int8; loc: lstm" in str(results[1])
    assert (tmp_path / "float32.tflite").read_text() == "3" and (tmp_path / "float16.tflite").read_text() == "1"


def test_a_child_that_hangs_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(conversion.sys, "executable", child(tmp_path, "print('lowering', flush=True)\ntime.sleep(60)"))
    (error,) = convert(jobs(tmp_path, "float16"), seconds=0.5)
    assert "stopped after" in str(error) and str(error).endswith("lowering") and not list(tmp_path.glob("float16*"))


def test_a_python_error_is_quoted(tmp_path):
    (error,) = convert(jobs(tmp_path, "float32", model=tmp_path / "none.keras"))
    assert "exit code 1" in str(error) and "none.keras" in str(error).split("exit code")[1]
