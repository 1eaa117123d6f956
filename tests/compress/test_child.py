"""A child process is stopped after its time, shows its progress, and leaves nothing but what it has made."""

import pathlib
import time

import pytest

from egokeras.compress import child


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Function that runs a script in the place of a module; it gets the job's path."""

    def run(body, seconds=20.0, steps=0):
        (tmp_path / "stand_in.py").write_text(f"import json, os, sys, time\njob = json.load(open(sys.argv[1]))\n{body}")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        return child.run("stand_in", {"file": str(tmp_path / "made")}, tmp_path / "place.x", seconds, called="worker", steps=steps)

    return run


def test_it_gets_its_job_and_ends(run, tmp_path):
    said = run("open(job['file'], 'w').write('done'); print('first', flush=True); print('last', file=sys.stderr)")
    assert said == "the worker ended with exit code 0; first; last"
    assert (tmp_path / "made").read_text() == "done" and not list(tmp_path.glob("place*"))


def test_a_crash_is_named(run):
    assert run("os.kill(os.getpid(), 11)") == "the worker crashed (SIGSEGV)"


def test_steps_are_counted_and_other_lines_are_not(run, monkeypatch):
    shown = []

    def track(items, label, total, unit):
        for item in items:
            shown.append((label, total, unit))
            yield item

    monkeypatch.setattr(child, "track", track)
    run("for _ in range(3): print('step'); print('a library says something')", steps=3)
    assert shown == [("worker", 3, "step")] * 3


@pytest.mark.parametrize("steps", [0, 5])
def test_one_that_hangs_after_its_work_is_killed_after_its_time(run, tmp_path, steps):
    body = "open(job['file'], 'w').write(str(os.getpid())); print('step', flush=True); time.sleep(60)"
    started = time.monotonic()
    assert run(body, seconds=2.0, steps=steps).startswith("the worker was stopped after 2 s")
    assert time.monotonic() - started < 30
    assert not pathlib.Path("/proc", (tmp_path / "made").read_text()).exists()


def test_an_interrupted_parent_takes_it_along(run, tmp_path, monkeypatch):
    def interrupted(items, *args, **kwargs):
        next(items)
        raise KeyboardInterrupt

    monkeypatch.setattr(child, "track", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run("open(job['file'], 'w').write(str(os.getpid())); print('step', flush=True); time.sleep(60)", steps=5)
    assert not pathlib.Path("/proc", (tmp_path / "made").read_text()).exists()
    assert not list(tmp_path.glob("place*"))
