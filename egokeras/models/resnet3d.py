"""3D ResNets on a whole clip.

| `variant`   | `convolution` | network                                                                                        |
|-------------|---------------|------------------------------------------------------------------------------------------------|
| `hara`      | `3d`          | Hara et al., "Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?" (CVPR   |
|             |               | 2018), https://arxiv.org/abs/1711.09577: post-activation, cited by SKD-SRL for its encoder     |
| `tran`      | `3d`          | R3D of Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action Recognition"      |
|             |               | (CVPR 2018), https://arxiv.org/abs/1711.11248; depth 18 is torchvision's `r3d_18`              |
| `tran`      | `2plus1d`     | R(2+1)D of the same paper; depth 18 is torchvision's `r2plus1d_18`                             |
| `preact_tf` | `3d`          | pre-activation, by the authors of SKD-SRL in the code of "Teaching Yourself" (Vu et al., 2021) |

`2plus1d` factorises the other variants too; nobody has published those.
"""

import dataclasses
import typing

import keras
from keras import layers

from egokeras.errors import InputError
from egokeras.layers import FoldTime, NormalizePixels, UnfoldTime
from egokeras.models.convolution3d import Convolution3D, channels_between
from egokeras.models.frame_model import agreed
from egokeras.models.normalization import NORMALIZATION

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
EXPANSION = 4  # of a bottleneck's last convolution, from depth 50 on
POOLED_SIZE = 160  # pixels from which on `preact_tf` pools behind its stem; its authors do at 224 and do not at 112


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResNet3D:
    """A residual network of 3D convolutions; its published input is 16 frames of 112 pixels.

    The built model holds two nested models, `backbone` and `head` (one Dense per label space). Weight decay is the optimizer's: the L2
    of 5e-4 on the weights of `preact_tf` is no part of the model.

    Attributes:
        depth: 18 or 34 (blocks of two 3x3x3 convolutions), or 50 (bottlenecks 1x1x1, 3x3x3, 1x1x1).
        width: channels of the first stage; each of the three others has twice those of the one before. 64 is the published network.
        variant: `hara` and `tran` add, then activate. `hara` begins with 7x7x7 and a max-pool of stride 2, `tran` with 3x7x7 and no
            pool. `preact_tf` activates, then convolves; it begins with 7x7x7, from 160 pixels on a max-pool halves height and width
            once more, it has biases, and its `features` are the frames' means one after another. At 112 pixels `tran` and `preact_tf`
            cost 5 times the multiply-accumulates of `hara`, because nothing is pooled before stage 1.
        convolution: `3d`, or `2plus1d` for 1 x d x d and t x 1 x 1 in place of t x d x d. Both convolutions of a block have the same
            number of channels between the two, that of the first, as in torchvision; the paper's text gives each its own.
        shortcut: where the shape changes, `B` is a 1x1x1 convolution with BatchNorm (without one in `preact_tf`), `A` every other
            voxel and channels of zeros.
        dropout: share of the features that a training step leaves out before the classifier; None is the authors', 0.5 for `preact_tf`
            of depth 34 and 50 and otherwise 0.
        frames: frames per clip; None takes what the data has.
        size: height and width in pixels; None takes what the data has.
    """

    depth: typing.Literal[18, 34, 50] = 18
    width: int = 64
    variant: typing.Literal["hara", "tran", "preact_tf"] = "hara"
    convolution: typing.Literal["3d", "2plus1d"] = "3d"
    shortcut: typing.Literal["A", "B"] = "B"
    dropout: float | None = None
    frames: int | None = None
    size: int | None = None

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value, known = getattr(self, field.name), typing.get_args(field.type)
            if typing.get_origin(field.type) is typing.Literal and value not in known:
                raise InputError(f"model.{field.name} is {value!r}; it must be one of {', '.join(map(str, known))}.")
        if self.width < 1:
            raise InputError(f"model.width is {self.width}; give at least 1.")
        if self.variant == "preact_tf" and self.shortcut == "A":
            raise InputError("model.shortcut is 'A', but model.variant 'preact_tf' only has 'B'; set model.shortcut=B.")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise InputError(f"model.dropout is {self.dropout}; give at least 0 and less than 1.")

    def build(self, *, classes, frames=None, size=None):
        """Model `rgb` `(batch, frames, size, size, 3)` uint8 -> `{space: logits (batch, classes[space]), "features": (batch, channels)}`.

        `features` is the mean over time and space of the last stage, 8 (depth 18 and 34) or 32 times `width` channels; with `preact_tf`
        the mean over space, `ceil(frames / 8)` times as many.

        Args:
            classes: label space to number of classes.
            frames, size: of the data; must agree with the fields of the same name where those are set.

        Raises:
            InputError: a field contradicts the data.
        """
        frames, size = agreed("frames", self.frames, frames), agreed("size", self.size, size)
        rgb = keras.Input((frames, size, size, 3), dtype="uint8", name="rgb")
        backbone = self._backbone(rgb)
        head = self._head(backbone.output.shape[1:], classes)
        return keras.Model({"rgb": rgb}, head({"features": backbone({"rgb": rgb})}))

    def _head(self, shape, classes):
        features = x = keras.Input(shape, name="features")
        preact = self.variant == "preact_tf"
        rate = (0.5 if preact and self.depth >= 34 else 0.0) if self.dropout is None else self.dropout
        # from here on float32 under mixed precision, as the logits of the temporal heads
        if rate:
            x = layers.Dropout(rate, dtype="float32", name="dropout")(x)
        initializer = "he_normal" if preact else "glorot_uniform"
        logits = {
            space: layers.Dense(count, kernel_initializer=initializer, dtype="float32", name=space)(x) for space, count in classes.items()
        }
        embedding = layers.Identity(name="embedding")(features)  # a model inside another that hands on its own input cannot be copied
        return keras.Model({"features": features}, {**logits, "features": embedding}, name="head")

    def _backbone(self, rgb):
        preact = self.variant == "preact_tf"
        x = NormalizePixels(name="normalize", **NORMALIZATION["tf"])(rgb)
        x = self._stem(x)
        for stage, blocks in enumerate(BLOCKS[self.depth]):
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                add = self._preactivated if preact else self._postactivated
                x = add(x, self.width << stage, stride, f"stage{stage + 1}_block{block + 1}")
        if preact:
            x = layers.ReLU(name="last_relu")(self._convolve.normalize(x, "last_bn"))
            frames = layers.GlobalAveragePooling2D(name="pool")(FoldTime(name="fold_time")(x))
            x = layers.Flatten(name="flatten")(UnfoldTime(x.shape[1], name="unfold_time")(frames))
        else:
            x = layers.GlobalAveragePooling3D(name="pool")(x)
        return keras.Model({"rgb": rgb}, x, name="backbone")

    @property
    def _convolve(self):
        return Convolution3D(habits="tensorflow" if self.variant == "preact_tf" else "torch", factorised=self.convolution == "2plus1d")

    def _stem(self, x):
        size, tran = x.shape[2], self.variant == "tran"
        kernel = (3 if tran else 7, 7, 7)
        between = max(1, 45 * self.width // 64) if tran else None  # the published 45, where the formula says 83
        x = self._convolve(x, self.width, kernel, (1, 2, 2), "conv1", between)
        x = layers.ReLU(name="conv1_relu")(self._convolve.normalize(x, "conv1_bn"))
        if self.variant == "hara":
            x = layers.ZeroPadding3D(1, name="pool1_pad")(x)  # zeros are no more than what the ReLU leaves
            x = layers.MaxPooling3D(3, strides=2, name="pool1")(x)
        elif self.variant == "preact_tf" and size >= POOLED_SIZE:
            x = layers.MaxPooling3D(3, strides=(1, 2, 2), padding="same", name="pool1")(x)
        return x

    def _plan(self, entering, channels, stride):
        """Filters, kernel, stride of each convolution of a block, and channels between the factors of a (2+1)D one."""
        if self.depth < 50:
            between = channels_between(entering, channels, (3, 3, 3))
            return (channels, 3, stride, between), (channels, 3, 1, between)
        first, second = (stride, 1) if self.variant == "preact_tf" else (1, stride)
        return (channels, 1, first, None), (channels, 3, second, None), (EXPANSION * channels, 1, 1, None)

    def _postactivated(self, x, channels, stride, name):
        y, plan = x, self._plan(x.shape[-1], channels, stride)
        for i, (filters, kernel, step, between) in enumerate(plan, 1):
            y = self._convolve(y, filters, (kernel,) * 3, (step,) * 3, f"{name}_conv{i}", between)
            y = self._convolve.normalize(y, f"{name}_conv{i}_bn")
            if i < len(plan):
                y = layers.ReLU(name=f"{name}_relu{i}")(y)
        if stride != 1 or x.shape[-1] != y.shape[-1]:
            x = self._shortcut(x, y.shape[-1], stride, f"{name}_shortcut")
        return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, y]))

    def _preactivated(self, x, channels, stride, name):
        y = x
        for i, (filters, kernel, step, between) in enumerate(self._plan(x.shape[-1], channels, stride), 1):
            if i > 1 or name != "stage1_block1":  # to the first of all the stem has just done it
                y = layers.ReLU(name=f"{name}_relu{i}")(self._convolve.normalize(y, f"{name}_bn{i}"))
            y = self._convolve(y, filters, (kernel,) * 3, (step,) * 3, f"{name}_conv{i}", between)
        if stride != 1 or x.shape[-1] != y.shape[-1]:  # of what enters the block, not of its activation
            x = layers.Conv3D(y.shape[-1], 1, stride, name=f"{name}_shortcut")(x)
        return layers.Add(name=f"{name}_add")([x, y])

    def _shortcut(self, x, channels, stride, name):
        if self.shortcut == "B":
            return self._convolve.normalize(self._convolve(x, channels, (1, 1, 1), (stride,) * 3, name), f"{name}_bn")
        x = layers.MaxPooling3D(1, strides=stride, name=f"{name}_stride")(x)
        # "channels first" makes the last axis one that it pads
        missing = ((0, 0), (0, 0), (0, channels - x.shape[-1]))
        return layers.ZeroPadding3D(missing, data_format="channels_first", name=f"{name}_pad")(x)
