"""The two parts of a recurrent layer against Keras' own layer."""

import keras
import numpy as np
import pytest

from egokeras.layers import GatedRecurrence
from egokeras.layers.gated_recurrence import gates_of, recurrence_of

LAYERS = {
    "LSTM": (keras.layers.LSTM(5), (7,)),
    "LSTM without bias": (keras.layers.LSTM(4, use_bias=False, activation="relu", recurrent_activation="hard_sigmoid"), (6,)),
    "ConvLSTM2D": (keras.layers.ConvLSTM2D(3, 4, strides=4), (9, 11, 5)),
    "ConvLSTM2D padded": (keras.layers.ConvLSTM2D(2, (3, 2), padding="same", dilation_rate=2), (6, 5, 4)),
}


@pytest.fixture(params=LAYERS)
def recurrent(request):
    """A layer with random weights, the bias too, and clips for it."""
    layer, shape = LAYERS[request.param]
    clip, random = np.random.default_rng(0).normal(size=(2, 4, *shape)).astype("float32"), np.random.default_rng(1)
    layer(keras.Input(clip.shape[1:]))
    layer.set_weights([random.normal(0, 0.5, weight.shape) for weight in layer.get_weights()])
    return layer, clip


def test_both_parts_give_what_the_layer_gives(recurrent):
    layer, clip = recurrent
    gates, recurrence = gates_of(layer), recurrence_of(layer)
    seen = np.stack([gates(clip[:, time]) for time in range(clip.shape[1])], axis=1)
    expected = layer(clip)
    np.testing.assert_allclose(recurrence(seen), expected, rtol=1e-5, atol=1e-5)
    assert recurrence.compute_output_shape(seen.shape) == expected.shape and np.ptp(expected) > 0.1
    assert len(gates.weights) + len(recurrence.weights) == len(layer.weights)


def test_it_is_saved_and_loaded(recurrent, tmp_path):
    layer, clip = recurrent
    gates, recurrence = gates_of(layer), recurrence_of(layer)
    seen = np.stack([gates(clip[:, time]) for time in range(clip.shape[1])], axis=1)
    inputs = keras.Input(seen.shape[1:])
    keras.Model(inputs, recurrence(inputs)).save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.layers[-1], GatedRecurrence)
    np.testing.assert_allclose(loaded(seen), recurrence(seen), atol=1e-6)
