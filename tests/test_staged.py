"""Networks computed exit by exit, against the whole networks and the table of all exits."""

import keras
import numpy as np
import pytest

from egokeras import wise
from egokeras.compress.twin import inference_twin
from egokeras.models import FrameModel, LSTMHead, SmallBackbone, WithExits
from egokeras.models.internal_classifiers import Tap, attach
from egokeras.scores import softmax
from egokeras.staged import Staged, exits_of, segments

CLASSES = {"verb": 4, "noun": 3}


def network(modality, seed):
    """A small residual network whose first exit sits inside a block: two tensors go on from there."""
    keras.utils.set_random_seed(seed)
    inputs = x = keras.Input((5,), name=modality, dtype="uint8")
    x = keras.layers.Dense(6, name="stem")(keras.layers.Rescaling(1 / 255, name="scale")(x))
    inside = keras.layers.Dense(6, activation="relu", name="inside")(x)
    x = end = keras.layers.Add(name="add")([x, keras.layers.Dense(6, name="branch")(inside)])
    x = keras.layers.Dense(6, activation="tanh", name="last")(x)
    logits = {space: keras.layers.Dense(count, kernel_initializer="normal", name=space)(x) for space, count in CLASSES.items()}
    model = keras.Model({modality: inputs}, {**logits, "features": x})
    return attach(model, [Tap(tensor=inside, name="inside"), Tap(tensor=end, name="end")], CLASSES)


@pytest.fixture(scope="module")
def ensemble():
    """Two networks, weights of their six exits, clips, and their answers (exits, clips, classes) by label space."""
    networks = {"near": network("a", 0), "far": network("b", 1)}
    random = np.random.default_rng(0)
    weights = {space: np.tril(random.normal(1, 0.5, (6, 6))) for space in CLASSES}
    clips = {modality: random.integers(0, 256, (40, 5)).astype("uint8") for modality in "ab"}
    answers = {}
    for space in CLASSES:
        outputs = [model({name: clips[name] for name in model.input}) for model in networks.values()]
        logits = np.stack([found[name] for found in outputs for name in (f"{space}_exit_1", f"{space}_exit_2", space)])
        answers[space] = wise.combined(weights[space], logits)
    return networks, weights, clips, answers


def of(clips, row):
    return {modality: values[row] for modality, values in clips.items()}


def test_no_layer_is_computed_twice():
    model = network("a", 0)
    groups = exits_of(model, ("verb", "noun"))
    assert groups == [*({space: f"{space}_exit_{number}" for space in CLASSES} for number in (1, 2)), {"verb": "verb", "noun": "noun"}]
    parts = segments(model, [tuple(names.values()) for names in groups])
    layers = [[layer.name for layer in part.layers if not isinstance(layer, keras.layers.InputLayer)] for part in parts]
    assert layers[0][:3] == ["scale", "stem", "inside"] and set(layers[1]) == {"branch", "add", "verb_exit_2", "noun_exit_2"}
    assert sorted(name for names in layers for name in names) == sorted(layer.name for layer in model.layers if layer.name != "a")
    assert [len(part.input) for part in parts] == [1, 2, 1]
    assert {id(weight) for part in parts for weight in part.weights} == {id(weight) for weight in model.weights}


def test_exits_with_heads_are_parts_of_their_own():
    """A head is a model inside the model, with an output that nothing asks for."""
    keras.utils.set_random_seed(0)
    spec = WithExits(
        model=FrameModel(backbone=SmallBackbone(channels=(4, 6)), head=LSTMHead(units=3)), at=("conv_1_relu",), head=LSTMHead(units=2)
    )
    model = spec.build(classes=CLASSES, frames=3, size=32)
    parts = segments(inference_twin(model, [*CLASSES, *(f"{space}_exit_1" for space in CLASSES)]), [["verb_exit_1"], ["verb"]])
    known = {"rgb": np.random.default_rng(0).integers(0, 256, (1, 3, 32, 32, 3)).astype("uint8")}
    expected = model(known)
    for part in parts:
        known |= part({name: known[name] for name in part.input})
    for name in ("verb_exit_1", "verb"):
        np.testing.assert_allclose(known[name], expected[name], rtol=1e-4, atol=1e-6)
    assert not any(layer.name.startswith("exit_1") for layer in parts[1].layers)


def test_steps_are_the_answers_of_all_exits(ensemble):
    networks, weights, clips, answers = ensemble
    staged = Staged(networks, weights)
    assert staged.names == ["near 1", "near 2", "near 3", "far 1", "far 2", "far 3"]
    for row in range(3):
        steps = list(staged.steps(of(clips, row)))
        for space in CLASSES:
            np.testing.assert_allclose([step[space] for step in steps], answers[space][:, row], rtol=1e-4, atol=1e-5)
    times = staged.milliseconds(of(clips, 0))
    assert times.shape == (6,) and times[0] > 0 and (np.diff(times) > 0).all()


def test_clips_leave_where_the_table_says(ensemble):
    networks, weights, clips, answers = ensemble
    staged = Staged(networks, weights)
    curve = wise.trade_off(answers["verb"], np.zeros(40, int), np.arange(1, 7))
    for threshold in curve.thresholds[:: len(curve.thresholds) // 4]:
        table = wise.leave(answers["verb"], threshold)
        found = [staged.answer(of(clips, row), {"verb": threshold}) for row in range(40)]
        assert [answer.exit for answer in found] == table.tolist()
        assert [answer.name for answer in found] == [staged.names[number] for number in table]
        np.testing.assert_allclose([one.logits["verb"] for one in found], answers["verb"][table, range(40)], rtol=1e-4, atol=1e-5)
    assert curve.left[:, 1:-1].sum() > 0  # the exits between are taken, too


def test_of_several_label_spaces_all_must_be_sure(ensemble):
    networks, weights, clips, answers = ensemble
    staged = Staged(networks, weights)
    limits = {space: float(np.median(softmax(values).max(axis=2))) for space, values in answers.items()}
    for row in range(10):
        sure = [all(softmax(answers[space][number, row]).max() > limits[space] for space in CLASSES) for number in range(6)]
        assert staged.answer(of(clips, row), limits).exit == (sure.index(True) if True in sure else 5)


def test_what_is_behind_an_exit_is_not_computed(ensemble):
    networks, weights, clips, _ = ensemble
    staged = Staged(networks, weights)
    only = {"a": clips["a"][0]}  # nothing for the second network to read
    assert staged.answer(only, {"verb": 0.0}).exit == 0
    with pytest.raises(KeyError):
        staged.answer(only, {"verb": 1.0})
