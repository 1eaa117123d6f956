"""What a model says about the clips of a set, batch by batch: logits, and for observations the places of the labels at all times."""

import numpy as np

from egokeras import anticipation_scores as anticipation
from egokeras.errors import InputError
from egokeras.progress import track
from egokeras.protocol import ANTICIPATION
from egokeras.scores import softmax


def pairs(shards):
    """Verb and noun of each action of a set, (actions, 2), or None where it does not say."""
    found = shards.index.get("actions")
    return None if found is None else np.array(found, np.int64).reshape(-1, 2)


def predict_logits(model, shards, rows, batch_size=16, clips=1):
    """Logits of every head that is a label space of `shards`: head to (clips, classes) float32.

    Args:
        model: a `keras.Model`.
        shards: its data.
        rows: of `shards`.
        batch_size: segments at once.
        clips: of each segment; of several, evenly spaced in the stored one, it is the logarithm of the mean of their probabilities.

    Raises:
        InputError: a head has other classes than the shards, no head fits, logits are not finite, or no clips are cut from longer ones.
    """
    if clips > 1 and not hasattr(shards, "spread"):
        raise InputError(f"{shards.path} holds clips as the model sees them, so there is one of each; several take a run with data.crop.")
    parts = [outputs for _, outputs in _outputs(model, shards, rows, batch_size, clips)]
    return {head: np.concatenate([part[head] for part in parts]) for head in parts[0]}


def predict_over_time(model, shards, rows, batch_size=16):
    """Logits at 1 s, head to (clips, classes) float32, and places of the labels at all times, head to `Place` (clips, times).

    All logits of EPIC-KITCHENS-100 would take 1.2 GB; they are ranked batch by batch.

    Raises:
        InputError: as `predict_logits`, or the model does not predict at the eight times.
    """
    sizes = {space: len(shards.classes[space]) for space in ("verb", "noun") if space in shards.classes}
    logits, places = [], []
    for batch, outputs in _outputs(model, shards, rows, batch_size):
        for head, values in outputs.items():
            if values.ndim != 3 or values.shape[1] != len(ANTICIPATION):
                found = f"{head} of shape {values.shape[1:]}"
                raise InputError(f"the model gives {found}; to anticipate it must give logits at {len(ANTICIPATION)} times.")
        scores = anticipation.with_marginals(outputs, pairs(shards), sizes)
        logits.append({head: values[:, anticipation.ONE_SECOND].astype(np.float32) for head, values in scores.items()})
        places.append({head: anticipation.places_over_time(values, shards.labels(head, batch)) for head, values in scores.items()})
    heads = list(logits[0])
    whole = {head: np.concatenate([part[head] for part in logits]) for head in heads}
    return whole, {head: anticipation.joined([part[head] for part in places]) for head in heads}


def _outputs(model, shards, rows, batch_size, clips=1):
    """Rows of each batch, and the model's heads on them that are label spaces of `shards`, float32."""
    for at in track(range(0, len(rows), batch_size), "evaluate", unit="batches"):
        batch = rows[at : at + batch_size]
        outputs = _mean(model, shards, batch, clips) if clips > 1 else _answer(model, shards.inputs(batch))
        outputs = {head: np.asarray(values, np.float32) for head, values in outputs.items() if head in shards.classes}
        _check(outputs, shards, batch)
        yield batch, outputs


def _answer(model, inputs):
    return model.predict_on_batch({name: inputs[name] for name in getattr(model, "input", inputs)})


def _mean(model, shards, batch, clips):
    """Outputs for several clips of each segment; the clips of one segment are in memory at a time."""
    found = [
        _answer(model, {modality: several[0] for modality, several in shards.spread(batch[at : at + 1], clips).items()})
        for at in range(len(batch))
    ]
    return {head: np.stack([_log_mean(outputs[head]) for outputs in found]) for head in found[0] if head in shards.classes}


def _log_mean(logits):
    return np.log(np.maximum(softmax(np.asarray(logits, np.float64)).mean(axis=0), np.finfo(np.float32).tiny))


def _check(outputs, shards, rows):
    if not outputs:
        raise InputError(f"{shards.path}: the model has no head for any of its labels ({', '.join(shards.classes)}).")
    for head, values in outputs.items():
        classes = len(shards.classes[head])
        if values.shape[-1] != classes:
            found = f"{classes} classes of {head}, but the model has {values.shape[-1]}"
            raise InputError(f"{shards.path}: {found}; use the shards of its training.")
        broken = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
        if broken.any():
            uid = shards.clips["uid"][rows][broken][0]
            raise InputError(f"the model's {head} logits for clip {uid} are not finite; train again with a lower learning rate.")
