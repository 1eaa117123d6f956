"""Worker processes that may die: a task that crashes, hangs or outgrows its process costs itself and nothing else."""

import collections
import contextlib
import dataclasses
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
import traceback

READY = "ready"


@dataclasses.dataclass(frozen=True)
class Lost:
    """What became of a task whose process is gone; `reason` says how."""

    reason: str


class Worker:
    """One process with a pipe, and the number of the task that it works on."""

    def __init__(self, context, setup):
        self.pipe, far = context.Pipe()
        self.process = context.Process(target=_serve, args=(far, setup), daemon=True)
        self.process.start()
        far.close()
        self.task = None
        self.ready = False
        self.deadline = float("inf")

    def give(self, number, task, timeout):
        """Send a task; it is due in `timeout` seconds."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # a process that died meanwhile is found out as with any task
            self.pipe.send(task)
        self.task, self.deadline = number, time.monotonic() + timeout

    def stop(self):
        """End the process at once."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def results(tasks, *, workers, timeout, ahead=None, setup=None):
    """Run tasks in `workers` processes and yield (number, result) as they finish; a lost task's result is `Lost`.

    Args:
        tasks: sequence of functions without arguments that can be pickled.
        workers: processes.
        timeout: seconds that a task may take.
        ahead: how far beyond the first unfinished task others may be started; bounds what waits for its turn.
        setup: function without arguments, called once in each new process.

    Raises:
        Exception: what a task raised, as it is a defect: tasks report what they expect to go wrong in their results.
        RuntimeError: processes cannot be started.
    """
    context = multiprocessing.get_context("spawn")
    todo, open_tasks = collections.deque(range(len(tasks))), set(range(len(tasks)))
    ahead = ahead or 8 * workers
    with contextlib.ExitStack() as stack:
        crew = [_hire(context, setup, stack) for _ in range(min(workers, len(tasks)))]
        while open_tasks:
            for worker in crew:
                if worker.ready and worker.task is None and todo and todo[0] < min(open_tasks) + ahead:
                    number = todo.popleft()
                    worker.give(number, tasks[number], timeout)
            for worker in _wait(crew):
                number, result = _collect(worker)
                if isinstance(result, Lost):
                    worker.stop()
                    crew[crew.index(worker)] = _hire(context, setup, stack)
                if number is not None:
                    open_tasks.remove(number)
                    yield number, result


def _hire(context, setup, stack):
    worker = Worker(context, setup)
    stack.callback(worker.stop)
    return worker


def _wait(crew):
    """The workers that have something to say or are overdue."""
    patience = max(0.0, min(worker.deadline for worker in crew) - time.monotonic())
    heard = multiprocessing.connection.wait([worker.pipe for worker in crew], min(patience, 3600))
    now = time.monotonic()
    return [worker for worker in crew if worker.pipe in heard or worker.deadline <= now]


def _collect(worker):
    """(number of the task or None, result) of a worker that is due."""
    number = worker.task
    if not worker.pipe.poll():
        return number, Lost("took more than the time limit in a worker process")
    try:
        kind, result = worker.pipe.recv()
    except (EOFError, ConnectionResetError):
        worker.process.join()
        if not worker.ready:
            raise RuntimeError("worker processes do not start; in a script, keep the call under `if __name__ == '__main__':`") from None
        return number, Lost(f"ended the worker process ({_describe(worker.process.exitcode)})")
    worker.ready, worker.task, worker.deadline = True, None, float("inf")
    if kind == "raised":
        raise result
    return (None, None) if kind == READY else (number, result)


def _describe(exitcode):
    if exitcode < 0:
        name = signal.Signals(-exitcode).name
        return name + (": perhaps the machine ran out of memory" if name == "SIGKILL" else "")
    return f"exit code {exitcode}"


def _serve(pipe, setup):
    """Life of a worker: tasks in, results out, until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if setup is not None:
        setup()
    pipe.send((READY, None))
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            task = pipe.recv()
            try:
                answer = ("done", task())
            except Exception as error:
                error.add_note(f"In a worker process:\n{traceback.format_exc()}")
                answer = ("raised", error)
            pipe.send(answer)


def _end_with_parent():
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def limit_memory(gigabytes):
    """Let this process have so much memory; beyond it, it gets a `MemoryError` (where the system can do that)."""
    with contextlib.suppress(ImportError, ValueError, OverflowError):
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (int(gigabytes * 2**30), resource.getrlimit(resource.RLIMIT_DATA)[1]))
