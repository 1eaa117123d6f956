"""Random changes to training clips, the same for all frames of a clip, in TensorFlow ops; uint8 in, uint8 out."""

import dataclasses

import tensorflow as tf


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augment:
    """What may change.

    Attributes:
        flip: probability of a mirror image; leave it 0 where a label knows left from right.
        shift: largest move in either direction, as a share of the frame; what comes in repeats the border.
        brightness: largest change, as a share of the full range.
        contrast: largest relative change about the middle grey.
    """

    flip: float = 0.0
    shift: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0

    def __call__(self, clips, keys):
        """Changed copies of clips, each decided by its own key and pixels alone.

        Args:
            clips: `(batch, time, height, width, 3)` uint8.
            keys: `(batch, 3)` int64, such as seed, epoch and row number; equal keys give equal changes.
        """
        draws = tf.transpose(tf.map_fn(_draws, keys, fn_output_signature=tf.TensorSpec((5,), tf.float32)))
        height, width = clips.shape[2:4]
        rows = _sources(height, draws[1] * self.shift)
        columns = _sources(width, draws[2] * self.shift)
        columns = tf.where((draws[0] < 2 * self.flip - 1)[:, None], width - 1 - columns, columns)
        gain = 1 + self.contrast * draws[3]
        return _changed(clips, rows, columns, gain, 127.5 * (1 - gain) + 255 * self.brightness * draws[4])


def _draws(key):
    """Five numbers from -1 to 1: mirror, moves down and right, contrast, brightness."""
    seed = tf.random.experimental.stateless_fold_in(key[:2], key[2], alg="philox")
    return tf.random.stateless_uniform((5,), seed, -1.0, 1.0, alg="philox")


def _sources(size, shares):
    """For every clip, where each of `size` rows or columns of the moved picture comes from: (batch, size)."""
    steps = tf.cast(tf.round(shares * size), tf.int32)
    return tf.clip_by_value(tf.range(size) + steps[:, None], 0, size - 1)


@tf.function(jit_compile=True)  # one pass over the pixels; op by op it takes twenty times as long
def _changed(clips, rows, columns, gain, offset):
    clips = tf.gather(tf.gather(clips, rows, axis=2, batch_dims=1), columns, axis=3, batch_dims=1)
    light = tf.cast(clips, tf.float32) * gain[:, None, None, None, None] + offset[:, None, None, None, None]
    return tf.cast(tf.clip_by_value(tf.round(light), 0, 255), tf.uint8)
