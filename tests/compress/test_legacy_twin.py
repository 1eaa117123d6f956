"""A model built again in tf_keras computes the same."""

import keras
import numpy as np
import pytest

from egokeras import models
from egokeras.compress.legacy_twin import check_equal, legacy_twin
from egokeras.errors import InputError
from egokeras.models import streaming

pytest.importorskip("tf_keras", reason="extra `compress` is not installed")

HEADS = [
    models.LSTMHead(units=6),
    models.ConvLSTMHead(kernel=1, strides=1),
    models.ConvNet1DHead(filters=4, last_filters=6),
    models.AverageHead(),
    models.ConsensusHead(),
]
BACKBONES = [
    models.SmallBackbone(channels=(8, 12)),
    models.ResNet2D(depth=18, width=4),
    models.Backbone(alpha=0.35, weights=None, cut="block_3_depthwise_relu"),
    models.Backbone(name="VGG16", weights=None, cut="block1_pool"),  # BGR
]


def shaken(model):
    """Other biases, scales and statistics everywhere, so that none is what its twin begins with; variances stay positive."""
    rng = np.random.default_rng(0)
    added = [rng.uniform(0.01, 0.2, weight.shape) if weight.ndim == 1 else 0.0 for weight in model.get_weights()]
    model.set_weights([weight + more for weight, more in zip(model.get_weights(), added, strict=True)])
    return model


@pytest.mark.parametrize("head", HEADS, ids=lambda head: type(head).__name__)
def test_heads(head):
    keras.utils.set_random_seed(0)
    shape = (5, 12) if head.pool else (5, 2, 2, 12)
    own = shaken(head.build(feature_shape=shape, classes={"verb": 3, "noun": 4}))
    features = np.random.default_rng(1).normal(size=(3, *shape)).astype("float32")
    expected, found = own({"features": features}), legacy_twin(own)({"features": features})
    assert set(found) == {"verb", "noun", "features"}
    for name in expected:
        check_equal(name, np.array(expected[name]), found[name])


@pytest.mark.parametrize("backbone", BACKBONES, ids=lambda backbone: getattr(backbone, "name", type(backbone).__name__))
def test_features_of_a_frame(backbone):
    keras.utils.set_random_seed(0)
    model = models.FrameModel(backbone=backbone, head=models.AverageHead()).build(classes={"verb": 3}, frames=2, size=32)
    clips = np.random.default_rng(1).integers(0, 256, (2, 2, 32, 32, 3), np.uint8)
    own = streaming.frame_network(shaken(model))
    expected = np.array(streaming.halves(model)[0]({"rgb": clips})["features"], np.float32)
    twin = legacy_twin(own)
    found = np.array(twin(clips.reshape(-1, 32, 32, 3).astype("float32"))).reshape(expected.shape)
    assert expected.std() > 0
    check_equal("features", expected, found) if not backbone.frozen else np.testing.assert_allclose(found, expected, rtol=1e-3)  # float16
    assert {layer.name for layer in own.layers[1:]} == {layer.name for layer in twin.layers[1:]}


def test_what_differs_is_refused():
    check_equal("logits", np.array([200.0, 1.0]), np.array([200.001, 1.0]))
    for found in (np.array([1.0, 2.0001]), np.array([1.0, np.nan])):
        with pytest.raises(InputError, match="twin's logits differ"):
            check_equal("logits", np.array([1.0, 2.0]), found)


@keras.saving.register_keras_serializable(package="test")
class Doubled(keras.layers.Layer):
    def call(self, x):
        return 2 * x


def test_what_cannot_be_rebuilt_is_named():
    pictures = keras.Input((8, 8, 3))
    with pytest.raises(InputError, match="layer mine is a Doubled, which tf_keras has not"):
        legacy_twin(keras.Model(pictures, Doubled(name="mine")(pictures)))
    twice = keras.layers.ReLU(name="twice")
    with pytest.raises(InputError, match="layer twice is used more than once"):
        legacy_twin(keras.Model(pictures, twice(twice(pictures))))
