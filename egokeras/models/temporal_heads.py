"""What turns the features of a clip's frames into classes: the report's three heads, TSN's consensus, and the average as a control.

Every head is a model from `features`, `(batch, time, channels)` or `(batch, time, height, width, channels)` float32, to one
vector of logits for each label space, and `features`, the vector that the logits are computed from.
"""

import dataclasses
from collections.abc import Mapping

import keras
from keras import layers

from egokeras.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class AverageHead:
    """The mean over time, then one Dense per label space: what is left without any order in time.

    Attributes:
        dropout: rate before the logits.
    """

    dropout: float = 0.5
    pool = True

    def build(self, *, feature_shape, classes):
        """Model from features of `feature_shape` `(time, channels)` to `{space: (batch, classes[space]) logits}`."""
        features = keras.Input(feature_shape, name="features")
        x = layers.GlobalAveragePooling1D(name="average")(features)
        return _head(features, _dropout(x, self.dropout), classes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConsensusHead:
    """TSN's consensus: logits of every segment, of which the mean goes into the softmax (Wang et al., https://arxiv.org/abs/1608.00859).

    Attributes:
        dropout: rate before the logits, drawn for each segment; TSN has 0.8 for RGB and 0.7 for flow.
    """

    dropout: float = 0.8
    pool = True

    def build(self, *, feature_shape, classes):
        """Model from features of `feature_shape` `(segments, channels)` to `{space: (batch, classes[space]) logits}`."""
        features = keras.Input(feature_shape, name="features")
        x = _dropout(features, self.dropout)
        scores = {space: layers.Dense(count, dtype="float32", name=f"{space}_scores")(x) for space, count in classes.items()}
        logits = {space: layers.GlobalAveragePooling1D(dtype="float32", name=space)(each) for space, each in scores.items()}
        embedding = layers.GlobalAveragePooling1D(name="average")(features)
        return keras.Model({"features": features}, {**logits, "features": embedding}, name="head")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LSTMHead:
    """LSTM over the frame vectors, last output, BatchNorm, Dropout (the report's first subsystem; 266,963 weights for 13 classes).

    Attributes:
        units: width of the state.
        dropout: rate before the logits; the report's text has 0.5, its code 0.4.
    """

    units: int = 50
    dropout: float = 0.5
    pool = True

    def build(self, *, feature_shape, classes):
        """Model from features of `feature_shape` `(time, channels)` to `{space: (batch, classes[space]) logits}`."""
        features = keras.Input(feature_shape, name="features")
        x = layers.LSTM(self.units, name="lstm")(features)
        x = layers.BatchNormalization(name="lstm_bn")(x)
        return _head(features, _dropout(x, self.dropout), classes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvLSTMHead:
    """ConvLSTM over the frame maps (the report's second subsystem; 659,621 weights for 13 classes on 1280 channels).

    Attributes:
        filters, kernel, strides, padding: of the ConvLSTM2D.
        batch_norm: whether a BatchNorm follows.
        pooling: `max` or `average`, over the map that is left.
        dense: width of a ReLU layer after the pooling; 0 is none.
        dropout: rate before the logits.
    """

    filters: int = 8
    kernel: int = 4
    strides: int = 4
    padding: str = "valid"
    batch_norm: bool = True
    pooling: str = "max"
    dense: int = 0
    dropout: float = 0.0
    pool = False

    @classmethod
    def table1(cls):
        """The network whose 446,909 weights stand in the report's Table 1; it reads MobileNetV2 up to `block_12_add`."""
        return cls(filters=64, kernel=3, strides=1, padding="same", batch_norm=False, pooling="average", dense=1000, dropout=0.5)

    def build(self, *, feature_shape, classes):
        """Model from features of `feature_shape` `(time, height, width, channels)` to `{space: (batch, classes[space]) logits}`.

        Raises:
            InputError: the maps are smaller than the kernel.
        """
        if self.padding == "valid" and min(feature_shape[1:3]) < self.kernel:
            height, width = feature_shape[1:3]
            raise InputError(
                f"head.kernel {self.kernel} does not fit the {height}x{width} feature maps; use larger frames or a smaller kernel."
            )
        features = keras.Input(feature_shape, name="features")
        x = layers.ConvLSTM2D(
            self.filters,
            self.kernel,
            strides=self.strides,
            padding=self.padding,
            recurrent_activation="sigmoid",  # Keras 2 had hard_sigmoid here
            name="convlstm",
        )(features)
        if self.batch_norm:
            x = layers.BatchNormalization(name="convlstm_bn")(x)
        pooling = {"max": layers.GlobalMaxPooling2D, "average": layers.GlobalAveragePooling2D}[self.pooling]
        x = pooling(name="pool")(x)
        if self.dense:
            x = layers.Dense(self.dense, activation="relu", name="dense")(x)
        return _head(features, _dropout(x, self.dropout), classes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvNet1DHead:
    """Blocks of two convolutions over time, then one over all that is left (the report's third; 85,137 weights for 97 + 300).

    A block is Conv1D-BN-Conv1D-BN-LeakyReLU, kernel 3 without padding, and shortens time by 4.

    Attributes:
        filters: of the blocks.
        last_filters: of the last convolution, the width of the embedding.
        blocks: None is as many as leave at least one step of time (four for 20 frames).
        dropout: rate before the logits; the report's text has 0.5, its code 0.4.
    """

    filters: int = 10
    last_filters: int = 100
    blocks: int | None = None
    dropout: float = 0.5
    pool = True

    def build(self, *, feature_shape, classes):
        """Model from features of `feature_shape` `(time, channels)` to `{space: (batch, classes[space]) logits}`.

        Raises:
            InputError: the blocks need more frames than there are.
        """
        time = feature_shape[0]
        blocks = (time - 1) // 4 if self.blocks is None else self.blocks
        if time <= 4 * blocks:
            raise InputError(f"head.blocks {blocks} needs clips of more than {4 * blocks} frames, these have {time}; use fewer blocks.")
        x = features = keras.Input(feature_shape, name="features")
        for block in range(1, blocks + 1):
            for half in "ab":
                x = layers.Conv1D(self.filters, 3, name=f"conv_{block}{half}")(x)
                x = layers.BatchNormalization(name=f"conv_{block}{half}_bn")(x)
            x = layers.LeakyReLU(0.01, name=f"block_{block}_relu")(x)
        x = layers.Conv1D(self.last_filters, x.shape[1], name="conv_last")(x)
        x = layers.BatchNormalization(name="conv_last_bn")(x)
        x = layers.LeakyReLU(0.01, name="conv_last_relu")(x)
        x = layers.Flatten(name="flatten")(x)
        return _head(features, _dropout(x, self.dropout), classes)


def _dropout(x, rate):
    return layers.Dropout(rate, name="dropout")(x) if rate else x


def _head(features, embedding, classes: Mapping[str, int]):
    # logits stay float32 under mixed precision: a softmax over 300 classes loses too much in float16
    logits = {space: layers.Dense(count, dtype="float32", name=space)(embedding) for space, count in classes.items()}
    return keras.Model({"features": features}, {**logits, "features": embedding}, name="head")
