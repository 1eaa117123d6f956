"""The Distiller's step and the supervised loss, against plain NumPy and a hand-written step."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from egokeras.distill import Distiller, Supervised
from egokeras.distill.supervised import balanced_weights
from egokeras.distill.training_set import TrainingSet
from egokeras.errors import InputError
from egokeras.losses import cross_entropy


def student():
    keras.utils.set_random_seed(0)
    features = keras.Input((6,), name="features")
    x = keras.layers.Dense(8, activation="relu", name="dense")(features)
    x = keras.layers.BatchNormalization(momentum=0.5, name="bn")(x)
    outputs = {space: keras.layers.Dense(count, name=space)(x) for space, count in {"verb": 4, "noun": 3}.items()}
    return keras.Model({"features": features}, {**outputs, "features": x})


@pytest.fixture
def batch():
    random = np.random.default_rng(0)
    inputs = {"features": random.normal(size=(8, 6)).astype("float32")}
    return inputs, {"verb": random.integers(0, 4, 8).astype("int32"), "noun": np.array([0, 1, 2, -1, 0, -1, 1, 2], "int32")}


def reference_cross_entropy(labels, logits, weights=None):
    total, known = 0.0, 0
    for label, row in zip(labels, logits, strict=True):
        if label >= 0:
            exponents = np.exp(np.float64(row) - max(row))
            total += -np.log(exponents[label] / exponents.sum()) * (1 if weights is None else weights[label])
            known += 1
    return total / max(known, 1)


def test_terms_equal_a_loop(batch):
    net, (inputs, targets) = student(), batch
    outputs, terms = Supervised().terms(net, {}, inputs, targets, training=False)
    assert list(terms) == ["ce_verb", "ce_noun"]
    for space in targets:
        np.testing.assert_allclose(terms[f"ce_{space}"], reference_cross_entropy(targets[space], np.array(outputs[space])), rtol=1e-5)


def test_class_weights(batch):
    net, (inputs, targets) = student(), batch
    method = Supervised(class_weights="balanced").bind(TrainingSet(labels=targets, classes={"verb": tuple("abcd"), "noun": tuple("abc")}))
    outputs, terms = method.terms(net, {}, inputs, targets, training=False)
    weights = method.class_weights["noun"]
    assert weights == pytest.approx((1.0, 1.0, 1.0))
    np.testing.assert_allclose(
        terms["ce_verb"], reference_cross_entropy(targets["verb"], np.array(outputs["verb"]), method.class_weights["verb"]), rtol=1e-5
    )
    assert balanced_weights(np.array([0, 0, 0, 2, -1]), 4) == (4 / (2 * 3), 0.0, 4 / 2, 0.0)
    with pytest.raises(InputError, match="method.class_weights 'balancd'"):
        Supervised(class_weights="balancd").bind(TrainingSet(labels=targets, classes={}))


def test_cross_entropy_of_several_times_is_their_mean():
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(7, 3, 5)).astype("float32"), np.array([0, 4, -1, 2, 2, 1, 3], "int32")
    weights = (1.0, 2.0, 0.5, 3.0, 0.0)
    by_time = [cross_entropy(labels, logits[:, time], weights) for time in range(3)]
    np.testing.assert_allclose(cross_entropy(labels, logits, weights), np.mean(by_time, axis=0), rtol=1e-5)
    assert cross_entropy(labels, logits)[2] == 0


def test_step_equals_a_hand_written_one(batch):
    inputs, targets = batch
    ours, plain = student(), student()
    distiller = Distiller(ours)
    distiller.compile(keras.optimizers.SGD(0.1))
    distiller.fit(tf.data.Dataset.from_tensors(batch), epochs=3, verbose=0)
    for _ in range(3):
        with tf.GradientTape() as tape:
            outputs = plain(inputs, training=True)
            known = targets["noun"] >= 0
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(targets["verb"], outputs["verb"]))
            loss += tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(targets["noun"][known], outputs["noun"][known]))
        for weight, gradient in zip(plain.trainable_variables, tape.gradient(loss, plain.trainable_variables), strict=True):
            weight.assign_sub(0.1 * gradient)
    for mine, theirs in zip(ours.weights, plain.weights, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


def test_fit_logs_validates_and_leaves_weights_alone_when_evaluating(batch):
    net = student()
    distiller = Distiller(net)
    distiller.compile("adam", top=(1, 2), metrics={"verb": ["sparse_categorical_accuracy"]})
    data = tf.data.Dataset.from_tensors(batch)
    history = distiller.fit(data, validation_data=data, epochs=2, verbose=0).history
    terms = {"loss", "ce_verb", "ce_noun"}
    scores = {"verb_top1", "verb_top2", "noun_top1", "noun_top2"}
    assert terms | scores <= set(history)
    assert {name for name in history if name.startswith("val_")} >= {f"val_{name}" for name in scores | {"loss"}}
    assert "val_ce_verb" not in history
    assert history["loss"][0] == pytest.approx(history["ce_verb"][0] + history["ce_noun"][0], rel=1e-5)
    before = [np.array(weight) for weight in net.weights]
    logs = distiller.evaluate(data, return_dict=True, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, net.weights, strict=True))
    outputs = net(batch[0], training=False)
    assert logs["verb_top1"] == pytest.approx(np.mean(np.argmax(outputs["verb"], -1) == batch[1]["verb"]))
    assert logs["verb_top1"] == pytest.approx(logs["verb_sparse_categorical_accuracy"])
    known = batch[1]["noun"] >= 0
    assert logs["noun_top1"] == pytest.approx(np.mean(np.argmax(outputs["noun"], -1)[known] == batch[1]["noun"][known]))


def test_each_term_alone_reaches_the_student(batch):
    net, (inputs, targets) = student(), batch
    for name in ("ce_verb", "ce_noun"):
        with tf.GradientTape() as tape:
            term = Supervised().terms(net, {}, inputs, targets, training=True)[1][name]
        gradient = tape.gradient(term, net.get_layer("dense").kernel)
        assert np.abs(gradient).max() > 0


def test_inputs_are_chosen_by_name(batch):
    net, (inputs, targets) = student(), batch
    extra = {"another": inputs["features"] * 0, **inputs}
    np.testing.assert_array_equal(
        Supervised().terms(net, {}, extra, targets, training=False)[0]["verb"], net(inputs, training=False)["verb"]
    )
    with pytest.raises(InputError, match="needs the input 'features'; the data has rgb"):
        Supervised().terms(net, {}, {"rgb": inputs["features"]}, targets, training=False)


def test_mixed_precision_of_the_student_scales_the_loss(batch):
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        made_under_it, mixed = Distiller(student()), student()
    finally:
        keras.mixed_precision.set_global_policy("float32")
    for distiller in (made_under_it, Distiller(mixed)):
        distiller.compile(keras.optimizers.Adam(1e-3))
        history = distiller.fit(tf.data.Dataset.from_tensors(batch).repeat(4), epochs=2, verbose=0).history
        assert isinstance(distiller.optimizer, keras.optimizers.LossScaleOptimizer)
        assert np.isfinite(history["loss"]).all() and history["loss"][1] < history["loss"][0]
    plain = Distiller(student())
    plain.compile("adam")
    assert not isinstance(plain.optimizer, keras.optimizers.LossScaleOptimizer)


def test_properties(methods, tmp_path):
    methods.check(Supervised(), tmp_path, ["ce_verb", "ce_noun"])
