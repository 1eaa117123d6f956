"""Appearance and motion: a network for each modality of a clip, fused, then over time.

Simonyan and Zisserman (NIPS 2014), https://arxiv.org/abs/1406.2199, on the segments of TSN (Wang et al., 2016,
https://arxiv.org/abs/1608.00859), whose head is `ConsensusHead`; with the egocentric report's heads over time (its section 2.2).
"""

import dataclasses
import typing

import keras
from keras import layers

from egokeras.errors import InputError
from egokeras.models.mobilenet_v2 import Backbone, SmallBackbone
from egokeras.models.normalization import LIGHT, STILL
from egokeras.models.resnet2d import ResNet2D
from egokeras.models.temporal_heads import AverageHead, ConsensusHead, ConvLSTMHead, ConvNet1DHead, LSTMHead


@dataclasses.dataclass(frozen=True, kw_only=True)
class TwoStream:
    """A stream for each modality, of frames that show the same moments.

    The built model holds nested models: `MODALITY_backbone` for each, and `head`, or `MODALITY_head` for each where there is nothing to
    fuse or logits are fused. A stream that was trained alone so gives its weights to the whole (`start_from`).

    Attributes:
        modalities: names of the inputs: `rgb` and `flow`, `rgb_difference`, or those of compressed video.
        backbone: on every frame of each modality, with weights of its own.
        head: one of `temporal_heads`; a `ConvLSTMHead` reads maps, the others vectors.
        fusion: the head reads the `features` of all modalities side by side; or each has a head, and their `logits` are averaged.
        segments, size: of the data; None takes what it has.
    """

    modalities: tuple[str, ...] = ("rgb", "flow")
    backbone: ResNet2D | Backbone | SmallBackbone = ResNet2D()
    head: ConsensusHead | AverageHead | ConvLSTMHead | LSTMHead | ConvNet1DHead = ConsensusHead()
    fusion: typing.Literal["features", "logits"] = "features"
    segments: int | None = None
    size: int | None = None

    def __post_init__(self):
        if not self.modalities or len(set(self.modalities)) < len(self.modalities) or set(self.modalities) - {*LIGHT, *STILL}:
            raise InputError(f"model.modalities is {self.modalities}; give some of {', '.join((*LIGHT, *STILL))}, each once.")
        if self.fusion not in ("features", "logits"):
            raise InputError(f"model.fusion is {self.fusion!r}; it must be features or logits.")

    def build(self, *, classes, shapes):
        """Model modality `(batch, segments, size, size, channels)` uint8 -> `{space: logits (batch, classes[space]), "features": ...}`.

        Args:
            classes: label space to number of classes.
            shapes: modality to the shape of a clip.

        Raises:
            InputError: the data lacks a modality, has clips of several sizes or of others than the fields say, or the parts do not fit.
        """
        segments, size = self._agreed(shapes)
        clips = {name: keras.Input(shapes[name], dtype="uint8", name=name) for name in self.modalities}
        features = {name: self._backbone(name, segments, size, shapes[name][-1])({name: clip}) for name, clip in clips.items()}
        if self.fusion == "features" and len(features) > 1:
            fused = layers.Concatenate(name="fusion")(list(features.values()))
            head = self.head.build(feature_shape=fused.shape[1:], classes=classes)
            return keras.Model(clips, head({"features": fused}))
        heads = {name: self._head(name, maps.shape[1:], classes) for name, maps in features.items()}
        outputs = {name: heads[name]({"features": maps}) for name, maps in features.items()}
        return keras.Model(clips, _averaged(outputs, classes) if len(outputs) > 1 else outputs[self.modalities[0]])

    def _backbone(self, modality, segments, size, channels):
        built = self.backbone.build(frames=segments, size=size, pool=self.head.pool, modality=modality, channels=channels)
        return keras.Model(built.input, built.output, name=f"{modality}_backbone")

    def _head(self, modality, feature_shape, classes):
        built = self.head.build(feature_shape=feature_shape, classes=classes)
        return keras.Model(built.input, built.output, name=f"{modality}_head")

    def _agreed(self, shapes):
        missing = [name for name in self.modalities if name not in shapes]
        if missing:
            raise InputError(f"model.modalities: the data has no {missing[0]}; it has {', '.join(shapes)}.")
        found = {name: shapes[name][:3] for name in self.modalities}
        segments, height, width = next(iter(found.values()))
        if height != width or len(set(found.values())) > 1:
            said = ", ".join(f"{name} {' x '.join(map(str, shape))}" for name, shape in found.items())
            raise InputError(f"model.modalities: the clips have {said}; prepare all of one square size and as many frames.")
        for field, own in (("segments", segments), ("size", height)):
            if getattr(self, field) not in (None, own):
                raise InputError(f"model.{field} is {getattr(self, field)}, the data has {own}; leave it out or give that.")
        return segments, height


def _averaged(outputs, classes):
    """The mean logits of streams by name, and their features side by side."""
    logits = {}
    for space, count in classes.items():
        rows = [layers.Reshape((1, count), name=f"{name}_{space}")(output[space]) for name, output in outputs.items()]
        logits[space] = layers.GlobalAveragePooling1D(dtype="float32", name=space)(layers.Concatenate(axis=1, name=f"{space}_logits")(rows))
    return {**logits, "features": layers.Concatenate(name="features")([output["features"] for output in outputs.values()])}
