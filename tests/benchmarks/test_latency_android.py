"""The phone behind a fake `adb`: what is pushed and run, what is read from its output, what is said when it fails."""

import json
import runpy
import sys

import pytest

from egokeras import cli
from egokeras.files import run_file

# Keeps what it was asked to do, and answers as a phone would.
ADB = """#!{python}
import json, os, pathlib, sys
arguments = sys.argv[1:]
with open({log!r}, "a") as file:
    file.write(json.dumps(arguments) + "\\n")
words = arguments[arguments.index("shell") + 1].split() if "shell" in arguments else []
facts = {{"ro.soc.manufacturer": "Maker", "ro.soc.model": "S1", "ro.product.model": "Phone 9", "ro.build.version.release": "15",
         "ro.product.cpu.abi": "arm64-v8a"}}
if words[:1] == ["getprop"]:
    print(facts[words[1]])
elif words == ["nproc"]:
    print(8)
elif words[:1] == ["cat"]:
    sys.exit("cat: Permission denied")
elif words and words[0].endswith("benchmark_model"):
    if os.environ.get("BROKEN"):
        print("ERROR: Failed to load model")
        sys.exit(1)
    threads = int(next(word for word in words if "num_threads" in word).partition("=")[2])
    print("count=1 curr=9000")
    print(f"count=60 first=4000 curr=4100 min=3900 max=5000 avg={{4200 / threads}} std=10 p5=3950 median={{4000 / threads}} p95=4900")
    print("Inference timings in us: Init: 1500, First inference: 9000, Warmup (avg): 9000, Inference (avg): 4200")
"""


@pytest.fixture(scope="module")
def tiny(root, tmp_path_factory):
    return runpy.run_path(root / "tests" / "device" / "conftest.py")["build"](tmp_path_factory.mktemp("artifact"))


@pytest.fixture(scope="module")
def main(root):
    return run_file(root / "benchmarks" / "latency_android.py").main


@pytest.fixture
def phone(tmp_path, monkeypatch):
    """(the tool for the phone, function that returns what adb was asked to do)."""
    (tmp_path / "bin").mkdir()
    adb, log, binary = tmp_path / "bin" / "adb", tmp_path / "log", tmp_path / "benchmark_model_aarch64"
    adb.write_text(ADB.format(python=sys.executable, log=str(log)))
    adb.chmod(0o755)
    binary.write_bytes(b"\x7fELF")
    monkeypatch.setenv("PATH", str(adb.parent))
    return binary, lambda: [json.loads(line) for line in log.read_text().splitlines()]


def test_a_phone_is_a_row_like_any_board(main, tiny, phone, tmp_path, capsys):
    binary, asked = phone
    file = tmp_path / "phone.json"
    assert main([str(tiny), "--binary", str(binary), "--threads", "1,4", "--serial", "abc", "--json", str(file)]) == 0
    record = json.loads(file.read_text())
    assert record["host"] == {
        "processor": "Phone 9 (Maker S1)", "cores": 8, "governor": None, "system": "Android 15 arm64-v8a", "runtime": "benchmark_model"
    }  # fmt: skip
    figures = [(result["artifact"], result["threads"], result["runs"], result["p50_ms"]) for result in record["results"]]
    assert figures == [("tiny", 1, 60, 4.0), ("tiny", 4, 60, 1.0)]
    assert capsys.readouterr().out.splitlines()[0] == "Phone 9 (Maker S1), 8 cores; Android 15 arm64-v8a; benchmark_model"
    assert all(arguments[:2] == ["-s", "abc"] for arguments in asked())
    assert cli.main(["benchmark", "--merge", str(file)]) == 0


def test_what_is_pushed_and_run(main, tiny, phone):
    binary, asked = phone
    assert main([str(tiny), "--binary", str(binary)]) == 0
    folder = "/data/local/tmp/egokeras"
    pushed = [arguments[1:] for arguments in asked() if arguments[0] == "push"]
    assert pushed == [[str(binary), f"{folder}/benchmark_model"], [str(tiny / "model.tflite"), f"{folder}/model.tflite"]]
    (line,) = [arguments[1] for arguments in asked() if arguments[1].startswith(f"{folder}/benchmark_model")]
    assert f"--graph={folder}/model.tflite --signature_to_run_for=serving_default --num_threads=1" in line


def test_what_fails_on_the_phone_is_said(main, tiny, phone, tmp_path, monkeypatch, capsys):
    binary, _ = phone
    monkeypatch.setenv("BROKEN", "1")
    assert main([str(tiny), "--binary", str(binary)]) == 1
    assert "ERROR: Failed to load model; check `adb devices`" in capsys.readouterr().err
    assert main([str(tiny), "--binary", str(tmp_path / "none")]) == 1
    assert "none does not exist" in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([str(tiny), "--binary", str(binary)]) == 1
    assert "install Android's platform-tools" in capsys.readouterr().err
