"""Progress: every item passes through, a bar on a terminal, a line now and then elsewhere."""

import itertools

from egokeras import progress


def test_lines_come_now_and_then_with_rate_and_time_left(monkeypatch, capsys):
    clock = itertools.count(0, 4.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    assert list(progress.track(range(10), "prepare", unit="clips")) == list(range(10))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "prepare: 3/10 clips, 0.2 clips/s, 28 s left" and len(lines) == 3


def test_without_a_total_there_is_no_time_left(monkeypatch, capsys):
    clock = itertools.count(0, 20.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    assert list(progress.track(iter("ab"), "read")) == ["a", "b"]
    assert capsys.readouterr().err.splitlines()[0] == "read: 1 it, 0.1 it/s"


def test_a_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    assert list(progress.track([1, 2], "render", unit="video")) == [1, 2]
    assert "render: 100%" in capsys.readouterr().err
