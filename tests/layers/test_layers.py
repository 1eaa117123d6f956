"""Layers that a saved student may contain: what they compute, and that they come back from a file."""

import keras
import numpy as np
import pytest

from egokeras.layers import FoldTime, NormalizePixels, UnfoldTime

CLIPS = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5, 3)).astype("uint8")


def test_folding_keeps_the_order_of_frames():
    frames = FoldTime()(CLIPS)
    np.testing.assert_array_equal(frames, CLIPS.reshape(6, 4, 5, 3))
    np.testing.assert_array_equal(UnfoldTime(3)(frames), CLIPS)


@pytest.mark.parametrize("batch", [None, 2])
def test_shapes_are_as_static_as_the_input(batch):
    clip = keras.Input((3, 4, 5, 3), batch_size=batch)
    frames = FoldTime()(clip)
    assert frames.shape == (None if batch is None else 6, 4, 5, 3)
    assert UnfoldTime(3)(frames).shape == (batch, 3, 4, 5, 3)


@pytest.mark.parametrize("same", [True, False])
def test_normalisation_subtracts_then_divides(same):
    mean, deviation = ((10.0,) * 3, (4.0,) * 3) if same else ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    expected = (CLIPS.astype("float32") - mean) / deviation
    np.testing.assert_allclose(NormalizePixels(mean, deviation)(CLIPS), expected, rtol=1e-5, atol=1e-5)
    reversed_first = (CLIPS[..., ::-1].astype("float32") - mean) / deviation
    np.testing.assert_allclose(NormalizePixels(mean, deviation, bgr=True)(CLIPS), reversed_first, rtol=1e-5, atol=1e-5)


def test_they_come_back_from_a_file(tmp_path):
    clip = keras.Input((3, 4, 5, 3), dtype="uint8", name="rgb")
    x = NormalizePixels((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), bgr=True)(FoldTime()(clip))
    model = keras.Model({"rgb": clip}, UnfoldTime(3)(x))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(again({"rgb": CLIPS}), model({"rgb": CLIPS}))
