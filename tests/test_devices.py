"""Training on two devices gives what one device gives. Run as a script, this file trains on both and prints what came out as JSON:

TensorFlow splits its CPU in two only before it starts, so the trainings need a process of their own, and share it.
"""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.slow

STEPS = 50
LEARNING_RATE = {"Adam": 1e-4, "SGD": 2e-3}  # with larger ones a step magnifies rounding, on one device too


@pytest.fixture(scope="module")
def found(squares, root):
    """What each training gave, on one device and on two: `found["adam"]["two"]["loss"]`."""
    environment = {**os.environ, "PYTHONPATH": str(root)}
    ran = subprocess.run([sys.executable, __file__, squares.path], env=environment, capture_output=True, text=True, timeout=500)
    assert ran.returncode == 0, ran.stderr[-4000:]
    return json.loads(ran.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_two_devices_give_the_losses_logs_and_weights_of_one(name, found):
    one, two = found[name]["one"], found[name]["two"]
    assert len(one["logs"]["loss"]) == STEPS and one["logs"]["loss"][-1] < 0.9 * one["logs"]["loss"][0]
    assert set(one["logs"]) == set(two["logs"]) >= {"ce_noun", "verb_top1", "val_loss", "val_noun_top2"}
    for log in one["logs"]:
        np.testing.assert_allclose(two["logs"][log], one["logs"][log], atol=1e-5, err_msg=log)
    assert one["state"].keys() == two["state"].keys()
    for variable in one["state"]:
        np.testing.assert_allclose(two["state"][variable], one["state"][variable], atol=1e-4, err_msg=variable)
    assert one["config"] == two["config"] and '"synchronized": true' not in two["config"]


@pytest.mark.parametrize("name", ["penalty", "smoothed"])
def test_penalties_class_weights_priors_and_an_empty_share(name, found):
    one, two = found[name]["one"], found[name]["two"]
    assert one["logs"]["loss"][0] > one["logs"]["ce_verb"][0] + one["logs"]["ce_noun"][0] + 0.1
    for log in one["logs"]:
        np.testing.assert_allclose(two["logs"][log], one["logs"][log], atol=1e-5, err_msg=log)


def test_a_pruned_student_has_the_same_zeros(found):
    one, two = found["pruned"]["one"], found["pruned"]["two"]
    np.testing.assert_allclose(two["loss"], one["loss"], atol=1e-5)
    np.testing.assert_allclose(two["kernel"], one["kernel"], atol=1e-5)
    for device in (*one["devices"], *two["devices"]):
        assert [value == 0 for value in device] == [value == 0 for value in one["kernel"]] and device.count(0) == int(0.8 * 48)


def test_mixed_precision_with_deterministic_operations(found):
    one, two = found["mixed"]["one"], found["mixed"]["two"]
    np.testing.assert_allclose(two["logs"]["loss"], one["logs"]["loss"], rtol=1e-2)
    assert two["logs"]["loss"][-1] < two["logs"]["loss"][0]


def test_every_device_draws_its_own_dropout_and_keeps_the_same_seeds(found):
    first, second = found["dropout"]["masks"]
    assert first != second and 0.2 < np.mean(first) < 0.8
    assert len(found["dropout"]["seeds"]) == 2 and found["dropout"]["seeds"][0] == found["dropout"]["seeds"][1]


def test_the_devices_share_out_the_batches_of_the_stream(found):
    assert len(found["batches"]["two"]) == 3 and found["batches"]["two"] == found["batches"]["one"]


def test_a_head_on_cached_features_and_a_resumed_training(found):
    one, two, resumed = (found["frozen"][name] for name in ("one", "two", "resumed"))
    np.testing.assert_allclose(two["loss"], one["loss"], atol=1e-5)
    np.testing.assert_allclose(resumed["loss"], one["loss"], atol=1e-5)
    np.testing.assert_allclose(two["weights"], one["weights"], atol=1e-3)  # Adam makes steps of the sign of next to nothing
    np.testing.assert_allclose(resumed["weights"], two["weights"], atol=1e-6)


def test_what_several_devices_cannot_do(found):
    too_few, metrics = found["refused"]
    assert too_few == "devices is 3, but TensorFlow was started with 2 CPU; call accelerator.start(devices=3)."
    assert metrics.startswith("metrics: Keras builds its own only on one device")


# --- in the other process ---


def _scope(strategy):
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def _trained(optimizer, settings, strategy, shards):
    """A backbone and a head over frames with BatchNorm, some clips without labels; the last batch of validation is a single clip."""
    import keras

    from egokeras.data.input_pipeline import load, stream
    from egokeras.distill import Distiller
    from egokeras.models import FrameModel, SmallBackbone
    from egokeras.models.temporal_heads import AverageHead

    keras.utils.set_random_seed(0)
    with _scope(strategy):
        model = FrameModel(backbone=SmallBackbone(channels=(8, 16)), head=AverageHead(dropout=0.0))
        model = model.build(classes={"verb": 2, "noun": 3}, frames=8, size=24)
        distiller = Distiller(model)
        distiller.compile(optimizer(LEARNING_RATE[optimizer.__name__], **settings), top=(1, 2))
    rows = np.concatenate([shards.rows("train")[:30], shards.rows("windows")[:12]])
    logs = distiller.fit(
        stream(shards, rows, heads=("verb", "noun"), batch_size=16, seed=0),
        steps_per_epoch=1,  # so that every step's loss is logged
        epochs=STEPS,
        validation_data=load(shards, "validation", batch_size=59),
        validation_freq=25,
        shuffle=False,
        verbose=0,
    ).history
    state = {name: np.array(keras.ops.convert_to_numpy(variable)).tolist() for name, variable in distiller.state_variables().items()}
    return {"logs": logs, "state": state, "config": model.get_layer("backbone").to_json()}


def _features(clips):
    import tensorflow as tf

    random = np.random.default_rng(0)
    inputs = {"features": random.normal(size=(clips, 6)).astype("float32")}
    targets = {"verb": random.integers(0, 4, clips).astype("int32"), "noun": random.integers(-2, 3, clips).clip(-1).astype("int32")}
    return tf.data.Dataset.from_tensor_slices((inputs, targets)), targets


def _dense(dropout=0.0):
    import keras

    keras.utils.set_random_seed(0)
    features = keras.Input((6,), name="features")
    x = keras.layers.Dense(8, activation="relu", kernel_regularizer=keras.regularizers.L2(0.1), name="dense")(features)
    x = keras.layers.BatchNormalization(name="bn")(x)
    dropped = keras.layers.Dropout(dropout, name="dropout")(keras.ops.ones_like(x))
    outputs = {space: keras.layers.Dense(count, name=space)(x) for space, count in {"verb": 4, "noun": 3}.items()}
    return keras.Model({"features": features}, {**outputs, "dropped": dropped})


def _penalized(strategy, precision="float32", smoothed=False):
    import keras
    import numpy as np

    from egokeras.distill import Distiller, LabelSmoothing, Supervised, VerbNoun
    from egokeras.distill.training_set import TrainingSet

    keras.mixed_precision.set_global_policy(precision)
    data, targets = _features(33)
    with _scope(strategy):
        pairs = np.array([(0, 0), (1, 0), (2, 1), (3, 2), (0, 2)])
        training = TrainingSet(labels=targets, classes={"verb": tuple("abcd"), "noun": tuple("abc")}, actions=pairs)
        method = LabelSmoothing(prior=VerbNoun(), alpha=0.5) if smoothed else Supervised(class_weights="balanced")
        distiller = Distiller(_dense(), method.bind(training))
        distiller.compile(keras.optimizers.AdamW(1e-2, global_clipnorm=0.5), top=(1, 2))
    keras.mixed_precision.set_global_policy("float32")
    return {"logs": distiller.fit(data.batch(16), epochs=4, verbose=0).history}


def _pruned(strategy):
    import keras

    from egokeras.compress.prune import Pruner, Pruning
    from egokeras.distill import Distiller

    pruning = Pruning(every=1, dense=("verb", "noun"))
    with _scope(strategy):
        student = _dense()
        distiller = Distiller(student, masked=pruning.kernels(student).values())
        distiller.compile(keras.optimizers.SGD(0.1, momentum=0.9, clipnorm=0.1), top=(1,))
    data = _features(32)[0].batch(16).repeat()
    loss = distiller.fit(data, steps_per_epoch=2, epochs=3, callbacks=[Pruner(pruning)], verbose=0, shuffle=False).history["loss"]
    kernel = student.get_layer("dense").kernel.value
    copies = [kernel] if strategy is None else strategy.experimental_local_results(kernel)
    return {"loss": loss, "kernel": kernel.numpy().ravel().tolist(), "devices": [copy.numpy().ravel().tolist() for copy in copies]}


@dataclasses.dataclass(frozen=True)
class Recording:
    """Supervised training that remembers which units Dropout kept, for each device."""

    masks: list

    def networks(self, student):
        return {}

    def terms(self, student, nets, inputs, targets, training):
        from egokeras.distill import Supervised

        outputs, terms = Supervised().terms(student, nets, inputs, targets, training)
        self.masks.append((outputs["dropped"].numpy() > 0).tolist())
        return outputs, terms


def _dropout(strategy):
    from egokeras.distill import Distiller

    method = Recording([])
    with _scope(strategy):
        distiller = Distiller(_dense(dropout=0.5), method)
        distiller.compile("sgd", run_eagerly=True)
    distiller.fit(_features(16)[0].batch(16), verbose=0)
    (state,) = (variable for variable in distiller.student.variables if variable.name == "seed_generator_state")
    return {"masks": method.masks, "seeds": [copy.numpy().tolist() for copy in strategy.experimental_local_results(state.value)]}


def _batches(strategy, shards):
    from egokeras.data.input_pipeline import stream

    data = stream(shards, shards.rows("train"), heads=("verb",), batch_size=16, seed=0).take(3)
    shared = [strategy.experimental_local_results(inputs["rgb"]) for inputs, _ in strategy.experimental_distribute_dataset(data)]
    assert all(len(share) == 8 for shares in shared for share in shares)
    sums = [[int(clip.numpy().sum()) for share in shares for clip in share] for shares in shared]
    return {"one": [[int(clip.numpy().sum()) for clip in inputs["rgb"]] for inputs, _ in data], "two": sums}


def _refusal(call):
    from egokeras.errors import InputError

    try:
        call()
    except InputError as error:
        return str(error)


def _frozen(shards, folder, strategy, *epochs):
    """A head trained on cached features by `train.fit`, and resumed for more epochs."""
    import csv

    from egokeras import train
    from egokeras.models import ConvNet1DHead, FrameModel, SmallBackbone
    from egokeras.optim import Optim
    from egokeras.recipe import Data, Recipe

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Frozen(SmallBackbone):
        frozen = True

        def build(self, **shape):
            model = super().build(**shape)
            model.trainable = False
            return model

    model = FrameModel(backbone=Frozen(channels=(4, 8)), head=ConvNet1DHead(filters=8, dropout=0.0))
    folder.mkdir()
    for count in epochs:
        recipe = Recipe(name="frozen", data=Data(shards=str(shards)), model=model, optim=Optim(learning_rate=1e-4), epochs=count)
        trained = train.fit(recipe, folder, quiet=True, resume=count > 1, strategy=strategy)
    with open(folder / "history.csv", newline="") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    return {"loss": losses, "weights": np.concatenate([weight.ravel() for weight in trained.get_weights()]).tolist()}


def main(folder):
    import pathlib
    import tempfile

    from egokeras import accelerator
    from egokeras.data.shards import Shards
    from egokeras.distill import Distiller

    accelerator.start(cpu=True, devices=2)
    import keras
    import tensorflow as tf

    two, shards = accelerator.strategy(2), Shards(folder)
    sgd = {"momentum": 0.9, "clipnorm": 0.1, "use_ema": True, "ema_momentum": 0.9}
    found = {
        "adam": {name: _trained(keras.optimizers.Adam, {}, strategy, shards) for name, strategy in (("one", None), ("two", two))},
        "sgd": {name: _trained(keras.optimizers.SGD, sgd, strategy, shards) for name, strategy in (("one", None), ("two", two))},
        "penalty": {"one": _penalized(None), "two": _penalized(two)},
        "smoothed": {"one": _penalized(None, smoothed=True), "two": _penalized(two, smoothed=True)},
        "pruned": {"one": _pruned(None), "two": _pruned(two)},
        "dropout": _dropout(two),
        "batches": _batches(two, shards),
    }
    with tempfile.TemporaryDirectory() as work, contextlib.redirect_stdout(sys.stderr):
        runs = {"one": (None, 2), "two": (two, 2), "resumed": (two, 1, 2)}
        found["frozen"] = {name: _frozen(folder, pathlib.Path(work, name), *how) for name, how in runs.items()}
    with two.scope():
        refused = [lambda: accelerator.strategy(3), lambda: Distiller(_dense()).compile("sgd", metrics={"verb": ["mse"]})]
        found["refused"] = [_refusal(call) for call in refused]
    tf.config.experimental.enable_op_determinism()
    found["mixed"] = {"one": _penalized(None, "mixed_float16"), "two": _penalized(two, "mixed_float16")}
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
