"""Batches hold the right clips with the right labels, in an order that seed and position decide."""

import numpy as np
import pytest

import egokeras.data
from egokeras.data.input_pipeline import load, stream
from egokeras.data.shards import Shards, ShardWriter, table_dtype
from egokeras.data.transforms import Augment
from egokeras.errors import InputError

CLIPS, SHAPE = 23, (2, 4, 6, 3)


def pixels(row):
    return np.random.default_rng(row).integers(0, 256, SHAPE).astype("uint8")


@pytest.fixture
def shards(tmp_path):
    """23 clips: 20 of `train`, 3 of `validation`; nouns 0 0 0 ... 1 (one clip) and one clip without a noun."""
    writer = ShardWriter(tmp_path, shape=SHAPE, shard_bytes=5 * np.prod(SHAPE))
    clips = np.zeros(CLIPS, table_dtype(8, 8, 8, ("verb", "noun")))
    for row in range(CLIPS):
        place = writer.append(pixels(row))
        import zlib

        clips[row]["shard"], clips[row]["offset"], clips[row]["size"] = place
        clips[row]["checksum"] = zlib.crc32(pixels(row))
        clips[row]["uid"], clips[row]["splits"] = f"clip{row}", 1 if row < 20 else 2
        clips[row]["label_verb"], clips[row]["label_noun"] = row % 5, {7: 1, 8: -1}.get(row, 0)
    classes = {"verb": list("abcde"), "noun": ["x", "y"]}
    writer.finish(clips, {"modality": "rgb", "classes": classes, "splits": ["train", "validation"]})
    return Shards(tmp_path)


def rows_of(batch, shards):
    known = {pixels(row).tobytes(): row for row in range(CLIPS)}
    rows = [known[clip.tobytes()] for clip in np.array(batch[0]["rgb"])]
    for space in batch[1]:
        np.testing.assert_array_equal(batch[1][space], shards.labels(space, np.array(rows)))
    return rows


def passes(dataset, shards):
    return [row for batch in dataset for row in rows_of(batch, shards)]


def test_one_pass_in_order(shards):
    assert passes(egokeras.data.load(shards.path, "train", batch_size=6), shards) == list(range(20))
    assert passes(load(shards, "validation"), shards) == [20, 21, 22]
    assert len(load(shards, "train", batch_size=6)) == 4


def test_shuffled_passes_are_permutations_and_differ(shards):
    dataset = load(shards, "train", batch_size=6, shuffle=True, seed=3)
    assert len(dataset) == 4
    first, second = passes(dataset, shards), passes(dataset, shards)
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second and first != list(range(20))
    assert passes(load(shards, "train", batch_size=6, shuffle=True, seed=3), shards) == first


def test_stream_goes_on_where_it_stopped(shards):
    def taken(steps, **settings):
        data = stream(shards, shards.rows("train"), heads=("verb",), batch_size=6, seed=1, **settings)
        return passes(data.take(steps), shards)

    whole = taken(10)
    assert taken(7, first_step=3) == whole[18:]
    for start in (0, 20, 40):
        assert sorted(whole[start : start + 20]) == list(range(20))
    assert whole[:20] != whole[20:40]


def test_balanced_draws_rare_classes_as_often(shards):
    data = stream(shards, shards.rows("train"), heads=("noun",), batch_size=50, seed=1, balanced=True)
    nouns = np.concatenate([np.array(batch[1]["noun"]) for batch in data.take(20)])
    assert set(nouns) == {0, 1}  # the clip without a noun teaches nothing
    assert 0.45 < np.mean(nouns == 1) < 0.55


def test_augmentation_depends_on_seed_and_step_alone(shards):
    def clips(first, steps):
        settings = {"heads": ("verb",), "batch_size": 4, "seed": 5, "augment": Augment(flip=0.5, shift=0.3, brightness=0.2)}
        return [np.array(batch[0]["rgb"]) for batch in stream(shards, shards.rows("train"), first_step=first, **settings).take(steps)]

    whole, tail = clips(0, 4), clips(2, 2)
    np.testing.assert_array_equal(whole[2], tail[0])
    np.testing.assert_array_equal(whole[3], tail[1])
    assert whole[0].dtype == np.uint8


def test_errors(shards, tmp_path):
    with pytest.raises(InputError, match="no split 'val'"):
        load(shards, "val")
    with pytest.raises(InputError, match="no labels 'action'"):
        load(shards, "train", heads=("action",))
    with pytest.raises(InputError, match="no clip to train on"):
        stream(shards, np.array([], int), heads=("verb",), batch_size=2, seed=0)
