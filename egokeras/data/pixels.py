"""Passes over the pixels of clips, compiled, with their parameters given: what `transforms` draws, these do."""

import math

import tensorflow as tf

REACH = 3  # pixels of the blur to either side


@tf.function(jit_compile=True)  # a seventh of the time; apart from the colours, of which each would gather for itself
def gathered(clips, rows, columns):
    return tf.gather(tf.gather(clips, rows, axis=2, batch_dims=1), columns, axis=3, batch_dims=1)


@tf.function(jit_compile=True)  # one pass over the pixels; op by op it takes twenty times as long
def coloured(clips, mirrored, gain, offset, mix):
    gain, offset = (values[:, None, None, None, None] for values in (gain, offset))
    if mirrored is not None:
        clips = tf.where(mirrored[:, None, None, None, None], tf.reverse(clips, [3]), clips)
    light = tf.cast(clips, tf.float32)
    if mix is not None:
        columns = gain * mix[:, None, None]  # (batch, 1, 1, to, from), against pixels of (batch, time, height, width, from)
        light, gain = sum(light[..., i : i + 1] * columns[..., None, :, i] for i in range(3)), 1.0
    return _bytes(light * gain + offset)


def _bytes(light):
    return tf.cast(tf.clip_by_value(tf.round(light), 0, 255), tf.uint8)


def blurred(clip, sigma):
    weights = tf.exp(-0.5 * (tf.range(-REACH, REACH + 1, dtype=tf.float32) / sigma) ** 2)
    weights /= tf.reduce_sum(weights)
    return _across(_down(clip, weights), weights, clip.shape[-1])


# A row is one run of numbers in both passes, which is why they are fast. In one function XLA would compute the first seven times over.
@tf.function(jit_compile=True)
def _down(clip, weights):
    """Weighted sums of seven rows: (time, height, (width + 6) * channels) float32."""
    time, height, width, channels = clip.shape
    clip = tf.pad(clip, ((0, 0), (REACH, REACH), (REACH, REACH), (0, 0)), "REFLECT")
    clip = tf.reshape(clip, (time, height + 2 * REACH, (width + 2 * REACH) * channels))
    return sum(weights[i] * tf.cast(clip[:, i : i + height], tf.float32) for i in range(2 * REACH + 1))


@tf.function(jit_compile=True)
def _across(rows, weights, channels):
    """Weighted sums of seven columns, as bytes: (time, height, width, channels)."""
    time, height, length = rows.shape
    length -= 2 * REACH * channels
    light = sum(weights[i] * rows[:, :, i * channels : i * channels + length] for i in range(2 * REACH + 1))
    return _bytes(tf.reshape(light, (time, height, length // channels, channels)))


def noisy(clip, deviation, seed):
    """Noise from 16 random bits for each value: TensorFlow's own normal numbers take four times as long."""
    count = clip.shape.num_elements()
    bits = tf.random.stateless_uniform((-(-count // 2),), seed, None, None, tf.uint32, alg="philox")
    return _with_noise(clip, tf.reshape(tf.reshape(tf.bitcast(bits, tf.uint16), (-1,))[:count], clip.shape), deviation)


@tf.function(jit_compile=True)
def _with_noise(clip, bits, deviation):
    quantiles = tf.cast(bits, tf.float32) / 2**15 + (2.0**-16 - 1)  # the middles of 65,536 equal parts of -1 to 1
    return _bytes(tf.cast(clip, tf.float32) + deviation * math.sqrt(2) * tf.math.erfinv(quantiles))


def resized(clip, size):
    """(time, side, side, channels) to (time, size, size, channels) of the same dtype."""
    values = tf.image.resize(clip, (size, size))
    return tf.cast(tf.round(values) if clip.dtype.is_integer else values, clip.dtype)
