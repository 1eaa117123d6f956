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

    def to_a_dead_one(worker, number, task, timeout):
        if number == 2:
            worker.process.kill()
            worker.process.join()
        give(worker, number, task, timeout)

    monkeypatch.setattr(worker_pool.Worker, "give", to_a_dead_one)
    found = dict(worker_pool.results(roots(5), workers=1, timeout=60))
    assert "SIGKILL" in found.pop(2).reason and found == {number: math.sqrt(number) for number in (0, 1, 3, 4)}


def test_memory_limit():
    tasks = [functools.partial(bytes, 10), functools.partial(operator.mul, b"a", 4 << 30)]
    with pytest.raises(MemoryError):
        list(worker_pool.results(tasks, workers=1, timeout=60, setup=functools.partial(worker_pool.limit_memory, 1)))


def test_a_defect_is_raised():
    with pytest.raises(ValueError, match="math domain error"):
        list(worker_pool.results([functools.partial(math.sqrt, -1)], workers=1, timeout=60))


def test_no_more_than_ahead_are_started(tmp_path):
    """While the first task sleeps, only those up to `ahead` are done."""
    tasks = [functools.partial(time.sleep, 2), *(functools.partial(os.mkdir, str(tmp_path / str(number))) for number in range(9))]
    order = []
    for number, _ in worker_pool.results(tasks, workers=2, timeout=60, ahead=4):
        order.append(number)
        if number == 0:
            assert len(list(tmp_path.iterdir())) == 3
    assert sorted(order) == list(range(10))


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
