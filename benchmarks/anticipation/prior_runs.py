"""The trainings of the benchmark of label-smoothing priors: each a line of `results.jsonl`, none done twice, in several processes."""

import dataclasses
import functools
import json
import os
import pathlib
import sys
import time

from anticipation.prior_training import CUTS, DECIDING, Settings, train
from egokeras.data import readers
from egokeras.data.observe import observe
from egokeras.data.past_actions import PastLabels
from egokeras.files import sha256
from processes import in_processes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bench:
    """What the trainings work with.

    Attributes:
        data: folder of the data.
        glove: file of word vectors.
        out: `results.jsonl`; the sets lie beside it.
        settings: `Settings`.
        workers: processes; 0 trains in this one.
    """

    data: pathlib.Path
    glove: str
    out: pathlib.Path
    settings: Settings
    workers: int

    def set_of(self, job):
        """The folder of a job's set, which is made if it is not there."""
        name = f"{job.cut}-past{self.settings.past}" + (f"-errors{100 * job.errors:.0f}-{job.seed}" if job.errors else "")
        folder = self.out.parent / "sets" / name
        if not (folder / "index.json").exists():
            cut = CUTS[job.cut]
            annotations = readers.read(cut.reader, [self.data / file for file in cut.files])
            observe(annotations, PastLabels(past=self.settings.past, errors=job.errors, seed=job.seed), folder)
        return str(folder)

    def key(self, job):
        """All that decides a training, except for how many epochs it goes on."""
        fields = dataclasses.asdict(job)
        del fields["epochs"]
        settings = {name: getattr(self.settings, name) for name in DECIDING[job.model]}
        digests = {"set": _digest(f"{self.set_of(job)}/index.json")}
        if "GL" in job.method:
            digests["glove"] = _digest(self.glove)
        return json.dumps({**fields, **settings, **digests}, sort_keys=True)


@functools.cache
def _digest(path):
    return sha256(path)


def stored(out):
    """Key to result, from `results.jsonl`; of two trainings with one key the longer. A last line that was cut is taken off the file."""
    found = {}
    if not out.exists():
        return found
    whole, _, cut = out.read_bytes().rpartition(b"\n")
    if cut:
        with open(out, "r+b") as file:
            file.truncate(len(whole) + 1 if whole else 0)
    for line in whole.splitlines():
        result = json.loads(line)
        key = json.dumps(result.pop("key"), sort_keys=True)
        if key not in found or len(result["top5"]) > len(found[key]["top5"]):
            found[key] = result
    return found


def run_all(bench, jobs):
    """Results of all jobs, those missing trained first; job to result."""
    keys = {job: bench.key(job) for job in dict.fromkeys(jobs)}
    known = stored(bench.out)
    missing = [job for job, key in keys.items() if len(known.get(key, {"top5": ()})["top5"]) < job.epochs]
    missing.sort(key=lambda job: -job.epochs)
    started, total, done = time.monotonic(), sum(map(cost, missing)), 0.0
    for number, (job, result) in enumerate(trained(bench, missing), 1):
        known[keys[job]] = result
        with open(bench.out, "a", encoding="utf-8") as file:
            file.write(json.dumps({"key": json.loads(keys[job]), **result}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        done += cost(job)
        left = (time.monotonic() - started) / done * (total - done) / 60
        what = f"{job.cut} {job.model} {job.method}" + (f" a={job.alpha}" if job.alpha else "")
        print(f"{number}/{len(missing)} {what}: {result['seconds']:.0f} s; about {left:.0f} min left", file=sys.stderr, flush=True)
    return {job: known[key] for job, key in keys.items()}


def cost(job):
    """How long a job takes, relative to others."""
    return job.epochs * {"epic55": 3.0, "egtea1": 1.0, "egtea2": 1.0}[job.cut] * {"lstm": 1, "rulstm": 6}[job.model]


def trained(bench, jobs):
    """Yield (job, result) as the trainings end."""
    calls = [(job, bench.settings, bench.set_of(job), bench.glove) for job in jobs]
    yield from ((arguments[0], result) for arguments, result in in_processes(train, calls, bench.workers))
