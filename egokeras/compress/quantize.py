"""Calibration of int8: clips that show the converter the range of every tensor."""

import contextlib

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


def write_calibration(shards, rows, labels, files, *, count, seed, apart=False):
    """Write clips of `rows`, balanced over their `labels`, as a `.npy` of (clips, time, height, width, channels) uint8 for each input.

    Args:
        shards: an open set of clips.
        rows: the training clips, (clips,).
        labels: their class ids, (clips,).
        files: modality to the path of its file; those of one set show the same clips.
        count, seed: see `pick`.
        apart: write (frames, height, width, channels) instead, one clip's frames after another's.
    """
    rows = rows[pick(labels, count, seed)]
    with contextlib.ExitStack() as stack:
        opened = {}
        for name, path in files.items():
            time, *picture = shards.modalities[name]
            shape = (len(rows) * time, *picture) if apart else (len(rows), time, *picture)
            opened[name] = stack.enter_context(npy_writer(path, shape, "uint8"))
        for start in range(0, len(rows), CHUNK):
            clips = shards.inputs(rows[start : start + CHUNK])
            for name, write in opened.items():
                write(clips[name])


@contextlib.contextmanager
def npy_writer(path, shape, dtype):
    """A function that appends arrays to a `.npy` of a shape known beforehand.

    It writes, and maps nothing: on a full disk a memory map would end the process.
    """
    with open(path, "wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        yield lambda values: file.write(np.ascontiguousarray(values, dtype).tobytes())


def examples(files):
    """Yield examples one a batch, by input, of the type that they are stored in.

    Args:
        files: input to a `.npy` of its examples: uint8 pixels that `write_calibration` wrote, or float32 from inside a network, with its
            axis for the batch, into which frames may be folded.
    """
    stored = {name: np.load(path, mmap_mode="r", allow_pickle=False) for name, path in files.items()}
    for number in range(len(next(iter(stored.values())))):
        yield {name: np.array(values[number])[None] if values.dtype == np.uint8 else values[number] for name, values in stored.items()}


def representative(files):
    """The generator function that TFLite's converter calls: `examples` of `files` as float32.

    A black and a white pixel are put into the first example, so that an input's range is 0..255 and a uint8 pixel is its own code.
    """

    def batches():
        for number, batch in enumerate(examples(files)):
            for values in batch.values():
                if number == 0 and values.dtype == np.uint8:
                    values.flat[:2] = 0, 255
            yield {name: values.astype(np.float32) for name, values in batch.items()}

    return batches
