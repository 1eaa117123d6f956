"""Scores of anticipation in NumPy: eight rankings per clip, mean top-5 recall, time to action, paired intervals.

The times are those of `egokeras.protocol.ANTICIPATION`, 2 s to 0.25 s before the action starts. Ties are split fairly, as in
`egokeras.scores`. Accuracy, marginals, recall and time to action are those of RU-LSTM, https://arxiv.org/abs/1905.09035 and its code; the
recall over all, unseen and tail clips is also that of the EPIC-KITCHENS-100 challenge, https://arxiv.org/abs/2006.13256.
"""

import numpy as np

from egokeras.protocol import ANTICIPATION
from egokeras.scores import Place, bounds, place, softmax

ONE_SECOND = ANTICIPATION.index(1.0)  # the time that challenges judge
K = 5
MANY_SHOT = 100  # a class with more training clips is many-shot
LEAST = np.finfo(np.float64).tiny  # probability of a verb or noun that no action has: its logarithm stays finite


def log_marginal(logits, ids, classes):
    """Log-probabilities of the verbs (or nouns): the softmax over the actions, summed over the actions of each verb.

    Args:
        logits: (..., actions).
        ids: (actions,) the verb of each action.
        classes: number of verbs; one without an action gets the least probability there is.

    Returns:
        (..., classes) float64.
    """
    order = np.argsort(ids, kind="stable")
    present, first = np.unique(np.asarray(ids)[order], return_index=True)
    summed = np.full((*np.shape(logits)[:-1], classes), LEAST)
    summed[..., present] = np.add.reduceat(softmax(logits)[..., order], first, axis=-1)
    return np.log(np.maximum(summed, LEAST))


def with_marginals(logits, actions, sizes):
    """The heads of a model, and those of verb and noun that follow from its actions, as float32 like the logits.

    Args:
        logits: head to (..., classes).
        actions: (actions, 2) verb and noun of each action, or None where the data does not say.
        sizes: `verb` and `noun` to the number of classes, as far as the data has them.
    """
    found = dict(logits)
    if "action" in logits and actions is not None:
        for column, space in enumerate(("verb", "noun")):
            if space in sizes and space not in found:
                found[space] = log_marginal(logits["action"], actions[:, column], sizes[space]).astype(np.float32)
    return found


def places_over_time(scores, labels):
    """`Place` (clips, times) of `labels` (clips,) in `scores` (clips, times, classes); a clip without label (-1) comes behind all."""
    clips, times, classes = scores.shape
    found = place(scores.reshape(-1, classes), np.repeat(np.maximum(labels, 0), times))
    above, tied = (array.reshape(clips, times).astype(np.int32) for array in found)
    above[labels < 0] = classes
    return Place(above, tied)


def joined(parts):
    """Places of several batches of clips as one."""
    return Place(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def recall(found, labels, k=K, classes=None):
    """Mean top-k recall in percent: the share of hits per class, averaged over the classes that occur; (times,).

    Args:
        found: `Place` of (clips, times).
        labels: (clips,).
        k: length of the ranking that counts.
        classes: mask of the classes to average over; default all. None of them may occur: then the result is nan.
    """
    present, member, clips = np.unique(labels, return_inverse=True, return_counts=True)
    hits = found.hits(k)
    shares = np.stack([np.bincount(member, column, len(present)) for column in hits.T], axis=-1) / clips[:, None]
    chosen = shares if classes is None else shares[np.asarray(classes)[present]]
    return 100 * chosen.mean(axis=0) if len(chosen) else np.full(hits.shape[1], np.nan)


def many_shot(train_labels, classes, more_than=MANY_SHOT):
    """Mask (classes,) of the classes with more than that many training clips."""
    return np.bincount(train_labels, minlength=classes) > more_than


def many_shot_actions(actions, verbs, nouns, trained=None):
    """Mask (actions,) of the many-shot actions.

    Args:
        actions: (actions, 2) verb and noun of each.
        verbs, nouns: masks of the many-shot verbs and nouns.
        trained: mask of the actions that occur in training. With it the definition of EPIC-KITCHENS-55's list: verb **and** noun are
            many-shot, and the action occurs. Without it that of RU-LSTM: verb **or** noun is many-shot.
    """
    verb, noun = verbs[actions[:, 0]], nouns[actions[:, 1]]
    return verb | noun if trained is None else verb & noun & trained


def time_to_action(found, k=K, times=ANTICIPATION):
    """TtA(k): seconds before the action at which its label is first among the best k, 0 if never; the mean over clips.

    A tie counts with its share, drawn anew at each time; `found` of (clips, 1) is one ranking for all times.
    """
    hits = found.hits(k)
    missed = np.cumprod(np.concatenate([np.ones((len(hits), 1)), 1 - hits[:, :-1]], axis=1), axis=1)
    return float((hits * missed * np.asarray(times)[: hits.shape[1]]).sum(axis=1).mean())


def paired_bounds(hits, others, videos, draws=1000, seed=0):
    """How much better one model is than another on the same clips, in points: mean difference and its 95% bounds over videos.

    Args:
        hits, others: (clips,) hits of the two in 0..1, or means of several seeds.
        videos: (clips,); whole videos are drawn, as in `scores.bounds`. One video alone says nothing: the bounds are -100 and 100.
        draws, seed: of the bootstrap.
    """
    _, video = np.unique(videos, return_inverse=True)
    gains, sizes = np.bincount(video, np.asarray(hits, np.float64) - others), np.bincount(video)
    mean = 100 * float(gains.sum() / sizes.sum())
    if len(sizes) < 2:
        return mean, -100.0, 100.0
    picks = np.random.default_rng(seed).integers(len(sizes), size=(draws, len(sizes)))
    low, high = np.percentile(100 * gains[picks].sum(axis=1) / sizes[picks].sum(axis=1), [2.5, 97.5])
    return mean, float(low), float(high)


def summary(heads, videos, subsets, many):
    """What `metrics.json` says about anticipation, in percent and seconds; lists go by the times, single numbers hold at all of them.

    Args:
        heads: name to `egokeras.scores.Head`.
        videos: (clips,) of all evaluated clips.
        subsets: name (`unseen`, `tail`) to masks (clips,) by head.
        many: name (`many_shot`, `many_shot_either`) to masks (classes,) by head.

    Returns:
        `times`; `heads`, see `accuracies`; `recall5` by subset and head, see `recalls`; `time_to_action` by head and ranking.
    """
    recall5 = {"overall": {name: recalls(head) for name, head in heads.items()}}
    for subset, masks in many.items():
        recall5[subset] = {name: recalls(head, masks[name]) for name, head in heads.items() if name in masks}
    for subset, masks in subsets.items():
        recall5[subset] = {name: recalls(head.of(masks[name][head.rows])) for name, head in heads.items() if name in masks}
    found = {subset: {name: result for name, result in results.items() if result} for subset, results in recall5.items()}
    return {
        "times": list(ANTICIPATION),
        "heads": {name: accuracies(head, videos[head.rows]) for name, head in heads.items()},
        "recall5": {subset: results for subset, results in found.items() if results},
        "time_to_action": {name: times_to_action(head) for name, head in heads.items()},
    }


def many_shot_masks(train_labels, actions, sizes):
    """The masks of `summary` by training counts: `many_shot` by EPIC-KITCHENS-55's definition, `many_shot_either` by RU-LSTM's.

    Counted are the training clips of the run at hand, so with another training split the classes are not those of the lists that
    EPIC-KITCHENS-55 published.

    Args:
        train_labels: head to the labels of the training clips, without -1.
        actions: (actions, 2) verb and noun of each action, or None.
        sizes: head to its number of classes.
    """
    masks = {head: many_shot(labels, sizes[head]) for head, labels in train_labels.items() if head != "action"}
    if actions is None or not {"verb", "noun", "action"} <= set(train_labels):
        return {"many_shot": masks}
    trained = np.bincount(train_labels["action"], minlength=sizes["action"]) > 0
    either = many_shot_actions(actions, masks["verb"], masks["noun"])
    masks["action"] = many_shot_actions(actions, masks["verb"], masks["noun"], trained)
    return {"many_shot": masks, "many_shot_either": {"action": either}}


def accuracies(head, videos):
    """Top-1 and top-5 in percent at each time, of every ranking of a `Head`; of the model, also the 95% bounds of top-5 over `videos`."""
    model = head.places["model"]
    limits = [bounds(hits, videos) for hits in model.hits(K).T]
    result = {"clips": len(head.rows), **_tops(model), **dict(zip(("top5_low", "top5_high"), _rounded(np.transpose(limits)), strict=True))}
    result["chance"] = {f"top{k}": _rounded(min(100.0, 100 * k / head.classes)) for k in (1, K)}
    baselines = {name: _tops(found) for name, found in head.places.items() if name != "model"}
    return {**result, **baselines}


def _tops(found):
    return {f"top{k}": _plain(100 * found.hits(k).mean(axis=0)) for k in (1, K)}


def recalls(head, classes=None):
    """Mean top-5 recall of every ranking of a `Head` and the number of classes in it; None where no class of the mask occurs."""
    present = np.unique(head.labels)
    counted = len(present) if classes is None else np.count_nonzero(classes[present])
    if not counted:
        return None
    return {"classes": int(counted), **{name: _plain(recall(found, head.labels, K, classes)) for name, found in head.places.items()}}


def times_to_action(head):
    """TtA(5) of every ranking of a `Head`."""
    return {name: _rounded(time_to_action(found)) for name, found in head.places.items()}


def _plain(values):
    """A number if it is the same at all times, else a list."""
    return _rounded(values[0] if len(values) == 1 else values)


def _rounded(values):
    return np.round(values, 4).tolist()
