"""The benchmark of channel pruning: what it makes of scores and clocks."""

import json
import pathlib

import numpy as np
import pytest

from egokeras.device import timing
from egokeras.files import run_file


@pytest.fixture(scope="module")
def module():
    return run_file(pathlib.Path(__file__).parent.parent.parent / "benchmarks" / "channel_pruning.py")


def test_points_against_the_whole_network_seed_by_seed(module, tmp_path):
    top1 = {None: (80.0, 90.0), "distilled, magnitude": (79.0, 89.0), "distilled, bn_scale": (80.0, 88.0), "labels alone": (70.0, 60.0)}
    for variant, values in top1.items():
        for seed, value in enumerate(values):
            file = module.scores(tmp_path, seed, variant)
            file.parent.mkdir(parents=True)
            file.write_text(json.dumps({"clips": 171, "heads": {"verb": {"top1": value, "majority": 21.0}}}))
    lines = list(module.accuracy(tmp_path, 2))
    assert "## verb: 2 seeds, 171 clips to judge by, majority 21.0 %" in lines
    assert "| distilled, magnitude | 84.0 (20.5 to 147.5) | -1.0 (-1.0 to -1.0) |" in lines
    assert any(line.startswith("| labels alone | 65.0 (") and "| -20.0 (" in line for line in lines)


def test_files_take_turns_and_time_is_the_threads_own(module, monkeypatch):
    """A clock under which the second file takes half as long; the middle one of its runs counts."""

    class File:
        def __init__(self, file, threads):
            self.seconds = {"whole": 0.004, "half": 0.002}[file]

        def run(self):
            clock.append(clock[-1] + self.seconds)

    clock = [0.0]
    monkeypatch.setattr(timing, "Model", File)
    monkeypatch.setattr(module.time, "thread_time", lambda: clock[-1])
    times, ratios = module.speed_ups(["whole", "half"], rounds=3)
    np.testing.assert_allclose(times, [4, 2])
    np.testing.assert_allclose(ratios, [[1, 2]] * 3)


def test_stages_share_the_whole_network(module):
    found = {variant: module.stages("shards", module.TINY, 3, variant) for variant in module.VARIANTS}
    assert all(whole == found["labels alone"][0] for whole, _ in found.values())
    assert [pruned.name for _, pruned in found.values()] == list(module.VARIANTS)
    assert all(pruned.model.of == "whole" and pruned.seed == 3 and pruned.epochs == 1 for _, pruned in found.values())
    assert found["distilled, bn_scale"][1].model.importance == "bn_scale"
