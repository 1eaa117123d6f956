"""A set that reads as the middle of its clips, and the views that a training cuts out of it."""

import numpy as np
import pytest
import tensorflow as tf

from egokeras.data import input_pipeline
from egokeras.data.cropped import Cropped, cropped
from egokeras.data.joined import open_sets
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
    windows = found.spread(rows, 3)["rgb"]
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


@pytest.fixture(scope="module")
def joined(write_clips, tmp_path_factory):
    """RGB and a stack of flow of twelve clips, 8 frames of 12 pixels, both of which say at every place which place it is."""
    folder = tmp_path_factory.mktemp("joined")
    where = np.stack(np.meshgrid(range(8), range(12), range(12), indexing="ij"), axis=-1).astype("uint8")
    for modality, stored in {"rgb": where, "flow": 150 + np.tile(where, 2)[..., :4]}.items():
        (folder / modality).mkdir()
        clips = ((stored, "train", f"v{row}", "", {"verb": "take"}) for row in range(12))
        write_clips(folder / modality, clips, {"verb": ["take"]}, modality)
    return open_sets(f"{folder / 'rgb'},{folder / 'flow'}")


def first_of(shards, **how):
    data = input_pipeline.stream(shards, shards.rows("train"), heads=("verb",), batch_size=12, seed=3, **how)
    return {modality: clips.numpy() for modality, clips in next(iter(data))[0].items()}


@pytest.mark.parametrize("crop", [Crop(frames=3, size=6), Crop(segments=4, size=8, sides=(8, 12)), Crop(segments=8)])
def test_modalities_are_cut_at_the_same_places(joined, crop):
    shards = cropped(joined, crop)
    assert shards.modalities == {name: crop.check(shape) for name, shape in joined.modalities.items()}
    for found in (first_of(shards), shards.inputs(np.arange(3))):
        rgb, flow = found["rgb"].astype(int), found["flow"].astype(int)
        np.testing.assert_array_equal(flow - 150, np.tile(rgb, 2)[..., :4])
    assert shards.only(["flow"]).modalities.keys() == {"flow"} == first_of(shards, inputs=["flow"]).keys()
    assert [clips.shape for clips in shards.spread([0, 1], 2).values()] == [(2, 2, *shape) for shape in shards.modalities.values()]


def test_clips_cut_out_of_segments_last_as_long_as_the_stored_ones(joined):
    assert cropped(joined, Crop(segments=4, size=6)).indexes["flow"]["clip_seconds"] == joined.index["clip_seconds"]
    found = cropped(joined, Crop(frames=4, size=6)).indexes["flow"]
    assert found["clip_seconds"] == joined.index["clip_seconds"] / 2 and found["sampling"]["frames"] == 4


def test_modalities_are_moved_and_mirrored_together(joined):
    """What moves to the right, the even channels of flow, moves to the left in a mirror: 128 + v becomes 128 - v."""
    plain, found = first_of(joined), first_of(joined, augment=Augment(flip=0.5, shift=0.3))
    mirrored = found["rgb"][:, 0, 0, 0, 2] > found["rgb"][:, 0, 0, -1, 2]
    assert 2 <= mirrored.sum() <= 10 and (found["rgb"] != plain["rgb"]).any(axis=(1, 2, 3, 4)).sum() >= 10
    for rgb, flow, turned in zip(found["rgb"].astype(int), found["flow"].astype(int), mirrored, strict=True):
        straight = np.where(np.arange(4) % 2 == 0, 256 - flow, flow) if turned else flow
        np.testing.assert_array_equal(straight - 150, np.tile(rgb, 2)[..., :4])
    bright = first_of(joined, augment=Augment(brightness=0.5))
    np.testing.assert_array_equal(bright["flow"], plain["flow"])  # it has no light
    assert (bright["rgb"] != plain["rgb"]).any()
    views = first_of(joined, augment=Augment(shift=0.3), views=2)
    np.testing.assert_array_equal(views["flow"].astype(int) - 150, np.tile(views["rgb"].astype(int), 2)[..., :4])
    assert views["flow"].shape == (12, 2, 8, 12, 12, 4) and (views["rgb"][:, 0] != views["rgb"][:, 1]).any()


def test_views_that_would_be_equal(squares):
    for shards, how in ((squares, {}), (Cropped(squares, CROP), {"two_clips": False})):
        with pytest.raises(InputError, match="compares 2 views of a clip, and nothing tells them apart"):
            first_batch(shards, views=2, **how)
