"""The script's own parts: that contestants cut the same frames, that the limit decodes no more than it must, that ratios are of a turn."""

import pathlib
import subprocess
import sys

import av
import numpy as np
import pytest

from egokeras.data.video import index
from egokeras.files import run_file

SCRIPT = pathlib.Path(__file__).parents[2] / "benchmarks" / "prepare_throughput.py"


@pytest.fixture(scope="module")
def script():
    return run_file(SCRIPT)


def test_quick_run(tmp_path):
    done = subprocess.run([sys.executable, SCRIPT, "--quick", "--walls", "1", "--output", tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "share of bare decoding" in done.stdout and "two processes against one" in done.stdout and (tmp_path / "result.json").exists()


def test_segments_are_as_long_as_epics(script):
    lengths = np.array([stop - start for seed in range(40) for start, stop in script._segments(60.0, seed)])
    assert len(lengths) == 40 * 15 and abs(np.median(lengths) - 2) < 0.2 and 2.5 < lengths.mean() < 3.5
    assert all(0 <= start < stop <= 60 for start, stop in script._segments(60.0, 3))


def test_the_limit_decodes_once_what_is_wanted(script, tmp_path, monkeypatch):
    video = script._rendered(tmp_path / "a.mp4", 6.0, 0)
    found = index(video)
    assert len(found.keys) >= 2 and found.keys[1] > 100
    second = int(found.keys[1])
    wanted = [[10, 60], [40, 50], [55, 90], [second + 5, second + 9], [second + 30, second + 40]]
    ticks = found.ticks.tolist()
    stretches = script._stretches(video, wanted)
    assert stretches == [(ticks[0], ticks[60]), (None, ticks[90]), (ticks[second], ticks[second + 9]), (None, ticks[second + 40])]
    by_segment = script._stretches(video, wanted, together=False)
    assert [ticks.index(last) for _, last in by_segment] == [60, 50, 90, second + 9, second + 40] and None not in dict(by_segment)
    shown, open_file = [], av.open

    class Container:
        """An open file that notes which frames it shows."""

        def __init__(self, *args):
            self.inside = open_file(*args)
            self.streams, self.seek = self.inside.streams, self.inside.seek

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.inside.close()

        def decode(self, stream):
            for frame in self.inside.decode(stream):
                shown.append(found.number_at(frame.pts))
                yield frame

    monkeypatch.setattr(av, "open", Container)
    script.bare(video, stretches)
    assert shown == [*range(91), *range(second, second + 41)]


def test_ratios_are_of_a_turn(script):
    seconds = {script.LIMIT: 4.0, script.BY_SEGMENT: 6.0, script.OURS: 5.0, script.OPENCV: 50.0}
    cpu = [{name: slow * second for name, second in seconds.items()} for slow in (1, 3)]
    wall = [{f"{name}, {n}": {"wall": 8.0 / n, "cpu": 9.0} for name in (script.OURS, script.LIMIT) for n in (1, 2)}]
    said = script.text({"cpu": cpu, "wall": wall, "segments": 15, "videos": "60 s", "median_seconds": 2.0, "cores": 2}).splitlines()
    assert "10.00 (10.00 to 10.00)" in said[4] and said[4].startswith("prepare")
    assert "0.800 (0.800 to 0.800)" in said[6] and "1.200 (1.200 to 1.200)" in said[7]
    assert "2.00 (2.00 to 2.00)" in said[8] and "8.0 s and 4.0 s wall" in said[8]
