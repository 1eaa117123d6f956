"""Costs against arithmetic on paper."""

import keras
import pytest

from egokeras import models
from egokeras.compress.cost import cost
from egokeras.models import ConvLSTMHead, ConvNet1DHead, LSTMHead


def test_small_network_by_hand():
    image = keras.Input((8, 8, 3), name="rgb")
    x = keras.layers.Conv2D(4, 3, padding="same", name="conv")(image)  # 8*8 positions, 3*3*3*4 weights
    x = keras.layers.DepthwiseConv2D(3, strides=2, padding="same", name="depthwise")(x)  # 4*4 positions, 3*3*4 weights
    x = keras.layers.Flatten(name="flatten")(x)
    model = keras.Model({"rgb": image}, {"action": keras.layers.Dense(5, name="action")(x)})  # 64 x 5
    assert cost(model) == {"macs": {"whole": 64 * 108 + 16 * 36 + 320}, "activation_bytes": 4 * (8 * 8 * 3 + 8 * 8 * 4)}


def test_recurrence_counts_every_step():
    features = keras.Input((6, 10), name="features")
    model = keras.Model({"features": features}, {"action": keras.layers.LSTM(7, name="lstm")(features)})
    assert cost(model)["macs"]["whole"] == 6 * 4 * 7 * (10 + 7)
    maps = keras.Input((6, 8, 8, 3), name="features")
    model = keras.Model({"features": maps}, {"action": keras.layers.ConvLSTM2D(2, 3, strides=2, padding="same", name="convlstm")(maps)})
    assert cost(model)["macs"]["whole"] == 6 * 16 * 4 * 2 * 9 * (3 + 2)


def test_mobilenet_v2_has_its_published_cost():
    model = models.MobileNetV2Average(13, frames=2, size=224, backbone=models.Backbone(weights=None))
    macs = cost(model)["macs"]
    assert abs(macs["backbone"] / 2 - 300e6) < 2e6  # 300 M multiply-adds, Sandler et al. 2018, table 4, classifier left out
    assert macs["head"] == 1280 * 13


@pytest.mark.parametrize(
    ("head", "shape", "expected"),
    [
        (LSTMHead(units=50), (20, 1280), 20 * (1280 + 50) * 200 + 50 * 397),
        (ConvLSTMHead(filters=8), (20, 8, 8, 1280), 20 * 2 * 2 * 16 * (1280 + 8) * 32 + 8 * 397),
        (ConvNet1DHead(blocks=0, last_filters=10), (20, 1280), 20 * 1280 * 10 + 10 * 397),
        (ConvNet1DHead(blocks=1), (6, 7), 4 * 3 * 7 * 10 + 2 * 3 * 10 * 10 + 2 * 10 * 100 + 100 * 397),
    ],
)
def test_heads_by_hand(head, shape, expected):
    assert cost(head.build(feature_shape=shape, classes={"verb": 97, "noun": 300}))["macs"]["whole"] == expected
    keras.backend.clear_session()
