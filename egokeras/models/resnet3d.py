"""3D ResNets on a whole clip: Hara et al., "Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?" (CVPR 2018).

Post-activation residual networks with 3x3x3 kernels, https://arxiv.org/abs/1711.09577; the encoder of SKD-SRL. Strided layers pad both
sides alike and BatchNorm has the settings of the published network, so that weights trained elsewhere mean the same here.
"""

import dataclasses
import typing

import keras
from keras import layers

from egokeras.errors import InputError
from egokeras.layers import NormalizePixels
from egokeras.models.frame_model import agreed
from egokeras.models.mobilenet_v2 import NORMALIZATION

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
EXPANSION = 4  # of a bottleneck's last convolution, from depth 50 on


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResNet3D:
    """A residual network of 3D convolutions; its published input is 16 frames of 112 pixels.

    The built model holds two nested models, `backbone` and `head` (one Dense per label space).

    Attributes:
        depth: 18 or 34 (blocks of two 3x3x3 convolutions), or 50 (bottlenecks 1x1x1, 3x3x3, 1x1x1).
        width: channels of the first stage; each of the three others has twice those of the one before. 64 is the published network.
        shortcut: where the shape changes, `B` is a 1x1x1 convolution with BatchNorm, `A` every other voxel and channels of zeros.
        frames: frames per clip; None takes what the data has.
        size: height and width in pixels; None takes what the data has.
    """

    depth: typing.Literal[18, 34, 50] = 18
    width: int = 64
    shortcut: typing.Literal["A", "B"] = "B"
    frames: int | None = None
    size: int | None = None

    def __post_init__(self):
        for field, known in (("depth", tuple(BLOCKS)), ("shortcut", ("A", "B"))):
            if getattr(self, field) not in known:
                raise InputError(f"model.{field} is {getattr(self, field)!r}; it must be one of {', '.join(map(str, known))}.")
        if self.width < 1:
            raise InputError(f"model.width is {self.width}; give at least 1.")

    def build(self, *, classes, frames=None, size=None):
        """Model `rgb` `(batch, frames, size, size, 3)` uint8 -> `{space: logits (batch, classes[space]), "features": (batch, channels)}`.

        `features` is the mean over time and space of the last stage, 8 (depth 18 and 34) or 32 times `width` channels.

        Args:
            classes: label space to number of classes.
            frames, size: of the data; must agree with the fields of the same name where those are set.

        Raises:
            InputError: a field contradicts the data.
        """
        frames, size = agreed("frames", self.frames, frames), agreed("size", self.size, size)
        rgb = keras.Input((frames, size, size, 3), dtype="uint8", name="rgb")
        backbone = self._backbone(rgb)
        features = keras.Input(backbone.output.shape[1:], name="features")
        # logits stay float32 under mixed precision, as those of the temporal heads
        logits = {space: layers.Dense(count, dtype="float32", name=space)(features) for space, count in classes.items()}
        head = keras.Model({"features": features}, {**logits, "features": features}, name="head")
        return keras.Model({"rgb": rgb}, head({"features": backbone({"rgb": rgb})}))

    def _backbone(self, rgb):
        x = NormalizePixels(name="normalize", **NORMALIZATION["tf"])(rgb)
        x = _convolution(x, self.width, 7, (1, 2, 2), "conv1")
        x = layers.ReLU(name="conv1_relu")(x)
        x = layers.ZeroPadding3D(1, name="pool1_pad")(x)  # zeros are no more than what the ReLU leaves
        x = layers.MaxPooling3D(3, strides=2, name="pool1")(x)
        for stage, blocks in enumerate(BLOCKS[self.depth]):
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                x = self._block(x, self.width << stage, stride, f"stage{stage + 1}_block{block + 1}")
        return keras.Model({"rgb": rgb}, layers.GlobalAveragePooling3D(name="pool")(x), name="backbone")

    def _block(self, x, channels, stride, name):
        plan: tuple[tuple[int, int, int], ...]  # filters, kernel and stride of each convolution
        if self.depth >= 50:
            plan = ((channels, 1, 1), (channels, 3, stride), (EXPANSION * channels, 1, 1))
        else:
            plan = ((channels, 3, stride), (channels, 3, 1))
        y = x
        for i, (filters, kernel, step) in enumerate(plan, 1):
            y = _convolution(y, filters, kernel, step, f"{name}_conv{i}")
            if i < len(plan):
                y = layers.ReLU(name=f"{name}_relu{i}")(y)
        if stride != 1 or x.shape[-1] != y.shape[-1]:
            x = self._shortcut(x, y.shape[-1], stride, f"{name}_shortcut")
        return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, y]))

    def _shortcut(self, x, channels, stride, name):
        if self.shortcut == "B":
            return _convolution(x, channels, 1, stride, name)
        x = layers.MaxPooling3D(1, strides=stride, name=f"{name}_stride")(x)
        # "channels first" makes the last axis one that it pads
        missing = ((0, 0), (0, 0), (0, channels - x.shape[-1]))
        return layers.ZeroPadding3D(missing, data_format="channels_first", name=f"{name}_pad")(x)


def _convolution(x, filters, kernel, strides, name):
    """Convolution without bias, then BatchNorm; both sides padded by half the kernel."""
    same = kernel == 1 or strides == 1
    if not same:  # with strides, Keras' "same" pads an even size more at its end
        x = layers.ZeroPadding3D(kernel // 2, name=f"{name}_pad")(x)
    # an initializer of its own for each: a shared one would give layers of one shape equal weights
    he = keras.initializers.VarianceScaling(2.0, mode="fan_out", distribution="untruncated_normal")
    padding = "same" if same else "valid"
    x = layers.Conv3D(filters, kernel, strides, padding, use_bias=False, kernel_initializer=he, name=name)(x)
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(x)
