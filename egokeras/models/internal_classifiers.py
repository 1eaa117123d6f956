"""Internal classifiers: what answers, from a layer inside a network, a clip that may leave early.

Soufleri et al., "Advancing Compressed Video Action Recognition through Progressive Knowledge Distillation" (2024),
https://arxiv.org/abs/2407.02713.
"""

import dataclasses
import math

import keras
from keras import layers

from egokeras.errors import InputError
from egokeras.layers import FoldTime, UnfoldTime
from egokeras.models.resnet2d import batch_norm, he
from egokeras.models.temporal_heads import AverageHead, ConvNet1DHead, LSTMHead

GRID = 4  # cells per side that an internal classifier sees


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Tap:
    """Where an internal classifier sits, and what it is.

    On maps it is convolution - BatchNorm - 4x4 means - linear, without an activation, as published; on vectors it is linear alone.

    Attributes:
        tensor: maps (n, height, width, channels), maps over time (n, time, height, width, channels), of which the mean over time is seen,
            vectors (n, channels), or vectors over time (n, time, channels); n counts clips, or frames behind a `FoldTime`.
        name: what to call the place in an error.
        channels: of the convolution; None is as many as the tensor has.
        kernel: of the convolution, whose input is padded by 1.
        head: one of `temporal_heads`, which answers from the frames' cells or vectors in their order, where the linear layer and the mean
            over frames would not know it; None is the published classifier.
    """

    tensor: keras.KerasTensor
    name: str
    channels: int | None = None
    kernel: int = 3
    head: LSTMHead | ConvNet1DHead | AverageHead | None = None


def attach(model, taps, classes):
    """`model` with internal classifiers: outputs `{space}_exit_1` ... (batch, classes[space]) beside its own, means over the frames.

    Args:
        model: a functional model of clips with a dict of outputs.
        taps: `Tap`s, in the order in which they are computed.
        classes: label space to number of classes.

    Raises:
        InputError: a tensor is too small, or has another number of axes.
    """
    outputs = dict(model.output)
    for number, tap in enumerate(taps, 1):
        seen, frames = _seen(tap, f"exit_{number}"), _frames(model, tap.tensor)
        if len(seen.shape) == 3 and frames is not None:
            raise InputError(f"model: {tap.name} gives {tap.tensor.shape[1:]} for every frame; exits sit on maps and on vectors.")
        if tap.head is not None:
            outputs |= _headed(tap, seen, frames, classes, f"exit_{number}")
            continue
        for space, count in classes.items():
            outputs[f"{space}_exit_{number}"] = answer(seen, count, f"{space}_exit_{number}", frames)
    return keras.Model(model.input, outputs)


def _headed(tap, seen, frames, classes, name):
    """The answers of an exit with a head, by the names of their outputs."""
    over_time = seen if frames is None else UnfoldTime(frames, name=f"{name}_unfold")(seen)
    if len(over_time.shape) != 3:
        raise InputError(f"model.head: {tap.name} has no frames that a head could see in their order; leave model.head unset.")
    head = tap.head.build(feature_shape=over_time.shape[1:], classes=classes)
    found = keras.Model(head.input, {space: head.output[space] for space in classes}, name=f"{name}_head")({"features": over_time})
    return {f"{space}_{name}": logits for space, logits in found.items()}


def answer(seen, count, name, frames=None):
    """Logits of vectors, float32: one Dense, and the mean over time where there is one; the last layer has the name of the output.

    Args:
        seen: (n, channels) or (n, time, channels).
        count: of classes.
        name: of the output.
        frames: per clip, if n counts frames.
    """
    if frames is None and len(seen.shape) == 2:
        return layers.Dense(count, dtype="float32", name=name)(seen)
    return mean(layers.Dense(count, dtype="float32", name=f"{name}_linear")(seen), frames, name)


def mean(values, frames, name):
    """The mean over the frames of a clip, float32; the layer has the name of the output."""
    if frames is not None:
        values = UnfoldTime(frames, name=f"{name}_unfold")(values)
    return layers.GlobalAveragePooling1D(dtype="float32", name=name)(values)


def _seen(tap, name):
    """What the linear layer sees: (n, channels) or (n, time, channels)."""
    x, axes = tap.tensor, len(tap.tensor.shape) - 2
    if axes not in (2, 3):
        return x
    pad, convolution = (layers.ZeroPadding2D, layers.Conv2D) if axes == 2 else (layers.ZeroPadding3D, layers.Conv3D)
    x = pad(1, name=f"{name}_pad")(x)
    if min(x.shape[-3:-1]) < tap.kernel + GRID - 1 or min(x.shape[1:-1]) < tap.kernel:
        raise InputError(f"model: the map behind {tap.name} is too small for {GRID}x{GRID} cells; give larger pictures.")
    x = convolution(tap.channels or x.shape[-1], tap.kernel, use_bias=False, kernel_initializer=he(), name=f"{name}_conv")(x)
    x = batch_norm(x, f"{name}_bn")
    if axes == 3:  # the mean over time, of maps as they are
        _, time, *maps = x.shape
        x = layers.GlobalAveragePooling1D(name=f"{name}_time")(layers.Reshape((time, math.prod(maps)), name=f"{name}_rows")(x))
        x = layers.Reshape(maps, name=f"{name}_maps")(x)
    return layers.Flatten(name=f"{name}_flatten")(layers.AdaptiveAveragePooling2D(GRID, name=f"{name}_pool")(x))


def _frames(model, tensor):
    """Frames per clip where the first axis of `tensor` counts frames, else None."""
    before = keras.Model(model.input, tensor).layers
    if any(isinstance(layer, UnfoldTime) for layer in before):
        return None
    return next((layer.input.shape[1] for layer in before if isinstance(layer, FoldTime)), None)
