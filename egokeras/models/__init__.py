"""Models as frozen dataclasses with `build()`, and the published ones as plain functions that return a `keras.Model`."""

from egokeras.models.anticipation import RULSTM, AnticipationLSTM, Vocabulary
from egokeras.models.early_exit import EarlyExitResNet
from egokeras.models.frame_model import FrameModel
from egokeras.models.mobilenet_v2 import Backbone, SmallBackbone
from egokeras.models.past_actions import PastActionsLSTM
from egokeras.models.resnet2d import ResNet2D
from egokeras.models.resnet3d import ResNet3D
from egokeras.models.temporal_heads import AverageHead, ConsensusHead, ConvLSTMHead, ConvNet1DHead, LSTMHead
from egokeras.models.two_stream import TwoStream
from egokeras.models.with_exits import WithExits
from egokeras.protocol import OBSERVATIONS

__all__ = [
    "RULSTM", "AnticipationLSTM", "AverageHead", "Backbone", "ConsensusHead", "ConvLSTMHead", "ConvNet1DHead", "EarlyExitResNet",
    "EncoderDecoderLSTM", "FrameModel", "LSTMHead", "MobileNetV2Average", "MobileNetV2ConvLSTM", "MobileNetV2ConvNet1D", "MobileNetV2LSTM",
    "PastActionsLSTM", "R2Plus1D18", "ResNet2D", "ResNet3D", "ResNet3D18", "ResNet3D34", "ResNet3D50", "RollingUnrollingLSTM",
    "SmallBackbone", "TwoStream", "Vocabulary", "WithExits",
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


def ResNet3D18(classes, *, frames=16, size=112, variant="hara", shortcut="B"):
    """3D ResNet-18: `rgb` `(batch, frames, size, size, 3)` uint8 -> logits by label space, and `features` `(batch, 512)`.

    Args:
        classes: a number (one label space, `action`) or a mapping such as `{"verb": 97, "noun": 300}`.
        frames, size: of a clip, in frames and pixels.
        variant: `hara`, `tran` or `preact_tf`, whose features are 512 for every 8 frames; see `ResNet3D`.
        shortcut: `A` or `B`, see `ResNet3D`.
    """
    return ResNet3D(depth=18, variant=variant, shortcut=shortcut).build(classes=_by_space(classes), frames=frames, size=size)


def ResNet3D34(classes, *, frames=16, size=112, variant="hara", shortcut="B"):
    """3D ResNet-34; arguments and outputs as for `ResNet3D18`."""
    return ResNet3D(depth=34, variant=variant, shortcut=shortcut).build(classes=_by_space(classes), frames=frames, size=size)


def ResNet3D50(classes, *, frames=16, size=112, variant="hara", shortcut="B"):
    """3D ResNet-50, 2048 features for 512; arguments as for `ResNet3D18`."""
    return ResNet3D(depth=50, variant=variant, shortcut=shortcut).build(classes=_by_space(classes), frames=frames, size=size)


def R2Plus1D18(classes, *, frames=16, size=112):
    """R(2+1)D-18, convolutions over space and time in turn; arguments and outputs as for `ResNet3D18`."""
    model = ResNet3D(depth=18, variant="tran", convolution="2plus1d")
    return model.build(classes=_by_space(classes), frames=frames, size=size)


def EncoderDecoderLSTM(classes, features, *, units=1024, dropout=0.8):
    """The LSTM baseline of anticipation: 14 observations of each modality -> logits by label space `(batch, 8, classes)`.

    Args:
        classes: a number (one label space, `action`) or a mapping such as `{"verb": 97, "noun": 300}`.
        features: modality to number of features, or to shape: `{"rgb_features": 1024, "labels": (10, 3)}`.
        units, dropout: see `AnticipationLSTM`.
    """
    return AnticipationLSTM(units=units, dropout=dropout).build(classes=_by_space(classes), shapes=_observed(features))


def RollingUnrollingLSTM(classes, features, *, units=1024, dropout=0.8, completion=False, fusion="matt"):
    """RU-LSTM; `classes` and `features` as for `EncoderDecoderLSTM`, the others see `RULSTM`."""
    model = RULSTM(units=units, dropout=dropout, completion=completion, fusion=fusion)
    return model.build(classes=_by_space(classes), shapes=_observed(features))


def _observed(features):
    return {modality: (OBSERVATIONS, shape) if isinstance(shape, int) else shape for modality, shape in features.items()}


def _build(classes, frames, size, backbone, head):
    return FrameModel(backbone=backbone, head=head).build(classes=_by_space(classes), frames=frames, size=size)


def _by_space(classes):
    return {"action": classes} if isinstance(classes, int) else classes
