"""Calibration of int8: clips that show the converter the range of every tensor."""

import numpy as np

CHUNK = 16  # clips read at a time


def pick(labels, count, seed):
    """Choose clips at random, every class as often as it can be.

    Args:
        labels: (clips,) class ids; those without a label (-1) count as a class of their own.
        count: clips wanted; fewer come back if there are no more.
        seed: of the choice.

    Returns:
        Ascending positions in `labels`, int64.
    """
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(labels))
    turn = np.empty(len(labels), np.int64)  # how many of its class were drawn before a clip
    for label in np.unique(labels):
        turn[shuffled[labels[shuffled] == label]] = np.arange((labels == label).sum())
    return np.sort(shuffled[np.argsort(turn[shuffled], kind="stable")][:count])


def write_calibration(shards, rows, labels, path, *, count, seed):
    """Write clips of `rows`, balanced over their `labels`, as one `.npy` of (clips, time, height, width, 3) uint8.

    Args:
        shards: an open `egokeras.data.shards.Shards`.
        rows: the training clips, (clips,).
        labels: their class ids, (clips,).
        path: of the file.
        count, seed: see `pick`.
    """
    rows = rows[pick(labels, count, seed)]
    header = {"descr": np.lib.format.dtype_to_descr(shards.dtype), "fortran_order": False, "shape": (len(rows), *shards.shape)}
    with open(path, "wb") as file:  # not a memory map: on a full disk that would end the process
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(rows), CHUNK):
            file.write(shards.read(rows[start : start + CHUNK]).tobytes())


def representative(path, name):
    """The generator function that the converter calls: clips as float32 0..255, one a batch, for the input `name`.

    A black and a white pixel are put into the first clip, so that the input's range is 0..255 and a uint8 pixel is its own code.
    """

    def clips():
        for number, clip in enumerate(np.load(path, mmap_mode="r", allow_pickle=False)):
            batch = clip[None].astype(np.float32)
            if number == 0:
                batch.flat[:2] = 0, 255
            yield {name: batch}

    return clips
