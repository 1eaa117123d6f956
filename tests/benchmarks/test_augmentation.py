"""The script runs in its small mode; its naive chain changes clips as ours does, and its ratios are those of the same turn."""

import json
import pathlib
import sys

import numpy as np
import pytest
import tensorflow as tf

from egokeras.data.transforms import Augment
from egokeras.files import run_file

ROOT = pathlib.Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "augmentation.py"
NEVER = dict.fromkeys(("brightness_chance", "contrast_chance", "hue_chance", "blur_chance"), 0.0)


@pytest.fixture(scope="module")
def script():
    return run_file(SCRIPT)


def test_small_run_fills_both_tables(script, tmp_path, monkeypatch, capsys):
    options = ["--quick", "--rounds", "2", "--batches", "1", "--out", str(tmp_path / "found.json")]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *options])
    script.main()
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["clip"] == [2, 16, 16] and len(found["changes"]) == 11 and len(found["crops"]) == 5
    said = capsys.readouterr().out
    for name, figures in {**found["changes"], **found["crops"]}.items():
        assert len(figures["cpu_ms"]) == len(figures["wall_ms"]) == 2 and min(figures["wall_ms"]) > 0
        assert name in said


@pytest.mark.parametrize(
    ("changes", "most"),
    [({"flip": 1.0}, 0), ({"blur_chance": 1.0, "blur": (1.5, 1.5)}, 1), ({"channel_split": 1.0}, None), ({"hue_chance": 1.0}, None)],
    ids=["flip", "blur", "channel split", "hue"],
)
def test_naive_chain_makes_the_same_changes(script, changes, most):
    """What draws nothing but whether it happens comes out as ours; splits leave two channels or all, hues the lightest channel's light."""
    clips, keys = script.clips((2, 16, 16)), tf.constant([(0, 0, row) for row in range(16)], tf.int64)
    augment = Augment(**{"contrast": 0.5, "brightness": 0.25, "hue": 0.1, "blur": (0.1, 2.0), **NEVER, **changes})
    naive, ours = script.Chain(augment)(tf.constant(clips), keys).numpy().astype(int), augment(clips, keys).numpy()
    if most is not None:
        assert np.abs(naive - ours).max() <= most
    elif "channel_split" in changes:
        same = [(clip == clips[number]).all(axis=(0, 1, 2)).sum() for number, clip in enumerate(naive)]
        assert set(same) == {2, 3}
    else:
        assert np.abs(naive.max(axis=-1) - clips.max(axis=-1)).max() <= 1 and (naive != clips).any(axis=(1, 2, 3, 4)).all()


def test_ratios_are_those_of_the_same_turn(script, monkeypatch):
    """Clocks that a contestant moves by 1 or 3 seconds times the number of the turn: thrice the time in each turn."""
    clock, turn = [0.0], [0]
    monkeypatch.setattr(script.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(script.time, "process_time", lambda: clock[0] / 2)

    def contestant(seconds, first=False):
        def run(keys):
            turn[0] += first
            clock[0] += seconds * turn[0]

        return run

    found = script.turns({"one": contestant(1, first=True), "other": contestant(3)}, rounds=2, batches=1)
    assert found["other"] == {"cpu_ms": [1000 * 3 / 16, 1000 * 4.5 / 16], "wall_ms": [1000 * 6 / 16, 1000 * 9 / 16]}
    lines = list(script.text(found, "one"))
    assert lines[2].split() == ["other", "234.375", "(187.500", "to", "281.250)", "468.750", "3.00", "(3.00", "to", "3.00)"]
