"""One training of the benchmark of label-smoothing priors: what it is of, how it is set up, and how every epoch of it is judged."""

import base64
import contextlib
import dataclasses
import functools
import io
import sys
import time

import numpy as np

from egokeras import anticipation_scores as scores
from egokeras.anticipation_scores import ONE_SECOND
from egokeras.data.selection import grouped_folds
from egokeras.data.shards import Shards

METHODS = ("one-hot", "TE", "uniform", "VN", "GL", "GL+VN")
HARD = METHODS[0]
EPIC55 = "epic55"


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
        result["loss"].append(round(logs["loss"], 4))
        for key, value in judged(model, windows[held_out], labels[held_out]).items():
            result[key].append(value)

    distiller.fit(data, epochs=job.epochs, callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=judge)], shuffle=False, verbose=0)
    return {**result, "seconds": round(time.perf_counter() - started, 1)}


def judged(model, windows, labels, batch=512):
    """`top1` and `top5` in percent at each time, and `hits`, which clips had their label in the top 5 at 1 s.

    The percentages part a tie across the fifth place fairly; a hit is a bit, set if more than half of such a tie is within. Of float32
    logits there is hardly a tie: in 1,284 epochs on both datasets bits and percentages gave the same count every time.
    """
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
