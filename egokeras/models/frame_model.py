"""A per-frame backbone and a temporal head as one model: the egocentric report's system."""

import dataclasses

import keras

from egokeras.errors import InputError
from egokeras.models.mobilenet_v2 import Backbone, SmallBackbone
from egokeras.models.resnet2d import ResNet2D
from egokeras.models.temporal_heads import AverageHead, ConsensusHead, ConvLSTMHead, ConvNet1DHead, LSTMHead


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrameModel:
    """Backbone on every frame, head over time.

    The built model holds the two parts as nested models `backbone` and `head`, so that a frozen backbone can compute its
    features once and the head train on them.

    Attributes:
        backbone: `Backbone`, `SmallBackbone` or `ResNet2D`.
        head: one of `temporal_heads`.
        frames: frames per clip; None takes what the data has.
        size: height and width in pixels; None takes what the data has.
    """

    backbone: Backbone | SmallBackbone | ResNet2D = Backbone()
    head: LSTMHead | ConvLSTMHead | ConvNet1DHead | AverageHead | ConsensusHead = ConvNet1DHead()
    frames: int | None = None
    size: int | None = None

    def build(self, *, classes, frames=None, size=None):
        """Model `rgb` `(batch, frames, size, size, 3)` uint8 -> `{space: logits (batch, classes[space]), "features": ...}`.

        Args:
            classes: label space to number of classes.
            frames, size: of the data; must agree with the fields of the same name where those are set.

        Raises:
            InputError: a field contradicts the data, or the parts do not fit together.
        """
        frames, size = agreed("frames", self.frames, frames), agreed("size", self.size, size)
        backbone = self.backbone.build(frames=frames, size=size, pool=self.head.pool)
        head = self.head.build(feature_shape=backbone.output.shape[1:], classes=classes)
        rgb = keras.Input((frames, size, size, 3), dtype="uint8", name="rgb")
        return keras.Model({"rgb": rgb}, head({"features": backbone({"rgb": rgb})}))


def agreed(field, own, given):
    """The number of frames or pixels that a model's field and the data agree on.

    Raises:
        InputError: they contradict each other, or neither says one.
    """
    if own is None and given is None:
        raise InputError(f"model.{field} is not set and no data says it; give model.{field}=N.")
    if own is not None and given is not None and own != given:
        raise InputError(f"model.{field} is {own} but the shards have {given}; prepare the data with that, or set model.{field}={given}.")
    value = own if given is None else given
    if value < 1:
        raise InputError(f"model.{field} is {value}; give at least 1.")
    return value
