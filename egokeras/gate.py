"""The export gate's statistics: is the exported file as good as the Keras model, or can these clips not tell?

Every bound is nominally a one-sided 95% bound (with few videos and rare changes it covers somewhat less), the wider of two:
the bootstrap over videos, because clips of one video are not independent, and Wilson's score bound, because a sample in which
nothing changed has no spread to resample. (For such a sample Wilson's bound is about the rule of three: 5 clips without a change
show nothing, about 270 show "at most 1%".)

Per clip, *agreement* is 1 where both have the same top-1 class. The *loss* of a clip is Keras right less TFLite right, so -1,
0 or 1, for a clip that has a label; where it has none, what the Keras model itself expects: the probability that it gives to its
own class less the probability that it gives to the class of the file, which is near 0 where rounding tipped a tie and near 1
where a sure answer was overturned. The probabilities are sharpened where the labelled clips show them to be too timid. The
expected loss is never above the disagreement, so even where it errs, a file that passes loses no more than `100 - agreement`.
"""

import dataclasses

import numpy as np

from egokeras.device.selftest import EXACT

Z = 1.6449  # one-sided 95% of the normal distribution
RESAMPLES = 2000
PASS, FAIL, TOO_FEW = "pass", "fail", "too few clips"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """What an export may cost, head by head.

    Attributes:
        lost_points: top-1 accuracy that may be lost, in percentage points.
        agreement: clips on which both must give the same top-1 class, in percent.
    """

    lost_points: float = 1.0
    agreement: float = 98.0


def judge(keras, tflite, labels, videos, limits, exact=False, embeddings=None):
    """Compare the logits of the Keras model and of the exported file on the same clips.

    Args:
        keras: head to logits, (clips, classes) float32.
        tflite: the same from the exported file.
        labels: head to class ids, (clips,) integers; -1 where a clip has no label (windows).
        videos: the video of each clip, (clips,).
        limits: the `Limits`.
        exact: the file claims to be the same network in float32. Then the logits must be equal to 1e-4, too, and that is proof
            enough where the clips are too few for statistics.
        embeddings: of the Keras model and of the file, (clips, F) each, where the file gives them. Their classes are judged; that they are
            alike is measured.

    Returns:
        `answer` (`PASS`, `FAIL` or `TOO_FEW`), `heads` (the figures of `measure` by head, each with its own `answer`),
        `max_difference` of a logit, `max_relative_difference` to the largest logit (at least 1), `limits` and, of embeddings, `embedding`
        (the figures of `likeness`).
    """
    heads, differences = {}, [(0.0, 0.0)]
    for head in labels:
        figures = measure(keras[head], tflite[head], labels[head], videos)
        differences.append(_difference(keras[head], tflite[head]))
        heads[head] = {**figures, "answer": decide(figures, limits) if differences[-1][0] < float("inf") else FAIL}
    absolute, relative = np.max(differences, axis=0).tolist()
    answers = [figures["answer"] for figures in heads.values()]
    answer = FAIL if FAIL in answers else TOO_FEW if TOO_FEW in answers else PASS
    alike = likeness(*embeddings) if embeddings else {}
    furthest = max(relative, alike.get("max_relative_difference", 0.0))
    if exact and len(videos) and answer != FAIL:
        answer = PASS if furthest <= EXACT else FAIL
    return {
        "answer": answer if furthest < float("inf") else FAIL,
        "heads": heads,
        "max_difference": absolute,
        "max_relative_difference": relative,
        "limits": dataclasses.asdict(limits),
        **({"embedding": alike} if embeddings else {}),
    }


def likeness(keras, tflite):
    """How near the vectors of a file, (clips, F), are to those of the Keras model: `cosine` of the angle between them in the mean,
    `least_cosine`, and `max_relative_difference` of a number to the largest (at least 1); None where there is no clip.
    """
    _, relative = _difference(keras, tflite)
    if not len(keras) or relative == float("inf"):
        return {"cosine": None, "least_cosine": None, "max_relative_difference": relative}
    lengths = np.linalg.norm(keras, axis=1) * np.linalg.norm(tflite, axis=1)
    cosines = (keras * tflite).sum(axis=1) / np.maximum(lengths, np.finfo(np.float32).tiny)
    return {"cosine": float(cosines.mean()), "least_cosine": float(cosines.min()), "max_relative_difference": relative}


def _difference(keras, tflite):
    """The largest difference of a number, and that to the largest number (at least 1); infinite where a number is none."""
    if not np.isfinite(tflite).all():
        return float("inf"), float("inf")
    absolute = float(np.abs(keras - tflite).max(initial=0.0))
    return absolute, absolute / max(1.0, float(np.abs(keras).max(initial=0.0)))


def measure(keras, tflite, labels, videos):
    """Accuracy, loss and agreement of one head in percent, with bounds; None where there is no labelled clip.

    `lost` and `lost_low` come from the labelled clips alone, so that windows in which nothing happens cannot dilute a loss.
    `lost_high` is the smaller of that sample's bound and the bound of the loss over labelled clips and windows together, but
    never under what the labelled clips did lose, less one clip that may be bad luck.
    """
    ours, theirs = keras.argmax(axis=1), tflite.argmax(axis=1)
    labelled = labels >= 0
    right, still_right = ours == labels, theirs == labels
    expected = expected_loss(keras, ours, theirs, sharpness(keras[labelled], labels[labelled]))
    loss = np.where(labelled, right * 1.0 - still_right, expected)
    low, high = bounds(loss[labelled], videos[labelled], -1.0)
    seen = (loss[labelled].sum() - 1) / max(1, labelled.sum())
    fewest, most = bounds(ours != theirs, videos, 0.0)
    figures = {
        "keras_top1": _mean(right[labelled]),
        "tflite_top1": _mean(still_right[labelled]),
        "lost": _mean(loss[labelled]),
        "lost_low": low,
        "lost_high": max(seen, min(high, bounds(loss, videos, -1.0)[1])),
        "agreement": _mean(ours == theirs),
        "agreement_low": 1 - most,
        "agreement_high": 1 - fewest,
    }
    percent = {name: None if value is None else round(100 * value, 3) for name, value in figures.items()}
    return {"clips": int(labelled.sum()), **percent}


def decide(figures, limits):
    """The answer for one head: pass or fail only what its bounds show."""
    if figures["lost_low"] > limits.lost_points or figures["agreement_high"] < limits.agreement:
        return FAIL
    if figures["lost_high"] <= limits.lost_points and figures["agreement_low"] >= limits.agreement:
        return PASS
    return TOO_FEW


def bounds(values, videos, least, seed=0):
    """One-sided 95% bounds, (low, high), of the mean of `values`, (clips,) between `least` and 1 and mostly 0.

    Wilson's shift towards 1 is on the high side only: there the changes that a small sample has missed would be.
    """
    if not len(values):
        return least, 1.0
    values = np.asarray(values, float)
    mean, share = values.mean(), Z * Z / len(values)
    spread = np.sqrt(values.var() * share + share * share / 4)
    _, video = np.unique(videos, return_inverse=True)
    sums, counts = np.bincount(video, values), np.bincount(video)
    draws = np.random.default_rng(seed).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=RESAMPLES)
    low, high = np.quantile(draws @ sums / (draws @ counts), [0.05, 0.95])
    return max(least, float(min(low, mean - spread))), min(1.0, float(max(high, (mean + share / 2 + spread) / (1 + share))))


def expected_loss(logits, ours, theirs, sharpness):
    """What the model itself expects to lose where its class `ours`, (clips,), becomes `theirs`: a difference of probabilities."""
    probabilities = np.exp(_log_softmax(logits * sharpness))
    clips = np.arange(len(logits))
    return probabilities[clips, ours] - probabilities[clips, theirs]


def sharpness(logits, labels):
    """Factor of at least 1 on the logits that makes the labels most likely: a model trained to be timid (smoothed labels) needs it."""
    factors = np.geomspace(1.0, 10.0, 16)
    clips = np.arange(len(labels))
    likelihoods = [_log_softmax(logits * factor)[clips, labels].sum() for factor in factors]
    return float(factors[np.argmax(likelihoods)])


def _log_softmax(logits):
    logits = logits - logits.max(axis=1, keepdims=True, initial=-np.inf)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def _mean(values):
    return float(np.mean(values)) if len(values) else None


def explain(gate):
    """One phrase for each head and figure that kept a gate from passing."""
    limits, phrases = gate["limits"], []
    for head, figures in gate["heads"].items():
        if figures["answer"] == PASS:
            continue
        if figures["lost_low"] > limits["lost_points"]:
            phrases.append(f"{head} loses {figures['lost']:.1f} points, surely {figures['lost_low']:.1f} (limit {limits['lost_points']:g})")
        elif figures["lost_high"] > limits["lost_points"]:
            phrases.append(f"{head} may lose up to {figures['lost_high']:.1f} points (limit {limits['lost_points']:g})")
        if figures["agreement_high"] < limits["agreement"]:
            phrases.append(f"{head} agrees on {figures['agreement']:.1f}%, surely under {limits['agreement']:g}%")
        elif figures["agreement_low"] < limits["agreement"]:
            phrases.append(f"{head} is shown to agree on {figures['agreement_low']:.1f}% only (limit {limits['agreement']:g}%)")
    if not gate["max_relative_difference"] <= EXACT:
        phrases.append(f"logits differ by up to {gate['max_difference']:.2g}")
    if not gate.get("embedding", {}).get("max_relative_difference", 0.0) <= EXACT:
        phrases.append(f"the embedding differs by up to {gate['embedding']['max_relative_difference']:.2g} of the largest number")
    return "; ".join(phrases)
