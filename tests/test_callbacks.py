"""What a training records of itself."""

import time
import types

import pytest

from egokeras.callbacks import Stopwatch


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still: `clock.now`."""
    found = types.SimpleNamespace(now=100.0)
    monkeypatch.setattr(time, "monotonic", lambda: found.now)
    return found


def epoch(watch, clock, number, batches, ends=True):
    watch.on_epoch_begin(number)
    for batch, seconds in enumerate(batches):
        clock.now += seconds
        watch.on_train_batch_end(batch)
    clock.now += 1.0  # validation
    if ends:
        watch.on_epoch_end(number)


def lines(file):
    return [tuple(map(float, line.split(","))) for line in file.read_text().splitlines()]


def test_seconds_add_up_to_all_of_the_time(tmp_path, clock):
    file = tmp_path / "seconds.csv"
    watch = Stopwatch(file, goes_on=False)
    watch.on_train_begin()
    epoch(watch, clock, 0, [2.0, 3.0])
    epoch(watch, clock, 1, [6.0, 6.0, 1.0], ends=False)  # killed: the last two seconds are lost
    assert lines(file) == [(0, 6.0), (1, 12.0)]
    clock.now += 1000  # until somebody goes on with it
    watch = Stopwatch(file, goes_on=True)
    watch.on_train_begin()
    epoch(watch, clock, 1, [3.0])
    assert lines(file) == [(0, 6.0), (1, 12.0), (1, 4.0)]
    Stopwatch(file, goes_on=False)  # another training
    assert not file.exists()
