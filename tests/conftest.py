"""What all tests share: the optional folder of real data, and TensorFlow kept to a few threads and quiet."""

import os
import pathlib
import zlib

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope="session")
def root():
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data():
    """Folder of real annotations and videos; its files have licences that keep them out of this repository."""
    folder = pathlib.Path(os.environ.get("EGOKERAS_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data not found in {folder}; set EGOKERAS_DATA to its folder")
    return folder


def moving_square(verb, noun, random):
    """A clip `(8, 24, 24, 3)` uint8 of a square that moves down (verb 0) or up (verb 1) in red, green or blue (the noun)."""
    clip = random.integers(0, 60, (8, 24, 24, 3)).astype("uint8")
    x, start = random.integers(0, 16), random.integers(0, 3)
    for t in range(8):
        y = start + 2 * (t if verb == 0 else 7 - t)
        clip[t, y : y + 7, x : x + 7, noun] = random.integers(180, 256)
    return clip


@pytest.fixture(scope="session")
def squares(tmp_path_factory):
    """Shards of 160 training, 60 validation and 80 unlabelled clips of moving squares; time decides the verb, colour the noun."""
    from egokeras.data.shards import Shards, ShardWriter, table_dtype

    folder, random = tmp_path_factory.mktemp("squares"), np.random.default_rng(0)
    writer = ShardWriter(folder, shape=(8, 24, 24, 3))
    clips = np.zeros(300, table_dtype(8, 8, 8, ("verb", "noun")))
    for row in range(300):
        verb, noun = random.integers(2), random.integers(3)
        payload = moving_square(verb, noun, random)
        split = 0 if row < 160 else 1 if row < 220 else 2
        labels = (-1, -1) if split == 2 else (verb, noun)
        participant = row % 4 if split == 0 else 4 + row % 3
        clips[row] = (f"c{row}", f"v{participant}-{row % 7}", f"p{participant}", 0, 1, *writer.append(payload), zlib.crc32(payload), 1 << split, *labels)
    about = {
        "modality": "rgb", "channels": "RGB", "classes": {"verb": ["lower", "raise"], "noun": ["red", "green", "blue"]}, "clip_seconds": 1.0,
        "splits": ["train", "validation", "windows"], "quarantined": 0, "sampling": {"rule": "uniform", "frames": 8}, "resize": "squash",
        "fps_rule": "timestamps of the file", "sources": [],
    }  # fmt: skip
    writer.finish(clips, about)
    return Shards(folder)
