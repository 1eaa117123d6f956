"""Models as frozen dataclasses with `build()`, and the report's systems as plain functions that return a `keras.Model`."""

from egokeras.models.frame_model import FrameModel
from egokeras.models.mobilenet_v2 import Backbone, SmallBackbone
from egokeras.models.temporal_heads import AverageHead, ConvLSTMHead, ConvNet1DHead, LSTMHead

__all__ = [
    "AverageHead", "Backbone", "ConvLSTMHead", "ConvNet1DHead", "FrameModel", "LSTMHead", "MobileNetV2Average", "MobileNetV2ConvLSTM",
    "MobileNetV2ConvNet1D", "MobileNetV2LSTM", "SmallBackbone",
]  # fmt: skip


def MobileNetV2LSTM(classes, *, frames=20, size=224, backbone=Backbone(), head=LSTMHead()):  # noqa: B008  frozen dataclasses
    """MobileNetV2 on every frame and an LSTM: `rgb` `(batch, frames, size, size, 3)` uint8 -> logits by label space.

    Args:
        classes: a number (one label space, `action`) or a mapping such as `{"verb": 97, "noun": 300}`.
        frames, size: of a clip, in frames and pixels.
        backbone, head: see `Backbone` and `temporal_heads`.
    """
    return _build(classes, frames, size, backbone, head)


def MobileNetV2ConvLSTM(classes, *, frames=20, size=224, backbone=Backbone(), head=ConvLSTMHead()):  # noqa: B008
    """MobileNetV2 on every frame and a ConvLSTM over its maps; arguments as for `MobileNetV2LSTM`."""
    return _build(classes, frames, size, backbone, head)


def MobileNetV2ConvNet1D(classes, *, frames=20, size=224, backbone=Backbone(), head=ConvNet1DHead()):  # noqa: B008
    """MobileNetV2 on every frame and convolutions over time; arguments as for `MobileNetV2LSTM`."""
    return _build(classes, frames, size, backbone, head)


def MobileNetV2Average(classes, *, frames=20, size=224, backbone=Backbone(), head=AverageHead()):  # noqa: B008
    """MobileNetV2 on every frame and the mean over time, a control; arguments as for `MobileNetV2LSTM`."""
    return _build(classes, frames, size, backbone, head)


def _build(classes, frames, size, backbone, head):
    classes = {"action": classes} if isinstance(classes, int) else classes
    return FrameModel(backbone=backbone, head=head).build(classes=classes, frames=frames, size=size)
