"""Convolutions over time and space, whole or as (2+1)D, with the BatchNorm that goes with them."""

import dataclasses
import typing

import keras
from keras import layers


@dataclasses.dataclass(frozen=True, kw_only=True)
class Convolution3D:
    """A convolution in the habits of the framework that a network was published in, so that weights trained there mean the same here.

    Attributes:
        habits: `torch` has no bias, pads both sides by half the kernel, begins as He's normal by fan-out, and its BatchNorm has momentum
            0.9 and epsilon 1e-5. `tensorflow` has a bias, pads as "same" (an even size more at its end), begins as He's truncated normal by
            fan-in, and its BatchNorm has momentum 0.99 and epsilon 1e-3.
        factorised: (2+1)D of Tran et al. 2018, https://arxiv.org/abs/1711.11248: a t x d x d kernel becomes 1 x d x d, which takes the
            stride of space, BatchNorm, ReLU and t x 1 x 1, which takes the stride of time. 1x1x1 stays whole.
    """

    habits: typing.Literal["torch", "tensorflow"] = "torch"
    factorised: bool = False

    def __call__(self, x, filters, kernel, strides, name, between=None):
        """`x` `(batch, time, height, width, channels)` convolved, without BatchNorm behind it.

        Args:
            kernel, strides: three numbers each: time, height, width.
            between: channels between the factors; None is `channels_between`.
        """
        if not self.factorised or kernel == (1, 1, 1):
            return self._whole(x, filters, kernel, strides, name)
        between = between or channels_between(x.shape[-1], filters, kernel)
        x = self._whole(x, between, (1, *kernel[1:]), (1, *strides[1:]), f"{name}_spatial")
        x = layers.ReLU(name=f"{name}_spatial_relu")(self.normalize(x, f"{name}_spatial_bn"))
        return self._whole(x, filters, (kernel[0], 1, 1), (strides[0], 1, 1), f"{name}_temporal")

    def normalize(self, x, name):
        """BatchNorm."""
        momentum, epsilon = (0.9, 1e-5) if self.habits == "torch" else (0.99, 1e-3)
        return layers.BatchNormalization(momentum=momentum, epsilon=epsilon, name=name)(x)

    def _whole(self, x, filters, kernel, strides, name):
        torch = self.habits == "torch"
        same = not torch or max(kernel) == 1 or max(strides) == 1
        if not same:
            x = layers.ZeroPadding3D(tuple(length // 2 for length in kernel), name=f"{name}_pad")(x)
        # an initializer of its own for each: a shared one would give layers of one shape equal weights
        scaling = {"mode": "fan_out", "distribution": "untruncated_normal"} if torch else {"mode": "fan_in"}
        he = keras.initializers.VarianceScaling(2.0, **scaling)
        padding = "same" if same else "valid"
        return layers.Conv3D(filters, kernel, strides, padding, use_bias=not torch, kernel_initializer=he, name=name)(x)


def channels_between(entering, leaving, kernel):
    """Channels between the factors with which (2+1)D has at most the weights of the whole convolution (Tran et al., section 3.5)."""
    time, *space = kernel
    area = space[0] * space[1]
    return time * area * entering * leaving // (area * entering + time * leaving)
