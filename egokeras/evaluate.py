"""Score a student on held-out clips: top-1/3/5 of every head and of actions, beside chance and the majority baseline.

The majority baseline ranks the classes by how often they occur in training, whatever the clip shows: a model that does not beat
it has learnt nothing from the pictures. A set of observations before actions is scored at all eight anticipation times, beside the
first-order Markov baseline too; where one prediction is asked for, it is the one at 1 s.
"""

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np

from egokeras import anticipation_scores as anticipation
from egokeras.errors import InputError
from egokeras.files import atomic, write_json
from egokeras.inference import pairs, predict_logits, predict_over_time
from egokeras.markov import markov_place
from egokeras.scores import KS, Head, Place, action_place, bounds, interval, majority_place, pair, place, tail_classes, wilson

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


def evaluate_rows(model, shards, rows, train_rows, batch_size=16, clips=1):
    """Like `evaluate`, for the clips `rows` against the training clips `train_rows`, as a fold gives them.

    With several `clips` of each segment (see `inference.predict_logits`) the metrics say how many.

    Of observations, the logits are those at 1 s (verb and noun as log-probabilities that follow from the actions, unless the model has
    heads for them); `above_<head>` and `tied_<head>` (clips, times) say where the label stands at each time, see `scores.Place`, and the
    metrics have an entry `anticipation`, see `anticipation_scores.summary`.
    """
    if not len(rows):
        raise InputError(f"{shards.path}: no clip to evaluate in the split; choose another with --split.")
    places: dict[str, Place] = {}
    if "observations" in shards.index:
        logits, places = predict_over_time(model, shards, rows, batch_size)
    else:
        logits = predict_logits(model, shards, rows, batch_size, clips)
    predictions = {"uid": shards.clips["uid"][rows], "video": shards.clips["video"][rows]}
    train_labels = {head: shards.labels(head, train_rows) for head in logits}
    for head, values in logits.items():
        known = train_labels[head][train_labels[head] >= 0]
        predictions |= {f"logits_{head}": values, f"label_{head}": shards.labels(head, rows)}
        predictions[f"training_{head}"] = np.bincount(known, minlength=values.shape[1])
    for head, found in places.items():
        predictions |= {f"above_{head}": found.above, f"tied_{head}": found.tied}
    training, groups = Training(labels=train_labels, groups=shards.clips["group"][train_rows]), shards.clips["group"][rows]
    metrics = {**({"clips_averaged": clips} if clips > 1 else {}), **score(predictions, training, groups)}
    if places:
        metrics["anticipation"] = _over_time(shards, places, (rows, train_rows), (predictions, training, groups))
    return metrics, predictions


def _over_time(shards, places, chosen, scored):
    """The entry `anticipation` of the metrics; `chosen` are the rows to judge and to train on, `scored` the arguments of `score`."""
    (rows, train_rows), (predictions, training, _) = chosen, scored
    known = {head: labels[labels >= 0] for head, labels in training.labels.items() if (labels >= 0).any()}
    heads, moment = {}, _known(shards)
    counted = np.union1d(train_rows, shards.discarded(near=train_rows)) if len(train_rows) else train_rows
    for head, found in places.items():
        labels, classes = predictions[f"label_{head}"], len(shards.classes[head])
        judged = np.flatnonzero(labels >= 0)
        rankings = {"model": found.of(judged)}
        if head in known:
            whole = shards.labels(head, np.arange(len(shards)))
            rankings["markov"] = markov_place(shards.clips, whole, rows[judged], counted, classes, moment)
            rankings["majority"] = Place(*(array[:, None] for array in majority_place(known[head], labels[judged], classes)))
        if len(judged):
            heads[head] = Head(rows=judged, labels=labels[judged], classes=classes, places=rankings)
    sizes = {head: len(names) for head, names in shards.classes.items()}
    many = anticipation.many_shot_masks({head: known[head] for head in heads if head in known}, pairs(shards), sizes)
    summary = anticipation.summary(heads, predictions["video"], _subsets(heads, *scored), many)
    return {**summary, "discarded": len(shards.discarded(near=rows))}


def _known(shards):
    """The moment at which an action becomes known, `start` or `stop`: as the set of past labels has it, if there is one."""
    past = getattr(shards, "sets", {}).get("labels", shards)
    return past.index["observations"].get("known", "start")


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
    subsets = {name: _results(heads, masks, videos) for name, masks in _subsets(heads, predictions, training, groups).items()}
    whole = _results(heads, dict.fromkeys(heads, np.ones(len(videos), bool)), videos)
    return {
        "clips": len(videos),
        "unseen_clips": int(_unseen(training, groups).sum()),
        "heads": whole,
        "subsets": {name: results for name, results in subsets.items() if results},
    }


def _unseen(training, groups):
    return (groups != "") & ~np.isin(groups, training.groups)


def _subsets(heads, predictions, training, groups):
    """Subset to masks of clips by head: `unseen` groups where there are seen ones too, `tail` where there are verbs and nouns."""
    unseen, subsets = _unseen(training, groups), {}
    if 0 < unseen.sum() < len(unseen):
        subsets["unseen"] = dict.fromkeys(heads, unseen)
    if "verb" in heads and "noun" in heads and (training.labels["verb"] >= 0).any():
        subsets["tail"] = _tail(predictions, training)
    return subsets


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
    return _ranked(rows, labels[rows], place(logits[rows], labels[rows]), known, classes)


def _action(logits, labels, train):
    verbs, nouns = logits["verb"].shape[1], logits["noun"].shape[1]
    rows = np.flatnonzero((labels["verb"] >= 0) & (labels["noun"] >= 0))
    verb, noun = labels["verb"][rows], labels["noun"][rows]
    known = (train["verb"] >= 0) & (train["noun"] >= 0)
    found = action_place(logits["verb"][rows], logits["noun"][rows], verb, noun)
    return _ranked(rows, pair(verb, noun, nouns), found, pair(train["verb"][known], train["noun"][known], nouns), verbs * nouns)


def _ranked(rows, labels, found, train_labels, classes):
    """The `Head` of clips that the model has placed at `found`, beside the majority where there is one."""
    majority = {"majority": majority_place(train_labels, labels, classes)} if len(train_labels) else {}
    return Head(rows=rows, labels=labels, classes=classes, places={"model": found, **majority})


def _tail(predictions, training):
    """Head to mask of clips: an action is in the tail if its verb or its noun is."""
    masks = {}
    for head in ("verb", "noun"):
        labels, train = predictions[f"label_{head}"], training.labels[head]
        masks[head] = (labels >= 0) & tail_classes(train[train >= 0], predictions[f"logits_{head}"].shape[1])[labels]
    return {**masks, "action": masks["verb"] | masks["noun"]}


def _results(heads, masks, videos):
    """Scores of every head on the clips of its mask; heads without such clips are left out."""
    chosen = {name: head.of(masks[name][head.rows]) for name, head in heads.items() if name in masks}
    return {name: _result(head, videos[head.rows]) for name, head in chosen.items() if len(head.rows)}


def _result(head, videos):
    low, high = bounds(head.places["model"].hits(1), videos)
    found = {name: _tops(places) for name, places in head.places.items()}
    result = {"clips": len(head.rows), **found.pop("model"), "low": round(low, DECIMALS), "high": round(high, DECIMALS)}
    return {**result, "chance": {f"top{k}": round(min(100.0, 100 * k / head.classes), DECIMALS) for k in KS}, **found}


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


BOUNDS = (("top1", "low", "high"), ("top5", "top5_low", "top5_high"))  # a score, and the keys of its bounds


def average(runs):
    """The mean of the metrics of several runs: the splits of a dataset (EGTEA), or seeds.

    Every number that all runs have becomes its mean; bounds become those of a 95% t-interval over the runs.

    Args:
        runs: contents of `metrics.json`.
    """
    return {**_average(runs), "runs": len(runs)}


def _average(values):
    first = values[0]
    if all(isinstance(value, dict) for value in values):
        found = {key: _average([value[key] for value in values]) for key in first if all(key in value for value in values)}
        for score, low, high in BOUNDS:
            if score in found and low in found:
                found[low], found[high] = _interval([value[score] for value in values])
        return found
    if all(isinstance(value, list) and len(value) == len(first) for value in values):
        return [_average(list(parts)) for parts in zip(*values, strict=True)]
    if all(isinstance(value, int | float) for value in values):
        mean = float(np.mean(values))
        return round(mean) if all(isinstance(value, int) for value in values) else round(mean, DECIMALS)
    return ", ".join(dict.fromkeys(map(str, values)))


def _interval(values):
    """Bounds over runs of one score in percent, or of a list of scores."""
    if isinstance(values[0], list):
        return tuple(map(list, zip(*map(_interval, map(list, zip(*values, strict=True))), strict=True)))
    _, low, high = interval(values)
    return round(max(0.0, low), DECIMALS), round(min(100.0, high), DECIMALS)


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
