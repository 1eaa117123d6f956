"""Work in a child process: it may crash, hang or change the whole process that it runs in, and is stopped after its time."""

import os
import pathlib
import signal
import subprocess
import sys
import threading

import egokeras
from egokeras.files import write_json
from egokeras.progress import track

LOG_LINES = 5
STEP = b"step\n"  # what a child that shows its progress writes to its standard output


def run(module, content, place, seconds, *, called, steps=0, environment=None):
    """Run `python -m MODULE JOB.json`.

    Args:
        module: dotted name.
        content: of the job.
        place: path that the names of the job and of the log begin with; both are gone afterwards.
        seconds: time that it may take.
        called: what the child is in the explanation.
        steps: how often the child will write STEP; the progress is shown.
        environment: variables to set for it.

    Returns:
        How it ended with the last lines of its log.
    """
    job = pathlib.Path(place).with_suffix(".job.json")
    log = job.with_suffix(".log")
    write_json(job, content)
    path = [str(pathlib.Path(egokeras.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "TF_CPP_MIN_LOG_LEVEL": "3", **(environment or {})}
    try:
        with open(log, "wb") as file:
            code, stopped = _watched([sys.executable, "-m", module, str(job)], variables, file, seconds, called, steps)
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    finally:
        job.unlink()
        log.unlink(missing_ok=True)
    ended = f"crashed ({signal.Signals(-code).name})" if code < 0 else f"ended with exit code {code}"
    ended = f"the {called} was stopped after {seconds:.0f} s" if stopped else f"the {called} {ended}"
    return "; ".join([ended, *lines[-LOG_LINES:]])


def _watched(command, variables, log, seconds, called, steps):
    """The exit code, and whether it had to be stopped; no child is left behind."""
    expired = threading.Event()
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE if steps else log, stderr=log) as child:

        def stop():
            expired.set()
            child.kill()

        timer = threading.Timer(seconds, stop)
        timer.start()
        try:
            if child.stdout:
                for _ in track((line for line in child.stdout if line == STEP), called, total=steps, unit="step"):
                    pass
            return child.wait(), expired.is_set()
        finally:
            timer.cancel()
            child.kill()
