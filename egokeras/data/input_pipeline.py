"""From shards to batches: `tf.data` of (inputs, targets), in an order that depends on the seed and the position alone."""

import itertools
import threading
import weakref

import numpy as np
import tensorflow as tf

from egokeras.data.clip_table import ClipTable
from egokeras.data.joined import open_sets
from egokeras.errors import InputError

ALIGNMENT = 64  # bytes; TensorFlow copies arrays that begin elsewhere
READERS = 2  # batches of raw clips read at once; more gain nothing and hold memory
PREFETCH = 2  # batches waiting for the model
IN_FLIGHT = READERS + PREFETCH + 2  # and one with the model, one on its way back; made at once, so that memory does not creep up later
# `tf.random.experimental.index_shuffle` puts this number before a seed; given many seeds at once, it puts it in the wrong place.
SHUFFLE_SEED = 498247692


def load(shards, split, *, heads=(), batch_size=16, shuffle=False, seed=0):
    """One pass over a split; shuffled anew in every pass if asked.

    Args:
        shards: a folder made by `egokeras prepare`, or an open `Shards` or `Joined`.
        split: its name, for example `train`.
        heads: label spaces wanted as targets; empty is `action` for observation sets, else `verb` and `noun` where there are any, else
            `action`.
        batch_size: clips per batch; the last batch may be smaller.
        shuffle: whether to draw a new order for every pass.
        seed: of the orders; they depend on it and on the number of the pass alone.

    Returns:
        `tf.data.Dataset` of `({modality: (batch, *shape)}, {space: (batch,) int32})`; -1 is a clip without that label.

    Raises:
        InputError: no such split or label space, or damaged shards.
    """
    shards = shards if isinstance(shards, ClipTable) else open_sets(str(shards))
    rows = shards.rows(split)
    heads = default_heads(shards, heads)
    if not shuffle:
        return batches(shards, tf.data.Dataset.from_tensor_slices(rows).batch(batch_size), heads)

    passes = itertools.count()

    def one_pass(number):
        positions = tf.data.Dataset.range(len(rows)).batch(batch_size)
        return positions.map(lambda batch: tf.gather(rows, _shuffled(batch, seed, tf.fill(tf.shape(batch), number), len(rows))))

    number = tf.data.Dataset.from_tensors(0).map(lambda _: tf.numpy_function(lambda: np.int64(next(passes)), [], tf.int64))
    order = number.flat_map(lambda number: one_pass(tf.ensure_shape(number, ())))
    return batches(shards, order.apply(tf.data.experimental.assert_cardinality(-(-len(rows) // batch_size))), heads)


def stream(
    shards,
    rows,
    *,
    heads,
    batch_size,
    seed,
    first_step=0,
    augment=None,
    balanced=False,
    inputs=None,
    views=1,
    two_clips=True,
    rank=0,
    world=1,
):
    """Endless batches for training. Batch number s holds positions s * batch_size and on; every clip comes once in an epoch's positions.

    Args:
        shards: an open `Shards`.
        rows: of the training clips, `(clips,)`; or `(copies, clips)`, of which epoch e takes the copies `rows[e % copies]`.
        heads: label spaces wanted as targets.
        batch_size: clips per batch, of all workers together.
        seed: of the order and the augmentation.
        first_step: number of the first batch, to go on where a training stopped.
        augment: an `Augment` for pictures, or None; a clip changes by seed, epoch and row (if balanced: position and row).
        balanced: draw with replacement, each clip in proportion to the mean over `heads` of 1 / size of its class.
        inputs: modalities to read of joined sets; None is all.
        views: of every clip; several come as `(batch, views, *shape)`, and differ by what is drawn for them.
        two_clips: whether views are cut out of the stored clip one by one; otherwise all are of the same cut.
        rank: number of this worker.
        world: workers, of which each takes an equal part of every batch.

    Raises:
        InputError: there are no clips, the workers cannot share a batch, or nothing tells views apart.
    """
    rows = np.atleast_2d(np.asarray(rows, np.int64))
    copies, count = rows.shape
    if not rows.size:
        raise InputError(f"{shards.path}: no clip to train on; check data.train and data.videos.")
    if batch_size % world:
        raise InputError(f"batch_size: {batch_size} clips cannot be shared by {world} workers; give a multiple of {world}.")
    share = batch_size // world
    pick = _balanced_pick(shards, rows[0], heads, seed, batch_size) if balanced else _even_pick(count, seed)

    read = _reader(getattr(shards, "stored", shards), heads, inputs)
    change = _changes(shards, augment, views, two_clips)

    def batch(step):
        positions = step * batch_size + tf.range(batch_size, dtype=tf.int64)
        chosen = tf.gather_nd(rows, tf.stack([positions // count % copies, pick(step, positions)], axis=1))
        changes = positions if balanced else positions // count
        keys = tf.stack([tf.fill((batch_size,), tf.constant(seed, tf.int64)), changes, chosen], axis=1)[rank * share : (rank + 1) * share]
        inputs, targets = read(keys[:, 2])
        return (change(inputs, keys) if change else inputs), targets

    calls = tf.data.AUTOTUNE if change else _readers(shards)
    return tf.data.Dataset.counter(start=first_step).map(batch, calls, deterministic=True).prefetch(PREFETCH)


def _changes(shards, augment, views, two_clips):
    """Function of stored inputs and their keys to what the model sees of them, or None where that is the same."""
    crop = getattr(shards, "crop", None)
    if views > 1 and not augment and not (crop and two_clips):
        raise InputError(f"the method compares {views} views of a clip, and nothing tells them apart; set data.augment or data.crop.")

    def one(inputs, keys, number=None):
        own = keys if number is None else tf.pad(keys, [(0, 0), (0, 1)], constant_values=number)
        if crop:
            inputs = {modality: crop.random(clips, own if two_clips else keys) for modality, clips in inputs.items()}
        return {modality: augment.of(modality)(clips, own) for modality, clips in inputs.items()} if augment else inputs

    def several(inputs, keys):
        found = [one(inputs, keys, number) for number in range(views)]
        return {modality: tf.stack([view[modality] for view in found], axis=1) for modality in inputs}

    if views == 1:
        return one if crop or augment else None
    return several


def batches(shards, rows, heads, inputs=None):
    """Read batches of row numbers (a `tf.data.Dataset`) into (inputs, targets), in parallel and in order; arguments as for `stream`."""
    return rows.map(_reader(shards, heads, inputs), _readers(shards), deterministic=True).prefetch(PREFETCH)


def _reader(shards, heads, inputs=None):
    """Function of row numbers to (inputs, targets)."""
    shards = shards if inputs is None else shards.only(inputs)
    labels = {space: shards.labels(space, np.arange(len(shards))) for space in heads}
    shapes, dtypes = shards.modalities, shards.dtypes
    buffers = {modality: _Buffers() for modality in shapes}

    def clips(rows):
        out = {modality: buffers[modality].take((len(rows), *shape), dtypes[modality]) for modality, shape in shapes.items()}
        return list(shards.inputs(rows, out=out).values())

    known = weakref.proxy(clips)  # TensorFlow never forgets a numpy_function: it must not keep the buffers and open files too

    def read(rows, clips=clips):  # the dataset keeps this function, and so `clips`
        found = tf.numpy_function(lambda rows: known(rows), [rows], list(dtypes.values()), stateful=False)
        named = zip(shapes.items(), found, strict=True)
        inputs = {modality: tf.ensure_shape(clips, (*rows.shape, *shape)) for (modality, shape), clips in named}
        return inputs, {space: tf.gather(values, rows) for space, values in labels.items()}

    return read


def _readers(shards):
    return READERS if all(index["encoding"] == "raw" for index in shards.indexes.values()) else tf.data.AUTOTUNE


class _Buffers:
    """Arrays for batches, used anew when nothing refers to them any more: the pages of a fresh one cost more than copying into it."""

    def __init__(self):
        self._free = []
        self._lock = threading.Lock()
        self._first = IN_FLIGHT

    def take(self, shape, dtype):
        """An uninitialised array, aligned so that TensorFlow makes a tensor of it as it is."""
        size = int(np.prod(shape)) * dtype.itemsize
        with self._lock:
            while self._first:
                self._free.append(_aligned(size))
                self._first -= 1
            owner = self._free.pop() if self._free else memoryview(b"")
        if len(owner) < size:
            owner = _aligned(size)
        array = np.frombuffer(owner, np.uint8, size)  # every view of it keeps it alive, the owner being no array
        weakref.finalize(array, self._free.append, owner).atexit = False
        return array.view(dtype).reshape(shape)


def _aligned(size):
    whole = np.ones(size + ALIGNMENT, np.uint8)
    start = -whole.ctypes.data % ALIGNMENT
    return whole.data[start : start + size]


def default_heads(shards, heads=()):
    """`heads`, or the label spaces one would expect: `verb` and `noun` where the data has them, else `action`; to anticipate, `action`."""
    found = [space for space in ("verb", "noun") if space in shards.classes]
    if not found or "observations" in shards.index:
        found = [space for space in ("action",) if space in shards.classes] or found
    if not heads and not found:
        raise InputError(f"{shards.path} has the labels {', '.join(shards.classes) or 'none'}; name those to learn: data.heads=SPACE.")
    return tuple(heads) or tuple(found)


def _shuffled(positions, seed, epochs, count):
    """Where in the permutation of `count` that belongs to seed and epoch each position falls; all int64."""
    seeds = tf.stack([tf.fill(tf.shape(epochs), tf.constant(value, tf.int64)) for value in (SHUFFLE_SEED, seed)] + [epochs], axis=1)
    return tf.raw_ops.RandomIndexShuffle(index=positions, seed=seeds, max_index=tf.constant(count - 1, tf.int64), rounds=4)


def _even_pick(count, seed):
    return lambda step, positions: _shuffled(positions % count, seed, positions // count, count)


def _balanced_pick(shards, rows, heads, seed, batch_size):
    weights = np.zeros(len(rows))
    for space in heads:
        labels = shards.labels(space, rows)
        counts = np.bincount(labels[labels >= 0], minlength=len(shards.classes[space]))
        weights[labels >= 0] += 1 / counts[labels[labels >= 0]]
    if not weights.any():
        raise InputError(f"{shards.path}: no clip to train on has a label of {' or '.join(heads)}; check data.heads.")
    bounds = np.cumsum(weights / weights.sum())

    def pick(step, positions):
        draws = tf.random.stateless_uniform((batch_size,), tf.stack([seed, step]), dtype=tf.float64)
        return tf.minimum(tf.searchsorted(bounds, draws, side="right", out_type=tf.int64), len(rows) - 1)

    return pick
