"""2D ResNets on pictures of any modality, frame by frame.

He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016), https://arxiv.org/abs/1512.03385.
"""

import dataclasses
import typing

import keras
from keras import layers

from egokeras.errors import InputError
from egokeras.layers import FoldTime, UnfoldTime
from egokeras.models.normalization import normalized

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
EXPANSION = 4  # of a bottleneck's last convolution, from depth 50 on


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResNet2D:
    """A ResNet on every frame, from random weights; its published input is 224 pixels.

    Attributes:
        depth: 18, 34 or 50.
        width: channels of the first stage; 64 is the published network.
    """

    depth: typing.Literal[18, 34, 50] = 18
    width: int = 64
    frozen = False

    def __post_init__(self):
        if self.depth not in BLOCKS:
            raise InputError(f"backbone.depth is {self.depth!r}; it must be one of {', '.join(map(str, BLOCKS))}.")

    def build(self, *, frames, size, pool, modality="rgb", channels=3):
        """Model `modality` `(batch, frames, size, size, channels)` uint8 -> features `(batch, frames, features)`, or maps if not `pool`."""
        clip = keras.Input((frames, size, size, channels), dtype="uint8", name=modality)
        x = stages(normalized(FoldTime(name="fold_time")(clip), "torch", modality), self.depth, self.width)[-1]
        if pool:
            x = layers.GlobalAveragePooling2D(name="pool")(x)
        return keras.Model({modality: clip}, UnfoldTime(frames, name="unfold_time")(x), name="backbone")


def stages(x, depth, width):
    """The outputs of the four stages of a ResNet, on pictures (batch, height, width, channels) that are normalised."""
    x = layers.ReLU(name="conv1_relu")(batch_norm(convolution(x, width, 7, 2, "conv1"), "conv1_bn"))
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)  # zeros are no more than what the ReLU leaves
    x = layers.MaxPooling2D(3, 2, name="pool1")(x)
    found = []
    for stage, blocks in enumerate(BLOCKS[depth]):
        for block in range(blocks):
            x = _block(x, depth, width << stage, 2 if stage and not block else 1, f"stage{stage + 1}_block{block + 1}")
        found.append(x)
    return found


def _block(x, depth, channels, stride, name):
    plan = [(channels, 3, stride), (channels, 3, 1)]
    if depth >= 50:  # the stride on the 3x3, as in the weights that are around
        plan = [(channels, 1, 1), (channels, 3, stride), (EXPANSION * channels, 1, 1)]
    y = x
    for number, (filters, kernel, step) in enumerate(plan, 1):
        y = batch_norm(convolution(y, filters, kernel, step, f"{name}_conv{number}"), f"{name}_conv{number}_bn")
        if number < len(plan):
            y = layers.ReLU(name=f"{name}_relu{number}")(y)
    if stride != 1:  # before the convolution and not in it: oneDNN's gradient of a 1x1 convolution with a stride overruns its memory
        x = layers.MaxPooling2D(1, stride, name=f"{name}_shortcut_stride")(x)
    if x.shape[-1] != y.shape[-1] or stride != 1:
        x = batch_norm(convolution(x, y.shape[-1], 1, 1, f"{name}_shortcut"), f"{name}_shortcut_bn")
    return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, y]))


def he():
    """Initial weights of a convolution that a ReLU follows."""
    return keras.initializers.VarianceScaling(2.0, mode="fan_out", distribution="untruncated_normal")


def convolution(x, filters, kernel, strides, name):
    """Without a bias; both sides padded by half the kernel."""
    if kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
    return layers.Conv2D(filters, kernel, strides, use_bias=False, kernel_initializer=he(), name=name)(x)


def batch_norm(x, name):
    """Statistics that follow the last ten batches."""
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)
