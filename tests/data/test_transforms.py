"""Augmentation against a loop over clips and frames."""

import numpy as np
import tensorflow as tf

from egokeras.data.transforms import Augment

CLIPS = np.random.default_rng(0).integers(0, 256, (16, 3, 8, 10, 3)).astype("uint8")


def reference(clip, draws, flip=0.0, shift=0.0, brightness=0.0, contrast=0.0):
    out = np.empty_like(clip)
    height, width = clip.shape[1:3]
    down, right = (
        int(np.round(np.float32(draw * shift) * np.float32(size))) for draw, size in zip(draws[1:3], (height, width), strict=True)
    )
    for t, frame in enumerate(clip):
        if draws[0] < 2 * flip - 1:
            frame = frame[:, ::-1]
        for y in range(height):
            for x in range(width):
                source = frame[np.clip(y + down, 0, height - 1), np.clip(x + right, 0, width - 1)].astype("float32")
                gain = np.float32(1 + contrast * draws[3])
                light = source * gain + np.float32(127.5) * (1 - gain) + np.float32(255 * brightness * draws[4])
                out[t, y, x] = np.clip(np.round(light), 0, 255)
    return out


def draws(key):
    """What a clip with this key draws, by the ops themselves."""
    seed = tf.random.experimental.stateless_fold_in(tf.constant(key[:2], tf.int64), tf.constant(key[2], tf.int64), alg="philox")
    return tf.random.stateless_uniform((5,), seed, -1.0, 1.0, alg="philox").numpy()


def keys(*, seed=3, epoch=4, rows=range(16)):
    return np.array([(seed, epoch, row) for row in rows])


def test_equals_a_loop():
    settings = {"flip": 0.5, "shift": 0.3, "brightness": 0.2, "contrast": 0.3}
    expected = np.stack([reference(clip, draws(key), **settings) for clip, key in zip(CLIPS, keys(), strict=True)])
    out = Augment(**settings)(CLIPS, keys()).numpy()
    assert out.dtype == np.uint8
    assert np.abs(out.astype(int) - expected).max() <= 1  # the order of float operations may round a half either way
    assert np.mean(out != expected) < 1e-3


def test_a_clip_depends_on_its_own_key_and_pixels_alone():
    augment = Augment(flip=0.5, shift=0.3, brightness=0.2, contrast=0.3)
    whole, order = augment(CLIPS, keys()).numpy(), np.random.default_rng(0).permutation(len(CLIPS))
    np.testing.assert_array_equal(augment(CLIPS[order], keys()[order]), whole[order])
    np.testing.assert_array_equal(augment(CLIPS[5:6], keys()[5:6]), whole[5:6])
    np.testing.assert_array_equal(tf.function(augment)(CLIPS, keys()), whole)
    same = np.repeat(CLIPS[:1], 4, axis=0)
    changed = augment(same, np.array([(3, 4, 0), (4, 4, 0), (3, 5, 0), (3, 4, 1)])).numpy()
    assert len({clip.tobytes() for clip in changed}) == 4


def test_all_frames_of_a_clip_change_alike():
    still = np.repeat(CLIPS[:, :1], 3, axis=1)
    out = Augment(flip=0.5, shift=0.3, brightness=0.2, contrast=0.3)(still, keys()).numpy()
    assert (out == out[:, :1]).all()
    assert len({clip.tobytes() for clip in out}) == len(out)


def test_probabilities_and_identity():
    many = np.repeat(CLIPS[:1], 2000, axis=0)
    flipped = (tf.function(Augment(flip=0.25))(many, keys(rows=range(2000))).numpy() != many).any(axis=(1, 2, 3, 4)).mean()
    assert 0.2 < flipped < 0.3
    np.testing.assert_array_equal(Augment()(CLIPS, keys()), CLIPS)
    np.testing.assert_array_equal(Augment(flip=1.0)(CLIPS, keys()), CLIPS[:, :, :, ::-1])
