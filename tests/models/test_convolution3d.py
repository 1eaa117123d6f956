"""(2+1)D against convolutions over one frame and over one pixel's time, and the paper's number of channels between them."""

import keras
import numpy as np
import pytest

from egokeras.models.convolution3d import Convolution3D, channels_between


def test_channels_between_by_hand():
    assert channels_between(64, 64, (3, 3, 3)) == 144  # 110592 / 768
    assert channels_between(64, 128, (3, 3, 3)) == 230  # 221184 / 960 = 230.4
    assert channels_between(3, 64, (7, 7, 7)) == 110  # 65856 / 595 = 110.7
    for entering, leaving in ((5, 7), (64, 128), (256, 256)):
        factors = [(9 * entering + 3 * leaving) * (channels_between(entering, leaving, (3, 3, 3)) + more) for more in (0, 1)]
        assert factors[0] <= 27 * entering * leaving < factors[1]


@pytest.mark.parametrize("habits", ["torch", "tensorflow"])
def test_2plus1d_is_a_2d_convolution_then_a_1d_one(habits):
    convolve = Convolution3D(habits=habits, factorised=True)
    clip = keras.Input((6, 10, 10, 3))
    model = keras.Model(clip, convolve(clip, 5, (3, 3, 3), (2, 2, 2), "conv"))
    random = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(0.5 + random.random(weight.shape) if weight.name == "moving_variance" else random.normal(size=weight.shape))
    x = random.normal(size=(2, 6, 10, 10, 3)).astype("float32")

    space, bn, time = (model.get_layer(f"conv_{name}") for name in ("spatial", "spatial_bn", "temporal"))
    torch = habits == "torch"
    assert (space.use_bias, time.use_bias, bn.momentum, bn.epsilon) == ((False, False, 0.9, 1e-5) if torch else (True, True, 0.99, 1e-3))
    frames = x.reshape(12, 10, 10, 3)
    padding, frames = ("valid", np.pad(frames, ((0, 0), (1, 1), (1, 1), (0, 0)))) if torch else ("same", frames)
    y = keras.ops.conv(frames, space.kernel[0], 2, padding) + (0 if torch else space.bias)
    y = (y - bn.moving_mean) / keras.ops.sqrt(bn.moving_variance + bn.epsilon) * bn.gamma + bn.beta
    y = np.maximum(np.asarray(y), 0).reshape(2, 6, 25, -1).transpose(0, 2, 1, 3).reshape(50, 6, -1)  # every pixel's 6 frames
    y = np.pad(y, ((0, 0), (1, 1), (0, 0))) if torch else y
    y = np.asarray(keras.ops.conv(y, time.kernel[:, 0, 0], 2, padding) + (0 if torch else time.bias))
    y = y.reshape(2, 25, 3, 5).transpose(0, 2, 1, 3).reshape(2, 3, 5, 5, 5)
    np.testing.assert_allclose(model(x, training=False), y, atol=1e-4 * np.abs(y).max())


def test_what_has_no_time_and_no_space_stays_whole():
    clip = keras.Input((4, 6, 6, 3))
    model = keras.Model(clip, Convolution3D(factorised=True)(clip, 5, (1, 1, 1), (2, 2, 2), "shortcut"))
    assert [layer.name for layer in model.layers[1:]] == ["shortcut"] and model.output.shape == (None, 2, 3, 3, 5)
