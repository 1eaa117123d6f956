"""The pool: what its tasks do to their processes stays there. Tasks are functions of the standard library."""

import functools
import math
import operator
import os
import signal
import subprocess
import sys
import time

import pytest

from egokeras.data import worker_pool
from egokeras.data.worker_pool import Lost


def roots(count):
    return [functools.partial(math.sqrt, number) for number in range(count)]


@pytest.mark.parametrize("workers", [1, 3])
def test_every_task_once(workers):
    found = dict(worker_pool.results(roots(20), workers=workers, timeout=60, ahead=4))
    assert found == {number: math.sqrt(number) for number in range(20)}
    assert list(worker_pool.results([], workers=workers, timeout=60)) == []


def test_lost_tasks_cost_only_themselves():
    tasks = roots(6)
    tasks[1] = os.abort
    tasks[3] = functools.partial(time.sleep, 600)
    tasks[4] = functools.partial(signal.raise_signal, signal.SIGKILL)
    tasks[5] = functools.partial(os._exit, 7)
    started = time.monotonic()
    found = dict(worker_pool.results(tasks, workers=2, timeout=1.0))
    assert time.monotonic() - started < 60
    assert found[0] == 0 and found[2] == math.sqrt(2)
    assert all(isinstance(found[number], Lost) for number in (1, 3, 4, 5))
    assert "SIGABRT" in found[1].reason and "time limit" in found[3].reason
    assert "out of memory" in found[4].reason and "exit code 7" in found[5].reason


def test_a_worker_that_died_without_a_task(monkeypatch):
    give = worker_pool.Worker.give

    def to_a_dead_one(worker, job, timeout):
        if job.number == 2:
            worker.process.kill()
            worker.process.join()
        give(worker, job, timeout)

    monkeypatch.setattr(worker_pool.Worker, "give", to_a_dead_one)
    found = dict(worker_pool.results(roots(5), workers=1, timeout=60))
    assert "SIGKILL" in found.pop(2).reason and found == {number: math.sqrt(number) for number in (0, 1, 3, 4)}


def test_a_worker_that_dies_while_it_starts(monkeypatch):
    """An accident is made good; processes that never start are an error."""
    accidents = [1, 1]
    init = worker_pool.Worker.__init__

    def killed(worker, *args):
        init(worker, *args)
        if accidents and accidents.pop():
            worker.process.kill()

    monkeypatch.setattr(worker_pool.Worker, "__init__", killed)
    assert dict(worker_pool.results(roots(3), workers=2, timeout=60)) == {number: math.sqrt(number) for number in range(3)}
    assert not accidents
    with pytest.raises(RuntimeError, match="do not start"):
        list(worker_pool.results(roots(3), workers=2, timeout=60, setup=functools.partial(os._exit, 3)))


def test_a_lost_task_is_split_and_only_the_guilty_parts_are_lost():
    dies, hangs = os.abort, functools.partial(time.sleep, 600)
    parts = {
        1: [*roots(2), dies, functools.partial(math.sqrt, 9)],
        3: [functools.partial(math.sqrt, 16), hangs, functools.partial(math.sqrt, 25)],
        4: roots(3),  # the accident does not happen again
        5: [],
    }
    tasks = roots(6)
    for number, how in ((1, dies), (3, hangs), (4, functools.partial(signal.raise_signal, signal.SIGKILL)), (5, dies)):
        tasks[number] = how
    found = dict(worker_pool.results(tasks, workers=2, timeout=1.5, split=parts.__getitem__))
    assert found[0] == 0 and found[2] == math.sqrt(2) and found[4] == [0, 1, math.sqrt(2)] and found[5] == []
    *good, lost, last = found[1]
    assert good == [0, 1] and last == 3 and "SIGABRT" in lost.reason and not lost.hung
    good, lost, given_up = found[3]
    assert good == 4 and lost.hung and given_up == lost  # time limits are long: the first one that is met again is the last


def test_workers_go_on_while_results_are_taken_in(tmp_path):
    tasks = [functools.partial(os.mkdir, str(tmp_path / str(number))) for number in range(4)]
    for taken, _ in enumerate(worker_pool.results(tasks, workers=1, timeout=60), 1):
        limit = time.monotonic() + 20
        while len(list(tmp_path.iterdir())) < min(taken + 1, 4) and time.monotonic() < limit:
            time.sleep(0.01)
        assert len(list(tmp_path.iterdir())) == min(taken + 1, 4)


def test_memory_limit():
    tasks = [functools.partial(bytes, 10), functools.partial(operator.mul, b"a", 4 << 30)]
    with pytest.raises(MemoryError):
        list(worker_pool.results(tasks, workers=1, timeout=60, setup=functools.partial(worker_pool.limit_memory, 1)))


def test_a_defect_is_raised():
    with pytest.raises(ValueError, match="math domain error"):
        list(worker_pool.results([functools.partial(math.sqrt, -1)], workers=1, timeout=60))


def test_no_more_than_ahead_are_started(tmp_path):
    """The first task sleeps, then looks what others have done meanwhile."""
    look = functools.partial(subprocess.check_output, f"sleep 2; ls '{tmp_path}'", shell=True)
    tasks = [look, *(functools.partial(os.mkdir, str(tmp_path / str(number))) for number in range(1, 10))]
    found = dict(worker_pool.results(tasks, workers=2, timeout=60, ahead=4))
    assert found[0].split() == [b"1", b"2", b"3"] and sorted(found) == list(range(10))


def test_workers_end_with_their_parent(tmp_path):
    code = (
        "import functools, time\nfrom egokeras.data import worker_pool\n"
        "if __name__ == '__main__':\n"
        "    tasks = [functools.partial(open, {0!r}, 'w')] + [functools.partial(time.sleep, 600)] * 2\n"
        "    for _ in worker_pool.results(tasks, workers=2, timeout=600): print('.', flush=True)\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code.replace("functools.partial(open, {0!r}, 'w')", "functools.partial(time.sleep, 0)"))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, env=env)
    parent.stdout.readline()
    children = children_of(parent.pid)
    assert len(children) >= 2
    parent.kill()
    parent.wait()
    limit = time.monotonic() + 20
    while any(os.path.exists(f"/proc/{child}") for child in children) and time.monotonic() < limit:
        time.sleep(0.05)
    assert not [child for child in children if os.path.exists(f"/proc/{child}")]


def children_of(pid):
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                if int(file.read().rsplit(")", 1)[1].split()[1]) == pid:
                    found.append(int(name))
        except OSError:
            continue
    return found
