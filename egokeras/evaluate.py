"""Score a student on held-out clips: top-1/3/5 of every head and of actions, beside chance and the majority baseline.

The majority baseline ranks the classes by how often they occur in training, whatever the clip shows: a model that does not beat
it has learnt nothing from the pictures.
"""

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np

from egokeras.errors import InputError
from egokeras.files import atomic, write_json
from egokeras.progress import track
from egokeras.scores import (
    KS,
    Place,
    action_place,
    bounds,
    interval,
    majority_place,
    pair,
    place,
    tail_classes,
    wilson,
)

DECIMALS = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """What evaluation must know about the training clips.

    Attributes:
        labels: head to class ids (clips,), -1 for none.
        groups: participant or source per clip; empty strings where the data has none.
    """

    labels: Mapping[str, np.ndarray]
    groups: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Head:
    """Places of the labelled clips of one head, and of the majority baseline on the same clips."""

    rows: np.ndarray
    classes: int
    place: Place
    majority: Place | None


def evaluate(model, shards, split="validation", train_split="train", batch_size=16):
    """Score `model` on a split of `shards`.

    Args:
        model: a `keras.Model` that maps clips (batch, time, height, width, 3) uint8 to a dict of logits by head.
        shards: `egokeras.data.shards.Shards`.
        split: the held-out split.
        train_split: the split whose labels make the majority baseline, the tail and the seen groups.
        batch_size: clips at once.

    Returns:
        The content of `metrics.json` and that of `predictions.npz`: per clip `uid`, `video`, `logits_<head>` and `label_<head>`, and
        the number of training clips per class, `training_<head>`.

    Raises:
        InputError: no such split, an empty one, or a model whose classes are not those of the shards.
    """
    train_rows = shards.rows(train_split) if train_split in shards.splits else np.zeros(0, np.int64)
    metrics, predictions = evaluate_rows(model, shards, shards.rows(split), train_rows, batch_size)
    return {"split": split, **metrics}, predictions


def evaluate_rows(model, shards, rows, train_rows, batch_size=16):
    """Like `evaluate`, for the clips `rows` against the training clips `train_rows`, as a fold gives them."""
    if not len(rows):
        raise InputError(f"{shards.path}: no clip to evaluate in the split; choose another with --split.")
    logits = predict_logits(model, shards, rows, batch_size)
    predictions = {"uid": shards.clips["uid"][rows], "video": shards.clips["video"][rows]}
    train_labels = {head: shards.labels(head, train_rows) for head in logits}
    for head, values in logits.items():
        known = train_labels[head][train_labels[head] >= 0]
        predictions |= {f"logits_{head}": values, f"label_{head}": shards.labels(head, rows)}
        predictions[f"training_{head}"] = np.bincount(known, minlength=values.shape[1])
    training = Training(labels=train_labels, groups=shards.clips["group"][train_rows])
    return score(predictions, training, shards.clips["group"][rows]), predictions


def predict_logits(model, shards, rows, batch_size=16):
    """Logits of every head that is a label space of `shards`: head to (clips, classes) float32.

    Raises:
        InputError: a head has other classes than the shards, no head fits, or logits are not finite.
    """
    parts = []
    for at in track(range(0, len(rows), batch_size), "evaluate", unit="batches"):
        batch = rows[at : at + batch_size]
        outputs = model.predict_on_batch({shards.modality: shards.read(batch)})
        outputs = {head: np.asarray(values, np.float32) for head, values in outputs.items() if head in shards.classes}
        _check(outputs, shards, batch)
        parts.append(outputs)
    return {head: np.concatenate([part[head] for part in parts]) for head in parts[0]}


def _check(outputs, shards, rows):
    if not outputs:
        raise InputError(f"{shards.path}: the model has no head for any of its labels ({', '.join(shards.classes)}).")
    for head, values in outputs.items():
        classes = len(shards.classes[head])
        if values.shape[1] != classes:
            found = f"{classes} classes of {head}, but the model has {values.shape[1]}"
            raise InputError(f"{shards.path}: {found}; use the shards of its training.")
        broken = ~np.isfinite(values).all(axis=1)
        if broken.any():
            uid = shards.clips["uid"][rows][broken][0]
            raise InputError(f"the model's {head} logits for clip {uid} are not finite; train again with a lower learning rate.")


def score(predictions, training, groups):
    """Metrics of predictions, in percent.

    Args:
        predictions: as `evaluate` returns them.
        training: a `Training`.
        groups: group of each predicted clip; with `training.groups` it says which clips are of unseen groups.

    Returns:
        `clips`, `heads`, and `subsets` where the data has them: `unseen` groups beside seen ones, `tail` classes of data with verb
        and noun. `unseen_clips` counts the clips of groups that training did not see.
    """
    videos = predictions["video"]
    heads = _heads(predictions, training)
    unseen = (groups != "") & ~np.isin(groups, training.groups)
    subsets = {}
    if 0 < unseen.sum() < len(unseen):
        subsets["unseen"] = _results(heads, dict.fromkeys(heads, unseen), videos)
    if "verb" in heads and "noun" in heads and heads["verb"].majority:
        subsets["tail"] = _results(heads, _tail(predictions, training), videos)
    whole = _results(heads, dict.fromkeys(heads, np.ones(len(videos), bool)), videos)
    return {
        "clips": len(videos),
        "unseen_clips": int(unseen.sum()),
        "heads": whole,
        "subsets": {name: results for name, results in subsets.items() if results},
    }


def _heads(predictions, training):
    """The heads that have labelled clips; verb and noun also give their actions under the product rule."""
    logits = {name.removeprefix("logits_"): values for name, values in predictions.items() if name.startswith("logits_")}
    labels = {head: predictions[f"label_{head}"] for head in logits}
    heads = {head: _head(values, labels[head], training.labels[head]) for head, values in logits.items() if (labels[head] >= 0).any()}
    if {"verb", "noun"} <= set(heads) and "action" not in logits:
        heads["action"] = _action(logits, labels, training.labels)
    return heads


def _head(logits, labels, train_labels):
    rows = np.flatnonzero(labels >= 0)
    known, classes = train_labels[train_labels >= 0], logits.shape[1]
    majority = majority_place(known, labels[rows], classes) if len(known) else None
    return _Head(rows=rows, classes=classes, place=place(logits[rows], labels[rows]), majority=majority)


def _action(logits, labels, train):
    nouns = logits["noun"].shape[1]
    rows = np.flatnonzero((labels["verb"] >= 0) & (labels["noun"] >= 0))
    verb, noun = labels["verb"][rows], labels["noun"][rows]
    known = (train["verb"] >= 0) & (train["noun"] >= 0)
    classes = logits["verb"].shape[1] * nouns
    train_pairs = pair(train["verb"][known], train["noun"][known], nouns)
    return _Head(
        rows=rows,
        classes=classes,
        place=action_place(logits["verb"][rows], logits["noun"][rows], verb, noun),
        majority=majority_place(train_pairs, pair(verb, noun, nouns), classes) if len(train_pairs) else None,
    )


def _tail(predictions, training):
    """Head to mask of clips: an action is in the tail if its verb or its noun is."""
    masks = {}
    for head in ("verb", "noun"):
        labels, train = predictions[f"label_{head}"], training.labels[head]
        masks[head] = (labels >= 0) & tail_classes(train[train >= 0], predictions[f"logits_{head}"].shape[1])[labels]
    return {**masks, "action": masks["verb"] | masks["noun"]}


def _results(heads, masks, videos):
    """Scores of every head on the clips of its mask; heads without such clips are left out."""
    chosen = {name: masks[name][head.rows] for name, head in heads.items() if name in masks}
    return {name: _result(heads[name], mask, videos[heads[name].rows[mask]]) for name, mask in chosen.items() if mask.any()}


def _result(head, mask, videos):
    found = head.place.of(mask)
    low, high = bounds(found.hits(1), videos)
    result = {"clips": int(mask.sum()), **_tops(found), "low": round(low, DECIMALS), "high": round(high, DECIMALS)}
    result["chance"] = {f"top{k}": round(min(100.0, 100 * k / head.classes), DECIMALS) for k in KS}
    if head.majority:
        result["majority"] = _tops(head.majority.of(mask))
    return result


def _tops(found):
    return {f"top{k}": round(found.top(k), DECIMALS) for k in KS}


def summarise_folds(folds):
    """Top-1 over folds: head to mean, 95% interval, value per fold, and the mean of the majority baseline.

    The interval is the wider of the t-interval over folds and Wilson's over all clips: five equal folds are no certainty.

    Args:
        folds: the metrics of each fold.
    """
    summary = {}
    for head in folds[0]["heads"]:
        results = [fold["heads"][head] for fold in folds if head in fold["heads"]]
        values = [result["top1"] for result in results]
        mean, low, high = interval(values)
        least, most = (100 * bound for bound in wilson(mean / 100, sum(result["clips"] for result in results)))
        summary[head] = {"top1": mean, "low": max(0.0, min(low, least)), "high": min(100.0, max(high, most)), "per_fold": values}
        if all("majority" in result for result in results):
            summary[head]["majority"] = float(np.mean([result["majority"]["top1"] for result in results]))
    return summary


def joined(predictions, besides):
    """Predictions of several folds as one, without the clips of `besides`: of every training clip by a model that never saw it."""
    names = [name for name in predictions[0] if not name.startswith("training_")]
    whole = {name: np.concatenate([part[name] for part in predictions]) for name in names}
    kept = ~np.isin(whole["uid"], besides["uid"])
    return {name: values[kept] for name, values in whole.items()}


def write(run_dir, metrics, predictions, train_predictions=None):
    """Write `metrics.json`, `predictions.npz` and, where there are any, `train_predictions.npz` into a run folder."""
    run_dir = pathlib.Path(run_dir)
    for name, arrays in (("predictions.npz", predictions), ("train_predictions.npz", train_predictions)):
        if arrays is not None:
            with atomic(run_dir / name) as file:
                np.savez_compressed(file, **arrays)
    write_json(run_dir / "metrics.json", metrics)
