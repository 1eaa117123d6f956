"""Which layers bear pruning: the top-1 of a trained network with one kernel pruned at a time, without training anew.

Han et al., "Learning both Weights and Connections for Efficient Neural Networks" (2015), https://arxiv.org/abs/1506.02626, section 3.2.
"""

import pathlib
import typing

import keras
import numpy as np

import egokeras
from egokeras.compress.prune import kernels_of, masks
from egokeras.errors import InputError
from egokeras.files import read_json
from egokeras.inference import predict_logits, predict_over_time
from egokeras.progress import track
from egokeras.recipe import Data
from egokeras.scores import bounds, place

SPARSITIES = (0.5, 0.8, 0.9, 0.95)


class Hits(typing.NamedTuple):
    """How much of top-1 each clip has, (clips,) in 0..1, and its video."""

    hits: np.ndarray
    videos: np.ndarray


def scan(run_dir, prunings, clips=500, batch_size=16):
    """Prune each kernel of a run alone, in each of several ways, and score the network on the clips that it was validated on.

    Args:
        run_dir: a run folder.
        prunings: `Pruning`s, of which sparsity and pattern count.
        clips: to score on at most, drawn at random but always the same ones.
        batch_size: clips at once.

    Returns:
        `split`, `clips`, `prunings` (what to call them), `dense` (head to top-1 in percent, its `low` and `high` 95 % bounds), and for
        each path of a kernel in `kernels` its number of `weights` and `top1` (head to percent for each pruning, None where the pattern
        does not fit).

    Raises:
        InputError: the run or its data cannot be used, or no clip has a label.
    """
    run_dir = pathlib.Path(run_dir)
    record, model = read_json(run_dir / "recipe.json"), egokeras.load_model(run_dir / "model.keras")
    data = Data.of_run(record)
    shards = data.open()
    shards.check_fits(model, read_json(run_dir / "classes.json"))
    _, rows = data.rows(shards)
    rows = np.sort(np.random.default_rng(0).permutation(rows)[:clips])
    if not len(rows):
        raise InputError(f"{shards.path}: the run was validated on no clips; train with data.hold_out=0.2.")
    dense = _hits(model, shards, rows, batch_size)
    kernels = {path: kernel for path, (_, kernel) in kernels_of(model).items()}
    top1: dict = {path: {head: [] for head in dense} for path in kernels}
    for path, pruning in track([(path, pruning) for path in kernels for pruning in prunings], "sensitivity", unit="prunings"):
        scores = _while_pruned(kernels[path], pruning, lambda: _hits(model, shards, rows, batch_size))
        for head, values in top1[path].items():
            values.append(None if scores is None else _percent(scores[head].hits))
    return {
        "split": data.validation if not data.hold_out else f"{data.hold_out:.0%} of {data.train}",
        "clips": len(rows),
        "prunings": [pruning.pattern or f"{pruning.final:.0%}" for pruning in prunings],
        "dense": {head: _bounded(*scores) for head, scores in dense.items()},
        "kernels": {path: {"weights": int(np.prod(kernel.shape)), "top1": top1[path]} for path, kernel in kernels.items()},
    }


def _while_pruned(kernel, pruning, measure):
    """What `measure` gives while `kernel` is pruned; None where the pattern does not fit it."""
    if pruning.pattern and kernel.shape[-2] % pruning.kept[1]:
        return None
    whole = keras.ops.convert_to_numpy(kernel)
    (mask,) = masks([whole], [np.ones(whole.shape, bool)], pruning, pruning.final)
    kernel.assign(whole * mask)
    try:
        return measure()
    finally:
        kernel.assign(whole)


def _hits(model, shards, rows, batch_size):
    """Head to the `Hits` of its labelled clips; of anticipation at 1 s."""
    if "observations" in shards.index:
        logits, _ = predict_over_time(model, shards, rows, batch_size)
    else:
        logits = predict_logits(model, shards, rows, batch_size)
    found = {}
    for head, values in logits.items():
        labels = shards.labels(head, rows)
        known = labels >= 0
        if known.any():
            found[head] = Hits(place(values[known], labels[known]).hits(1), shards.clips["video"][rows[known]])
    if not found:
        raise InputError(f"{shards.path}: none of the clips that the run was validated on has a label.")
    return found


def _percent(hits):
    return round(100 * float(hits.mean()), 4)


def _bounded(hits, videos):
    low, high = bounds(hits, videos)
    return {"top1": _percent(hits), "low": round(low, 4), "high": round(high, 4)}
