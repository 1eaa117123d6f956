"""A run as a source of features: frame by frame or clip by clip, it gives what the whole model gives."""

import dataclasses
import json

import keras
import numpy as np
import pytest

from egokeras.data.cropped import Cropped
from egokeras.data.optical_flow import Flow
from egokeras.data.shards import Shards
from egokeras.data.transforms import Crop
from egokeras.errors import InputError
from egokeras.files import sha256
from egokeras.models import AverageHead, ConvLSTMHead, FrameModel, LSTMHead, ResNet3D, SmallBackbone
from egokeras.recogniser import BATCH, Recogniser

CLASSES = {"verb": 2, "noun": 3}
MODELS = {
    "lstm": FrameModel(backbone=SmallBackbone(channels=(4, 6)), head=LSTMHead(units=7)),
    "maps": FrameModel(backbone=SmallBackbone(channels=(4, 6)), head=ConvLSTMHead(filters=2, kernel=3, strides=1)),
    "average": FrameModel(backbone=SmallBackbone(channels=(4,)), head=AverageHead()),
    "clips": ResNet3D(width=4),
}


def write_run(folder, model, shards, kind="FrameModel"):
    """A run folder as `train.fit` leaves it, with what a recogniser reads of it."""
    folder.mkdir()
    model.save(folder / "model.keras")
    record = {"model": {"is": kind}, "data": {"shards": str(shards.path)}, "data_sha256": shards.sha256}
    (folder / "recipe.json").write_text(json.dumps(record))
    return folder


@pytest.mark.parametrize("name", MODELS)
def test_windows_give_what_the_model_gives(name, tmp_path, squares):
    """Windows of 8 of 50 frames, 11 of them: neither fills the batches."""
    spec = MODELS[name]
    keras.utils.set_random_seed(0)
    model = spec.build(classes=CLASSES, frames=8, size=24)
    run = write_run(tmp_path / "run", model, squares, type(spec).__name__)
    recogniser = Recogniser.open(run)
    frames = np.concatenate(squares.read(np.arange(7)))[:50]
    plan = np.sort(np.random.default_rng(0).integers(0, 50, (11, 8)), axis=1)
    held = recogniser.of_frames(frames)
    assert len(held) == 50
    found = np.concatenate([recogniser.of_windows(held[plan[at : at + BATCH]]) for at in range(0, 11, BATCH)])
    expected = model.predict({"rgb": frames[plan]}, verbose=0)["features"]
    assert found.shape == (11, recogniser.width) and np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()
    assert (recogniser.settings.frames, recogniser.settings.size, recogniser.clip_seconds) == (8, 24, 1.0)
    assert recogniser.settings.flow is None and recogniser.sha256 == sha256(run / "model.keras")


@pytest.mark.parametrize("name", ["lstm", "clips"])
def test_a_run_on_cut_clips_sees_the_middle_of_whole_pictures(name, tmp_path, squares):
    spec, cut = MODELS[name], Cropped(squares, Crop(frames=6, size=16))
    model = spec.build(classes=CLASSES, frames=6, size=16)
    run = write_run(tmp_path / "run", model, squares, type(spec).__name__)
    record = json.loads((run / "recipe.json").read_text())
    record["data"]["crop"] = {"is": "Crop", "frames": 6, "size": 16, "sides": []}
    (run / "recipe.json").write_text(json.dumps(record))
    recogniser = Recogniser.open(run)
    assert (recogniser.settings.frames, recogniser.settings.picture, recogniser.clip_seconds) == (6, (24, 24), 0.75)
    whole = squares.read([4])[0]
    found = recogniser.of_windows(recogniser.of_frames(whole[1:7])[None])
    expected = model.predict({"rgb": cut.read(np.array([4]))}, verbose=0)["features"]
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


def test_flow_is_that_of_the_shards(tmp_path, squares, monkeypatch):
    """Shards of flow say how it was made, and the recogniser sees the videos so."""
    flow = Flow(method="farneback", bound=6.0, seconds=0.2)
    run = write_run(tmp_path / "run", MODELS["average"].build(classes=CLASSES, frames=8, size=24), squares)
    about = {**squares.index, "channels": "flow", "flow": dataclasses.asdict(flow)}
    opened = Shards.__init__

    def of_flow(self, path):
        opened(self, path)
        self.index = about

    monkeypatch.setattr(Shards, "__init__", of_flow)
    assert Recogniser.open(run).settings.flow == flow


def test_runs_that_give_no_features(tmp_path, squares, epic_noise):
    run = write_run(tmp_path / "run", MODELS["average"].build(classes=CLASSES, frames=8, size=24), squares)
    with pytest.raises(InputError, match="does not hold the shards that .* was trained on; give those with --data"):
        Recogniser.open(run, epic_noise.path)
    rgb = keras.Input((2, 4, 4, 3), dtype="uint8", name="rgb")
    bare = keras.Model({"rgb": rgb}, {"verb": keras.layers.Flatten()(keras.layers.Rescaling(1.0)(rgb))})
    with pytest.raises(InputError, match="makes no vector `features` of a clip"):
        Recogniser.open(write_run(tmp_path / "bare", bare, squares))
    with pytest.raises(InputError, match="does not exist"):
        Recogniser.open(tmp_path / "nowhere")
