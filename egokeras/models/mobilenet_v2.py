"""Per-frame convolutional backbones: MobileNetV2 as in the egocentric report, or any other of `keras.applications`."""

import dataclasses
import difflib
import pathlib
import warnings

import keras
import numpy as np

from egokeras.errors import InputError
from egokeras.layers import FoldTime, UnfoldTime
from egokeras.models.normalization import normalized

_FAMILIES = (  # first matching prefix
    ("MobileNetV3", "none"), ("EfficientNet", "none"), ("ConvNeXt", "none"), ("MobileNet", "tf"), ("Inception", "tf"), ("Xception", "tf"),
    ("NASNet", "tf"), ("DenseNet", "torch"), ("VGG", "caffe"), ("ResNet", "caffe"),
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Backbone:
    """A network of `keras.applications`, without its classifier, applied to every frame.

    Attributes:
        name: `MobileNetV2`, or another network of `keras.applications`.
        alpha: width multiplier (MobileNets only).
        weights: `imagenet` (Keras downloads them), a local `.h5` file, or None for random ones. A modality with other channels than three
            begins with the mean of the first kernel over the colours in each.
        cut: name of the last layer kept, for example `block_12_add`; None keeps all.
        trainable_from: name of the first layer that learns; `""` lets all learn, None freezes all.
        normalization: `tf`, `torch`, `caffe` or `none`; None is what the network's weights were trained with.
        momentum: of BatchNorm's running statistics, where it learns; None is the network's own. MobileNetV2's is 0.999, which takes
            thousands of steps: after a short training such a network is right on what it learns from, and a constant on anything else.
    """

    name: str = "MobileNetV2"
    alpha: float = 1.0
    weights: str | None = "imagenet"
    cut: str | None = None
    trainable_from: str | None = None
    normalization: str | None = None
    momentum: float | None = 0.9

    def __post_init__(self):
        if self.momentum is not None and not 0 <= self.momentum < 1:
            raise InputError(f"backbone.momentum is {self.momentum}; give 0 to below 1, or None for the network's own.")

    @property
    def frozen(self):
        """Whether no weight of it learns, so that its features may be computed once."""
        return self.trainable_from is None

    def build(self, *, frames, size, pool, modality="rgb", channels=3):
        """Model `modality` `(batch, frames, size, size, channels)` uint8 -> features `(batch, frames, features)`, or maps if not `pool`.

        Raises:
            InputError: an unknown network, layer or weights file.
        """
        clip = keras.Input((frames, size, size, channels), dtype="uint8", name=modality)
        x = normalized(FoldTime(name="fold_time")(clip), self.normalization or _normalization_of(self.name), modality)
        inner = self._network(x, size)
        x = inner.output
        if self.cut is not None:
            x = _layer(inner, self.cut, "backbone.cut").output
        if pool:
            x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
        # the numbers that a cache of features holds: a head learns the same from it and from frames
        unfold = UnfoldTime(frames, name="unfold_time", dtype="float16" if self.frozen else None)
        model = keras.Model({modality: clip}, unfold(x), name="backbone")
        self._freeze(model)
        return model

    def _network(self, x, size):
        application = getattr(keras.applications, self.name, None)
        if not callable(application):
            names = [name for name in dir(keras.applications) if name[0].isupper()]
            nearest = difflib.get_close_matches(self.name, names, n=3)
            raise InputError(
                f"backbone.name {self.name!r} is not in keras.applications; nearest: {', '.join(nearest) or ', '.join(names)}."
            )
        if self.weights not in (None, "imagenet") and not pathlib.Path(self.weights).is_file():
            raise InputError(f"backbone.weights {self.weights!r} is not a file; give a .h5 file, 'imagenet' (downloaded) or None (random).")
        width = {"alpha": self.alpha} if self.name in ("MobileNet", "MobileNetV2") else {}
        # weights are loaded into a network of its own, whose layers then run on our normalised frames: Keras checks
        # the input shape of a network with ImageNet weights, and warns for sizes that it has no file for
        inner = application(include_top=False, weights=None, input_tensor=x, **width)
        for layer in inner.layers if self.momentum is not None else ():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = self.momentum
        if self.weights is not None:
            self._load(inner, application, width)
        return inner

    def _load(self, inner, application, width):
        path = self.weights
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # that these weights were trained at 224 pixels
                source = application(include_top=False, weights=path, input_shape=(None, None, 3), **width)
        except Exception as error:
            cure = "give a local .h5 file or weights=None" if path == "imagenet" else "it must fit this network, alpha and Keras version"
            raise InputError(f"backbone.weights {path!r}: {str(error).splitlines()[0][:300]}; {cure}.") from error
        weights = zip(source.get_weights(), inner.get_weights(), strict=True)
        inner.set_weights([_averaged(weight, own.shape) for weight, own in weights])

    def _freeze(self, model):
        if self.trainable_from is None:
            model.trainable = False
        elif self.trainable_from:
            first = model.layers.index(_layer(model, self.trainable_from, "backbone.trainable_from"))
            for layer in model.layers[:first]:
                layer.trainable = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class SmallBackbone:
    """A few strided convolutions per frame, for small frames and little time: it trains from scratch in a minute.

    Attributes:
        channels: one 3x3 convolution of stride 2 for each number.
        grid: the last map is averaged in grid x grid cells, so that the features still say roughly where things are.
    """

    channels: tuple[int, ...] = (16, 32, 64, 96)
    grid: int = 2
    frozen = False

    def build(self, *, frames, size, pool, modality="rgb", channels=3):
        """Model `modality` `(batch, frames, size, size, channels)` uint8 -> features `(batch, frames, features)`, or maps if not `pool`."""
        clip = keras.Input((frames, size, size, channels), dtype="uint8", name=modality)
        x = normalized(FoldTime(name="fold_time")(clip), "tf", modality)
        for i, filters in enumerate(self.channels, 1):
            x = keras.layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False, name=f"conv_{i}")(x)
            # 0.99 would need a few hundred steps to forget its start: longer than a short training
            x = keras.layers.BatchNormalization(momentum=0.9, name=f"conv_{i}_bn")(x)
            x = keras.layers.ReLU(6.0, name=f"conv_{i}_relu")(x)
        if pool:
            if x.shape[1] < self.grid:
                raise InputError(
                    f"backbone.grid {self.grid} does not fit the {x.shape[1]}x{x.shape[2]} map that {size} px leave; use larger frames."
                )
            x = keras.layers.AveragePooling2D(x.shape[1] // self.grid, name="pool")(x)
            x = keras.layers.Flatten(name="cells")(x)
        return keras.Model({modality: clip}, UnfoldTime(frames, name="unfold_time")(x), name="backbone")


def _averaged(weight, shape):
    """A weight as it is; of a first kernel for other channels than three colours their mean, for each (TSN)."""
    return weight if weight.shape == shape else np.repeat(weight.mean(axis=2, keepdims=True), shape[2], axis=2)


def _normalization_of(name):
    if name.startswith("ResNet") and name.endswith("V2"):
        return "tf"
    return next((kind for prefix, kind in _FAMILIES if name.startswith(prefix)), "tf")


def _layer(model, name, field):
    names = [layer.name for layer in model.layers]
    if name not in names:
        raise InputError(
            f"{field} {name!r} is not a layer; nearest: {', '.join(difflib.get_close_matches(name, names, n=3)) or names[-1]}."
        )
    return model.get_layer(name)
