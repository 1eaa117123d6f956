"""Self-distillation: the teacher is the best student so far, and nothing else moves it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from egokeras.callbacks import MethodHook
from egokeras.distill import Distiller, SelfDistillation
from egokeras.distill.training_set import TrainingSet
from egokeras.errors import InputError

NAMES = ["ce_verb", "ce_noun", "kl_verb", "kl_noun"]


def moved(methods):
    """A student, and a distiller whose teacher is another than it."""
    student = methods.student()
    distiller = Distiller(student, SelfDistillation())
    student.set_weights(methods.student(seed=3).get_weights())
    return student, distiller


def test_properties(methods, tmp_path):
    class Apart(SelfDistillation):
        """Its teacher is not the student as it began, for which the divergence and its gradient would be 0."""

        def networks(self, student):
            nets = super().networks(student)
            nets["teacher"].net.set_weights(methods.student(seed=5).get_weights())
            return nets

    methods.check(Apart(), tmp_path, NAMES, frozen=("teacher",))


def test_terms_equal_a_loop(methods):
    student, distiller = moved(methods)
    inputs, targets = methods.batch()
    outputs, terms = distiller.method.terms(student, distiller.nets, inputs, targets, training=False)
    soft = distiller.nets["teacher"].net(inputs, training=False)
    assert sum(float(terms[name]) for name in NAMES[:2]) == pytest.approx(methods.supervised(outputs, targets), rel=1e-5)
    for space in targets:
        assert float(terms[f"kl_{space}"]) == pytest.approx(0.1 * methods.kl(soft[space], outputs[space], 10.0).mean(), rel=1e-3)


def test_the_teacher_is_the_best_so_far(methods):
    student, distiller = moved(methods)
    teacher = distiller.nets["teacher"]
    begun = [np.array(weight) for weight in teacher.net.weights]
    scores, kept = [0.4, 0.4, 0.3, 0.7], []
    for epoch, score in enumerate(scores):
        student.get_layer("verb").bias.assign(np.full(4, epoch, "float32"))
        logs = {"loss": 1.0, "val_verb_top1": score, "val_noun_top1": score / 2, "val_verb_top5": 1 - score, "verb_top1": 1 - score}
        distiller.method.on_epoch_end(student, distiller.nets, epoch, logs)
        kept.append(float(teacher.net.get_layer("verb").bias[0]))
        assert float(teacher.score) == pytest.approx(max(scores[: epoch + 1]) * 0.75)
    assert kept == [0, 0, 0, 3]  # an equal score is no better one
    assert not all(np.array_equal(old, new) for old, new in zip(begun, teacher.net.weights, strict=True))
    for old, new in zip(student.weights, teacher.net.weights, strict=True):
        np.testing.assert_array_equal(old, new)
    assert not teacher.trainable_variables


def test_fit_moves_it_and_the_state_knows_it(methods):
    distiller = Distiller(methods.student(), SelfDistillation())
    distiller.compile(keras.optimizers.SGD(0.1))
    data = tf.data.Dataset.from_tensors(methods.batch())
    logs = distiller.fit(data, validation_data=data, epochs=3, callbacks=[MethodHook()], verbose=0).history
    best = np.max(np.mean([logs["val_verb_top1"], logs["val_noun_top1"]], axis=0))
    assert float(distiller.nets["teacher"].score) == pytest.approx(best)
    assert sum(name.startswith("nets/teacher/") for name in distiller.state_variables()) == len(distiller.student.variables) + 1


def test_held_out_clips_are_needed(methods):
    method = SelfDistillation()
    assert method.bind(TrainingSet(labels={}, classes={}, held_out=5)) is method
    with pytest.raises(InputError, match="judges its teacher by held-out clips, and there are none"):
        method.bind(TrainingSet(labels={}, classes={}))
