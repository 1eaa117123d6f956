"""Activation maximisation on networks whose filters are known."""

import keras
import numpy as np
import pytest

from egokeras import visualize
from egokeras.errors import InputError
from egokeras.models import Backbone, FrameModel, SmallBackbone

RED = np.array([1.0, -0.5, -0.5])
LUMA = np.array([1.0, 1.0, 1.0]) / 3
SOBEL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])  # answers to brightness rising to the right: vertical edges


@pytest.fixture(scope="module")
def known():
    """Filters: 0 red, 1 vertical edges, 2 the picture does not reach it."""
    pixels = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1.0, name="scale")(pixels)
    x = keras.layers.Conv2D(3, 3, padding="same", use_bias=False, name="conv")(x)
    x = keras.layers.ReLU(6.0, name="relu")(x)
    model = keras.Model(pixels, keras.layers.GlobalAveragePooling2D(name="pool")(x))
    kernel = np.zeros((3, 3, 3, 3))
    kernel[..., 0] = RED / 9
    kernel[..., 1] = SOBEL[..., None] * LUMA
    model.get_layer("conv").set_weights([kernel])
    return model


def activation(model, picture, number, layer="relu"):
    maps = keras.Model(model.inputs[0], model.get_layer(layer).output)(picture[None].astype("float32")).numpy()
    return float(maps[..., number].mean())


def noise(seed=0):
    return np.random.default_rng(seed).normal(127.5, 10, (32, 32, 3)).clip(0, 255)


def test_a_colour_detector_gives_its_colour(known):
    (picture,) = visualize.maximise(known, "relu", [0], size=32, steps=60)
    red, green, blue = picture.reshape(-1, 3).mean(0)
    assert red > 220
    assert max(green, blue) < 40
    assert activation(known, picture, 0) > 5 * activation(known, noise(), 0)


def test_an_edge_detector_gives_stripes_across_its_direction(known):
    (picture,) = visualize.maximise(known, "relu", [1], size=32, steps=60)
    grey = picture.astype(float).mean(-1)
    across, along = np.abs(np.diff(grey, axis=1)).mean(), np.abs(np.diff(grey, axis=0)).mean()
    assert across > 3 * along
    assert activation(known, picture, 1) > 20 * activation(known, noise(), 1)  # climbing a plain mean would end at 8


@pytest.mark.parametrize("layer", ["conv", "relu", "pool"])
def test_maps_activations_and_vectors_can_all_be_climbed(known, layer):
    (picture,) = visualize.maximise(known, layer, [0], size=32, steps=60)
    assert picture.reshape(-1, 3).mean(0)[0] > 200


def test_the_same_seed_gives_the_same_pictures_whatever_else_is_asked_for(known, monkeypatch):
    both = visualize.maximise(known, "relu", [1, 0], size=32, steps=10, seed=3)
    assert both.shape == (2, 32, 32, 3)
    assert both.dtype == np.uint8
    np.testing.assert_array_equal(both, visualize.maximise(known, "relu", [1, 0], size=32, steps=10, seed=3))
    monkeypatch.setattr(visualize, "PIXELS_AT_ONCE", 32 * 32)  # one picture at a time
    np.testing.assert_allclose(both.astype(int), visualize.maximise(known, "relu", [1, 0], size=32, steps=10, seed=3), atol=1)
    alone = visualize.maximise(known, "relu", [0], size=32, steps=10, seed=3)
    np.testing.assert_allclose(both[1:].astype(int), alone, atol=1)
    assert np.abs(both[:1].astype(int) - visualize.maximise(known, "relu", [1], size=32, steps=10, seed=4)).mean() > 1


def test_a_filter_without_gradient_stays_noise(known):
    (picture,) = visualize.maximise(known, "relu", [2], size=32, steps=20)
    assert abs(picture.mean() - 127.5) < 2
    assert picture.std() < 12


def test_weights_stay(known):
    before = known.get_layer("conv").get_weights()[0]
    visualize.maximise(known, "relu", [0], size=32, steps=3)
    np.testing.assert_array_equal(before, known.get_layer("conv").get_weights()[0])


def test_unknown_layers_and_filters_are_named(known):
    with pytest.raises(InputError, match=r"layer 'conf' .* nearest: conv.* --list-layers"):
        visualize.maximise(known, "conf", [0])
    with pytest.raises(InputError, match="layer 'relu' has filters 0 to 2, not 3"):
        visualize.maximise(known, "relu", [0, 3])


def test_layers_and_the_default_choice(known):
    assert visualize.layers_of(known) == {"scale": 3, "conv": 3, "relu": 3, "pool": 3}
    assert visualize.spread(known) == ["relu"]
    small = visualize.image_model(FrameModel(backbone=SmallBackbone()).build(classes={"verb": 2}, frames=5, size=32))
    assert "cells" not in visualize.layers_of(small)
    assert visualize.spread(small, 3) == ["conv_1_relu", "conv_3_relu", "conv_4_relu"]


@pytest.mark.parametrize("backbone", [SmallBackbone(), Backbone(alpha=0.35, weights=None, cut="block_3_expand_relu")])
def test_the_image_model_computes_what_the_student_computes(backbone):
    student = FrameModel(backbone=backbone).build(classes={"verb": 2}, frames=5, size=64)
    model = visualize.image_model(student)
    clip = np.random.default_rng(0).integers(0, 256, (1, 5, 64, 64, 3), np.uint8)
    expected = student.get_layer("backbone")({"rgb": clip}).numpy()[0]
    np.testing.assert_allclose(model(clip[0].astype("float32")).numpy(), expected, rtol=1e-5, atol=1e-5)
    pictures = visualize.maximise(model, visualize.spread(model)[-1], [0, 1], size=48, steps=2)
    assert pictures.shape == (2, 48, 48, 3)


def test_a_model_without_frames_is_refused(known):
    with pytest.raises(InputError, match="no per-frame backbone"):
        visualize.image_model(known)


def test_save_grid_writes_a_png(tmp_path):
    picture = np.zeros((8, 8, 3), np.uint8)
    visualize.save_grid(tmp_path / "grid.png", {"a": {0: picture, 5: picture, 7: picture}, "b": {1: picture}}, columns=2)
    assert (tmp_path / "grid.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["grid.png"]
