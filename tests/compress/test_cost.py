"""Costs against arithmetic on paper."""

import keras

from egokeras import models
from egokeras.compress.cost import cost


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
