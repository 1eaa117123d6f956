"""Every Keras class of ours that a saved student may contain; importing this package registers them.

A clip is `(batch, time, height, width, channels)`; a per-frame network sees its frames as one large batch.
"""

import keras
import numpy as np

from egokeras.layers.action_history import DrawTimes, EmbedPastActions, KnownAt
from egokeras.layers.gated_recurrence import GatedRecurrence
from egokeras.layers.past_actions import PastActions
from egokeras.layers.rulstm import RollingLSTM, UnrollingLSTM, WeightedSum

__all__ = [
    "DrawTimes", "EmbedPastActions", "FoldTime", "GatedRecurrence", "KnownAt", "NormalizePixels", "PastActions", "RollingLSTM",
    "UnfoldTime", "UnrollingLSTM", "WeightedSum",
]  # fmt: skip


@keras.saving.register_keras_serializable(package="egokeras")
class FoldTime(keras.layers.Layer):
    """`(batch, time, ...)` to `(batch * time, ...)`: every frame becomes an item of the batch.

    Unlike `TimeDistributed` it does not copy the per-frame network once per frame when exported.
    """

    def call(self, clip):
        return keras.ops.reshape(clip, (-1, *clip.shape[2:]))

    def compute_output_shape(self, shape):
        return (None if shape[0] is None else shape[0] * shape[1], *shape[2:])


@keras.saving.register_keras_serializable(package="egokeras")
class UnfoldTime(keras.layers.Layer):
    """`(batch * time, ...)` back to `(batch, time, ...)`.

    Args:
        time: frames per clip.
    """

    def __init__(self, time, **kwargs):
        super().__init__(**kwargs)
        self.time = time

    def call(self, frames):
        return keras.ops.reshape(frames, (-1, self.time, *frames.shape[1:]))

    def compute_output_shape(self, shape):
        return (None if shape[0] is None else shape[0] // self.time, self.time, *shape[1:])

    def get_config(self):
        return {**super().get_config(), "time": self.time}


@keras.saving.register_keras_serializable(package="egokeras")
class NormalizePixels(keras.layers.Layer):
    """Pixels 0..255 in RGB to what a pretrained backbone expects: `(pixels - mean) / deviation`, channel by channel.

    The subtraction comes first: in int8 it is then exact for all 256 levels, and the division melts into the next convolution.

    Args:
        mean, deviation: three numbers each, in pixels and in the order of the output's channels.
        bgr: reverse the channels first (the Caffe convention).
    """

    def __init__(self, mean, deviation, bgr=False, **kwargs):
        super().__init__(**kwargs)
        self.mean, self.deviation, self.bgr = tuple(mean), tuple(deviation), bgr

    def call(self, pixels):
        pixels = keras.ops.cast(pixels, self.compute_dtype)
        if self.bgr:
            pixels = keras.ops.flip(pixels, axis=-1)
        width = pixels.shape[-2]
        return (pixels - self._constant(self.mean, width)) * self._constant([1 / deviation for deviation in self.deviation], width)

    def _constant(self, values, width):
        """One number where all channels agree: TFLite folds a scalar into the next convolution, but computes with a vector.

        Else a whole row of pixels, `(width, channels)`: with three numbers XNNPACK would be called for every pixel by itself.
        """
        values = values[0] if len(set(values)) == 1 else np.tile(values, (width or 1, 1))
        return keras.ops.cast(values, self.compute_dtype)

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return {**super().get_config(), "mean": list(self.mean), "deviation": list(self.deviation), "bgr": self.bgr}
