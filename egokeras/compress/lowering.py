"""Layers computed by others that have fast kernels. Above all those over time and space by layers over two axes: TFLite has no int8
kernel for Conv3D, and no pooling in 3D at all.

Each class here has the weights, the inputs and the outputs of the Keras layer that it stands for, exactly. A clip is reshaped to maps of
four axes, which costs nothing:

- *frames* `(batch * time, height, width, channels)`, on which what happens in space is a layer on pictures;
- *rows* `(batch, time, height * width, channels)`, on which what happens in time is a layer on pictures, too.

A convolution over both is one Conv2D on the frames: for every temporal tap the frame that it sees stands beside the others on the
channel axis. So each stays one kernel, which is quantized as a whole; the reshapes between two layers cancel, and the converter folds
BatchNorm and ReLU into the convolution before them, as in any network of pictures.

For int8 also the convolution that sees the pixels: its kernels take channels by fours and more, and three leave them half idle.
"""

import keras
from keras import layers, ops

from egokeras.errors import InputError

FEW = 4  # channels, so many as an int8 kernel takes at once, or less


def lowered(config, int8=False):
    """The configuration of a layer that lowers `config`'s layer, or `config` where there is nothing to lower.

    Args:
        config: of a layer.
        int8: whether for int8 kernels; some layers are slow in them alone.

    Raises:
        InputError: a Conv3D is dilated or grouped, or a layer has its channels before its maps.
    """
    name = config.get("class_name")
    kind = LOWERED.get(name) or (LOWERED_FOR_INT8.get(name) if int8 else None)
    if kind is None:
        return config
    settings = config["config"]
    dilated = max(settings.get("dilation_rate", (1,))) > 1
    foreign = "dilation" if dilated else "groups" if settings.get("groups", 1) > 1 else None
    if settings.get("data_format") == "channels_first" and kind is not LoweredZeroPadding3D:
        foreign = "channels first"
    if foreign and name.endswith("3D"):
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


def _places(size, kernel, stride, padding):
    """How often a kernel fits along an axis, and the zeros before and after it, as Keras pads."""
    if padding == "valid":
        return (size - kernel) // stride + 1, (0, 0)
    count = -(-size // stride)
    zeros = max(0, (count - 1) * stride + kernel - size)
    return count, (zeros // 2, zeros - zeros // 2)


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
        count, (before, _) = _places(time, kernel, stride, self.padding)
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


@keras.saving.register_keras_serializable(package="egokeras")
class LoweredZeroPadding2D(layers.ZeroPadding2D):
    """Zeros around maps of few channels, whose rows are moved as a whole; other maps as they are."""

    def call(self, maps):
        return _padded(maps, *self.padding) if maps.shape[-1] <= FEW and self.data_format == "channels_last" else super().call(maps)


@keras.saving.register_keras_serializable(package="egokeras")
class LoweredConv2D(layers.Conv2D):
    """Conv2D of few channels at every second column on pairs of neighbours, which has twice the channels; any other as it is."""

    def convolution_op(self, maps, kernel):
        zeros = self._zeros(maps)
        if zeros is None:
            return super().convolution_op(maps, kernel)
        maps, (tall, wide, channels, filters) = _padded(maps, *zeros), kernel.shape
        _, height, width, _ = maps.shape
        kernel = ops.reshape(ops.pad(kernel, [(0, 0), (0, wide % 2), (0, 0), (0, 0)]), (tall, -1, 2 * channels, filters))
        return ops.conv(ops.reshape(maps, (-1, height, width // 2, 2 * channels)), kernel, (self.strides[0], 1), "valid")

    def _zeros(self, maps):
        """Before and after in height and in width, with which all is pairs; None where it cannot be, or need not."""
        few = maps.shape[-1] <= FEW and self.data_format == "channels_last" and self.groups == 1 and self.padding in ("same", "valid")
        if not few or self.strides[1] != 2 or max(self.dilation_rate) > 1:
            return None
        (_, rows), (count, (left, _)) = map(_places, maps.shape[1:3], self.kernel_size, self.strides, [self.padding] * 2)
        pairs = count + -(-self.kernel_size[1] // 2) - 1
        right = 2 * pairs - maps.shape[2] - left
        return (rows, (left, right)) if right >= 0 else None


def _padded(maps, rows, columns):
    """Maps with zeros before and after, a row of pixels as one line."""
    _, height, width, channels = maps.shape
    lines = ops.reshape(maps, (-1, height, width * channels))
    if any(rows + columns):
        lines = ops.pad(lines, [(0, 0), rows, tuple(channels * count for count in columns)])
    return ops.reshape(lines, (-1, height + sum(rows), width + sum(columns), channels))


def _by_name(*kinds):
    """Name of the layer that each stands for to it."""
    return {kind.__bases__[-1].__name__: kind for kind in kinds}


LOWERED = _by_name(
    LoweredConv3D, LoweredMaxPooling3D, LoweredAveragePooling3D, LoweredGlobalAveragePooling3D, LoweredGlobalMaxPooling3D,
    LoweredZeroPadding3D, LoweredAdaptiveAveragePooling2D, LoweredBatchNormalization,
)  # fmt: skip
LOWERED_FOR_INT8 = _by_name(LoweredConv2D, LoweredZeroPadding2D)
