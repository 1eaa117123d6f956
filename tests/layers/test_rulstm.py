"""Rolling, unrolling and fusion against loops over clips, steps and units."""

import keras
import numpy as np
import pytest
from keras import ops

from egokeras.layers import RollingLSTM, UnrollingLSTM, WeightedSum

RANDOM = np.random.default_rng(0)
UNITS, WIDTH = 3, 5


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_step(x, h, c, weights):
    kernel, recurrent, bias = weights
    i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def random_weights(layer, *inputs):
    layer(*inputs)
    layer.set_weights([RANDOM.normal(size=weight.shape) for weight in layer.get_weights()])
    return layer.get_weights()


def arrays(steps, batch=2):
    sizes = ((batch, steps, WIDTH), (batch, steps, UNITS), (batch, steps, UNITS))
    return [RANDOM.normal(size=size).astype("float32") for size in sizes]


@pytest.mark.parametrize("given", [False, True])
def test_rolling_gives_both_states_after_every_step(given):
    x, h0, c0 = arrays(4)
    states = (h0[:, 0], c0[:, 0]) if given else ()
    layer = RollingLSTM(UNITS)
    weights = random_weights(layer, x, *states)
    hidden, cell = layer(x, *states)
    for b in range(len(x)):
        h, c = (state[b] for state in states) if given else (np.zeros(UNITS), np.zeros(UNITS))
        for t in range(4):
            h, c = lstm_step(x[b, t], h, c, weights)
            np.testing.assert_allclose(hidden[b, t], h, atol=1e-6)
            np.testing.assert_allclose(cell[b, t], c, atol=1e-6)


def test_rolling_has_the_weights_of_keras_lstm():
    x = arrays(6)[0]
    layer, theirs = RollingLSTM(UNITS), keras.layers.LSTM(UNITS, return_sequences=True, return_state=True)
    theirs(x)
    theirs.set_weights(random_weights(layer, x))
    expected, _, last_cell = theirs(x)
    hidden, cell = layer(x)
    np.testing.assert_allclose(hidden, expected, atol=1e-6)
    np.testing.assert_allclose(cell[:, -1], last_cell, atol=1e-6)


def unrolled(x, hidden, cell, weights, predictions, completion, masks=None):
    """The loop: every start by itself, one step after the other; `masks` are factors on each copy, by (start, step)."""
    steps = x.shape[1]
    found = np.zeros((len(x), predictions, UNITS))
    for b in range(len(x)):
        for place, t in enumerate(range(steps - predictions, steps)):
            fed = x[b, t:] if completion else np.repeat(x[b, t : t + 1], steps - t + 1, axis=0)
            h, c = hidden[b, t], cell[b, t]
            for step, frame in enumerate(fed):
                factor = 1 if masks is None else masks[place, step][b]
                h, c = lstm_step(frame * factor, h, c, weights)
            found[b, place] = h
    return found


@pytest.mark.parametrize("completion", [False, True])
@pytest.mark.parametrize(("steps", "predictions"), [(14, 8), (3, 3), (5, 1)])
def test_unrolling_all_starts_at_once(steps, predictions, completion):
    inputs = arrays(steps)
    layer = UnrollingLSTM(UNITS, predictions=predictions, completion=completion, dropout=0.5)
    weights = random_weights(layer, *inputs)
    np.testing.assert_allclose(layer(*inputs), unrolled(*inputs, weights, predictions, completion), atol=1e-5)


def test_unrolling_lasts_as_long_as_the_paper_says():
    """15 copies at t = 0 and 2 at t = 13: a layer that counts its steps says how many it took."""
    x, hidden, cell = arrays(14, batch=1)
    for completion, expected in ((False, range(15, 1, -1)), (True, range(14, 0, -1))):
        layer = UnrollingLSTM(UNITS, predictions=14, completion=completion)
        layer(x, hidden, cell)
        kernel, recurrent, bias = (np.zeros(weight.shape) for weight in layer.get_weights())
        bias[:] = np.repeat([100.0, 100.0, 0.01, 100.0], UNITS)  # all gates open, and tanh(0.01) more in the cell at every step
        layer.set_weights([kernel, recurrent, bias])
        steps = np.arctanh(layer(x, hidden, np.zeros_like(cell))[0, :, 0]) / np.tanh(0.01)
        np.testing.assert_allclose(steps, list(expected), rtol=1e-3)


@pytest.mark.parametrize("completion", [False, True])
def test_every_copy_has_its_own_dropout(completion):
    inputs = arrays(6, batch=2)
    layer = UnrollingLSTM(UNITS, predictions=4, completion=completion, dropout=0.5)
    weights = random_weights(layer, *inputs)
    places = [(start, step) for step in range(7) for start in range(4) if step < (4 - start if completion else 5 - start)]
    layer.dropout.seed_generator.state.assign([7, 0])
    factors = ops.convert_to_numpy(layer.dropout(np.ones((2, len(places), WIDTH), "float32"), training=True))
    layer.dropout.seed_generator.state.assign([7, 0])
    masks = {place: factors[:, i] for i, place in enumerate(places)}
    assert len({mask.tobytes() for mask in masks.values()}) > len(places) // 2
    expected = unrolled(*inputs, weights, 4, completion, masks)
    np.testing.assert_allclose(layer(*inputs, training=True), expected, atol=1e-5)
    assert np.abs(expected - unrolled(*inputs, weights, 4, completion)).max() > 0.01


def test_training_without_dropout_is_as_inference():
    inputs = arrays(14)
    layer = UnrollingLSTM(UNITS)
    random_weights(layer, *inputs)
    np.testing.assert_allclose(layer(*inputs, training=True), layer(*inputs), atol=1e-6)


def test_weighted_sum():
    weights, *scores = (RANDOM.normal(size=size).astype("float32") for size in ((2, 8, 2), (2, 8, 5), (2, 8, 5)))
    expected = np.zeros((2, 8, 5))
    for b, t, m in np.ndindex(2, 8, 2):
        expected[b, t] += weights[b, t, m] * scores[m][b, t]
    np.testing.assert_allclose(WeightedSum()([weights, *scores]), expected, atol=1e-6)


def test_they_come_back_from_a_file(tmp_path):
    x = keras.Input((14, WIDTH), name="x")
    hidden, cell = RollingLSTM(UNITS, name="rolling")(x)
    hidden, cell = RollingLSTM(UNITS, name="going_on")(x, hidden[:, -1], cell[:, -1])
    unrolled = UnrollingLSTM(UNITS, predictions=5, completion=True, dropout=0.25, name="unrolling")(x, hidden, cell)
    model = keras.Model({"x": x}, WeightedSum()([unrolled, unrolled, unrolled, unrolled]))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    inputs = {"x": arrays(14)[0]}
    np.testing.assert_array_equal(again(inputs), model(inputs))
    assert again.get_layer("unrolling").get_config() == model.get_layer("unrolling").get_config()
