"""The actions before: what an observation may know of them, against a loop."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from egokeras.layers import PastActions

SIZES = {"last": 3, "verb_size": 2, "noun_size": 4}
LONGEST = 30_000  # hundredths of a second that count at most
WIDTH = SIZES["last"] * (2 + 4 + 2)


@pytest.fixture(scope="module")
def layer():
    made = PastActions(5, 7, **SIZES)
    made(np.zeros((1, 4, 3), "int16"))
    return made


def looped(actions, weights):
    verbs, nouns = weights
    found = np.zeros((len(actions), 14, SIZES["last"], 8))
    for b, j in np.ndindex(len(actions), 14):
        least = 25 * (14 - j)  # hundredths of a second from the observation to the start
        known = [entry for entry in actions[b].astype(int) if entry[2] >= least][::-1]
        for slot, (verb, noun, age) in enumerate(known[: SIZES["last"]]):
            found[b, j, slot] = [*verbs[verb], *nouns[noun], 1, np.log1p(min(age - least, LONGEST) / 100)]
    return found.reshape(len(actions), 14, -1)


entries = st.tuples(
    st.integers(0, 5), st.integers(0, 7), st.one_of(st.sampled_from([0, 24, 25, 100, 349, 350, 32767]), st.integers(-50, 32767))
)


@settings(deadline=None, max_examples=30)
@given(st.lists(entries, min_size=4, max_size=4))
def test_it_sees_the_last_known_actions(layer, past):
    actions = np.array([past], "int16")
    np.testing.assert_allclose(layer(actions), looped(actions, layer.get_weights()), atol=1e-5)


@settings(deadline=None, max_examples=30)
@given(st.lists(entries, min_size=4, max_size=4), st.data())
def test_nothing_leaks_from_what_is_not_known_yet(layer, past, data):
    j = data.draw(st.integers(0, 13))
    other = [entry if entry[2] >= 25 * (14 - j) else data.draw(entries.filter(lambda e: e[2] < 25 * (14 - j))) for entry in past]
    features = [np.array(layer(np.array([actions], "int16")))[:, : j + 1] for actions in (past, other)]
    np.testing.assert_array_equal(*features)


def test_what_is_long_ago_is_alike(layer):
    """At the last observation, 0.25 s before the start, ages differ up to 300.25 s."""
    actions = np.zeros((4, 4, 3), "int16")
    actions[:, 3, :2], actions[:, 3, 2] = (2, 3), (LONGEST + 24, LONGEST + 25, LONGEST + 26, 32767)
    found = layer(actions)
    np.testing.assert_allclose(found, looped(actions, layer.get_weights()), atol=1e-5)
    seconds = np.array(found)[:, -1, 7]  # of the last known action
    np.testing.assert_allclose(seconds, np.log1p([299.99, 300, 300, 300]), rtol=1e-6)
    assert seconds[0] < seconds[1] == seconds[2] == seconds[3]


def test_an_action_is_known_from_its_moment_on(layer):
    for age, seen in ((350, 14), (100, 4), (99, 3), (25, 1), (24, 0), (0, 0)):
        actions = np.zeros((1, 4, 3), "int16")
        actions[0, 3] = 2, 3, age
        rows = np.abs(layer(actions)[0]).sum(axis=-1) > 0
        assert rows.tolist() == [False] * (14 - seen) + [True] * seen


def test_the_unknown_has_no_gradient(layer):
    actions = np.array([[[1, 1, 500], [2, 2, 120], [3, 3, 60], [4, 4, 20]]], "int16")
    with tf.GradientTape() as tape:
        at_one_second = tf.reduce_sum(layer(actions)[:, 10])
    for gradient in tape.gradient(at_one_second, layer.trainable_weights):
        rows = np.abs(tf.convert_to_tensor(gradient)).sum(axis=1) > 0
        assert rows.tolist() == [False, True, True] + [False] * (len(rows) - 3)


def test_no_actions_are_zeros(layer):
    assert layer(np.zeros((2, 4, 3), "int16")).shape == (2, 14, WIDTH)
    assert not np.any(layer(np.zeros((2, 4, 3), "int16")))


def test_it_comes_back_from_a_file(tmp_path):
    actions = keras.Input((4, 3), dtype="int16", name="labels")
    model = keras.Model({"labels": actions}, PastActions(5, 7, step=10, observations=6, name="labels_embedding", **SIZES)(actions))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    inputs = {"labels": np.random.default_rng(0).integers(0, 6, (2, 4, 3)).astype("int16")}
    np.testing.assert_array_equal(again(inputs), model(inputs))
    assert again.get_layer("labels_embedding").get_config() == model.get_layer("labels_embedding").get_config()
    assert again.output.shape == (None, 6, WIDTH)
