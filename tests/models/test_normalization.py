"""Pixels as pretrained weights want them, and motion on the same scale."""

import numpy as np
import pytest

from egokeras.errors import InputError
from egokeras.models.normalization import normalized


@pytest.mark.parametrize("kind", ["tf", "torch", "caffe"])
def test_normalization_equals_keras_preprocessing(kind):
    from keras.src.applications.imagenet_utils import preprocess_input

    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3)).astype("uint8")
    np.testing.assert_allclose(normalized(pixels, kind, "rgb"), preprocess_input(pixels.astype("float32"), mode=kind), atol=1e-4)


def test_motion_and_changes_are_scaled_as_in_tsns_code():
    """Flow: byte / 255 less 1/2 (here 128 / 255) over the mean deviation 0.226; a difference d / 255 over twice that."""
    stored = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 10)).astype("uint8")
    np.testing.assert_allclose(normalized(stored, "torch", "flow"), (stored / 255 - 128 / 255) / 0.226, atol=1e-5)
    change = 2 * (stored.astype(float) - 128)  # stored as 128 + d / 2
    np.testing.assert_allclose(normalized(stored, "torch", "rgb_difference"), change / 255 / (2 * 0.226), atol=1e-5)
    np.testing.assert_allclose(normalized(stored, "tf", "flow"), (stored - 128.0) / 127.5, atol=1e-6)


def test_a_network_that_normalises_by_itself_takes_light_alone():
    with pytest.raises(InputError, match="normalises RGB by itself and cannot take flow; take another, such as MobileNetV2"):
        normalized(np.zeros((1, 2, 2, 10), np.uint8), "none", "flow")
