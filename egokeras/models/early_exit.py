"""2D ResNets on a modality of compressed video, with internal classifiers from which a clip may leave early.

He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016), https://arxiv.org/abs/1512.03385, as Wu et al. use it on motion
vectors, residuals and I-frames (CoViAR, https://arxiv.org/abs/1712.00636); the internal classifiers are those of Soufleri et al.,
"Advancing Compressed Video Action Recognition through Progressive Knowledge Distillation" (2024), https://arxiv.org/abs/2407.02713.
"""

import dataclasses
import typing

import keras
from keras import layers

from egokeras.errors import InputError
from egokeras.layers import FoldTime, NormalizePixels
from egokeras.models.internal_classifiers import Tap, answer, attach, mean
from egokeras.models.normalization import NORMALIZATION
from egokeras.models.resnet2d import BLOCKS, batch_norm, stages

MEAN, DEVIATION = NORMALIZATION["torch"]["mean"], NORMALIZATION["torch"]["deviation"]
CHANNELS = {"iframe": 3, "residual": 3, "motion_vector": 2}


@dataclasses.dataclass(frozen=True, kw_only=True)
class InternalClassifier:
    """Convolution - BatchNorm - 4x4 means - linear, on the output of a stage; without an activation, as published.

    Attributes:
        stage: 1, 2 or 3.
        channels: of the convolution; None is as many as the stage has.
        kernel: of the convolution, whose input is padded by 1.
    """

    stage: int
    channels: int | None = None
    kernel: int = 3


PUBLISHED = {  # channels for networks of width 64
    18: (InternalClassifier(stage=1, kernel=7), InternalClassifier(stage=2), InternalClassifier(stage=3)),
    34: (InternalClassifier(stage=1, kernel=7), InternalClassifier(stage=2), InternalClassifier(stage=3)),
    50: (InternalClassifier(stage=1, channels=64), InternalClassifier(stage=2, channels=256), InternalClassifier(stage=3, channels=1024)),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class EarlyExitResNet:
    """A ResNet per segment, whose logits are averaged over the segments of a clip; its published input is 224 pixels.

    Attributes:
        modality: the input: `iframe` (RGB), `residual` (128 + r) or `motion_vector` (128 + 127.5 / 20 m), all uint8.
        depth: 18, 34 or 50.
        width: channels of the first stage; 64 is the published network.
        exits: internal classifiers; None is the published three, `()` none.
        frozen: whether only the internal classifiers learn, and the rest infers: its BatchNorm neither uses nor moves statistics of
            batches.
        segments, size: of the data; None takes what it has.
    """

    modality: typing.Literal["iframe", "residual", "motion_vector"] = "iframe"
    depth: typing.Literal[18, 34, 50] = 18
    width: int = 64
    exits: tuple[InternalClassifier, ...] | None = None
    frozen: bool = False
    segments: int | None = None
    size: int | None = None

    def __post_init__(self):
        for field, known in (("modality", tuple(CHANNELS)), ("depth", tuple(BLOCKS))):
            if getattr(self, field) not in known:
                raise InputError(f"model.{field} is {getattr(self, field)!r}; it must be one of {', '.join(map(str, known))}.")
        if any(not 1 <= one.stage <= 3 for one in self.exits or ()):
            raise InputError("model.exits: an internal classifier sits behind stage 1, 2 or 3; behind the fourth is the network's own.")
        if self.frozen and self.exits == ():
            raise InputError("model.frozen: without exits nothing would learn; give exits, or let the network learn.")

    @property
    def modalities(self):
        """Names of its inputs."""
        return (self.modality,)

    def build(self, *, classes, shapes):
        """Model modality `(batch, segments, size, size, channels)` uint8 -> logits, each (batch, classes[space]).

        Outputs are `{space}` of the whole network, `{space}_exit_1` ... of the internal classifiers, and `features` (batch, channels).

        Args:
            classes: label space to number of classes.
            shapes: modality to the shape of a clip.

        Raises:
            InputError: the data has no such modality, or a clip of another shape.
        """
        segments, size = self._agreed(shapes)
        clip = keras.Input((segments, size, size, CHANNELS[self.modality]), dtype="uint8", name=self.modality)
        maps = stages(self._normalized(FoldTime(name="fold_time")(clip)), self.depth, self.width)
        features = layers.GlobalAveragePooling2D(name="pool")(maps[-1])
        outputs = {space: answer(features, count, space, segments) for space, count in classes.items()}
        model = keras.Model({self.modality: clip}, {**outputs, "features": mean(features, segments, "features")})
        model.trainable = not self.frozen
        taps = [
            Tap(tensor=maps[one.stage - 1], name=f"stage {one.stage}", channels=one.channels, kernel=one.kernel) for one in self._exits()
        ]
        return attach(model, taps, classes)

    def _agreed(self, shapes):
        if self.modality not in shapes:
            raise InputError(f"model.modality is {self.modality!r}, the data has {', '.join(shapes)}.")
        segments, height, width, channels = shapes[self.modality]
        if height != width or channels != CHANNELS[self.modality]:
            raise InputError(
                f"model: {self.modality} of {shapes[self.modality]} is not square or has not {CHANNELS[self.modality]} channels."
            )
        for field, found in (("segments", segments), ("size", height)):
            if getattr(self, field) not in (None, found):
                raise InputError(f"model.{field} is {getattr(self, field)}, the data has {found}; leave it out or give that.")
        return segments, height

    def _exits(self):
        if self.exits is not None:
            return self.exits
        scaled = [one.channels and max(1, one.channels * self.width // 64) for one in PUBLISHED[self.depth]]
        return tuple(dataclasses.replace(one, channels=channels) for one, channels in zip(PUBLISHED[self.depth], scaled, strict=True))

    def _normalized(self, pixels):
        """As CoViAR: x / 255, less the mean and over the deviation of the modality; motion and residuals then pass a BatchNorm."""
        mean, deviation = {
            "iframe": (MEAN, DEVIATION),
            "residual": ([127.5] * 3, DEVIATION),
            "motion_vector": ([127.5] * 2, [255.0] * 2),
        }[self.modality]
        x = NormalizePixels(mean, deviation, name="normalize")(pixels)
        return x if self.modality == "iframe" else batch_norm(x, "data_bn")
