"""Changes against slow references, OpenCV and counts over many keys; crops against the clips that they are cut from."""

import dataclasses
import itertools
import math
import statistics

import cv2
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from egokeras.data.transforms import CHANGES, CROP, DRAWN, NOISE, Augment, Crop
from egokeras.errors import InputError

CLIPS = np.random.default_rng(0).integers(0, 256, (16, 3, 8, 10, 3)).astype("uint8")
OLD = {"flip": 0.5, "shift": 0.3, "brightness": 0.2, "contrast": 0.3}
EVERYTHING = Augment(**OLD, hue=0.5, blur=(0.1, 2.0), channel_split=0.5, invert=0.5, noise=0.1)
CHANGED = {
    "old": Augment(**OLD),
    "invert": Augment(invert=0.5),
    "hue": Augment(hue=0.5),
    "split": Augment(channel_split=0.9),
    "blur": Augment(blur=(0.1, 2.0), blur_chance=0.5),
    "noise": Augment(noise=0.1, noise_chance=0.5),
    "SKD-SRL": Augment.skd_srl(),
    "Self-KD": Augment.self_kd(),
    "everything": EVERYTHING,
}


def keys(*, seed=3, epoch=4, rows=range(16), views=None):
    return np.array([(seed, epoch, row) if views is None else (seed, epoch, row, views) for row in rows])


def seed_of(key, *purpose):
    seed = key[:2]
    for number in [*tf.unstack(key[2:]), *purpose]:
        seed = tf.random.experimental.stateless_fold_in(seed, number, alg="philox")
    return seed


@tf.function
def uniform(key):
    old = tf.random.stateless_uniform((5,), seed_of(key), -1.0, 1.0, alg="philox")
    return old, tf.random.stateless_uniform((len(DRAWN),), seed_of(key, CHANGES), alg="philox")


def draws(key):
    """What a clip with this key draws, by the ops themselves: mirror, moves, contrast, brightness from -1 to 1, the others by name."""
    old, new = uniform(tf.constant(key, tf.int64))
    return old.numpy(), dict(zip(DRAWN, new.numpy(), strict=True))


def moved(frame, augment, old):
    """Mirror image and move, pixel by pixel."""
    height, width = frame.shape[:2]
    down, right = (
        int(np.round(np.float32(draw * augment.shift) * np.float32(size))) for draw, size in zip(old[1:3], frame.shape[:2], strict=True)
    )
    frame = frame[:, ::-1] if old[0] < 2 * augment.flip - 1 else frame
    out = np.empty_like(frame)
    for y, x in itertools.product(range(height), range(width)):
        out[y, x] = frame[np.clip(y + down, 0, height - 1), np.clip(x + right, 0, width - 1)]
    return out


def turned(pixel, turn):
    """A pixel with its hue turned by a share of the circle: its chroma in YIQ as radius and angle."""
    matrix = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    y, i, q = matrix @ pixel
    radius, angle = math.hypot(i, q), math.atan2(q, i) - 2 * math.pi * turn
    return np.linalg.solve(matrix, [y, radius * math.cos(angle), radius * math.sin(angle)])


def recoloured(pixel, augment, old, new):
    """The changes of colour one after another, in 64 bits and without clipping between them."""
    if new["invert"] < augment.invert:
        pixel = 255 - pixel
    if new["channel_split"] < augment.channel_split:
        pixel = pixel.copy()
        pixel[int(3 * new["target"])] = pixel[int(3 * new["source"])]
    contrasted = new["contrast_chance"] < augment.contrast_chance
    if contrasted:
        pixel = 127.5 + (1 + augment.contrast * old[3]) * (pixel - 127.5)
    if contrasted if augment.together else new["brightness_chance"] < augment.brightness_chance:
        pixel = pixel + 255 * augment.brightness * old[4]
    if new["hue_chance"] < augment.hue_chance:
        pixel = turned(pixel, augment.hue * new["turn"])
    return pixel


def as_bytes(values):
    return np.clip(np.round(values), 0, 255).astype("uint8")


def reference(clip, key, augment):
    (old, new), out = draws(key), np.empty_like(clip)
    for t, frame in enumerate(clip):
        frame = moved(frame, augment, old)
        frame = as_bytes([[recoloured(pixel, augment, old, new) for pixel in row] for row in frame.astype(float)])
        if augment.blur and new["blur_chance"] < augment.blur_chance:
            sigma = augment.blur[0] + (augment.blur[1] - augment.blur[0]) * new["sigma"]
            frame = as_bytes(cv2.GaussianBlur(frame.astype("float32"), (7, 7), float(sigma), borderType=cv2.BORDER_REFLECT_101))
        out[t] = frame
    if augment.noise and new["noise_chance"] < augment.noise_chance:
        out = as_bytes(out + 255 * augment.noise * normal(key, out.shape))
    return out


def normal(key, shape):
    """Quantiles of the normal distribution at 16 random bits for each value."""
    bits = tf.random.stateless_uniform(
        (-(-math.prod(shape) // 2),), seed_of(tf.constant(key), NOISE), None, None, tf.uint32, alg="philox"
    ).numpy()
    halves = bits.view("uint16")[: math.prod(shape)]
    return np.reshape([statistics.NormalDist().inv_cdf((half + 0.5) / 65536) for half in halves.tolist()], shape)


@pytest.mark.parametrize("name", CHANGED)
def test_equals_a_loop(name):
    """To one grey level: single and double precision round a half to either side, and blur and noise carry that on."""
    augment = CHANGED[name]
    expected = np.stack([reference(clip, key, augment) for clip, key in zip(CLIPS, keys(), strict=True)])
    out = augment(CLIPS, keys()).numpy()
    assert out.dtype == np.uint8 and out.shape == CLIPS.shape
    assert np.abs(out.astype(int) - expected).max() <= 1
    assert np.mean(out != expected) < 1e-3


@tf.function(jit_compile=True)
def first_formula(clips, rows, columns, gain, offset):
    clips = tf.gather(tf.gather(clips, rows, axis=2, batch_dims=1), columns, axis=3, batch_dims=1)
    light = tf.cast(clips, tf.float32) * gain[:, None, None, None, None] + offset[:, None, None, None, None]
    return tf.cast(tf.clip_by_value(tf.round(light), 0, 255), tf.uint8)


@pytest.mark.parametrize("fields", [{}, {"flip": 0.5}, {"shift": 0.2}, {"flip": 0.5, "brightness": 0.4, "contrast": 0.9}, OLD], ids=str)
def test_flip_shift_brightness_and_contrast_give_the_bits_that_they_always_gave(fields):
    clips = np.random.default_rng(1).integers(0, 256, (16, 2, 17, 23, 3)).astype("uint8")
    augment, drawn = Augment(**fields), tf.transpose([draws(key)[0] for key in keys()])

    def sources(size, shares):
        return tf.clip_by_value(tf.range(size) + tf.cast(tf.round(shares * size), tf.int32)[:, None], 0, size - 1)

    rows, columns = sources(17, drawn[1] * augment.shift), sources(23, drawn[2] * augment.shift)
    columns = tf.where((drawn[0] < 2 * augment.flip - 1)[:, None], 22 - columns, columns)
    gain = 1 + augment.contrast * drawn[3]
    expected = first_formula(clips, rows, columns, gain, 127.5 * (1 - gain) + 255 * augment.brightness * drawn[4])
    np.testing.assert_array_equal(augment(clips, keys()), expected)


@pytest.mark.parametrize("name", CHANGED)
def test_a_clip_depends_on_its_own_key_and_pixels_alone(name):
    augment, order = CHANGED[name], np.random.default_rng(0).permutation(len(CLIPS))
    whole = augment(CLIPS, keys()).numpy()
    np.testing.assert_array_equal(augment(CLIPS[order], keys()[order]), whole[order])
    np.testing.assert_array_equal(augment(CLIPS[5:6], keys()[5:6]), whole[5:6])
    np.testing.assert_array_equal(tf.function(augment)(CLIPS, keys()), whole)


def test_in_a_pipeline_batches_may_have_any_size():
    crop = Crop(frames=2, size=6, sides=(8, 6))
    data = tf.data.Dataset.from_tensor_slices((CLIPS, keys())).batch(6)
    changed = data.map(lambda clips, keys: EVERYTHING(crop.random(clips, keys), keys), 2)
    expected = EVERYTHING(crop.random(CLIPS, keys()), keys())
    np.testing.assert_array_equal(np.concatenate([batch.numpy() for batch in changed]), expected)


@pytest.mark.parametrize("augment", [Augment(**OLD), EVERYTHING], ids=["old", "everything"])
def test_every_number_of_a_key_counts(augment):
    same = np.repeat(CLIPS[:1], 7, axis=0)
    changed = augment(same[:4], np.array([(3, 4, 0), (4, 4, 0), (3, 5, 0), (3, 4, 1)])).numpy()
    assert len({clip.tobytes() for clip in changed}) == 4
    longer = np.array([(3, 4, 0, 0), (3, 4, 0, 1), (3, 4, 1, 0), (3, 4, 0, 2), (4, 3, 0, 0), (3, 4, 2, 0), (3, 4, 0, 1)])
    views = augment(same, longer).numpy()
    assert len({clip.tobytes() for clip in views}) == 6
    np.testing.assert_array_equal(views[1], views[6])


@pytest.mark.parametrize("name", CHANGED)
def test_all_frames_of_a_clip_change_alike(name):
    still = np.repeat(CLIPS[:, :1], 3, axis=1)
    out = dataclasses.replace(CHANGED[name], noise=0.0)(still, keys()).numpy()
    assert (out == out[:, :1]).all()


def test_clips_change_differently():
    same = np.repeat(CLIPS[:1], 16, axis=0)
    for augment in (Augment(**OLD), Augment(hue=0.5), Augment(blur=(0.5, 2.0)), Augment(noise=0.1)):
        assert len({clip.tobytes() for clip in augment(same, keys()).numpy()}) == 16


def test_identity_and_mirror_image():
    np.testing.assert_array_equal(Augment()(CLIPS, keys()), CLIPS)
    np.testing.assert_array_equal(Augment(flip=1.0)(CLIPS, keys()), np.stack([[cv2.flip(f, 1) for f in clip] for clip in CLIPS]))
    np.testing.assert_array_equal(Augment(invert=1.0)(CLIPS, keys()), 255 - CLIPS)
    never = dict.fromkeys(("brightness_chance", "contrast_chance", "hue_chance", "blur_chance", "noise_chance"), 0.0)
    none = Augment(brightness=0.5, contrast=0.5, hue=0.5, blur=(1.0, 2.0), noise=0.5, **never)
    np.testing.assert_array_equal(none(CLIPS, keys()), CLIPS)


@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0])
def test_blur_is_opencvs(sigma):
    out = Augment(blur=(sigma, sigma))(CLIPS, keys()).numpy()
    expected = [[cv2.GaussianBlur(frame.astype("float32"), (7, 7), sigma) for frame in clip] for clip in CLIPS]
    assert np.abs(out - expected).max() < 0.501


def test_hue_turns_as_that_of_hsv_and_leaves_light_and_grey():
    red = np.full((64, 1, 4, 4, 3), (150, 100, 100), np.uint8)
    out = Augment(hue=0.2)(red, keys(rows=range(64))).numpy()[:, 0, 0, 0].astype(float)
    turns = np.array([draws(key)[1]["turn"] for key in keys(rows=range(64))]) * 0.2
    hues = np.array([cv2.cvtColor(np.float32([[pixel / 255]]), cv2.COLOR_RGB2HSV)[0, 0, 0] / 360 for pixel in out])
    assert np.abs((hues - turns + 0.5) % 1 - 0.5).max() < 0.05  # the two circles differ by a little
    np.testing.assert_allclose(out @ [0.299, 0.587, 0.114], 150 * 0.299 + 100 * 0.701, atol=1)
    grey = np.repeat(CLIPS[..., :1], 3, axis=-1)
    np.testing.assert_array_equal(Augment(hue=1.0)(grey, keys()), grey)


def test_channel_split_copies_one_channel_onto_another_in_every_frame():
    many = np.repeat(CLIPS[:1], 900, axis=0)
    out = Augment(channel_split=1.0)(many, keys(rows=range(900))).numpy()
    found = {pair: 0 for pair in itertools.product(range(3), range(3)) if pair[0] != pair[1]}
    for clip in out[(out != many).any(axis=(1, 2, 3, 4))]:
        (target,) = (c for c in range(3) if (clip[..., c] != CLIPS[0][..., c]).any())
        (source,) = (c for c in range(3) if (clip[..., target] == CLIPS[0][..., c]).all())
        found[target, source] += 1
    assert all(62 < count < 138 for count in found.values())  # one time in nine each, four deviations to either side; else nothing
    assert 243 < 900 - sum(found.values()) < 357


def test_noise_has_its_deviation_and_differs_by_frame_and_pixel():
    grey = np.full((4, 3, 32, 32, 3), 128, np.uint8)
    noise = Augment(noise=0.1)(grey, keys(rows=range(4))).numpy().astype(float) - 128
    assert abs(noise.mean()) < 0.5 and noise.std() == pytest.approx(25.5, rel=0.02)
    flat = noise.reshape(12, -1)
    assert np.abs(np.corrcoef(flat) - np.eye(12)).max() < 0.1
    assert abs(np.corrcoef(flat[:, :-1].ravel(), flat[:, 1:].ravel())[0, 1]) < 0.03
    assert np.mean(np.abs(noise) < 25.5) == pytest.approx(0.683, abs=0.015)


CHANCES = {
    "flip": Augment(flip=0.25),
    "brightness": Augment(brightness=0.9, brightness_chance=0.25),
    "contrast": Augment(contrast=0.9, contrast_chance=0.25),
    "hue": Augment(hue=0.9, hue_chance=0.25),
    "blur": Augment(blur=(1.0, 2.0), blur_chance=0.25),
    "channel_split": Augment(channel_split=0.375),  # of which a third takes its own
    "invert": Augment(invert=0.25),
    "noise": Augment(noise=0.1, noise_chance=0.25),
}


@pytest.mark.parametrize("name", CHANCES)
def test_probabilities(name):
    """400 clips, four deviations to either side."""
    many = np.repeat(CLIPS[:1, :1, :4, :4], 400, axis=0)
    changed = (tf.function(CHANCES[name])(many, keys(rows=range(400))).numpy() != many).any(axis=(1, 2, 3, 4)).mean()
    assert 0.16 < changed < 0.34


def test_brightness_and_contrast_come_together_or_each_for_itself():
    many = np.tile(
        np.array([100, 155], np.uint8).reshape(1, 1, 2, 1, 1), (1000, 1, 1, 1, 3)
    )  # contrast moves them apart, brightness both one way
    both = Augment(brightness=0.25, contrast=0.3, contrast_chance=0.5, together=True)
    for augment, joint in ((both, 0.5), (dataclasses.replace(both, together=False, brightness_chance=0.5), 0.25)):
        out = augment(many, keys(rows=range(1000))).numpy()[:, 0, :, 0, 0].astype(int)
        contrasted, brighter = np.abs(out[:, 1] - out[:, 0] - 55) > 1, np.abs(out.sum(axis=1) - 255) > 2
        assert np.mean(contrasted & brighter) == pytest.approx(joint, abs=0.06)
        assert 0.4 < contrasted.mean() < 0.6 and 0.4 < brighter.mean() < 0.6


def test_presets():
    """The ranges of the authors' code are those of pixels from -1 to 1, a range of 2."""
    ours, theirs = Augment.skd_srl(), Augment.self_kd()
    for preset in (ours, theirs):
        assert (preset.flip, preset.channel_split, preset.contrast_chance, preset.hue_chance, preset.blur_chance) == (0.5,) * 5
        assert (preset.contrast, 2 * preset.brightness, preset.hue, preset.blur) == (0.5, 0.5, 0.1, (0.1, 2.0))
    assert (ours.brightness_chance, ours.together, ours.invert, ours.noise) == (0.5, False, 0.0, 0.0)
    assert (theirs.together, theirs.invert, 2 * theirs.noise, theirs.noise_chance) == (True, 0.2, 0.1, 0.5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"flip": 1.5}, "data.augment.flip is 1.5; give 0 to 1."),
        ({"hue_chance": -0.1}, "data.augment.hue_chance is -0.1; give 0 to 1."),
        ({"noise": math.nan}, "data.augment.noise is nan; give 0 to 1."),
        ({"blur": (2.0, 1.0)}, r"data.augment.blur is \(2.0, 1.0\); give the least and the largest standard deviation in pixels, above 0."),
        ({"blur": (0.0, 1.0)}, "data.augment.blur is"),
        ({"blur": (1.0,)}, "data.augment.blur is"),
        ({"together": True, "brightness_chance": 0.5}, "data.augment.brightness_chance is 0.5, but with together contrast_chance decides"),
    ],
)
def test_refused(fields, message):
    with pytest.raises(InputError, match=message):
        Augment(**fields)


def test_what_changes_more_than_places():
    assert Augment(shift=0.1, hue_chance=0.5).recolours == ()
    assert Augment(flip=0.5, blur=(1.0, 2.0)).recolours == ("flip", "blur")


def placed(batch, time, height, width):
    """Clips of which every pixel says where it is: frame, row, column."""
    where = np.stack(np.meshgrid(range(time), range(height), range(width), indexing="ij"), axis=-1).astype("uint8")
    return np.repeat(where[None], batch, axis=0)


@st.composite
def crops(draw):
    time, height, width = draw(st.tuples(*[st.integers(1, 6)] * 3))
    size = draw(st.none() if height == width and draw(st.booleans()) else st.integers(1, min(height, width)))
    return Crop(frames=draw(st.none() | st.integers(1, time)), size=size), (time, height, width)


@settings(max_examples=15, deadline=None)
@given(crops(), st.integers(0, 2**62), st.integers(1, 3))
def test_windows_and_squares_lie_inside(case, number, batch):
    """Every cut is a slice of the stored clip, so it begins where its first pixel says, and nothing of it lies outside."""
    crop, shape = case
    clips = placed(batch, *shape)
    frames, size, _, _ = crop.check((*shape, 3))
    assert (frames, size) == (crop.frames or shape[0], crop.size or shape[1])
    for out in (crop.random(clips, keys(seed=number, rows=range(batch))), crop.centre(clips), *np.moveaxis(crop.spread(clips, 3), 1, 0)):
        assert out.shape == (batch, frames, size, size, 3) and out.dtype == np.uint8
        for clip, cut in zip(clips, np.asarray(out), strict=True):
            t, y, x = (int(place) for place in cut[0, 0, 0])
            np.testing.assert_array_equal(cut, clip[t : t + frames, y : y + size, x : x + size])


def test_random_covers_every_place_evenly():
    out = Crop(frames=3, size=3).random(placed(1200, 4, 5, 6), keys(rows=range(1200))).numpy()
    starts, counts = np.unique(out[:, 0, 0, 0], axis=0, return_counts=True)
    assert {tuple(start) for start in starts.tolist()} == set(itertools.product(range(2), range(3), range(4)))
    assert counts.min() > 22 and counts.max() < 78  # 50 each, four deviations to either side


def test_a_crop_depends_on_its_own_key_alone_and_on_none_of_what_augment_draws():
    crop, clips, many = Crop(frames=2, size=20, sides=(20, 25)), placed(16, 4, 40, 50), keys(rows=range(16))
    whole, order = crop.random(clips, many).numpy(), np.random.default_rng(0).permutation(16)
    np.testing.assert_array_equal(crop.random(clips[order], many[order]), whole[order])
    np.testing.assert_array_equal(crop.random(clips[5:6], many[5:6]), whole[5:6])
    np.testing.assert_array_equal(tf.function(crop.random)(clips, many), whole)
    views = [crop.random(clips, keys(views=view)).numpy() for view in (0, 1)]
    assert sum((one == other).all() for one, other in zip(*views, strict=True)) < 3
    rows = range(500)
    starts = Crop(frames=1, size=1).random(placed(500, 8, 9, 10), keys(rows=rows)).numpy()[:, 0, 0, 0].T
    other = np.array([np.concatenate([old, list(new.values())]) for old, new in map(draws, keys(rows=rows))]).T
    assert np.abs(np.corrcoef(np.concatenate([starts, other]))[:3, 3:]).max() < 0.18  # four deviations
    assert len({CHANGES, NOISE, CROP}) == 3


def test_sides_are_drawn_evenly_and_resized_as_opencv_does():
    crop = Crop(size=6, sides=(9, 6, 4))
    out = crop.random(20 * placed(600, 1, 9, 9), keys(rows=range(600))).numpy()[:, 0].astype(int)
    slopes = (out[:, 3, 0, 1] - out[:, 2, 0, 1]) / 20  # of the rows' own numbers: side / size
    assert [np.mean(np.abs(slopes - side / 6) < 0.06) for side in (9, 6, 4)] == pytest.approx([1 / 3] * 3, abs=0.08)
    clips = np.random.default_rng(0).integers(0, 256, (4, 2, 9, 9, 3)).astype("uint8")
    scaled = Crop(size=6, sides=(9,)).random(clips, keys(rows=range(4))).numpy().astype(int)
    expected = [[cv2.resize(frame, (6, 6), interpolation=cv2.INTER_LINEAR) for frame in clip] for clip in clips]
    assert np.abs(scaled - expected).max() <= 1  # OpenCV computes bytes in fixed point


@pytest.mark.parametrize(("channels", "dtype"), [(2, "int16"), (1, "uint8"), (5, "float16")])
def test_crops_are_of_any_kind_of_values(channels, dtype):
    clips = np.random.default_rng(0).normal(0, 100, (3, 4, 6, 8, channels)).astype(dtype)
    crop = Crop(frames=2, size=5, sides=(6, 5))
    assert crop.check(clips.shape[1:]) == (2, 5, 5, channels)
    for out in (crop.random(clips, keys(rows=range(3))), crop.centre(clips), crop.spread(clips, 2)[:, 0]):
        assert out.shape == (3, 2, 5, 5, channels) and out.dtype == dtype
    np.testing.assert_array_equal(crop.centre(clips), clips[:, 1:3, :5, 1:6])


def test_centre_and_spread_by_hand():
    clips = placed(2, 11, 7, 10)
    crop = Crop(frames=4, size=4)
    np.testing.assert_array_equal(crop.centre(clips), clips[:, 3:7, 1:5, 3:7])
    spread = crop.spread(clips, 3).numpy()
    assert spread.shape == (2, 3, 4, 4, 4, 3)
    assert spread[0, :, :, 0, 0, 0].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [7, 8, 9, 10]]
    assert (spread[..., 1:] == clips[:, None, :4, 1:5, 3:7, 1:]).all()
    np.testing.assert_array_equal(crop.spread(clips, 1)[:, 0], crop.centre(clips))
    np.testing.assert_array_equal(Crop().random(clips[:, :, :, :7], keys(rows=range(2))), clips[:, :, :, :7])


def test_one_frame_of_each_segment_is_drawn_evenly():
    """Eleven frames in three segments of three; the two left over are in no segment, and no two segments draw alike."""
    out = Crop(segments=3, size=2).random(placed(900, 11, 2, 2), keys(rows=range(900))).numpy()[:, :, 0, 0, 0].astype(int)
    offsets = out - 3 * np.arange(3)
    counts = np.stack([np.bincount(offsets[:, segment], minlength=3) for segment in range(3)])
    assert counts.shape == (3, 3) and counts.min() > 243 and counts.max() < 357  # 300 each, four deviations to either side
    assert np.abs(np.corrcoef(offsets.T) - np.eye(3)).max() < 0.14
    again = Crop(segments=3, size=1).random(placed(900, 11, 2, 2), keys(rows=range(900))).numpy()[:, :, 0, 0, 0]
    np.testing.assert_array_equal(again, out)  # the same frames, whatever is cut of them


def test_the_middle_frames_of_segments_by_hand():
    """As TSN's test: frame int(n / 2 K + k n / K)."""
    for time, segments, expected in (
        (11, 3, [1, 5, 9]),
        (8, 4, [1, 3, 5, 7]),
        (24, 8, [1, 4, 7, 10, 13, 16, 19, 22]),
        (5, 5, [0, 1, 2, 3, 4]),
    ):
        clips, tick = placed(2, time, 6, 4), time / segments
        found = Crop(segments=segments, size=4).centre(clips)
        assert found[0, :, 0, 0, 0].tolist() == [int(tick / 2 + tick * place) for place in range(segments)] == expected
        assert (found[..., 1:] == clips[:, :1, 1:5, :, 1:]).all()
    spread = Crop(segments=2, size=3).spread(placed(1, 9, 3, 3), 3).numpy()
    assert spread[0, :, :, 0, 0, 0].tolist() == [[0, 4], [2, 6], [3, 7]]  # parts of four; the middle of 0 to 3, to even


def test_a_mirror_image_turns_motion_about():
    """By hand: 128 is still, 131 goes right by three and then left, 125; 0, beyond what -127 can be, ends at 255."""
    clip = np.array([[[131, 131, 128, 7], [1, 140, 255, 9]], [[0, 0, 128, 1], [128, 2, 1, 3]]], np.uint8)[None, None]
    found = Augment(flip=1.0).of("flow")(clip, keys(rows=[0])).numpy()[0, 0]
    assert found.tolist() == [[[255, 140, 1, 9], [125, 131, 128, 7]], [[128, 2, 255, 3], [255, 0, 128, 1]]]
    for modality in ("residual", "rgb_difference"):
        np.testing.assert_array_equal(Augment(flip=1.0).of(modality)(clip, keys(rows=[0])), clip[:, :, :, ::-1])
    same = Augment(flip=0.5, shift=0.3)
    assert same.of("iframe") is same


@pytest.mark.parametrize(
    ("crop", "shape", "message"),
    [
        ({"segments": 9}, (8, 96, 96, 3), "data.crop.segments is 9, the clips have 8 frames; give at most 8."),
        ({"frames": 16}, (8, 112, 112, 3), "data.crop.frames is 16, the clips have 8 frames; give at most 8."),
        ({"size": 112}, (16, 96, 128, 3), "data.crop.size is 112, the clips have 96x128 pixels; give at most 96."),
        (
            {"size": 96, "sides": (129, 96)},
            (16, 96, 96, 3),
            r"data.crop.sides is \(129, 96\), the clips have 96x96 pixels; give at most 96.",
        ),
        ({}, (16, 96, 128, 3), "data.crop.size is not given, the clips have 96x128 pixels; give at most 96."),
    ],
)
def test_clips_that_are_too_small(crop, shape, message):
    with pytest.raises(InputError, match=message):
        Crop(**crop).check(shape)
    with pytest.raises(InputError, match=message):
        Crop(**crop).centre(np.zeros((1, *shape), np.uint8))


@pytest.mark.parametrize("fields", [{"frames": 0}, {"segments": 0}, {"size": -1}, {"sides": (8, 0)}], ids=str)
def test_sizes_are_at_least_one(fields):
    with pytest.raises(InputError, match=rf"data.crop.{next(iter(fields))} is .*; give at least 1."):
        Crop(**fields)
    with pytest.raises(InputError, match="leave frames or segments out"):
        Crop(frames=4, segments=4)
