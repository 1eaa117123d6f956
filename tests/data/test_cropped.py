"""A set that reads as the middle of its clips, and the views that a training cuts out of it."""

import numpy as np
import pytest
import tensorflow as tf

from egokeras.data import input_pipeline
from egokeras.data.cropped import Cropped, cropped
from egokeras.data.transforms import Augment, Crop
from egokeras.errors import InputError

CROP = Crop(frames=4, size=16)


def test_it_reads_the_middle(squares):
    found = Cropped(squares, CROP)
    rows = np.array([5, 3, 8])
    expected = squares.read(rows)[:, 2:6, 4:20, 4:20]
    np.testing.assert_array_equal(found.read(rows), expected)
    np.testing.assert_array_equal(found.inputs(rows)["rgb"], expected)
    out = {"rgb": np.zeros((3, 4, 16, 16, 3), np.uint8)}
    assert found.inputs(rows, out)["rgb"] is out["rgb"]
    np.testing.assert_array_equal(out["rgb"], expected)
    assert found.modalities == {"rgb": (4, 16, 16, 3)} and found.index["clip_seconds"] == 0.5 * squares.index["clip_seconds"]
    assert found.index["sampling"]["frames"] == 4 and squares.index["sampling"]["frames"] == 8
    np.testing.assert_array_equal(found.rows("train"), squares.rows("train"))
    windows = found.spread(rows, 3)
    for number, first in enumerate((0, 2, 4)):
        np.testing.assert_array_equal(windows[:, number], squares.read(rows)[:, first : first + 4, 4:20, 4:20])


def test_no_crop_is_the_set_itself(squares, observations, tmp_path):
    assert cropped(squares, None) is squares
    with pytest.raises(InputError, match="data.crop.frames is 9, the clips have 8 frames"):
        cropped(squares, Crop(frames=9))
    segments = observations.segments(4)
    seen = observations.write(tmp_path, np.zeros((4, 14, 6), np.float16), segments)
    with pytest.raises(InputError, match="data.crop cuts clips of pictures, .* has rgb_features"):
        cropped(seen, CROP)


def first_batch(shards, **how):
    data = input_pipeline.stream(shards, shards.rows("train"), heads=("verb",), batch_size=8, seed=3, **how)
    inputs, targets = next(iter(data))
    return inputs["rgb"].numpy(), targets["verb"].numpy()


def places(cut, clips):
    """(clips, 3): where in the stored clip each cut begins; -1 where it is nowhere."""
    found = np.full((len(cut), 3), -1)
    for row, (small, whole) in enumerate(zip(cut, clips, strict=True)):
        for at in np.ndindex(5, 9, 9):
            if np.array_equal(small, whole[at[0] : at[0] + 4, at[1] : at[1] + 16, at[2] : at[2] + 16]):
                found[row] = at
    return found


def test_training_cuts_at_random_and_validation_in_the_middle(squares):
    whole, labels = first_batch(squares)
    cut, same = first_batch(Cropped(squares, CROP))
    np.testing.assert_array_equal(labels, same)
    at = places(cut, whole)
    assert (at >= 0).all() and len(np.unique(at, axis=0)) > 5
    again, _ = first_batch(Cropped(squares, CROP))
    np.testing.assert_array_equal(cut, again)
    rows = squares.rows("validation")[:5]
    inputs, _ = next(iter(input_pipeline.batches(Cropped(squares, CROP), tf.data.Dataset.from_tensors(rows), ("verb",))))
    np.testing.assert_array_equal(inputs["rgb"], squares.read(rows)[:, 2:6, 4:20, 4:20])


def test_two_clips_or_two_views_of_one(squares):
    whole, _ = first_batch(squares)
    two, _ = first_batch(Cropped(squares, CROP), views=2)
    assert two.shape == (8, 2, 4, 16, 16, 3)
    first, second = places(two[:, 0], whole), places(two[:, 1], whole)
    assert (first >= 0).all() and (second >= 0).all() and (first != second).any(axis=1).sum() >= 7
    flip = Augment(flip=1.0)
    one, _ = first_batch(Cropped(squares, CROP), views=2, two_clips=False, augment=flip)
    np.testing.assert_array_equal(one[:, 0], one[:, 1])  # what is drawn differs, and it always flips
    assert (places(one[:, 0, :, :, ::-1], whole) >= 0).all()
    changed, _ = first_batch(squares, views=2, augment=Augment(brightness=0.3))
    assert (changed[:, 0] != changed[:, 1]).any(axis=(1, 2, 3, 4)).all()


def test_views_that_would_be_equal(squares):
    for shards, how in ((squares, {}), (Cropped(squares, CROP), {"two_clips": False})):
        with pytest.raises(InputError, match="compares 2 views of a clip, and nothing tells them apart"):
            first_batch(shards, views=2, **how)
