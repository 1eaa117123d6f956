"""What the tests of all methods share: a small student of clips, a batch of two views, and the properties that every method has."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf

import egokeras
from egokeras.distill import Distiller

CLASSES = {"verb": 4, "noun": 3}


def make_student(seed=0, classes=None, channels=6):
    """(batch, 2, 4, 4, 3) uint8 -> logits and features (batch, 6), with BatchNorm and Dropout."""
    keras.utils.set_random_seed(seed)
    rgb = keras.Input((2, 4, 4, 3), dtype="uint8", name="rgb")
    x = keras.layers.Rescaling(1 / 127.5, -1, name="scale")(rgb)
    x = keras.layers.GlobalAveragePooling3D(name="pool")(keras.layers.Conv3D(channels, 2, name="conv")(x))
    x = keras.layers.BatchNormalization(momentum=0.5, name="bn")(x)
    features = keras.layers.Dropout(0.1, name="dropout")(x)
    logits = {space: keras.layers.Dense(count, name=space)(features) for space, count in (classes or CLASSES).items()}
    return keras.Model({"rgb": rgb}, {**logits, "features": features})


def make_batch(views=1, clips=8, seed=0):
    """Inputs of one view or several, and targets of which some are unknown."""
    random = np.random.default_rng(seed)
    shape = (clips, 2, 4, 4, 3) if views == 1 else (clips, views, 2, 4, 4, 3)
    targets = {space: random.integers(0, count, clips).astype("int32") for space, count in CLASSES.items()}
    targets["noun"][[1, 4]] = -1
    return {"rgb": random.integers(0, 256, shape).astype("uint8")}, targets


def weights_of(net):
    return [np.array(weight) for weight in net.weights]


def check_method(method, tmp_path, names, frozen=()):
    """The properties of every method.

    Args:
        method: bound.
        tmp_path: for the saved student.
        names: of its terms, in their order.
        frozen: of its networks, those that a step must not change.
    """
    batch, single = make_batch(getattr(method, "views", 1)), make_batch(1, seed=1)
    student = make_student()
    distiller = Distiller(student, method)
    distiller.compile(keras.optimizers.SGD(0.1))
    inputs, targets = ({name: tf.constant(value) for name, value in part.items()} for part in batch)

    for name in names:  # each term alone reaches the student
        with tf.GradientTape() as tape:
            terms = method.terms(student, distiller.nets, inputs, targets, training=True)[1]
            assert list(terms) == names
            term = terms[name]
        assert np.abs(tape.gradient(term, student.get_layer("conv").kernel)).max() > 0, name

    before = weights_of(distiller)  # evaluation changes nothing, and its loss is the supervised one
    logs = distiller.evaluate(tf.data.Dataset.from_tensors(single), return_dict=True, verbose=0)
    assert all(np.array_equal(old, new) for old, new in zip(before, weights_of(distiller), strict=True))
    assert logs["loss"] == pytest.approx(supervised_loss(student(single[0], training=False), single[1]), rel=1e-5)

    kept = {name: weights_of(distiller.nets[name]) for name in frozen}  # a teacher stays what it is, the rest learns
    others = {name: weights_of(net) for name, net in distiller.nets.items() if name not in frozen}
    history = distiller.fit(tf.data.Dataset.from_tensors(batch).repeat(3), epochs=1, verbose=0).history
    assert set(names) | {"loss", "verb_top1", "noun_top1"} <= set(history)
    for name, old in kept.items():
        assert all(np.array_equal(a, b) for a, b in zip(old, weights_of(distiller.nets[name]), strict=True)), name
    for name, old in others.items():
        assert all(not np.array_equal(a, b) for a, b in zip(old, weights_of(distiller.nets[name]), strict=True)), name

    student.save(tmp_path / "student.keras")  # the student goes its way alone
    alone = egokeras.load_model(tmp_path / "student.keras")
    assert alone.count_params() == make_student().count_params()
    for name, values in student.predict_on_batch(single[0]).items():
        np.testing.assert_array_equal(values, alone.predict_on_batch(single[0])[name])


def supervised_loss(outputs, targets):
    """The sum over heads of the mean cross-entropy of the clips that have a label, in float64."""
    total = 0.0
    for space, labels in targets.items():
        log_p = log_softmax(outputs[space])
        total += np.mean([-row[label] for row, label in zip(log_p, labels, strict=True) if label >= 0])
    return total


def log_softmax(logits):
    """In float64."""
    logits = np.asarray(logits, np.float64)
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def kl(teacher, student, temperature):
    """KL of softened distributions, a loop over clips and classes."""
    found = []
    for t, s in zip(log_softmax(np.asarray(teacher) / temperature), log_softmax(np.asarray(student) / temperature), strict=True):
        found.append(sum(np.exp(a) * (a - b) for a, b in zip(t, s, strict=True)))
    return np.array(found)


@pytest.fixture(scope="session")
def methods():
    """`student`, `batch`, `check`, and slow losses for comparison."""
    return types.SimpleNamespace(
        student=make_student, batch=make_batch, check=check_method, supervised=supervised_loss, log_softmax=log_softmax, kl=kl
    )
