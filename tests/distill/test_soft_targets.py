"""Distillation from a teacher, against loops in float64."""

import dataclasses
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from egokeras.distill import Distiller, SoftTargets
from egokeras.distill.training_set import TrainingSet
from egokeras.errors import InputError
from egokeras.losses import kl_divergence, mean_over_clips

NAMES = ["ce_verb", "ce_noun", "kl_verb", "kl_noun"]


def test_properties(methods, tmp_path):
    methods.check(SoftTargets(teacher=methods.student(seed=5)), tmp_path, NAMES, frozen=("teacher",))


def test_divergence_equals_a_loop(methods):
    random = np.random.default_rng(0)
    t, s = random.normal(size=(2, 5, 3, 7)).astype("float32") * 5
    for temperature in (1.0, 10.0):
        by_time = [methods.kl(t[:, time], s[:, time], temperature) for time in range(3)]
        np.testing.assert_allclose(kl_divergence(t, s, temperature), np.mean(by_time, axis=0), rtol=1e-4)
        np.testing.assert_allclose(kl_divergence(t[:, 0], s[:, 0], temperature), by_time[0], rtol=1e-4)
    np.testing.assert_allclose(kl_divergence(t, t), 0, atol=1e-6)
    assert mean_over_clips(tf.constant([1.0, 2.0, 6.0])) == 3


@pytest.mark.parametrize("tau_squared", [False, True])
def test_terms_equal_a_loop(methods, tau_squared):
    teacher, student, (inputs, targets) = methods.student(seed=5), methods.student(), methods.batch()
    method = SoftTargets(teacher=teacher, alpha=0.3, temperature=4.0, tau_squared=tau_squared)
    outputs, terms = method.terms(student, {"teacher": teacher}, inputs, targets, training=False)
    soft = teacher(inputs, training=False)
    assert sum(float(terms[name]) for name in NAMES[:2]) == pytest.approx(methods.supervised(outputs, targets), rel=1e-5)
    for space in targets:  # clips without a label have a teacher nevertheless
        expected = 0.3 * (16 if tau_squared else 1) * methods.kl(soft[space], outputs[space], 4.0).mean()
        assert float(terms[f"kl_{space}"]) == pytest.approx(expected, rel=1e-4)


def test_the_teacher_infers_and_has_no_gradient(methods):
    teacher, student, (inputs, targets) = methods.student(seed=5), methods.student(), methods.batch()
    distiller = Distiller(student, SoftTargets(teacher=teacher))
    assert not teacher.trainable_variables and len(distiller.trainable_variables) == len(student.trainable_variables)
    first, second = (
        float(distiller.method.terms(student, distiller.nets, inputs, targets, training=False)[1]["kl_verb"]) for _ in range(2)
    )
    assert first == second  # no Dropout in the teacher, no moving of its BatchNorm


def test_teacher_from_a_run_folder(methods, tmp_path):
    teacher = methods.student(seed=5)
    run = tmp_path / "run"
    run.mkdir()
    teacher.save(run / "model.keras")
    method = SoftTargets(teacher="stage").bind(TrainingSet(labels={}, classes={}, find=lambda name: tmp_path / "run" / "model.keras"))
    assert pathlib.Path(method.teacher) == run / "model.keras"
    loaded = SoftTargets(teacher=str(run)).networks(methods.student())["teacher"]
    inputs, _ = methods.batch()
    np.testing.assert_array_equal(loaded(inputs, training=False)["verb"], teacher(inputs, training=False)["verb"])
    digest = method.made_of["teacher"]
    methods.student(seed=6).save(run / "model.keras")
    assert method.made_of["teacher"] != digest


def test_teachers_that_do_not_fit(methods, tmp_path):
    student = methods.student()
    with pytest.raises(InputError, match=r"method.teacher: there is no model '.*nowhere'"):
        SoftTargets(teacher=str(tmp_path / "nowhere")).networks(student)
    with pytest.raises(InputError, match="method.teacher: there is no model ''"):
        SoftTargets().networks(student)
    with pytest.raises(InputError, match="method.teacher has 9 classes of verb, the student 4"):
        SoftTargets(teacher=methods.student(classes={"verb": 9})).networks(student)
    with pytest.raises(InputError, match="method.teacher has the heads action, features and none of the student's"):
        SoftTargets(teacher=methods.student(classes={"action": 9})).networks(student)
    other = keras.Input((5, 4, 4, 3), name="rgb")
    large = keras.Model({"rgb": other}, {"verb": keras.layers.Dense(4)(keras.layers.GlobalAveragePooling3D()(other))})
    with pytest.raises(InputError, match=r"method.teacher takes rgb of \(5, 4, 4, 3\), the student \(2, 4, 4, 3\)"):
        SoftTargets(teacher=large).networks(student)


def test_wrong_weights():
    for changes, field in (({"alpha": -1.0}, "alpha"), ({"temperature": 0.0}, "temperature"), ({"alpha": float("nan")}, "alpha")):
        with pytest.raises(InputError, match=f"method.{field} is"):
            dataclasses.replace(SoftTargets(), **changes)
