"""Features of a frozen backbone: computed once for equal networks, whole or absent."""

import keras
import numpy as np
import pytest

from egokeras import features
from egokeras.errors import InputError
from egokeras.features import cached


def backbone(scale=0.01):
    """Brightness of every frame; its layers have names that Keras made up."""
    rgb = keras.Input((8, 24, 24, 3), dtype="uint8", name="rgb")
    pooled = keras.layers.AveragePooling3D((1, 24, 24))(keras.layers.Rescaling(scale)(rgb))
    return keras.Model({"rgb": rgb}, keras.layers.Reshape((8, 3))(pooled), name="backbone")


def test_equal_networks_share_their_features(squares, tmp_path):
    first, again = backbone(), backbone()
    assert [layer.name for layer in first.layers] != [layer.name for layer in again.layers]
    found = cached(first, squares, tmp_path / "features")
    assert cached(again, squares, tmp_path / "features").path == found.path
    assert cached(backbone(0.02), squares, tmp_path / "features").path != found.path
    assert len(found) == 220 and found.modality == "features"  # without the windows
    rows = np.arange(20)
    np.testing.assert_allclose(found.read(rows), 0.01 * squares.read(rows).mean((2, 3)), atol=2e-3)
    assert [path.name for path in (tmp_path / "features").iterdir() if path.name.startswith(".")] == []


def test_what_is_interrupted_leaves_nothing(squares, tmp_path, monkeypatch):
    model = backbone()

    def interrupted(clips):
        raise KeyboardInterrupt

    monkeypatch.setattr(model, "predict_on_batch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cached(model, squares, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_quicker_of_two_trainings_wins(squares, tmp_path, monkeypatch):
    model, other = backbone(), backbone()
    predict = model.predict_on_batch

    def meanwhile(clips):
        cached(other, squares, tmp_path)
        return predict(clips)

    monkeypatch.setattr(model, "predict_on_batch", meanwhile)
    assert len(cached(model, squares, tmp_path)) == 220 and len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_is_said_before_the_work(squares, tmp_path, monkeypatch):
    monkeypatch.setattr(features.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 100}))
    with pytest.raises(InputError, match="the features take .* cache_features=False"):
        features.cached(backbone(), squares, tmp_path)
    assert not list(tmp_path.iterdir())
