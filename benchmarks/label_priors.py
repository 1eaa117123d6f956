"""What each label-smoothing prior is worth for anticipation from past actions, on the real labels of EPIC-KITCHENS-55 and EGTEA Gaze+.

    python benchmarks/label_priors.py --data DATA --parts epic55 egtea

DATA holds RU-LSTM's lists (`rulstm/ek55`, `rulstm/egtea`), the classes of EPIC-KITCHENS-55 (`ek55`) and GloVe vectors (`glove/*.txt`).

All that is to be chosen (a prior's alpha, its number of epochs, the best prior) is chosen on held-out training videos by the mean over the
eight anticipation times of top-5 accuracy; the validation set judges alone. A choice is the mean over folds, each a model trained without
a fifth of the training videos; then every method trains on all of them, once per seed. The learning rate is constant, so one training gives
the scores after every number of epochs. Two tables compare the methods: after equally many epochs (those at which one-hot is best), and
each after its own best number. Parts: `epic55`, `egtea` (splits 1 and 2, averaged), `robustness` (EPIC-55 with past actions that a
recogniser mistook, 20 to 60 % of them), `rulstm` (RU-LSTM reading the labels of EPIC-55); the last two use what `epic55` chose.

Every training is a line of `results.jsonl`; the same command goes on after an interruption, and trains nothing twice. The lines know data
and settings but not the code: after a change of it begin with another `--out`.
"""

import argparse
import base64
import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import io
import json
import multiprocessing
import os
import pathlib
import sys
import time

import numpy as np

from egokeras import anticipation_scores as scores
from egokeras.anticipation_scores import ONE_SECOND
from egokeras.data import readers
from egokeras.data.observe import observe
from egokeras.data.past_actions import PastLabels
from egokeras.data.selection import grouped_folds
from egokeras.data.shards import Shards
from egokeras.files import atomic, sha256
from egokeras.markov import markov_place
from egokeras.protocol import ANTICIPATION
from egokeras.scores import interval, majority_place

PARTS = ("epic55", "egtea", "robustness", "rulstm")
METHODS = ("one-hot", "TE", "uniform", "VN", "GL", "GL+VN")
HARD = METHODS[0]
EPIC55 = "epic55"
PUBLISHED = {  # top-5 action accuracy, Camporese et al., https://arxiv.org/abs/2004.07711, with video features
    "epic55": {
        "one-hot": (27.71, 28.69, 29.84, 30.90, 31.93, 33.14, 34.10, 35.16),
        "TE": (27.94, 28.90, 30.06, 31.13, 32.19, 33.21, 34.17, 35.10),
        "uniform": (28.16, 29.06, 30.23, 31.25, 32.41, 33.64, 34.69, 35.75),
        "VN": (28.43, 29.41, 30.68, 31.85, 33.08, 34.35, 35.38, 36.46),
        "GL": (28.61, 29.87, 30.97, 31.94, 33.12, 34.40, 35.51, 36.87),
        "GL+VN": (28.88, 29.94, 31.23, 32.54, 33.56, 34.92, 36.06, 37.29),
        "RU-LSTM, one-hot": (29.44, 30.73, 32.24, 33.41, 35.32, 36.34, 37.37, 38.39),
        "RU-LSTM, GL+VN": (30.37, 31.64, 33.17, 34.86, 35.90, 37.07, 38.96, 39.74),
    },
    "egtea": {
        "one-hot": (55.94, 58.75, 60.94, 63.02, 65.78, 68.04, 71.55, 73.94),
        "TE": (56.13, 58.93, 61.17, 63.24, 66.00, 68.20, 71.75, 74.20),
        "uniform": (56.35, 59.20, 61.37, 63.36, 66.12, 68.41, 71.95, 74.35),
        "VN": (56.85, 59.67, 61.64, 64.03, 66.81, 68.94, 72.56, 75.44),
        "GL": (57.34, 60.11, 62.25, 64.42, 67.21, 69.56, 73.02, 75.83),
        "RU-LSTM, one-hot": (56.82, 59.13, 61.42, 63.53, 66.40, 68.41, 71.84, 74.28),
        "RU-LSTM, GL": (59.99, 62.02, 63.95, 66.47, 68.74, 72.16, 75.21, 78.11),
    },
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cut:
    """A dataset, cut into training and validation.

    Attributes:
        reader: of `egokeras.data.readers`.
        files: its annotations, below the folder of the data.
        train, validation: names of the splits.
    """

    reader: str
    files: tuple[str, ...]
    train: str = "train"
    validation: str = "validation"


def _egtea(number):
    files = (f"rulstm/egtea/training{number}.csv", f"rulstm/egtea/validation{number}.csv")
    return Cut(reader="egtea", files=files, train=f"train{number}", validation=f"validation{number}")


EPIC55_FILES = ("rulstm/ek55/training.csv", "rulstm/ek55/validation.csv", "ek55/EPIC_verb_classes.csv", "ek55/EPIC_noun_classes.csv")
CUTS = {EPIC55: Cut(reader="epic55", files=EPIC55_FILES), "egtea1": _egtea(1), "egtea2": _egtea(2)}
CUTS_OF = {EPIC55: (EPIC55,), "egtea": ("egtea1", "egtea2")}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How every model is trained, and what is tried.

    Attributes:
        past: actions that the sets hold.
        units, dropout, learning_rate, batch: of the LSTM over past actions; those with which one-hot did best on held-out training
            videos of EPIC-55 (256 units at half the rate, or a hidden layer before the logits: 1 point less; dropout 0.7: no more).
        ru_units, ru_dropout, ru_last: of RU-LSTM and the actions that it sees at once: small, to train in minutes; one-hot did 2 points
            better with the last 2 actions than with 4.
        epochs, egtea_epochs: the most that may be chosen, on EPIC-55 and on EGTEA.
        folds, egtea_folds: how many fifths of the training videos are held out in turn to choose.
        alphas: tried for every prior.
        seeds: trainings of every method.
        errors: shares of mistakes of the part `robustness`.
    """

    past: int = 10
    units: int = 128
    dropout: float = 0.5
    learning_rate: float = 2e-3
    batch: int = 128
    ru_units: int = 128
    ru_dropout: float = 0.65
    ru_last: int = 2
    epochs: int = 16
    egtea_epochs: int = 12
    folds: int = 2
    egtea_folds: int = 1
    alphas: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7)
    seeds: int = 5
    errors: tuple[float, ...] = (0.2, 0.4, 0.6)

    def most_epochs(self, cut):
        """The most that may be chosen."""
        return self.epochs if cut == EPIC55 else self.egtea_epochs


QUICK = Settings(units=8, epochs=2, egtea_epochs=2, ru_units=4, folds=1, alphas=(0.3,), seeds=2, errors=(0.4,), batch=16)
DECIDING = {  # of the settings, those that decide a training
    "lstm": ("past", "units", "dropout", "learning_rate", "batch"),
    "rulstm": ("past", "ru_units", "ru_dropout", "ru_last", "learning_rate", "batch"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One training.

    Attributes:
        cut: of `CUTS`.
        method: of `METHODS`.
        alpha: share of the prior, 0 for one-hot.
        epochs: how many at least.
        seed: of weights, order, Dropout and the recogniser's mistakes.
        fold: which fifth of the training videos is left out and judged by; None is none of them: the validation set judges.
        errors: share of past actions that a recogniser mistook.
        model: `lstm` or `rulstm`.
    """

    cut: str
    method: str
    alpha: float
    epochs: int
    seed: int = 0
    fold: int | None = None
    errors: float = 0.0
    model: str = "lstm"


# ---- one training


@functools.lru_cache(maxsize=4)
def opened(folder):
    """The set in a folder, and its windows (segments, past, 3)."""
    shards = Shards(folder)
    return shards, shards.read(np.arange(len(shards)))


def rows_of(job, shards):
    """Rows to train on and rows to judge by."""
    cut = CUTS[job.cut]
    train, validation = shards.rows(cut.train), shards.rows(cut.validation)
    if job.fold is None:
        return train, validation
    fold_of = grouped_folds(shards.clips["video"][train], shards.labels("action", train), 5)
    return train[fold_of != job.fold], train[fold_of == job.fold]


def method_of(job, glove):
    """The training method of a job."""
    from egokeras.distill import GloVe, LabelSmoothing, Mixture, Supervised, Temporal, Uniform, VerbNoun

    vectors = GloVe(vectors=glove)
    priors = {"TE": Temporal(), "uniform": Uniform(), "VN": VerbNoun(), "GL": vectors, "GL+VN": Mixture(parts=(vectors, VerbNoun()))}
    return Supervised() if job.method == HARD else LabelSmoothing(prior=priors[job.method], alpha=job.alpha)


def built(job, settings, shards):
    """The model of a job."""
    from egokeras.models.anticipation import RULSTM, Vocabulary
    from egokeras.models.past_actions import PastActionsLSTM

    model = PastActionsLSTM(units=settings.units, dropout=settings.dropout)
    if job.model == "rulstm":
        seen = Vocabulary(last=settings.ru_last, verb_size=32, noun_size=64)
        model = RULSTM(units=settings.ru_units, dropout=settings.ru_dropout, labels=seen)
    return model.build(classes={"action": len(shards.classes["action"])}, shapes=shards.modalities)


def train(job, settings, folder, glove):
    """The result of a job, for its line: scores of the clips judged by after every epoch.

    Args:
        job: a `Job`.
        settings: `Settings`.
        folder: of its set.
        glove: file of word vectors.

    Returns:
        Dict of `loss` (epochs,), `top1` and `top5` (epochs, times) in percent, `hits`, one text per epoch, see `packed`, and `seconds`.
    """
    import keras
    import tensorflow as tf

    from egokeras.distill import Distiller
    from egokeras.distill.training_set import training_set
    from egokeras.optim import Optim

    started = time.perf_counter()
    shards, windows = opened(folder)
    rows, held_out = rows_of(job, shards)
    labels = shards.labels("action", np.arange(len(shards)))
    keras.utils.set_random_seed(job.seed)
    model = built(job, settings, shards)
    first = job.method == "GL" and job.fold == 0 and job.alpha == settings.alphas[0]
    with contextlib.redirect_stderr(sys.stderr if first else io.StringIO()):  # words without a vector need not be named every time
        method = method_of(job, glove).bind(training_set(shards, rows, ("action",), CUTS[job.cut].train))
    distiller = Distiller(model, method)
    distiller.compile(Optim(learning_rate=settings.learning_rate).build(1, job.epochs), top=())
    order = tf.data.Dataset.from_tensor_slices(rows).shuffle(len(rows), seed=job.seed).batch(settings.batch)
    data = order.map(lambda at: ({"labels": tf.gather(windows, at)}, {"action": tf.gather(labels, at)})).prefetch(2)
    result = {"loss": [], "top1": [], "top5": [], "hits": []}

    def judge(epoch, logs):
        _end_with_parent()
        result["loss"].append(round(logs["loss"], 4))
        for key, value in judged(model, windows[held_out], labels[held_out]).items():
            result[key].append(value)

    distiller.fit(data, epochs=job.epochs, callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=judge)], shuffle=False, verbose=0)
    return {**result, "seconds": round(time.perf_counter() - started, 1)}


def _end_with_parent():
    """End a worker whose parent was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        os._exit(1)


def judged(model, windows, labels, batch=512):
    """`top1` and `top5` in percent at each time, and `hits`, which clips had their label in the top 5 at 1 s."""
    parts = []
    for at in range(0, len(labels), batch):
        some = slice(at, at + batch)
        logits = model.predict_on_batch({"labels": windows[some]})["action"]
        parts.append(scores.places_over_time(logits, labels[some]))
    found = scores.joined(parts)
    tops = {f"top{k}": np.round(100 * found.hits(k).mean(axis=0), 3).tolist() for k in (1, 5)}
    return {**tops, "hits": packed(found.hits(5)[:, ONE_SECOND] > 0.5)}


def packed(hits):
    """Booleans (clips,) as text."""
    return base64.b64encode(np.packbits(hits).tobytes()).decode()


def unpacked(text, clips):
    """Booleans (clips,) of `packed`."""
    return np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8), count=clips).astype(bool)


# ---- many trainings


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
    work = [(job, bench.settings, bench.set_of(job), bench.glove) for job in jobs]
    if not bench.workers:
        yield from ((arguments[0], train(*arguments)) for arguments in work)
        return
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(bench.workers, mp_context=context, initializer=_one_thread) as pool:
        futures = {pool.submit(train, *arguments): arguments[0] for arguments in work}
        try:
            for future in concurrent.futures.as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _one_thread():
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


# ---- choosing and comparing


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """What was chosen for a method on held-out training videos: alpha, number of epochs, and the score (percent) that they had there."""

    alpha: float
    epochs: int
    score: float


def selection_jobs(bench, cut, alphas, *, folds, **which):
    """The trainings to choose by: every method with every alpha of `alphas` (method to alphas), once per fold."""
    epochs = bench.settings.most_epochs(cut)
    return [
        Job(cut=cut, method=method, alpha=alpha, epochs=epochs, seed=fold, fold=fold, **which)
        for method, tried in alphas.items()
        for alpha in tried
        for fold in range(folds)
    ]


def choices(results):
    """Method to `Choice`, from the results of `selection_jobs`."""
    curves = collections.defaultdict(list)
    for job, result in results.items():
        curves[job.method, job.alpha].append(np.mean(result["top5"][: job.epochs], axis=1))
    found = {}
    for (method, alpha), each in curves.items():
        curve = np.mean(each, axis=0)
        choice = Choice(alpha=alpha, epochs=int(curve.argmax()) + 1, score=float(curve.max()))
        if method not in found or choice.score > found[method].score:
            found[method] = choice
    return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """Methods judged on the validation sets of one dataset.

    Attributes:
        chosen: cut to method to `Choice`.
        results: cut to method to the results of its seeds.
        videos: cut to (clips,) videos of the validation clips.
    """

    chosen: dict
    results: dict
    videos: dict

    @property
    def best(self):
        """The prior that did best on held-out training videos."""
        cuts = self.chosen.values()
        return max((method for method in next(iter(cuts)) if method != HARD), key=lambda method: sum(cut[method].score for cut in cuts))

    def epochs(self, cut, method, own):
        """After how many epochs a method is judged: its own best, or as many as one-hot."""
        return self.chosen[cut][method if own else HARD].epochs

    def scores(self, method, own, key="top5"):
        """(seeds, times) in percent, the mean over cuts."""
        at = {cut: self.epochs(cut, method, own) - 1 for cut in self.results}
        return np.mean([[result[key][at[cut]] for result in found[method]] for cut, found in self.results.items()], axis=0)

    def hits(self, method, own):
        """(clips of all cuts,) share of the seeds that had the label in the top 5 at 1 s."""
        parts = []
        for cut, found in self.results.items():
            at, clips = self.epochs(cut, method, own) - 1, len(self.videos[cut])
            parts.append(np.mean([unpacked(result["hits"][at], clips) for result in found[method]], axis=0))
        return np.concatenate(parts)

    def gain(self, method, own):
        """Points of top-5 at 1 s above one-hot: mean, 95% t-interval over seeds, 95% bounds of a paired bootstrap over videos."""
        seeds = (self.scores(method, own) - self.scores(HARD, own))[:, ONE_SECOND]
        videos = np.concatenate(list(self.videos.values()))
        return (*interval(seeds), *scores.paired_bounds(self.hits(method, own), self.hits(HARD, own), videos)[1:])


def compare(bench, cuts, alphas, *, folds, **which):
    """Choose for every method on the training videos of each cut, train on all of them, and judge: a `Comparison`.

    Args:
        bench: a `Bench`.
        cuts: names in `CUTS`.
        alphas: method to the alphas to choose from.
        folds: see `Settings`.
        **which: `model` and `errors` of the jobs.
    """
    jobs = {cut: selection_jobs(bench, cut, alphas, folds=folds, **which) for cut in cuts}
    results = run_all(bench, [job for of_cut in jobs.values() for job in of_cut])
    chosen = {cut: choices({job: results[job] for job in of_cut}) for cut, of_cut in jobs.items()}
    finals = {
        (cut, method): [
            Job(cut=cut, method=method, alpha=choice.alpha, epochs=max(choice.epochs, chosen[cut][HARD].epochs), seed=seed, **which)
            for seed in range(bench.settings.seeds)
        ]
        for cut in cuts
        for method, choice in chosen[cut].items()
    }
    results = run_all(bench, [job for of_method in finals.values() for job in of_method])
    judged_by = {cut: opened(bench.set_of(finals[cut, HARD][0]))[0] for cut in cuts}
    return Comparison(
        chosen=chosen,
        results={cut: {method: [results[job] for job in finals[cut, method]] for method in chosen[cut]} for cut in cuts},
        videos={cut: shards.clips["video"][shards.rows(CUTS[cut].validation)] for cut, shards in judged_by.items()},
    )


def baselines(bench, cuts):
    """Name to (times,) top-5 accuracy of a first-order Markov chain, of the most frequent actions and of chance, the mean over cuts."""
    found = collections.defaultdict(list)
    for cut in cuts:
        shards, _ = opened(bench.set_of(Job(cut=cut, method=HARD, alpha=0.0, epochs=1)))
        rows, train_rows = shards.rows(CUTS[cut].validation), shards.rows(CUTS[cut].train)
        labels, classes = shards.labels("action", np.arange(len(shards))), len(shards.classes["action"])
        counted = np.union1d(train_rows, shards.discarded(CUTS[cut].train, train_rows))
        found["Markov"].append(markov_place(shards.clips, labels, rows, counted, classes).hits(5).mean(axis=0))
        frequent = majority_place(labels[train_rows], labels[rows], classes).hits(5).mean()
        found["most frequent"].append(np.full(len(ANTICIPATION), frequent))
        found["chance"].append(np.full(len(ANTICIPATION), min(1, 5 / classes)))
    return {name: 100 * np.mean(values, axis=0) for name, values in found.items()}


# ---- what is said of it


def table(comparison, own):
    """A Markdown table of the methods, after their own best number of epochs or after equally many."""
    yield f"| | alpha | epochs | {columns()} | top-1 at 1 s | gain at 1 s (95 % over seeds) | 95 % over videos |"
    yield "|---|" + "---:|" * 13
    for method in next(iter(comparison.chosen.values())):
        alpha = " / ".join(f"{chosen[method].alpha:g}" for chosen in comparison.chosen.values())
        epochs = " / ".join(str(comparison.epochs(cut, method, own)) for cut in comparison.chosen)
        top1 = comparison.scores(method, own, "top1")[:, ONE_SECOND].mean()
        gain = ("", "") if method == HARD else gain_cells(comparison.gain(method, own))
        cells = [
            method,
            "" if method == HARD else alpha,
            epochs,
            numbers(comparison.scores(method, own).mean(axis=0)),
            f"{top1:.2f}",
            *gain,
        ]
        yield f"| {' | '.join(cells)} |"
    above = comparison.scores(comparison.best, own).mean(axis=0) - comparison.scores(HARD, own).mean(axis=0)
    yield f"| gain of {comparison.best}, the prior chosen | | | {numbers(above, '+.2f')} | | | |"


def columns():
    """The anticipation times as headings."""
    return " | ".join(f"{time:g} s" for time in ANTICIPATION)


def numbers(values, form=".2f"):
    """Cells of a row."""
    return " | ".join(f"{value:{form}}" for value in values)


def gain_cells(gain):
    """A gain and its intervals as two cells."""
    mean, low, high, video_low, video_high = gain
    return f"{mean:+.2f} ({low:+.2f} to {high:+.2f})", f"{video_low:+.2f} to {video_high:+.2f}"


def said(bench, name, comparison):
    """The lines about one dataset: what was chosen, both tables, the baselines and the published rows, the gain by epochs."""
    yield from (
        "",
        f"## {name}: top-5 action accuracy, {bench.settings.seeds} seeds",
        "",
        "Equally many epochs, those best for one-hot:",
        "",
    )
    yield from (*table(comparison, own=False), "", "Each method after its own best number of epochs:", "", *table(comparison, own=True))
    yield from ("", f"| beside them | {columns()} |", "|---|" + "---:|" * 8)
    for row, values in baselines(bench, comparison.chosen).items():
        yield f"| {row} | {numbers(values)} |"
    for row, values in PUBLISHED[name].items():
        yield f"| published: {row} | {numbers(values)} |"
    best = comparison.best
    shortest = min(len(result["top5"]) for found in comparison.results.values() for method in (HARD, best) for result in found[method])
    curves = {
        method: np.mean([[result["top5"][:shortest] for result in found[method]] for found in comparison.results.values()], axis=(0, 1))
        for method in (HARD, best)
    }
    yield from ("", f"At 1 s after every number of epochs: {HARD}, {best}, and the gain.", "")
    yield f"| epochs | {' | '.join(map(str, range(1, shortest + 1)))} |"
    yield "|---|" + "---:|" * shortest
    yield from (f"| {method} | {numbers(curve[:, ONE_SECOND])} |" for method, curve in curves.items())
    yield f"| gain | {numbers((curves[best] - curves[HARD])[:, ONE_SECOND], '+.2f')} |"
    for cut, chosen in comparison.chosen.items():
        most = bench.settings.most_epochs(cut)
        late = [method for method, choice in chosen.items() if choice.epochs == most]
        if late:
            yield from ("", f"{cut}: {', '.join(late)} did best after all {most} epochs; more might serve better.")


def robustness(bench, clean):
    """The lines about past actions that a recogniser mistook; `clean` is the comparison without mistakes."""
    best = clean.best
    alphas = {HARD: (0.0,), best: (clean.chosen[EPIC55][best].alpha,)}
    found = {0.0: clean}
    for errors in bench.settings.errors:
        found[errors] = compare(bench, [EPIC55], alphas, folds=1, errors=errors)
    yield from ("", "## past actions mistaken by a recogniser: EPIC-55, top-5 at 1 s", "")
    yield from pair_table("mistakes", best, {f"{100 * errors:.0f} %": comparison for errors, comparison in found.items()})


def rulstm(bench, clean):
    """The lines about RU-LSTM on labels."""
    best = clean.best
    alphas = {HARD: (0.0,), best: (clean.chosen[EPIC55][best].alpha,)}
    yield from ("", "## RU-LSTM on the labels of EPIC-55, each method after its own best number of epochs", "")
    yield from table(compare(bench, [EPIC55], alphas, folds=1, model="rulstm"), own=True)


def pair_table(title, best, comparisons):
    """One-hot against one prior, a row for each of the comparisons."""
    yield f"| {title} | {HARD} | {best} | gain (95 % over seeds) | 95 % over videos |"
    yield "|---|---:|---:|---:|---:|"
    for name, comparison in comparisons.items():
        means = [comparison.scores(method, True)[:, ONE_SECOND].mean() for method in (HARD, best)]
        yield f"| {name} | {numbers(means)} | {' | '.join(gain_cells(comparison.gain(best, True)))} |"


def report(bench, parts):
    """All lines of the report."""
    settings = bench.settings
    tried = {method: (0.0,) if method == HARD else settings.alphas for method in METHODS}
    lines = [f"Settings: {dataclasses.asdict(settings)}"]
    clean = None
    for part in parts:
        if part in CUTS_OF:
            comparison = compare(bench, CUTS_OF[part], tried, folds=settings.folds if part == EPIC55 else settings.egtea_folds)
            clean = comparison if part == EPIC55 else clean
            lines += said(bench, part, comparison)
            continue
        clean = clean or compare(bench, CUTS_OF[EPIC55], tried, folds=settings.folds)
        lines += {"robustness": robustness, "rulstm": rulstm}[part](bench, clean)
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, metavar="FOLDER", help="see above (the variable EGOKERAS_DATA)")
    parser.add_argument("--glove", metavar="FILE", help="word vectors in GloVe's text format (the first of DATA/glove/*.txt)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="(all)")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("build/label_priors/results.jsonl"), help="(%(default)s)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="trainings at once, a thread each; 0: here (%(default)s)")
    parser.add_argument("--seeds", type=int, help=f"trainings of every method, at least 2 ({Settings.seeds})")
    parser.add_argument("--quick", action="store_true", help="tiny and short trainings: shows that the script works, measures nothing")
    args = parser.parse_args()
    data = args.data or pathlib.Path(os.environ.get("EGOKERAS_DATA", ""))
    if not (data / "rulstm").is_dir():
        parser.error(f"--data: there is no folder {data / 'rulstm'}")
    glove = args.glove or next(map(str, sorted((data / "glove").glob("*.txt"))), None)
    if glove is None:
        parser.error(f"--glove: there are no vectors in {data / 'glove'}")
    if args.seeds is not None and args.seeds < 2:
        parser.error(f"--seeds is {args.seeds}; a spread needs at least 2")
    settings = dataclasses.replace(QUICK if args.quick else Settings(), **({"seeds": args.seeds} if args.seeds else {}))

    args.out.parent.mkdir(parents=True, exist_ok=True)
    bench = Bench(data=data, glove=glove, out=args.out, settings=settings, workers=args.workers)
    text = "\n".join(report(bench, args.parts)) + "\n"
    with atomic(args.out.with_name("report.md"), "w") as file:
        file.write(text)
    print(text)


if __name__ == "__main__":
    main()
