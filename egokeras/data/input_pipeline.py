"""From shards to batches: `tf.data` of (inputs, targets); in training, `stream`'s order depends on the seed and the position alone."""

import numpy as np
import tensorflow as tf

from egokeras.data.shards import Shards
from egokeras.errors import InputError


def load(shards, split, *, heads=(), batch_size=16, shuffle=False, seed=0):
    """One pass over a split; shuffled anew in every pass if asked.

    Args:
        shards: a folder made by `egokeras prepare`, or an open `Shards`.
        split: its name, for example `train`.
        heads: label spaces wanted as targets; empty is `verb` and `noun` where there are any, else `action`.
        batch_size: clips per batch; the last batch may be smaller.
        shuffle: whether to draw a new order for every pass.
        seed: of the orders, together with TensorFlow's global seed.

    Returns:
        `tf.data.Dataset` of `({modality: (batch, *shape)}, {space: (batch,) int32})`; -1 is a clip without that label.

    Raises:
        InputError: no such split or label space, or damaged shards.
    """
    shards = shards if isinstance(shards, Shards) else Shards(shards)
    rows = shards.rows(split)
    heads = default_heads(shards, heads)
    if not shuffle:
        return batches(shards, tf.data.Dataset.from_tensor_slices(rows).batch(batch_size), heads)

    def one_pass(draw):
        positions = tf.data.Dataset.range(len(rows))
        return positions.map(lambda position: tf.gather(rows, _shuffled(position, seed, draw, len(rows))))

    draws = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).take(1)
    order = draws.flat_map(lambda draw: one_pass(draw % 2**31))
    order = order.apply(tf.data.experimental.assert_cardinality(len(rows)))
    return batches(shards, order.batch(batch_size), heads)


def stream(shards, rows, *, heads, batch_size, seed, first_step=0, augment=None, balanced=False):
    """Endless batches for training. Batch number s holds positions s * batch_size and on; every clip comes once in len(rows) positions.

    Args:
        shards: an open `Shards`.
        rows: of the training clips.
        heads: label spaces wanted as targets.
        batch_size: clips per batch.
        seed: of the order and the augmentation.
        first_step: number of the first batch, to go on where a training stopped.
        augment: an `Augment` for `rgb`, or None.
        balanced: draw with replacement, each clip in proportion to the mean over `heads` of 1 / size of its class.
    """
    if not len(rows):
        raise InputError(f"{shards.path}: no clip to train on; check data.train and data.videos.")
    pick = _balanced_pick(shards, rows, heads, seed) if balanced else _even_pick(rows, seed)
    steps = tf.data.Dataset.counter(start=first_step)
    order = steps.map(lambda step: pick(step * batch_size + tf.range(batch_size, dtype=tf.int64)))
    data = batches(shards, order, heads)
    if augment is not None:
        numbered = tf.data.Dataset.zip(steps, data)
        data = numbered.map(
            lambda step, batch: ({**batch[0], "rgb": augment(batch[0]["rgb"], tf.stack([seed, step]))}, batch[1]), tf.data.AUTOTUNE
        )
    return data.prefetch(2)


def batches(shards, rows, heads):
    """Read batches of row numbers (a `tf.data.Dataset`) into (inputs, targets), in parallel and in order."""
    labels = {space: shards.labels(space, np.arange(len(shards))) for space in heads}

    def read(numbers):
        clips = tf.numpy_function(shards.read, [numbers], shards.dtype, stateful=False)
        clips.set_shape((None, *shards.shape))
        return {shards.modality: clips}, {space: tf.gather(values, numbers) for space, values in labels.items()}

    return rows.map(read, tf.data.AUTOTUNE, deterministic=True).prefetch(2)


def default_heads(shards, heads=()):
    """`heads`, or the label spaces one would expect: `verb` and `noun` where the data has them, else `action`."""
    found = [space for space in ("verb", "noun") if space in shards.classes] or [space for space in ("action",) if space in shards.classes]
    if not heads and not found:
        raise InputError(f"{shards.path} has the labels {', '.join(shards.classes) or 'none'}; name those to learn: data.heads=SPACE.")
    return tuple(heads) or tuple(found)


def _shuffled(position, seed, draw, count):
    seeds = tf.stack([tf.cast(seed, tf.int64), tf.cast(draw, tf.int64)])
    return tf.random.experimental.index_shuffle(position, seeds, tf.cast(count - 1, tf.int64))


def _even_pick(rows, seed):
    count = len(rows)

    def one(position):
        return _shuffled(position % count, seed, position // count, count)

    return lambda positions: tf.gather(rows, tf.map_fn(one, positions))


def _balanced_pick(shards, rows, heads, seed):
    weights = np.zeros(len(rows))
    for space in heads:
        labels = shards.labels(space, rows)
        counts = np.bincount(labels[labels >= 0], minlength=len(shards.classes[space]))
        weights[labels >= 0] += 1 / counts[labels[labels >= 0]]
    bounds = np.cumsum(weights / weights.sum())

    def pick(positions):
        draws = tf.map_fn(
            lambda p: tf.random.stateless_uniform((), tf.stack([seed, p]), dtype=tf.float64), positions, fn_output_signature=tf.float64
        )
        return tf.gather(rows, tf.minimum(tf.searchsorted(bounds, draws, side="right"), len(rows) - 1))

    return pick
