"""Training end to end on moving squares: time decides the verb, so only a head that sees the order can learn it."""

import csv
import dataclasses
import json

import numpy as np
import pytest

import egokeras
from egokeras import train
from egokeras.compress.prune import Pruning
from egokeras.data.transforms import Augment
from egokeras.errors import InputError
from egokeras.models import AverageHead, ConvNet1DHead, FrameModel, SmallBackbone
from egokeras.optim import Optim, StepDecay
from egokeras.recipe import Data, Recipe


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrozenBackbone(SmallBackbone):
    """Random features, computed once."""

    frozen = True

    def build(self, **shape):
        model = super().build(**shape)
        model.trainable = False
        return model


@pytest.fixture
def recipe(squares):
    return Recipe(
        name="squares",
        data=Data(shards=str(squares.path)),
        model=FrameModel(backbone=SmallBackbone(channels=(8, 16)), head=ConvNet1DHead(filters=16, dropout=0.0)),
        optim=Optim(learning_rate=5e-3),
        epochs=5,
        seed=1,
    )


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def accuracy(model, shards, space):
    rows = shards.rows("validation")
    logits = np.asarray(model({"rgb": shards.read(rows)}, training=False)[space])
    return np.mean(logits.argmax(-1) == shards.labels(space, rows))


def test_fit_learns_and_leaves_a_run(recipe, squares, tmp_path):
    model = train.fit(recipe, tmp_path, quiet=True)
    assert accuracy(model, squares, "verb") > 0.9 and accuracy(model, squares, "noun") > 0.9
    again = egokeras.load_model(tmp_path / "model.keras")
    clips = squares.read(np.arange(4))
    np.testing.assert_allclose(again({"rgb": clips})["verb"], model({"rgb": clips})["verb"], atol=1e-5)
    history = read_csv(tmp_path / "history.csv")
    assert len(history) == 5 and float(history[-1]["val_verb_top1"]) == pytest.approx(accuracy(model, squares, "verb"), abs=1e-6)
    assert {"epoch", "loss", "ce_verb", "ce_noun", "val_loss", "learning_rate"} <= set(history[0])
    record = json.loads((tmp_path / "recipe.json").read_text())
    assert record["epochs"] == 5 and record["data_sha256"] == squares.sha256
    assert json.loads((tmp_path / "classes.json").read_text()) == {"verb": ["lower", "raise"], "noun": ["red", "green", "blue"]}
    assert any((tmp_path / "tensorboard").rglob("*tfevents*"))


def test_without_order_the_verb_is_chance(recipe, squares, tmp_path):
    model = train.fit(dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, head=AverageHead())), tmp_path, quiet=True)
    assert accuracy(model, squares, "noun") > 0.9 and accuracy(model, squares, "verb") < 0.75


def test_mixed_precision_is_the_models_alone(recipe, squares, tmp_path):
    import keras

    model = train.fit(dataclasses.replace(recipe, mixed_precision=True, epochs=1), tmp_path, quiet=True)
    assert model.get_layer("backbone").get_layer("conv_1").compute_dtype == "float16"
    assert model({"rgb": squares.read([0])})["verb"].dtype == "float32"
    assert keras.mixed_precision.dtype_policy().name == "float32"


def test_equal_seeds_give_equal_weights(recipe, tmp_path):
    short = dataclasses.replace(recipe, epochs=1)
    weights = []
    for name in "ab":
        (tmp_path / name).mkdir()
        weights.append(train.fit(short, tmp_path / name, quiet=True).get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))


def test_a_frozen_backbone_is_run_once(recipe, squares, tmp_path):
    frozen = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, backbone=FrozenBackbone(channels=(8, 16))), epochs=15)
    (tmp_path / "run").mkdir()
    model = train.fit(frozen, tmp_path / "run", quiet=True)
    cache = list((tmp_path / ".features").iterdir())
    assert len(cache) == 1
    features = np.load(next(cache[0].glob("shard-*.npy")))
    expected = model.get_layer("backbone")({"rgb": squares.read(np.arange(5))}, training=False)
    np.testing.assert_allclose(features[:5], expected, atol=2e-3)
    history = read_csv(tmp_path / "run" / "history.csv")
    assert float(history[-1]["val_noun_top1"]) == pytest.approx(accuracy(model, squares, "noun"), abs=0.02)
    assert float(history[-1]["loss"]) < float(history[0]["loss"])
    before = cache[0].stat().st_mtime_ns
    (tmp_path / "run-2").mkdir()
    pruned = train.fit(dataclasses.replace(frozen, epochs=1, pruning=Pruning(dense=("conv_2",))), tmp_path / "run-2", quiet=True)
    kernels = [kernel.numpy() for kernel in Pruning().kernels(pruned).values()]
    assert len(kernels) == 5 and all((kernel == 0).sum() == int(0.8 * kernel.size) for kernel in kernels)
    assert cache[0].stat().st_mtime_ns == before


def test_a_head_learns_from_augmented_views_too(recipe, squares, tmp_path, monkeypatch):
    taken = []
    stream = train.stream
    monkeypatch.setattr(train, "stream", lambda source, rows, **how: taken.append((source, rows, how)) or stream(source, rows, **how))
    model = FrameModel(backbone=FrozenBackbone(channels=(8, 16)), head=AverageHead())
    data = dataclasses.replace(recipe.data, augment=Augment(brightness=0.3))
    frozen = dataclasses.replace(recipe, model=model, data=data, epochs=2, feature_views=2)
    train.fit(frozen, tmp_path, quiet=True)
    source, rows, how = taken.pop()
    assert source.modality == "features" and rows.shape == (2, 160) and how["augment"] is None
    np.testing.assert_array_equal(source.labels("noun", rows[1]), squares.labels("noun", squares.rows("train")))
    first, second = source.read(rows[0, :4]), source.read(rows[1, :4])
    assert not np.allclose(first, second) and not np.allclose(first, source.read(squares.rows("train")[:4]))
    (tmp_path / "frames").mkdir()
    train.fit(dataclasses.replace(frozen, feature_views=0, epochs=1), tmp_path / "frames", quiet=True)
    assert taken[0][0].modality == "rgb" and taken[0][2]["augment"] == data.augment


def test_grouped_folds_judge_every_clip_once(recipe, squares, tmp_path):
    recipe = dataclasses.replace(recipe, folds=3, epochs=4)
    judged, right = [], []
    for student, source, test, trained in train.folds(recipe, tmp_path):
        assert not set(squares.clips["group"][test]) & set(squares.clips["group"][trained])
        logits = np.asarray(student({"rgb": source.read(test)}, training=False)["verb"])
        right.append(np.mean(logits.argmax(-1) == source.labels("verb", test)))
        judged.extend(test)
    assert sorted(judged) == list(range(220)) and np.mean(right) > 0.8
    assert not list(train.folds(dataclasses.replace(recipe, folds=0), tmp_path))


def test_fewer_groups_than_folds_give_fewer_folds(recipe, squares, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "_fit", lambda *_, **__: None)  # nothing of this depends on what is learned
    groups = len(set(squares.clips["group"][np.concatenate(recipe.data.rows(squares))]))
    folds = list(train.folds(dataclasses.replace(recipe, folds=groups + 1, epochs=1), tmp_path))
    assert len(folds) == groups and all(len(test) and len(trained) for _, _, test, trained in folds)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shards": ""}, "has no data; give data.shards"),
        ({"shards": "absent"}, "absent is not a finished folder of shards"),
        ({"heads": ("action",)}, "no labels 'action'"),
        ({"classes": {"verb": 97}}, "expects 97 classes of verb"),
        ({"train": "training"}, "no split 'training'"),
        ({"videos": "absent.csv"}, "absent.csv is not a file"),
    ],
)
def test_mistakes_are_named(recipe, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        train.fit(dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, **changes)), tmp_path, quiet=True)
    assert not (tmp_path / "model.keras").exists()


def test_history_has_the_rate_that_an_epoch_was_trained_with(recipe, tmp_path):
    schedule = StepDecay(factor=0.1, first=1, every=1)
    train.fit(dataclasses.replace(recipe, epochs=3, optim=Optim(learning_rate=1e-2, schedule=schedule)), tmp_path, quiet=True)
    assert [float(row["learning_rate"]) for row in read_csv(tmp_path / "history.csv")] == pytest.approx([1e-2, 1e-3, 1e-4])


def test_a_training_that_cannot_end_well_leaves_no_model(recipe, tmp_path):
    with pytest.raises(InputError, match="loss is not finite in epoch 1; give a lower"):
        train.fit(dataclasses.replace(recipe, optim=Optim(optimizer="sgd", learning_rate=1e30)), tmp_path, quiet=True)
    (tmp_path / "videos.txt").write_text("v0-0\n")  # a training video: nothing is left to stop early by
    alone = dataclasses.replace(recipe.data, videos=str(tmp_path / "videos.txt"))
    with pytest.raises(InputError, match=r"early_stopping: .* has no clips in split 'validation'"):
        train.fit(dataclasses.replace(recipe, early_stopping=3, data=alone), tmp_path, quiet=True)
    with pytest.raises(InputError, match=r"data.validation: .* has no split 'exam'"):
        train.fit(dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, validation="exam")), tmp_path, quiet=True)
    assert not (tmp_path / "model.keras").exists()


def test_a_damaged_clip_stops_training_with_its_name(recipe, squares, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(squares.path, copy)
    with open(copy / "shard-00000.npy", "r+b") as file:
        file.seek(10_000)
        byte = file.read(1)[0]
        file.seek(10_000)
        file.write(bytes([byte ^ 1]))
    damaged = dataclasses.replace(recipe, data=Data(shards=str(copy)), epochs=1)
    with pytest.raises(InputError, match="clip 'c0' was altered"):
        train.fit(damaged, tmp_path, quiet=True)


def test_a_model_is_saved_whole_or_not_at_all(tmp_path):
    class Broken:
        def save(self, path):
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError):
        train.save(Broken(), tmp_path / "model.keras")
    assert not list(tmp_path.iterdir())


def test_flow_is_not_mirrored(recipe, squares, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "open_shards", lambda recipe: squares)
    monkeypatch.setitem(squares.index, "channels", "flow")
    flipped = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, augment=Augment(flip=0.5)))
    with pytest.raises(InputError, match="data.augment.flip means nothing to optical flow; keep shift alone"):
        train.fit(flipped, tmp_path, quiet=True)
