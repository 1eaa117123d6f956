"""The benchmark of label-smoothing priors, shrunk, on drawn annotations: every part runs, and what it reports follows from the lines."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest

from anticipation import prior_comparison, prior_runs, prior_training
from anticipation.prior_training import QUICK, Job, Settings, opened, packed, rows_of, unpacked
from egokeras.files import run_file

ROOT = pathlib.Path(__file__).parent.parent.parent
SCRIPT = ROOT / "benchmarks" / "label_priors.py"
VERBS, NOUNS = ("open", "close", "wash"), ("door", "tap", "pan", "cup")
ACTIONS = [(verb, noun) for verb in range(3) for noun in range(4)]


@pytest.fixture(scope="module")
def script():
    return run_file(SCRIPT)


def annotated(random, videos, first):
    """Rows of RU-LSTM's lists: in every video 12 actions, of which each is mostly the one after the one before."""
    for video in range(videos):
        action, frame = random.integers(12), 20
        for _ in range(12):
            action = (action + 1) % 12 if random.random() < 0.9 else random.integers(12)
            frame += int(random.integers(20, 120))
            verb, noun = ACTIONS[action]
            yield f"{first}, P{video % 3:02d}_{first // 1000}{video}, {frame}, {frame + 15}, {verb}, {noun}, {action}"
            first += 1


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder, random = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for name in ("rulstm/ek55", "rulstm/egtea", "ek55", "glove"):
        (folder / name).mkdir(parents=True)
    for path, videos, first in (("ek55/training", 10, 1000), ("ek55/validation", 3, 2000)):
        (folder / f"rulstm/{path}.csv").write_text("\n".join(annotated(random, videos, first)) + "\n")
    for split in (1, 2):
        rows = list(annotated(random, 10, 3000))
        (folder / f"rulstm/egtea/training{split}.csv").write_text("\n".join(rows[:90]) + "\n")
        (folder / f"rulstm/egtea/validation{split}.csv").write_text("\n".join(rows[90:]) + "\n")
    named = [(number, f"{VERBS[verb]}_{NOUNS[noun]}", verb, noun) for number, (verb, noun) in enumerate(ACTIONS)]
    rows = ["id,action,verb,noun", *(f"{number},{name},{verb},{noun}" for number, name, verb, noun in named)]
    (folder / "rulstm/ek55/actions.csv").write_text("\n".join(rows) + "\n")
    (folder / "rulstm/egtea/actions.csv").write_text("".join(f"{number}, {verb}_{noun}, {name}\n" for number, name, verb, noun in named))
    for space, names in (("verb", VERBS), ("noun", NOUNS)):
        rows = [f"{space}_id,class_key,{space}s", *(f"{number},{name},['{name}']" for number, name in enumerate(names))]
        (folder / f"ek55/EPIC_{space}_classes.csv").write_text("\n".join(rows) + "\n")
    vectors = ((word, random.normal(size=3)) for word in VERBS + NOUNS)
    (folder / "glove/small.txt").write_text("".join(f"{word} {' '.join(f'{x:.3f}' for x in vector)}\n" for word, vector in vectors))
    return folder


@pytest.fixture
def bench(data, tmp_path):
    return prior_runs.Bench(data=data, glove=str(data / "glove/small.txt"), out=tmp_path / "results.jsonl", settings=QUICK, workers=0)


@pytest.fixture
def trainings(monkeypatch):
    """Jobs in the order of their trainings, which are replaced: scores that depend on the job alone."""
    jobs = []

    def drawn(job, settings, folder, glove):
        jobs.append(job)
        shards, _ = opened(folder)
        random = np.random.default_rng([prior_training.METHODS.index(job.method), round(100 * job.alpha), job.seed, job.fold is None])
        hits = random.random((job.epochs, len(rows_of(job, shards)[1]))) < 0.5
        tops = {f"top{k}": random.uniform(0, 100, (job.epochs, 8)).tolist() for k in (1, 5)}
        return {"loss": [1.0] * job.epochs, **tops, "hits": [packed(each) for each in hits], "seconds": 1.0}

    monkeypatch.setattr(prior_runs, "train", drawn)
    return jobs


def test_a_training_is_judged_at_every_epoch(bench):
    """A real one, by GloVe and verb-noun: hits and scores agree, and the loss falls."""
    job = Job(cut="epic55", method="GL+VN", alpha=0.3, epochs=2)
    shards, _ = opened(bench.set_of(job))
    result = prior_training.train(job, bench.settings, bench.set_of(job), bench.glove)
    assert np.shape(result["top5"]) == np.shape(result["top1"]) == (2, 8) and result["loss"][1] < result["loss"][0]
    for epoch in range(2):
        hits = unpacked(result["hits"][epoch], len(shards.rows("validation")))
        assert 100 * hits.mean() == pytest.approx(result["top5"][epoch][4], abs=1e-3)


def test_choosing_sees_training_videos_alone(bench):
    """Folds cut the training videos into five parts, and no video lies on two sides."""
    job = Job(cut="epic55", method="one-hot", alpha=0.0, epochs=1)
    shards, _ = opened(bench.set_of(job))
    parts = []
    for fold in range(5):
        rows, held_out = rows_of(dataclasses.replace(job, fold=fold), shards)
        assert not set(shards.clips["video"][rows]) & set(shards.clips["video"][held_out])
        np.testing.assert_array_equal(np.sort(np.concatenate([rows, held_out])), shards.rows("train"))
        parts.append(held_out)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), shards.rows("train"))
    rows, judged = rows_of(job, shards)
    np.testing.assert_array_equal(rows, shards.rows("train"))
    np.testing.assert_array_equal(judged, shards.rows("validation"))


def test_a_choice_is_the_best_mean_over_folds():
    """Three epochs; alpha 0.5 has the best epoch of one fold, alpha 0.1 the best mean of both: 2 epochs, (50 + 60) / 2."""
    curves = {(0.1, 0): [10, 50, 20], (0.1, 1): [10, 60, 70], (0.5, 0): [90, 10, 10], (0.5, 1): [10, 10, 10]}
    results = {
        Job(cut="epic55", method="VN", alpha=alpha, epochs=3, fold=fold): {"top5": [[value - 5, value + 5] for value in curve]}
        for (alpha, fold), curve in curves.items()
    }
    assert prior_comparison.choices(results) == {"VN": prior_comparison.Choice(alpha=0.1, epochs=2, score=55.0)}


def test_comparison_is_what_the_lines_say(bench, trainings):
    """Both tables, their gains and intervals, from the results of each seed at the epochs chosen."""
    found = prior_comparison.compare(bench, ["epic55"], {"one-hot": (0.0,), "TE": (0.1, 0.7)}, folds=1)
    chosen = found.chosen["epic55"]
    finals = [job for job in trainings if job.fold is None]
    assert [job.fold for job in trainings[:3]] == [0] * 3 and len(finals) == 4  # first all folds, then two seeds of each
    longest = max(chosen["TE"].epochs, chosen["one-hot"].epochs)
    assert {(job.method, job.alpha, job.epochs) for job in finals} == {
        ("TE", chosen["TE"].alpha, longest), ("one-hot", 0.0, chosen["one-hot"].epochs)
    }  # fmt: skip
    clips, results = len(found.videos["epic55"]), found.results["epic55"]
    for own in (True, False):
        at = {"TE": chosen["TE" if own else "one-hot"].epochs - 1, "one-hot": chosen["one-hot"].epochs - 1}
        top5 = {method: np.array([results[method][seed]["top5"][at[method]] for seed in range(2)]) for method in at}
        np.testing.assert_array_equal(found.scores("TE", own), top5["TE"])
        first, second = (top5["TE"] - top5["one-hot"])[:, 4]
        mean, low, high, video_low, video_high = found.gain("TE", own)
        half = 12.7062 * abs(first - second) / 2  # t-quantile of 1 degree of freedom, standard error of two values
        assert (mean, low, high) == pytest.approx(((first + second) / 2, (first + second) / 2 - half, (first + second) / 2 + half))
        hits = {m: sum(unpacked(results[m][seed]["hits"][at[m]], clips) for seed in range(2)) / 2 for m in at}
        assert video_low < 100 * (hits["TE"] - hits["one-hot"]).mean() < video_high


def test_nothing_is_trained_twice(bench, trainings):
    job = Job(cut="epic55", method="VN", alpha=0.3, epochs=2)
    other = dataclasses.replace(job, seed=1)
    first = prior_runs.run_all(bench, [job, other, job])
    assert len(trainings) == 2
    assert prior_runs.run_all(bench, [other, job]) == first and len(trainings) == 2
    longer = dataclasses.replace(job, epochs=3)
    assert len(prior_runs.run_all(bench, [longer])[longer]["top5"]) == 3 and len(trainings) == 3
    assert len(prior_runs.run_all(bench, [job])[job]["top5"]) == 3 and len(trainings) == 3  # the longer training serves
    lines = bench.out.read_bytes().splitlines(keepends=True)
    bench.out.write_bytes(lines[0] + lines[1][:50])
    assert prior_runs.run_all(bench, [job, other]) == first and len(trainings) == 4
    assert len(bench.out.read_bytes().splitlines()) == 2 and [json.loads(line) for line in bench.out.read_text().splitlines()]


def test_recorded_keys_stay_keys(bench):
    """As they stand in the first lines that were recorded; with another key all that was trained would be trained again."""
    job = Job(cut="egtea1", method="GL+VN", alpha=0.3, epochs=12, fold=0)
    key = bench.key(job)
    assert all(len(json.loads(key)[name]) == 64 for name in ("set", "glove"))
    own = dataclasses.replace(bench, settings=Settings()).key(job)
    known = {name: value for name, value in json.loads(own).items() if name not in ("set", "glove")}
    assert json.dumps(known) == (
        '{"alpha": 0.3, "batch": 128, "cut": "egtea1", "dropout": 0.5, "errors": 0.0, "fold": 0, "learning_rate": 0.002, '
        '"method": "GL+VN", "model": "lstm", "past": 10, "seed": 0, "units": 128}'
    )
    bench.out.write_text(json.dumps({"key": json.loads(key), "top5": [[1.0]]}) + "\n")
    assert prior_runs.stored(bench.out) == {key: {"top5": [[1.0]]}}


@pytest.mark.parametrize("change", [{"units": 9}, {"batch": 8}, {"learning_rate": 1e-3}, {"past": 9}])
def test_another_setting_is_another_training(bench, change):
    job = Job(cut="epic55", method="VN", alpha=0.3, epochs=2)
    other = dataclasses.replace(bench, settings=dataclasses.replace(bench.settings, **change))
    assert bench.key(job) != other.key(job)
    assert bench.key(job) == dataclasses.replace(bench, settings=dataclasses.replace(bench.settings, seeds=9)).key(job)


def test_every_part_reports(script, bench, trainings):
    text = "\n".join(script.report(bench, script.PARTS))
    for words in (
        "| one-hot |",
        "| GL+VN | 0.3",
        "| Markov |",
        "| chance | 41.67",
        "published: GL+VN | 28.88",
        "| 40 % |",
        "## RU-LSTM on",
    ):
        assert words in text
    assert {(job.cut, job.model, job.errors) for job in trainings} == {
        ("epic55", "lstm", 0.0), ("egtea1", "lstm", 0.0), ("egtea2", "lstm", 0.0), ("epic55", "lstm", 0.4), ("epic55", "rulstm", 0.0)
    }  # fmt: skip
    tables = text.count("top-1 at 1 s")
    assert tables == 5 and text.count("gain at 1 s (95 % over seeds)") == 5


def test_published_gains_are_those_of_the_paper(script):
    """The rows "Improv." of its tables, at 2 s and at 0.25 s."""
    for group, method, base, first, last in (
        ("epic55", "GL+VN", "one-hot", 1.17, 2.13), ("epic55", "RU-LSTM, GL+VN", "RU-LSTM, one-hot", 0.93, 1.35),
        ("egtea", "GL", "one-hot", 1.40, 1.89), ("egtea", "RU-LSTM, GL", "RU-LSTM, one-hot", 3.17, 3.83),
    ):  # fmt: skip
        rows = script.PUBLISHED[group]
        assert all(len(row) == 8 for row in rows.values())
        gains = np.subtract(rows[method], rows[base])
        assert (gains[0], gains[-1]) == pytest.approx((first, last))


WORKERS = """
import os, sys, time
from unittest import mock
sys.path[:0] = {path!r}
sys.modules["tensorflow"] = mock.MagicMock()  # which workers import first; not needed here
from anticipation import prior_runs
def train(number, *_):
    print(os.getpid(), flush=True)
    time.sleep(60)
prior_runs.train = train
class Bench:
    workers, settings, glove = 1, None, None
    set_of = staticmethod(lambda job: None)
if __name__ == "__main__":
    next(prior_runs.trained(Bench, [1]))
"""


def test_a_worker_ends_with_its_parent(tmp_path):
    """In the middle of a training, not at its next epoch."""
    script = tmp_path / "script.py"
    script.write_text(WORKERS.format(path=[str(ROOT), str(SCRIPT.parent)]))
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE)
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    limit = time.monotonic() + 20
    while os.path.exists(f"/proc/{worker}") and time.monotonic() < limit:
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{worker}")


def run(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, timeout=600, env=environment)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
def test_epic_in_workers_goes_on_where_it_was(data, tmp_path):
    out = tmp_path / "results.jsonl"
    command = ("--data", data, "--quick", "--parts", "epic55", "--out", out)
    done = run(*command)
    lines = out.read_bytes().splitlines(keepends=True)
    assert len(lines) == 6 + 6 * 2
    report = (tmp_path / "report.md").read_text()
    assert report.strip() in done.stdout
    out.write_bytes(b"".join(lines[:-2]) + lines[-2][:100])  # two lost, one of them half-written
    again = run(*command)
    assert again.stderr.count("min left") == 2
    assert len(out.read_bytes().splitlines()) == len(lines)
    assert (tmp_path / "report.md").read_text() == report
