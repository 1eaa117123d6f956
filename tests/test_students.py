"""Stages: a later one takes over trained weights by the names of layers, and may keep its best epoch by a score."""

import dataclasses
import shutil

import keras
import numpy as np
import pytest

import egokeras
from egokeras import recipe as recipes
from egokeras import train
from egokeras.errors import InputError
from egokeras.models.anticipation import RULSTM, Vocabulary
from egokeras.models.past_actions import PastActionsLSTM
from egokeras.optim import Optim
from egokeras.recipe import Data, Recipe


@pytest.fixture(scope="module")
def data(observations, tmp_path_factory):
    """Features that tell the action, more clearly the later."""
    folder, segments, random = tmp_path_factory.mktemp("observations"), observations.segments(), np.random.default_rng(3)
    windows = random.normal(size=(len(segments), 14, 6))
    for window, segment in zip(windows, segments, strict=True):
        window[:, segment[3]] += np.linspace(0, 3, 14)
    observations.write(folder / "rgb", windows.astype("float16"), segments)
    observations.write(folder / "flow", windows[..., ::-1].astype("float16"), segments, "flow_features")
    return folder


def recipe(data, name, modality="rgb", **fields):
    fields = {"model": RULSTM(units=8, dropout=0.1), "epochs": 4, "batch_size": 16, "optim": Optim(learning_rate=0.02), **fields}
    return Recipe(name=name, data=Data(shards=str(data / modality)), **fields)


def fit(stage, folder):
    (folder / stage.name).mkdir()
    return train.fit(stage, folder / stage.name, quiet=True)


@pytest.mark.slow
def test_completion_then_fine_tuning_then_fusion(data, tmp_path):
    for modality in ("rgb", "flow"):
        completion = RULSTM(units=8, dropout=0.1, completion=True)
        fit(recipe(data, f"{modality}_completion", modality, model=completion), tmp_path)
        fit(recipe(data, modality, modality, start_from=(f"{modality}_completion",), epochs=1), tmp_path)
    both = f"{data / 'rgb'},{data / 'flow'}"
    fusion = recipe(data, "fusion", model=RULSTM(units=8, dropout=0.1, fusion="matt"), start_from=("rgb", "flow"), epochs=1)
    fusion = dataclasses.replace(fusion, data=Data(shards=both), optim=Optim(learning_rate=1e-9))
    model = fit(fusion, tmp_path)
    for modality in ("rgb", "flow"):
        branch = egokeras.load_model(tmp_path / modality / "model.keras")
        for layer in (layer for layer in branch.layers if layer.weights):
            for weight, taken in zip(layer.get_weights(), model.get_layer(layer.name).get_weights(), strict=True):
                np.testing.assert_allclose(taken, weight, atol=1e-5)
        first = egokeras.load_model(tmp_path / f"{modality}_completion" / "model.keras")
        moved = [np.abs(a - b).max() for a, b in zip(branch.get_weights(), first.get_weights(), strict=True)]
        assert 0 < max(moved) < 0.3  # one epoch away from where it started
    assert model.output["action"].shape == (None, 8, 5)


def test_what_cannot_be_taken_over(data, tmp_path):
    fit(recipe(data, "small", epochs=1), tmp_path)
    wide = recipe(data, "wide", model=RULSTM(units=9), start_from=("small",))
    with pytest.raises(InputError, match=r"start_from: layer 'rgb_features_rolling' of .*small/model.keras has the shapes"):
        fit(wide, tmp_path)
    with pytest.raises(InputError, match="no layer of .* has the name of a layer here"):
        fit(recipe(data, "other", "flow", start_from=("small",)), tmp_path)
    with pytest.raises(InputError, match="neither .* nor nothing has a model.keras"):
        fit(recipe(data, "lost", start_from=("nothing",)), tmp_path)
    with pytest.raises(InputError, match="folds would score clips that they know"):
        recipe(data, "folds", start_from=("small",), folds=5)


@pytest.mark.parametrize(
    ("model", "field"), [(RULSTM(labels=Vocabulary(verbs=2)), "model.labels.verbs"), (PastActionsLSTM(nouns=2), "model.nouns")]
)
def test_a_vocabulary_must_hold_the_data(observations, tmp_path, model, field):
    segments = observations.segments()
    observations.write(tmp_path / "labels", np.ones((len(segments), 10, 3), "int16"), segments, "labels")
    with pytest.raises(InputError, match=f"{field} is 2, .* has 3"):
        fit(recipe(tmp_path, "stage", "labels", model=model), tmp_path)


KINDS = [
    ("anticipation_labels", "rgb", "PastActionsLSTM takes labels, the data has rgb; make a set for it with `egokeras observe`"),
    ("anticipation_lstm", "rgb", "AnticipationLSTM takes features or labels, the data has rgb; make a set for it with `egokeras observe`"),
    ("demo", "features", "FrameModel takes rgb clips, the data has rgb_features; make a set for it with `egokeras prepare`"),
    ("demo", "labels", "FrameModel takes rgb clips, the data has labels; make a set for it with `egokeras prepare`"),
]


@pytest.mark.parametrize(("name", "kind", "said"), KINDS)
def test_a_recipe_on_the_wrong_kind_of_set(epic_noise, observations, data, tmp_path, name, kind, said):
    segments = observations.segments()
    observations.write(tmp_path / "labels", np.ones((len(segments), 10, 3), "int16"), segments, "labels")
    folder = {"rgb": epic_noise.path, "features": data / "rgb", "labels": tmp_path / "labels"}[kind]
    stage, *_ = recipes.load(name, [f"data.shards={folder}", "data.heads=action"])
    with pytest.raises(InputError, match=said):
        fit(stage, tmp_path)


def test_a_stage_reads_what_its_model_takes(data, tmp_path, monkeypatch):
    """Of joined sets, a branch trains on its own, although the other is damaged."""
    folder = shutil.copytree(data, tmp_path / "data")
    file = next((folder / "flow").glob("shard-*.npy"))
    content = bytearray(file.read_bytes())
    content[200:] = bytes(len(content) - 200)
    file.write_bytes(content)
    stage = recipe(folder, "branch", model=RULSTM(units=4, modalities=("rgb_features",)), epochs=1)
    both = dataclasses.replace(stage, data=Data(shards=f"{folder / 'rgb'},{folder / 'flow'}"))
    fit(both, tmp_path)
    with pytest.raises(InputError, match="was altered"):
        fit(dataclasses.replace(both, name="fusion", model=RULSTM(units=4)), tmp_path)


def test_the_best_epoch_by_a_score_returns(data, tmp_path, monkeypatch):
    scores, weights = iter([0.2, 0.9, 0.4, 0.3]), []
    step = keras.callbacks.EarlyStopping.on_epoch_end

    def scored(self, epoch, logs):
        weights.append(self.model.get_weights())
        step(self, epoch, {**logs, "val_action_top1": next(scores)})

    monkeypatch.setattr(keras.callbacks.EarlyStopping, "on_epoch_end", scored)
    model = fit(recipe(data, "best", monitor="val_action_top1", early_stopping=4), tmp_path)
    kept = [array for array in weights[1] if array.shape]
    for weight in model.get_weights():
        assert any(weight.shape == array.shape and np.array_equal(weight, array) for array in kept)
    with pytest.raises(InputError, match="monitor is 'val_verb_top1'; this training has val_action_top1"):
        fit(recipe(data, "unknown", monitor="val_verb_top1", early_stopping=4), tmp_path)
    with pytest.raises(InputError, match="give val_loss or a score"):
        recipe(data, "unknown", monitor="loss")
