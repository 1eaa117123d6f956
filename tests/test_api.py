"""Everything the README shows without the command line, on small clips."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import egokeras
import egokeras.data
from egokeras import models
from egokeras.distill import Distiller, Supervised

SMALL = models.SmallBackbone(channels=(8, 16))


def test_load_distil_and_save(squares, tmp_path):
    keras.utils.set_random_seed(0)
    model = models.MobileNetV2ConvNet1D({"verb": 2, "noun": 3}, frames=8, size=24, backbone=SMALL)
    assert isinstance(model, keras.Model)
    train = egokeras.data.load(squares.path, "train", shuffle=True)
    assert isinstance(train, tf.data.Dataset)
    distiller = Distiller(model, Supervised(class_weights=None))
    distiller.compile(keras.optimizers.Adam(5e-3))
    seen = []
    callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(logs["val_loss"]))
    distiller.fit(train, epochs=3, validation_data=egokeras.data.load(squares.path, "validation"), callbacks=[callback], verbose=0)
    assert len(seen) == 3 and seen[-1] < seen[0]
    model.save(tmp_path / "model.keras")
    clips = squares.read(np.arange(3))
    np.testing.assert_allclose(
        egokeras.load_model(tmp_path / "model.keras")({"rgb": clips})["verb"], model({"rgb": clips})["verb"], atol=1e-5
    )


@pytest.mark.parametrize(
    "build",
    [models.MobileNetV2LSTM, models.MobileNetV2ConvNet1D, models.MobileNetV2Average, models.MobileNetV2ConvLSTM],
    ids=lambda f: f.__name__,
)
def test_plain_constructors(build):
    head = {"head": models.ConvLSTMHead(kernel=2, strides=1)} if build is models.MobileNetV2ConvLSTM else {}
    model = build(7, frames=5, size=32, backbone=SMALL, **head)
    assert isinstance(model, keras.Model)
    assert model.input["rgb"].shape == (None, 5, 32, 32, 3) and model.input["rgb"].dtype == "uint8"
    assert model.output["action"].shape == (None, 7)


def test_a_dataset_of_ones_own():
    """The Distiller asks for named inputs and targets, and nothing of ours."""
    images = keras.Input((8,), name="features")
    model = keras.Model({"features": images}, {"action": keras.layers.Dense(3, name="action")(images)})
    data = tf.data.Dataset.from_tensors(({"features": np.eye(8, dtype="float32")}, {"action": np.arange(8, dtype="int32") % 3}))
    distiller = Distiller(model)
    distiller.compile("adam")
    assert np.isfinite(distiller.fit(data, epochs=1, verbose=0).history["loss"][0])
