"""Worker processes that may die: a task that crashes, hangs or outgrows its process costs itself and nothing else.

A lost task can be split: its parts are then run one by one, once each, so that it loses only those parts that are to blame.
"""

import collections
import contextlib
import dataclasses
import itertools
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
import traceback
import typing

READY = "ready"


@dataclasses.dataclass(frozen=True)
class Lost:
    """What became of a task whose process is gone.

    Attributes:
        reason: how it ended.
        hung: it was ended because its time was up.
    """

    reason: str
    hung: bool = False


class Worker:
    """One process with a pipe, and the `_Job` that it works on."""

    def __init__(self, context, setup):
        self.pipe, far = context.Pipe()
        self.process = context.Process(target=_serve, args=(far, setup), daemon=True)
        self.process.start()
        far.close()
        self.job = None
        self.ready = False
        self.deadline = float("inf")

    def give(self, job, timeout):
        """Send a job's task; it is due in `timeout` seconds."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # a process that died meanwhile is found out as with any task
            self.pipe.send(job.task)
        self.job, self.deadline = job, time.monotonic() + timeout

    def stop(self):
        """End the process at once."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


@dataclasses.dataclass
class _Job:
    """A task to run, or the next part of one that was lost; `done` and `rest` are the results and the tasks of its other parts."""

    number: int
    task: typing.Callable
    done: list | None = None
    rest: list = dataclasses.field(default_factory=list)


def results(tasks, *, workers, timeout, ahead=None, setup=None, split=None):
    """Run tasks in `workers` processes and yield (number, result) as they finish; a lost task's result is `Lost`.

    Args:
        tasks: sequence of functions without arguments that can be pickled.
        workers: processes.
        timeout: seconds that a task may take.
        ahead: how far beyond the first unfinished task others may be started; bounds what waits for its turn.
        setup: function without arguments, called once in each new process.
        split: function from the number of a lost task to its parts, tasks that are run in its place; its result is then the list
            of their results, `Lost` where lost. Once a part hangs, those after it are given up, so that it costs two time limits.

    Raises:
        Exception: what a task raised, as it is a defect: tasks report what they expect to go wrong in their results.
        RuntimeError: processes cannot be started.
    """
    context = multiprocessing.get_context("spawn")
    failed_starts = 0
    todo, open_tasks = collections.deque(itertools.starmap(_Job, enumerate(tasks))), set(range(len(tasks)))
    ahead = ahead or 8 * workers
    with contextlib.ExitStack() as stack:
        crew = [_hire(context, setup, stack) for _ in range(min(workers, len(tasks)))]
        while open_tasks:
            _hand_out(crew, todo, min(open_tasks) + ahead, timeout)
            finished = []
            for worker in _wait(crew):
                job, result = _collect(worker)
                failed_starts = 0 if worker.ready else failed_starts + 1
                if failed_starts > workers:
                    raise RuntimeError("worker processes do not start; in a script, keep the call under `if __name__ == '__main__':`")
                if isinstance(result, Lost):
                    worker.stop()
                    crew[crew.index(worker)] = _hire(context, setup, stack)
                following, result = _after(job, result, split) if job else (None, None)
                if following:
                    todo.appendleft(following)
                elif job:
                    open_tasks.remove(job.number)
                    finished.append((job.number, result))
            if finished and open_tasks:  # the workers go on while the caller takes the results in
                _hand_out(crew, todo, min(open_tasks) + ahead, timeout)
            yield from finished


def _hand_out(crew, todo, end, timeout):
    """Give the idle workers what lies before the task number `end`."""
    for worker in crew:
        if worker.ready and worker.job is None and todo and todo[0].number < end:
            worker.give(todo.popleft(), timeout)


def _after(job, result, split):
    """(what is to run before the task is finished or None, its result)."""
    if job.done is None:
        if split is None or not isinstance(result, Lost):
            return None, result
        job = dataclasses.replace(job, done=[], rest=list(split(job.number)))
    else:
        job.done.append(result)
    if isinstance(result, Lost) and result.hung and job.done:
        job.done += [result] * len(job.rest)
        job.rest = []
    return (dataclasses.replace(job, task=job.rest[0], rest=job.rest[1:]) if job.rest else None), job.done


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
    """(the job or None, its result) of a worker that is due."""
    job = worker.job
    if not worker.pipe.poll():
        return job, Lost("took more than the time limit in a worker process", hung=True)
    try:
        kind, result = worker.pipe.recv()
    except (EOFError, ConnectionResetError):
        worker.process.join()
        return job, Lost(f"ended the worker process ({_describe(worker.process.exitcode)})")
    worker.ready, worker.job, worker.deadline = True, None, float("inf")
    if kind == "raised":
        raise result
    return (None, None) if kind == READY else (job, result)


def _describe(exitcode):
    if exitcode < 0:
        name = signal.Signals(-exitcode).name
        return name + (": perhaps the machine ran out of memory" if name == "SIGKILL" else "")
    return f"exit code {exitcode}"


def _serve(pipe, setup):
    """Life of a worker: tasks in, results out, until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
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


def end_with_parent():
    """Let this worker process end when the process that started it is gone, killed or not."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end():
        parent.join()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


def limit_memory(gigabytes):
    """Let this process have so much memory; beyond it, it gets a `MemoryError` (where the system can do that)."""
    with contextlib.suppress(ImportError, ValueError, OverflowError):
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (int(gigabytes * 2**30), resource.getrlimit(resource.RLIMIT_DATA)[1]))
