"""Batches hold the right clips with the right labels, in an order that seed and position decide."""

import zlib

import numpy as np
import pytest
import tensorflow as tf

import egokeras.data
from egokeras.data import input_pipeline
from egokeras.data.input_pipeline import batches, load, stream
from egokeras.data.shards import Shards, ShardWriter, encode_jpeg, table_dtype
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


def test_passes_depend_on_seed_and_number_alone(shards):
    def two(seed):
        dataset = load(shards, "train", batch_size=6, shuffle=True, seed=seed)
        return passes(dataset, shards) + passes(dataset, shards)

    tf.random.set_seed(1)
    first = two(3)
    tf.random.set_seed(2)
    assert two(3) == first != two(4)


def reference_order(rows, seed, positions):
    """One position after the other, by the op itself."""
    count = rows.shape[1]

    def one(position):
        epoch, index = divmod(position, count)
        seeds = tf.constant([seed, epoch], tf.int64)
        return rows[epoch % len(rows), int(tf.random.experimental.index_shuffle(tf.constant(index, tf.int64), seeds, count - 1))]

    return [one(position) for position in positions]


@pytest.mark.parametrize("batch_size", [6, 45])  # within an epoch, and over three
def test_order_is_the_shuffled_index(shards, batch_size):
    rows = shards.rows("train")
    data = stream(shards, rows, heads=("verb", "noun"), batch_size=batch_size, seed=1).take(90 // batch_size)
    whole = passes(data, shards)
    assert whole == reference_order(rows[None], 1, range(90))
    for start in (0, 20, 40):
        assert sorted(whole[start : start + 20]) == list(range(20))
    assert whole[:20] != whole[20:40]


def test_views_take_turns_by_epoch(shards):
    rows = np.array([[0, 1, 2], [10, 11, 12]])
    found = passes(stream(shards, rows, heads=("verb",), batch_size=2, seed=4).take(6), shards)
    assert found == reference_order(rows, 4, range(12))
    assert [sorted(found[start : start + 3]) for start in (0, 3, 6, 9)] == [[0, 1, 2], [10, 11, 12]] * 2


AUGMENT = Augment(flip=0.5, shift=0.3, brightness=0.2, contrast=0.2)
OPTIONS = {
    "plain": {},
    "balanced": {"balanced": True},
    "augment": {"augment": AUGMENT},
    "views": {"views": 3},
    "rank": {"rank": 1, "world": 2},
    "all": {"balanced": True, "augment": AUGMENT, "views": 2, "rank": 2, "world": 3},
}


def taken(shards, steps, first_step=0, views=1, **settings):
    """Clips and labels of some batches of 6."""
    rows = np.stack([np.roll(shards.rows("train"), view)[:14] for view in range(views)])
    data = stream(shards, rows, heads=("verb", "noun"), batch_size=6, seed=5, first_step=first_step, **settings).take(steps)
    return [(inputs["rgb"], targets["verb"], targets["noun"]) for inputs, targets in data.as_numpy_iterator()]


def equal(found, expected):
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        for array, wanted in zip(one, other, strict=True):
            np.testing.assert_array_equal(array, wanted)


@pytest.mark.parametrize("options", OPTIONS)
def test_stream_goes_on_where_it_stopped(shards, options):
    whole = taken(shards, 12, **OPTIONS[options])
    equal(taken(shards, 7, first_step=5, **OPTIONS[options]), whole[5:])
    assert len({clips.tobytes() for clips, *_ in whole}) == 12


@pytest.mark.parametrize("world", [2, 3])
def test_the_parts_of_all_workers_are_the_global_batch(shards, world):
    settings = {"balanced": True, "augment": AUGMENT, "views": 2}
    parts = [taken(shards, 5, rank=rank, world=world, **settings) for rank in range(world)]
    joined = [tuple(map(np.concatenate, zip(*step, strict=True))) for step in zip(*parts, strict=True)]
    assert len(parts[0][0][0]) == 6 // world
    equal(joined, taken(shards, 5, **settings))


def test_balanced_draws_rare_classes_as_often(shards):
    data = stream(shards, shards.rows("train"), heads=("noun",), batch_size=50, seed=1, balanced=True)
    nouns = np.concatenate([np.array(batch[1]["noun"]) for batch in data.take(20)])
    assert set(nouns) == {0, 1}  # the clip without a noun teaches nothing
    assert 0.45 < np.mean(nouns == 1) < 0.55


def test_a_clip_drawn_again_in_one_epoch_changes_anew(shards):
    settings = {"heads": ("noun",), "batch_size": 8, "seed": 1, "balanced": True, "augment": Augment(brightness=0.3)}
    ((inputs, _),) = stream(shards, np.array([7, *[8] * 9]), **settings).take(1)  # of ten, one has a noun
    assert len({clip.tobytes() for clip in np.array(inputs["rgb"])}) == 8


def test_augmentation_is_keyed_on_seed_epoch_and_clip(shards):
    rows, (batch,) = shards.rows("train"), taken(shards, 1, first_step=9, augment=AUGMENT)
    positions = np.arange(54, 60)
    chosen = reference_order(rows[None, :14], 5, positions)
    keys = np.stack([np.full(6, 5), positions // 14, chosen], axis=1)
    np.testing.assert_array_equal(batch[0], AUGMENT(shards.read(chosen), keys))
    assert batch[0].dtype == np.uint8


KINDS = {
    "rgb": ("uint8", (2, 4, 6, 3)),
    "residual": ("int16", (3, 4, 6, 3)),
    "motion_vector": ("int16", (3, 2, 2, 3)),
    "flow": ("int16", (3, 4, 6, 2)),
    "features": ("float16", (5, 7)),
}


def written(path, clips, modality, encoding="raw"):
    writer = ShardWriter(path, shape=clips.shape[1:], dtype=clips.dtype, encoding=encoding, shard_bytes=5 * clips[0].nbytes)
    table = np.zeros(len(clips), table_dtype(8, 1, 1, ("verb",)))
    for row, clip in enumerate(clips):
        payload = encode_jpeg(clip, 95) if encoding == "jpeg" else clip
        table[row] = (f"clip{row}", "", "", 0, 1, *writer.append(payload), zlib.crc32(payload), 1, row)
    classes = {"verb": [f"verb{row}" for row in range(len(clips))]}
    writer.finish(table, {"modality": modality, "classes": classes, "splits": ["train"]})
    return Shards(path)


@pytest.mark.parametrize("modality", KINDS)
def test_every_modality_and_dtype_arrives_as_written(tmp_path, modality):
    dtype, shape = KINDS[modality]
    clips = np.random.default_rng(0).normal(0, 300, (12, *shape)).astype(dtype)
    shards = written(tmp_path, clips, modality)
    spec = stream(shards, np.arange(12), heads=("verb",), batch_size=4, seed=0).element_spec
    assert spec[0] == {modality: tf.TensorSpec((4, *shape), dtype)} and spec[1] == {"verb": tf.TensorSpec((4,), tf.int32)}
    for data in (stream(shards, np.arange(12), heads=("verb",), batch_size=4, seed=0).take(6), load(shards, "train", batch_size=5)):
        for inputs, targets in data:
            np.testing.assert_array_equal(inputs[modality], clips[targets["verb"].numpy()])


def test_jpeg_clips_are_decoded_as_read_decodes_them(tmp_path):
    ramp = np.linspace(0, 255, 32).astype("uint8")
    clips = np.stack([np.full((3, 32, 32, 3), row, "uint8") | ramp[:, None] for row in range(0, 80, 4)])
    shards = written(tmp_path, clips, "rgb", "jpeg")
    for inputs, targets in stream(shards, np.arange(20), heads=("verb",), batch_size=4, seed=0).take(10):
        np.testing.assert_array_equal(inputs["rgb"], shards.read(targets["verb"].numpy()))
        assert np.abs(np.array(inputs["rgb"], int) - clips[targets["verb"].numpy()]).mean() < 4


def test_no_batch_in_use_is_written_over(shards):
    rows = np.arange(20)
    held = list(stream(shards, rows, heads=("verb",), batch_size=4, seed=0).take(40))
    views = [np.asarray(memoryview(inputs["rgb"]))[:, 1:, 2:] for inputs, _ in held[:20]]
    del held
    list(stream(shards, rows, heads=("verb",), batch_size=4, seed=1).take(40))
    expected = reference_order(rows[None], 0, range(80))
    np.testing.assert_array_equal(np.concatenate(views), shards.read(expected)[:, 1:, 2:])


def test_buffers_are_aligned_and_used_again():
    buffers = input_pipeline._Buffers()
    first = buffers.take((3, 5), np.dtype("float16"))
    part, address = first[1:, 2:], first.ctypes.data
    del first
    second = buffers.take((3, 5), np.dtype("float16"))
    assert second.ctypes.data != address and address % 64 == second.ctypes.data % 64 == 0
    del part
    third = buffers.take((2, 4), np.dtype("int16"))
    assert third.ctypes.data == address and third.shape == (2, 4) and third.dtype == np.int16
    del second, third
    assert buffers.take((100,), np.dtype("uint8")).shape == (100,)


def test_tensorflow_takes_a_buffer_as_it_is(shards):
    taken = []
    read = shards.read
    shards.read = lambda rows, out: taken.append(out.ctypes.data) or read(rows, out)
    (batch,) = batches(shards, tf.data.Dataset.from_tensors(np.arange(4)), ("verb",))
    assert taken == [np.asarray(memoryview(batch[0]["rgb"])).ctypes.data]


def test_an_altered_clip_ends_the_stream(shards):
    file = shards.path / "shard-00001.npy"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(tf.errors.OpError, match="shard-00001.npy: clip 'clip9' was altered"):
        list(stream(shards, shards.rows("train"), heads=("verb",), batch_size=5, seed=0).take(4))


def test_errors(shards, tmp_path):
    with pytest.raises(InputError, match="no split 'val'"):
        load(shards, "val")
    with pytest.raises(InputError, match="no labels 'action'"):
        load(shards, "train", heads=("action",))
    with pytest.raises(InputError, match="no clip to train on"):
        stream(shards, np.array([], int), heads=("verb",), batch_size=2, seed=0)
    with pytest.raises(InputError, match="batch_size: 5 clips cannot be shared by 2 workers; give a multiple of 2"):
        stream(shards, shards.rows("train"), heads=("verb",), batch_size=5, seed=0, world=2)
    with pytest.raises(InputError, match="no clip to train on has a label of noun"):
        stream(shards, np.array([8]), heads=("noun",), batch_size=2, seed=0, balanced=True)
