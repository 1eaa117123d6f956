"""Damage to the bytes of a file, and what its benchmarks share.

Each damage takes the bytes, a `random.Random` and the bytes of another whole file of its kind; None is no file.
"""

import functools

SIDES = ("train", "validation")


def flip(data, rng, other, count=1):
    for _ in range(count):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def cut_end(data, rng, other):
    return data[: rng.randrange(1, len(data))]


def cut_start(data, rng, other):
    return data[rng.randrange(1, len(data)) :]


def zero_block(data, rng, other):
    size = min(512, len(data) // 2)
    at = rng.randrange(len(data) - size + 1)
    data[at : at + size] = bytes(size)
    return data


def noise(data, rng, other):
    return bytearray(rng.randbytes(len(data)))


def swap(data, rng, other):
    return other


def lose(data, rng, other):
    return None


def empty(data, rng, other):
    return bytearray()


BYTES = {
    "one flipped bit": flip,
    "20 flipped bits": functools.partial(flip, count=20),
    "end cut off": cut_end,
    "start cut off": cut_start,
    "512 zero bytes": zero_block,
    "noise of the same size": noise,
    "another file's content": swap,
    "empty file": empty,
    "missing file": lose,
}


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
