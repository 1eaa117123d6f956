"""Layers computed by others that have fast kernels. Above all those over time and space by layers over two axes: TFLite has no int8
kernel for Conv3D, and no pooling in 3D at all.

Each class here has the weights, the inputs and the outputs of the Keras layer that it stands for, exactly. A clip is reshaped to maps of
four axes, which costs nothing:

- *frames* `(batch * time, height, width, channels)`, on which what happens in space is a layer on pictures;
- *rows* `(batch, time, height * width, channels)`, on which what happens in time is a layer on pictures, too.

A convolution over both is one Conv2D on the frames: for every temporal tap the frame that it sees stands beside the others on the
channel axis. So each stays one kernel, which is quantized as a whole; the reshapes between two layers cancel, and the converter folds
BatchNorm and ReLU into the convolution before them, as in any network of pictures.
"""

import keras
from keras import layers, ops

from egokeras.errors import InputError


def lowered(config):
    """The configuration of a layer that lowers `config`'s layer, or `config` where there is nothing to lower.

    Raises:
        InputError: a Conv3D is dilated or grouped, or a layer has its channels before its maps.
    """
    kind = LOWERED.get(config.get("class_name"))
    if kind is None:
        return config
    settings = config["config"]
    dilated = max(settings.get("dilation_rate", (1,))) > 1
    foreign = "dilation" if dilated else "groups" if settings.get("groups", 1) > 1 else None
    if settings.get("data_format") == "channels_first" and kind not in (LoweredZeroPadding3D, LoweredAdaptiveAveragePooling2D):
        foreign = "channels first"
    if foreign:
        found = f"layer {settings['name']} is a {config['class_name']} with {foreign}"
        raise InputError(f"{found}, which TFLite cannot compute and egokeras cannot lower; build the model without.")
    registered = keras.saving.get_registered_name(kind)
    return {**config, "module": kind.__module__, "class_name": kind.__name__, "registered_name": registered}


def _frames(clip):
    return ops.reshape(clip, (-1, *clip.shape[2:]))


def _rows(clip):
    _, time, height, width, channels = clip.shape
    return ops.reshape(clip, (-1, time, height * width, channels))


def _of_frames(frames, time):
    return ops.reshape(frames, (-1, time, *frames.shape[1:]))


def _of_rows(rows, height):
    _, time, area, channels = rows.shape
    return ops.reshape(rows, (-1, time, height, area // height, channels))


@keras.saving.register_keras_serializable(package="egokeras")
class LoweredConv3D(layers.Conv3D):
    """Conv3D as one Conv2D: on rows where the kernel is of time alone, else on frames side by side."""

    def call(self, clip):
        _, _, height, width, channels = clip.shape
        rows, kernel, stride = _rows(clip), ops.cast(self.kernel, self.compute_dtype), self.strides[0]
        if self.kernel_size[1:] == self.strides[1:] == (1, 1):
            return _of_rows(self._convolved(rows, kernel[:, :, 0], (stride, 1)), height)
        # a stride longer than the kernel sees zero times what it skips: of a slice alone TFLite's quantizer makes a float convolution
        length = max(self.kernel_size[0], stride)
        kernel = ops.pad(kernel, [(0, length - self.kernel_size[0]), *[(0, 0)] * 4])
        kernel = ops.reshape(ops.transpose(kernel, (1, 2, 0, 3, 4)), (*self.kernel_size[1:], length * channels, self.filters))
        taps = self._taps(rows, length)
        frames = ops.reshape(taps, (-1, height, width, length * channels))
        return _of_frames(self._convolved(frames, kernel, self.strides[1:]), taps.shape[1])

    def _taps(self, rows, length):
        """What each of `length` temporal taps sees, side by side: (batch, new time, area, length * channels)."""
        _, time, area, channels = rows.shape
        kernel, stride = self.kernel_size[0], self.strides[0]
        count = -(-time // stride) if self.padding == "same" else (time - kernel) // stride + 1
        before = max(0, (count - 1) * stride + kernel - time) // 2 if self.padding == "same" else 0
        whole = -(-max(before + time, (count - 1) * stride + length) // stride)  # strides
        if whole * stride > time:
            rows = ops.pad(rows, [(0, 0), (before, whole * stride - time - before), (0, 0), (0, 0)])
        # the frames of a stride one below the other, so that every tap is a slice without gaps, for which there is a fast kernel
        strides = ops.reshape(rows, (-1, whole, stride * area, channels))
        taps = []
        for tap in range(length):
            first, phase = divmod(tap, stride)
            taps.append(strides[:, first : first + count, phase * area : (phase + 1) * area])
        return ops.concatenate(taps, axis=-1) if length > 1 else taps[0]

    def _convolved(self, maps, kernel, strides):
        maps = ops.conv(maps, kernel, strides, self.padding)
        return self.activation(maps + ops.cast(self.bias, maps.dtype) if self.use_bias else maps)


def _pooled(layer, clip, pool):
    """Pooling in space, then in time, by `pool` of two axes."""
    time, *space = zip(layer.pool_size, layer.strides, strict=True)
    if space != [(1, 1), (1, 1)]:
        clip = _of_frames(pool(_frames(clip), *zip(*space, strict=True), layer.padding), clip.shape[1])
    if time != (1, 1):
        clip = _of_rows(pool(_rows(clip), *((length, 1) for length in time), layer.padding), clip.shape[2])
    return clip


@keras.saving.register_keras_serializable(package="egokeras")
class LoweredMaxPooling3D(layers.MaxPooling3D):
    """Maximum of maxima."""

    def call(self, clip):
        return _pooled(self, clip, ops.max_pool)


@keras.saving.register_keras_serializable(package="egokeras")
class LoweredAveragePooling3D(layers.AveragePooling3D):
    """Mean of means; padding counts in neither."""

    def call(self, clip):
        return _pooled(self, clip, ops.average_pool)


def _pooled_globally(layer, clip, reduce):
    """The frames of a clip as one picture, one below the other, reduced to a value per channel."""
    _, time, height, width, channels = clip.shape
    values = reduce(ops.reshape(clip, (-1, time * height, width, channels)), axis=(1, 2))
    return ops.reshape(values, (-1, 1, 1, 1, channels)) if layer.keepdims else values


@keras.saving.register_keras_serializable(package="egokeras")
class LoweredGlobalAveragePooling3D(layers.GlobalAveragePooling3D):
    """Mean over time and space."""

    def call(self, clip):
        return _pooled_globally(self, clip, ops.mean)


@keras.saving.register_keras_serializable(package="egokeras")
class LoweredGlobalMaxPooling3D(layers.GlobalMaxPooling3D):
    """Maximum over time and space."""

    def call(self, clip):
        return _pooled_globally(self, clip, ops.max)


@keras.saving.register_keras_serializable(package="egokeras")
class LoweredZeroPadding3D(layers.ZeroPadding3D):
    """Zeros before and after in time, then in space or, with channels first, on the last axis, which then holds the channels."""

    def call(self, clip):
        first = self.data_format == "channels_first"
        time, *space = [(0, 0), *self.padding] if first else [*self.padding, (0, 0)]
        if any(time):
            clip = _of_rows(ops.pad(_rows(clip), [(0, 0), time, (0, 0), (0, 0)]), clip.shape[2])
        return _of_frames(ops.pad(_frames(clip), [(0, 0), *space]), clip.shape[1])


@keras.saving.register_keras_serializable(package="egokeras")
class LoweredAdaptiveAveragePooling2D(layers.AdaptiveAveragePooling2D):
    """Plain pooling where its cells are of one size; Keras pools with two sizes at every place and then picks."""

    def call(self, maps):
        sizes = [size / cells for size, cells in zip(maps.shape[1:3], self.output_size, strict=True)]
        if self.data_format == "channels_first" or not all(map(float.is_integer, sizes)):
            return super().call(maps)
        return ops.average_pool(maps, tuple(map(int, sizes)))


@keras.saving.register_keras_serializable(package="egokeras")
class LoweredBatchNormalization(layers.BatchNormalization):
    """BatchNorm of the channels of a clip on its frames, where the converter can fold it; anything else as it is."""

    def call(self, inputs, **kwargs):
        if len(inputs.shape) != 5 or self.axis != -1:
            return super().call(inputs, **kwargs)
        return _of_frames(super().call(_frames(inputs), **kwargs), inputs.shape[1])


LOWERED = {
    kind.__bases__[-1].__name__: kind
    for kind in (
        LoweredConv3D, LoweredMaxPooling3D, LoweredAveragePooling3D, LoweredGlobalAveragePooling3D, LoweredGlobalMaxPooling3D,
        LoweredZeroPadding3D, LoweredAdaptiveAveragePooling2D, LoweredBatchNormalization,
    )
}  # fmt: skip
