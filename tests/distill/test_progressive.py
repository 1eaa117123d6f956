"""Progressive distillation against loops: who teaches when, what is learned, and what stays as it is."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import egokeras
from egokeras.callbacks import MethodHook
from egokeras.distill import Distiller, ProgressiveDistillation, SupervisedExits
from egokeras.distill.training_set import TrainingSet
from egokeras.errors import InputError
from egokeras.models.early_exit import EarlyExitResNet, InternalClassifier

MODALITIES = {"motion_vector": 2, "residual": 3, "iframe": 3}
EXITS = (InternalClassifier(stage=1), InternalClassifier(stage=2))
NAMES = ["verb_exit_1", "verb_exit_2", "noun_exit_1", "noun_exit_2"]
CLASSES = {"verb": 4, "noun": 3}


def network(modality, seed=0, frozen=False):
    keras.utils.set_random_seed(seed)
    shape = (2, 48, 48, MODALITIES[modality])
    return EarlyExitResNet(modality=modality, width=2, exits=EXITS, frozen=frozen).build(classes=CLASSES, shapes={modality: shape})


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    """A method with three saved teachers that take turns at epochs 1 and 3."""
    folder = tmp_path_factory.mktemp("teachers")
    for number, modality in enumerate(MODALITIES, 1):
        (folder / modality).mkdir()
        network(modality, seed=number).save(folder / modality / "model.keras")
    method = ProgressiveDistillation(boundaries=(1, 3), temperature=2.0)
    return method.bind(TrainingSet(labels={}, classes={}, find=lambda name: folder / name / "model.keras"))


@pytest.fixture(scope="module")
def batch():
    random = np.random.default_rng(0)
    inputs = {name: random.integers(0, 256, (6, 2, 48, 48, channels)).astype("uint8") for name, channels in MODALITIES.items()}
    targets = {space: random.integers(0, count, 6).astype("int32") for space, count in CLASSES.items()}
    targets["noun"][2] = -1
    return inputs, targets


def slow_loss(methods, teacher, student, temperature):
    """- sum_c softmax(t / T)_c log softmax(z / T)_c of every clip, a loop."""
    t, z = (methods.log_softmax(np.asarray(logits) / temperature) for logits in (teacher, student))
    return np.mean([-sum(np.exp(a) * b for a, b in zip(*rows, strict=True)) for rows in zip(t, z, strict=True)])


@pytest.mark.slow
def test_every_epoch_has_its_teacher_and_only_exits_learn(methods, teachers, batch):
    student = network("residual", seed=9, frozen=True)
    distiller = Distiller(student, teachers)
    assert sorted(distiller.inputs) == sorted(MODALITIES)
    distiller.compile(keras.optimizers.Adam(1e-2))
    fixed = [weight for layer in student.layers if "exit_" not in layer.name for weight in layer.weights]
    fixed += [weight for name, net in distiller.nets.items() if name != "curriculum" for weight in net.weights]
    before = [np.array(weight) for weight in fixed]
    learned = [np.array(weight) for weight in student.trainable_weights]
    seen = []

    class Look(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            outputs = student({"residual": batch[0]["residual"]}, training=True)  # its exits' BatchNorm sees the batch
            turn = (0, 1, 1, 2)[epoch]
            soft = egokeras.load_model(teachers.teachers[turn])({list(MODALITIES)[turn]: batch[0][list(MODALITIES)[turn]]}, training=False)
            seen.append(sum(slow_loss(methods, soft[name[:4]], outputs[name], 2.0) for name in NAMES))

    data = tf.data.Dataset.from_tensors(batch)
    history = distiller.fit(data, epochs=4, verbose=0, callbacks=[Look(), MethodHook()]).history
    np.testing.assert_allclose(history["loss"], seen, rtol=1e-4)
    assert all(np.array_equal(old, new) for old, new in zip(before, fixed, strict=True))
    assert all(not np.array_equal(old, new) for old, new in zip(learned, student.trainable_weights, strict=True))
    assert {f"kd_{name}" for name in NAMES} | {f"{name}_top1" for name in NAMES} | {"verb_top1"} <= set(history)
    assert int(distiller.nets["curriculum"].turn.value) == 2 and "nets/curriculum/0" in distiller.state_variables()


def test_each_term_reaches_its_exit_alone(teachers, batch):
    student = network("iframe", seed=9, frozen=True)
    nets = Distiller(student, teachers).nets
    inputs, targets = ({name: tf.constant(value) for name, value in part.items()} for part in batch)
    for name in NAMES:
        with tf.GradientTape() as tape:
            term = teachers.terms(student, nets, inputs, targets, training=True)[1][f"kd_{name}"]
        weights = student.trainable_weights
        for weight, gradient in zip(weights, tape.gradient(term, weights), strict=True):
            reached = gradient is not None and np.abs(gradient).max() > 0
            assert reached == weight.path.startswith((name, name.partition("_")[2])), (name, weight.path)


def test_its_own_last_exit_can_teach(methods, batch):
    student = network("iframe", seed=9, frozen=True)
    method = ProgressiveDistillation(teachers=("self",), boundaries=())
    outputs, terms = method.terms(student, Distiller(student, method).nets, batch[0], batch[1], training=False)
    for name in NAMES:
        assert float(terms[f"kd_{name}"]) == pytest.approx(slow_loss(methods, outputs[name[:4]], outputs[name], 1.0), rel=1e-4)
    assert method.made_of == {} and method.bind(TrainingSet(labels={}, classes={})).teachers == ("self",)


@pytest.mark.parametrize("last", [False, True])
def test_labels_as_the_baseline(methods, batch, last):
    student = network("iframe", seed=9)
    outputs, terms = SupervisedExits(last=last).terms(student, {}, batch[0], batch[1], training=False)
    assert list(terms) == [f"ce_{name}" for name in ([*CLASSES] if last else []) + NAMES]
    for name in NAMES:
        log_p, labels = methods.log_softmax(outputs[name]), batch[1][name[:4]]
        expected = np.mean([-row[label] for row, label in zip(log_p, labels, strict=True) if label >= 0])
        assert float(terms[f"ce_{name}"]) == pytest.approx(expected, rel=1e-4)


def test_evaluation_changes_nothing(teachers, batch):
    distiller = Distiller(network("residual", frozen=True), teachers)
    distiller.compile("adam")
    before = [np.array(weight) for weight in distiller.weights]
    logs = distiller.evaluate(tf.data.Dataset.from_tensors(batch), return_dict=True, verbose=0)
    assert all(np.array_equal(old, new) for old, new in zip(before, distiller.weights, strict=True))
    found = np.argmax(distiller.student({"residual": batch[0]["residual"]}, training=False)["verb_exit_2"], -1) == batch[1]["verb"]
    assert logs["verb_exit_2_top1"] == pytest.approx(found.mean())


def test_what_does_not_fit(teachers, methods):
    for wrong in ({"teachers": ()}, {"boundaries": (50,)}, {"boundaries": (100, 50)}, {"boundaries": (0, 50)}):
        with pytest.raises(InputError, match="give one rising epoch fewer than teachers"):
            ProgressiveDistillation(**wrong)
    with pytest.raises(InputError, match="teaches internal classifiers, and this model has none"):
        dataclasses.replace(teachers).networks(methods.student())
    with pytest.raises(InputError, match="method.temperature is 0"):
        ProgressiveDistillation(temperature=0.0)
