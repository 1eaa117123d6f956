"""Several clips of a segment: their probabilities are averaged."""

import keras
import numpy as np
import pytest

from egokeras.data.cropped import Cropped
from egokeras.data.transforms import Crop
from egokeras.errors import InputError
from egokeras.evaluate import evaluate_rows
from egokeras.inference import predict_logits
from egokeras.scores import softmax


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    rgb = keras.Input((4, 16, 16, 3), dtype="uint8", name="rgb")
    x = keras.layers.GlobalAveragePooling3D()(keras.layers.Conv3D(4, 3, strides=2, name="conv")(keras.layers.Rescaling(1 / 32)(rgb)))
    return keras.Model({"rgb": rgb}, {"verb": keras.layers.Dense(2, name="verb")(x), "noun": keras.layers.Dense(3, name="noun")(x)})


def test_probabilities_of_clips_are_averaged(model, squares):
    shards, rows = Cropped(squares, Crop(frames=4, size=16)), squares.rows("validation")[:7]
    found = predict_logits(model, shards, rows, batch_size=3, clips=5)
    stored = squares.read(rows)[:, :, 4:20, 4:20]
    for head, logits in found.items():
        parts = [softmax(model.predict({"rgb": stored[:, first : first + 4]}, verbose=0)[head]) for first in range(5)]
        np.testing.assert_allclose(softmax(logits), np.mean(parts, axis=0), rtol=1e-4)
    alone = predict_logits(model, shards, rows, clips=1)
    np.testing.assert_allclose(alone["verb"], model.predict({"rgb": stored[:, 2:6]}, verbose=0)["verb"], rtol=1e-4, atol=1e-5)
    assert np.abs(softmax(alone["verb"]) - softmax(found["verb"])).max() > 1e-4


def test_metrics_say_how_many_clips_there_were(model, squares):
    shards = Cropped(squares, Crop(frames=4, size=16))
    rows, train = squares.rows("validation")[:9], squares.rows("train")
    assert evaluate_rows(model, shards, rows, train, clips=3)[0]["clips_averaged"] == 3
    assert "clips_averaged" not in evaluate_rows(model, shards, rows, train)[0]


def test_clips_as_they_are_stored_are_one_each(model, squares):
    with pytest.raises(InputError, match="there is one of each; several take a run with data.crop"):
        predict_logits(model, squares, squares.rows("validation")[:2], clips=10)
