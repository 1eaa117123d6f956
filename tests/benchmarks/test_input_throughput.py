"""The script runs in its small mode, and its ratios are those of the same round."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from egokeras.files import run_file

ROOT = pathlib.Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "input_throughput.py"


@pytest.fixture(scope="module")
def script():
    return run_file(SCRIPT)


@pytest.mark.slow
def test_small_run_fills_all_three_tables(tmp_path):
    options = ["--tiny", "--rounds", "2", "--seconds", "0.02", "--epochs", "3", "--folder", tmp_path, "--json", tmp_path / "found.json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, SCRIPT, *options], capture_output=True, text=True, timeout=200, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert [file.name for file in tmp_path.iterdir()] == ["found.json"]
    sizes = {(row["format"], row["clips"]): row for row in found["sizes"]}
    assert len(sizes) == 12
    assert sizes["npz, float32", 4]["memory_mb"] == 4 * sizes["shards, raw", 4]["memory_mb"] == 4 * 4 * 3 * 32 * 32 * 3 / 1e6
    assert sizes["npz compressed, uint8", 4]["disk_mb"] < sizes["npz, uint8", 4]["disk_mb"]
    assert list(found["throughput"]) == ["S", "L"]
    for contestants in found["throughput"].values():
        assert set(contestants) == {"ceiling", "shards, raw", "shards, JPEG", "npz groups", "TFRecord, raw", "TFRecord, JPEG"}
        for figures in contestants.values():
            ceiling = contestants["ceiling"]["clips_per_s"]
            assert figures["ratio"] == pytest.approx([rate / limit for rate, limit in zip(figures["clips_per_s"], ceiling, strict=True)])
    assert found["memory"].keys() == {"S, raw"} and (found["memory"]["S, raw"] is None or len(found["memory"]["S, raw"]) == 3)


def test_contestants_give_the_same_clips(script, tmp_path):
    """All but the ceiling, which draws with replacement, give every clip once before any comes again, but for their shuffling."""
    import numpy as np

    sets = script.Sets(tmp_path, (2, 16, 24, 3), 48)
    known = {clip.tobytes() for clip in script.clips(sets.shape, 48)}
    assert len(known) == 48
    for name, start in sets.contestants().items():
        batches = start()
        taken = [clip.tobytes() for _ in range(3) for clip in np.asarray(next(batches))]
        if "JPEG" in name:
            assert len(set(taken)) > 24
        else:
            assert set(taken) <= known
        if name in ("shards, raw", "npz groups"):
            assert len(set(taken)) == 48


def test_turns_end_by_the_clock(script, monkeypatch):
    """A clock that ticks half a second at each look: the batches between the first look and the first beyond the limit count."""
    ticks = iter(range(100))
    monkeypatch.setattr(script.time, "perf_counter", lambda: next(ticks) / 2)
    monkeypatch.setattr(script.time, "process_time", lambda: 3.0)
    assert script.timed(iter([[0] * 16] * 100), 2.0) == (16 * 3 / 2.0, 0.0)
