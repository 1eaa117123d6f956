"""Every benchmark script answers --help without the heavy packages, and the ones that can be shrunk run."""

import csv
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from egokeras.files import run_file
from egokeras.models import LSTMHead

ROOT = pathlib.Path(__file__).parent.parent
SCRIPTS = sorted((ROOT / "benchmarks").glob("*.py"))
WITHOUT_HEAVY = """
import runpy, sys
sys.modules.update(dict.fromkeys(["tensorflow", "keras", "cv2", "matplotlib"]))
sys.argv = [sys.argv[1], "--help"]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(*arguments, cwd=None):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, timeout=300, env=environment, cwd=cwd)


@pytest.fixture(scope="module")
def heads():
    return run_file(ROOT / "benchmarks" / "temporal_heads.py")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_help_loads_nothing_heavy(script):
    done = run("-c", WITHOUT_HEAVY, script)
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout


@pytest.mark.slow
def test_temporal_heads_writes_tables_and_figures(tmp_path):
    done = run(ROOT / "benchmarks" / "temporal_heads.py", "--quick", "--runs", 2, "--output", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "out"
    result = json.loads((folder / "results.json").read_text())
    rows = result["results"]
    assert result["host"]["processor"] in done.stdout
    with open(folder / "results.csv", newline="") as file:
        assert [row["head"] for row in csv.DictReader(file)] == [row["head"] for row in rows]
    assert {(row["figure"], row["axis"], row["head"]) for row in rows} >= {("8", "frames", "LSTM"), ("8", "width", "ConvLSTM")}
    for row in rows:
        assert 0 < row["forward_ms_low"] <= row["forward_ms"] <= row["forward_ms_high"]
        assert row["train_ms"] > 0
    for figure in ("8", "9"):
        assert (folder / f"figure_{figure}.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "table.md").read_text().count("\n|") == len(rows) + 2


def test_ratios_are_to_the_first_head_turn_by_turn(heads, monkeypatch):
    """A clock under which turn k takes k seconds per call for the first head, and three times that for the second."""
    ticks = iter([t for turn in range(1, 9) for seconds in (turn, 3 * turn, turn, 3 * turn) for t in (0.0, float(seconds))])
    monkeypatch.setattr(heads.time, "perf_counter", lambda: next(ticks))
    monkeypatch.setattr(heads, "steps_of", lambda model, shape, batch: {kind: lambda: None for kind in heads.TIMES})
    pair = {"a": (LSTMHead(units=2), (3, 4)), "b": (LSTMHead(units=3), (3, 4))}
    comparison = heads.Comparison(figure="8", axis="width", value=2, heads=pair)
    first, second = heads.measure(comparison, heads.Sizes(runs=6))
    assert (first["forward_ratio"], second["forward_ratio"], second["train_ratio_low"], second["train_ratio_high"]) == (1, 3, 3, 3)
    assert first["forward_ms"] == 5500  # turns 1 and 2 warm up; the median of 3..8 seconds


def test_training_step_learns_and_forward_does_not(heads):
    model = LSTMHead(units=4, dropout=0.0).build(feature_shape=(3, 5), classes=heads.CLASSES)
    calls = heads.steps_of(model, (3, 5), batch=2)
    start = [weight.copy() for weight in model.get_weights()]
    assert calls["forward"]().shape == (2, 97)
    assert all((before == after).all() for before, after in zip(start, model.get_weights(), strict=True))
    losses = [float(calls["train"]()) for _ in range(5)]
    assert losses[-1] < losses[0]
    assert model.get_layer("lstm_bn").moving_mean.numpy().any()  # training mode


@pytest.mark.slow
def test_streaming_times_the_step_of_the_demos_student(tmp_path):
    done = run(ROOT / "benchmarks" / "streaming.py", "--only", "demo", "--rounds", 1, "--json", "out.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for clip, step in json.loads((tmp_path / "out.json").read_text())["tables"].values():
        assert clip["ratio"] == 1 and 0 < step["ratio"] < 0.9 and clip["artifact"] in ("float32", "mixed")
    assert done.stdout.count("\n| demo: a step against the clip") == 2


@pytest.mark.slow
def test_lowering_compares_four_files_and_names_the_limit(tmp_path):
    done = run(ROOT / "benchmarks" / "lowering.py", "--width", 4, "--rounds", 1, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^(\w+) +(\d+) ms, ", done.stdout, re.MULTILINE)
    assert [name for name, _ in rows] == ["conv3d", "float32", "int8", "plain"]
    assert float(re.search(r"at most ([\d.]+) times as fast as Conv3D$", done.stdout, re.MULTILINE)[1]) > 0
