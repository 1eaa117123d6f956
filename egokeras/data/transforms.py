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

    def __call__(self, clips, seed):
        """Changed copies of `clips` `(batch, time, height, width, 3)` uint8; equal `seed` (two int64) gives equal copies."""
        draws = tf.random.stateless_uniform((5, tf.shape(clips)[0]), seed, -1.0, 1.0)
        if self.flip:
            mirrored = draws[0] < 2 * self.flip - 1
            clips = tf.where(mirrored[:, None, None, None, None], clips[:, :, :, ::-1], clips)
        if self.shift:
            clips = _shifted(_shifted(clips, draws[1] * self.shift, axis=2), draws[2] * self.shift, axis=3)
        if self.brightness or self.contrast:
            gain = 1 + self.contrast * draws[3]
            offset = 127.5 * (1 - gain) + 255 * self.brightness * draws[4]
            light = tf.cast(clips, tf.float32) * gain[:, None, None, None, None] + offset[:, None, None, None, None]
            clips = tf.cast(tf.clip_by_value(tf.round(light), 0, 255), tf.uint8)
        return clips


def _shifted(clips, shares, axis):
    size = tf.shape(clips)[axis]
    steps = tf.cast(tf.round(shares * tf.cast(size, tf.float32)), tf.int32)
    source = tf.clip_by_value(tf.range(size)[None] + steps[:, None], 0, size - 1)
    return tf.gather(clips, source, axis=axis, batch_dims=1)
