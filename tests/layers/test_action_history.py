"""The layers of the list of past actions, compared with values worked out by hand."""

import numpy as np
import pytest

from egokeras.layers import DrawTimes, EmbedPastActions, KnownAt

# nothing, then actions 12 s, 5.5 s and 1.3 s before the start; and a list of one
LABELS = np.array([[[0, 0, 0], [2, 1, 1200], [1, 3, 550], [3, 2, 130]], [[0, 0, 0], [0, 0, 0], [0, 0, 0], [1, 1, 90]]], np.int16)


def test_embedding_looks_up_and_measures_gaps():
    layer = EmbedPastActions(3, 4, 2, 3, last=2, first=2.0)
    found = np.asarray(layer(LABELS))
    assert found.shape == (2, 4, 6)
    np.testing.assert_array_equal(found[..., :2], layer.verbs.embeddings.numpy()[LABELS[..., 0]])
    np.testing.assert_array_equal(found[..., 2:5], layer.nouns.embeddings.numpy()[LABELS[..., 1]])
    np.testing.assert_allclose(found[..., 5], [[0, 0, np.log(7.5), np.log(5.2)], [0, 0, 0, 0]], rtol=1e-6)
    np.testing.assert_array_equal(layer.compute_mask(LABELS), [[False, True, True, True], [False, False, False, True]])


def test_of_the_actions_known_first_the_last_are_read():
    """At 5 s two are known, of which one is to be read, with what became known since; it is 0 seconds after what is not read."""
    layer = EmbedPastActions(3, 4, 2, 3, last=1, first=5.0)
    np.testing.assert_array_equal(layer.compute_mask(LABELS), [[False, False, True, True], [False, False, False, True]])
    np.testing.assert_allclose(np.asarray(layer(LABELS))[..., 5], [[0, 0, 0, np.log(5.2)], [0, 0, 0, 0]], rtol=1e-6)


def test_known_state_is_that_of_the_last_action_old_enough():
    states = np.arange(1, 17, dtype="float32").reshape(2, 4, 2)
    found = np.asarray(KnownAt((2.0, 1.3, 0.5))([LABELS, states]))
    expected = [
        [[5, 6, np.log(4.5), 1, 0, 0], [7, 8, 0, 0, 1, 0], [7, 8, np.log(1.8), 0, 0, 1]],
        [[0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 1, 0], [15, 16, np.log(1.4), 0, 0, 1]],
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_an_action_after_one_that_is_not_known_is_not_known():
    """Lists are ordered by age; if one is not, what was seen later must still not count as seen before."""
    labels = np.array([[[1, 1, 900], [1, 1, 100], [1, 1, 400]]], np.int16)
    found = np.asarray(KnownAt((2.0,))([labels, np.array([[[1.0], [2.0], [3.0]]], "float32")]))
    np.testing.assert_allclose(found[0, 0, :2], [1, np.log(8)], rtol=1e-6)


@pytest.mark.parametrize("count", [1, 2])
def test_times_are_drawn_in_training_only(count):
    layer = DrawTimes(count, seed=3)
    inputs = np.arange(24, dtype="float32").reshape(4, 3, 2)
    np.testing.assert_array_equal(layer(inputs), inputs)
    drawn = np.asarray(layer(inputs, training=True))
    assert drawn.shape == (4, count, 2)
    for clip, times in zip(inputs.tolist(), drawn.tolist(), strict=True):
        assert all(time in clip for time in times) and len({tuple(time) for time in times}) == count
    np.testing.assert_array_equal(DrawTimes(count, seed=3)(inputs, training=True), drawn)


@pytest.mark.parametrize(
    "layer", [EmbedPastActions(3, 4, 2, 3, 5, 2.0), KnownAt((2.0, 0.5)), DrawTimes(2, seed=1)], ids=lambda layer: type(layer).__name__
)
def test_configurations_come_back(layer):
    assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()
