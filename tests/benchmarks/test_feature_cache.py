"""The benchmark of the feature cache: its parts run in small and say what they should; its clips are what it says."""

import pathlib

import numpy as np
import pytest

from egokeras.files import run_file

ROOT = pathlib.Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def script():
    return run_file(ROOT / "benchmarks" / "feature_cache.py")


def test_speed_is_a_ratio_of_turns(script, tmp_path, monkeypatch):
    """Roads that take 2 and 4 clips a second on frames, 600 and 2000 on features: ratios 300 and 500 turn by turn."""
    taken = iter([None, None, (2.0, 1.0), (600.0, 10.0), (4.0, 1.0), (2000.0, 30.0)])
    monkeypatch.setattr(script.Road, "train", lambda self, steps: next(taken))
    found = script.speed(script.QUICK, tmp_path)
    assert found["ratio"] == {"median": 400.0, "low": 300.0, "high": 500.0}
    assert found["ratio of processor time"] == {"median": 20.0, "low": 10.0, "high": 30.0}
    assert 0 < found["making the cache, share not in the backbone"] < 1
    lines = list(script.text({"speed": found}))
    assert lines[2].split() == ["ratio", "400.0", "(300.0", "to", "500.0)"]


@pytest.mark.slow
def test_scores_compare_equal_trainings(script, tmp_path):
    """Tiny trainings from one seed end in nearly the same outputs, so in the same scores."""
    found = script.scores(script.QUICK, tmp_path, None, seeds=1)
    (entry,) = found["seeds"]
    assert entry["largest difference of logits"]["verb"] < 0.05
    assert abs(found["verb, points apart"][0]) <= 100 / 32 + 1e-6  # at most one of 32 clips
    assert entry["verb, features"] - entry["verb, frames"] == found["verb, points apart"][0]


def test_epic_trains_on_every_clip_once(script, tmp_path, monkeypatch):
    found = script.epic(script.QUICK, tmp_path)
    assert found["clips"] == 100 and found["gigabytes"] == pytest.approx(100 * 20 * 1280 * 2 / 1e9)
    assert found["seconds"] * found["clips/s"] == pytest.approx(112)  # 7 steps of 16
    assert found["minutes of 100 epochs"] == pytest.approx(found["seconds"] / 0.6)
    monkeypatch.setattr(script.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 5e6}))
    with pytest.raises(SystemExit, match="0.0 GB are free; free some space or give --clips"):
        script.epic(script.QUICK, tmp_path)


def test_features_are_numbers_from_1_to_2(script):
    features = [features for features, _, _ in script.random_clips(3)]
    assert all((feature >= 1).all() and (feature < 2).all() and len(np.unique(feature)) > 900 for feature in features)


def test_a_drawn_clip_shows_its_verb_and_noun(script):
    """What changes from frame to frame is the moving square; its centre goes the way of the verb."""
    for clip, _, (verb, noun) in script.drawn(20, 0, (8, 64, 64, 3)):
        moved = [np.argwhere((clip[step] != clip[step + 1]).any(-1)).mean(0) for step in range(7)]
        way = np.sign(np.round(moved[4] - moved[2]))
        assert tuple(way) == script.DIRECTIONS[verb] and 0 <= noun < 8
