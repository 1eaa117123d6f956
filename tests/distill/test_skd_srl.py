"""SKD-SRL against its equations in NumPy, the worked values of the specification, and its stops of the gradient."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from egokeras.distill import SKDSRL, Distiller
from egokeras.distill.skd_srl import shared_label, similarity
from egokeras.errors import InputError

NAMES = ["ce_verb", "ce_noun", "kl_verb", "kl_noun", "similarity"]
SMALL = SKDSRL(projection=10, hidden=40)


def test_worked_values(methods):
    p1, p2 = tf.constant([[2.0, 0.0, -1.0]]), tf.constant([[1.0, 1.0, 0.0]])
    p = p1 + p2
    assert methods.kl(p, p1, 10)[0] == pytest.approx(0.00099888, abs=5e-9)
    assert methods.kl(p, p2, 10)[0] == pytest.approx(0.00789716, abs=5e-9)
    assert float(shared_label(p1, p2, 10.0)[0]) == pytest.approx(0.00889603, abs=2e-7)


def test_similarity_is_the_cosine():
    random = np.random.default_rng(0)
    v, z = random.normal(size=(2, 6, 9))
    expected = [-np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(v, z, strict=True)]
    np.testing.assert_allclose(similarity(tf.constant(v, "float32"), tf.constant(z, "float32")), expected, rtol=1e-5)
    np.testing.assert_allclose(similarity(tf.constant(v), 3 * tf.constant(v)), -1, rtol=1e-6)


@pytest.mark.parametrize("one_call", [False, True])
def test_properties(methods, tmp_path, one_call):
    methods.check(dataclasses.replace(SMALL, one_call=one_call), tmp_path, NAMES)


def forward(nets, features):
    """z and v of one view in NumPy, the predictor's BatchNorm in inference mode."""
    g, q = nets["projector"].get_layer("linear"), nets["predictor"]
    z = np.asarray(features, np.float64) @ np.array(g.kernel) + np.array(g.bias)
    bn = q.get_layer("bn")
    x = z @ np.array(q.get_layer("linear1").kernel)
    x = (x - np.array(bn.moving_mean)) / np.sqrt(np.array(bn.moving_variance) + bn.epsilon) * np.array(bn.gamma) + np.array(bn.beta)
    return z, np.maximum(x, 0) @ np.array(q.get_layer("linear2").kernel) + np.array(q.get_layer("linear2").bias)


@pytest.mark.parametrize("one_call", [False, True])
def test_terms_equal_the_equations(methods, one_call):
    method = dataclasses.replace(SMALL, alpha=0.3, beta=0.7, temperature=3.0, one_call=one_call)
    student, (inputs, targets) = methods.student(), methods.batch(views=2)
    nets = Distiller(student, method).nets
    outputs, terms = method.terms(student, nets, inputs, targets, training=False)
    first, second = (student({"rgb": inputs["rgb"][:, number]}, training=False) for number in range(2))
    np.testing.assert_allclose(outputs["verb"], first["verb"], rtol=1e-5, atol=1e-6)
    hard = methods.supervised(first, targets) + methods.supervised(second, targets)
    assert float(terms["ce_verb"] + terms["ce_noun"]) == pytest.approx(hard, rel=1e-5)
    for space in targets:
        p1, p2 = (np.asarray(out[space], np.float64) for out in (first, second))
        expected = methods.kl(p1 + p2, p1, 3.0) + methods.kl(p1 + p2, p2, 3.0)
        assert float(terms[f"kl_{space}"]) == pytest.approx(0.3 * expected.mean(), rel=1e-4)
    (z1, v1), (z2, v2) = (forward(nets, out["features"]) for out in (first, second))
    cosine = [np.sum(v * z, 1) / np.linalg.norm(v, axis=1) / np.linalg.norm(z, axis=1) for v, z in ((v1, z2), (v2, z1))]
    assert float(terms["similarity"]) == pytest.approx(-0.7 * np.mean([np.mean(each) / 2 for each in cosine]) * 2, rel=1e-4)
    assert -0.7 <= float(terms["similarity"]) <= 0.7


def test_gradients_stop_where_the_paper_stops_them():
    v, z, p1, p2 = (tf.Variable(np.random.default_rng(seed).normal(size=(3, 4)).astype("float32")) for seed in range(4))
    with tf.GradientTape(persistent=True) as tape:
        compared = tf.reduce_sum(similarity(v, z))
        constant, moving = (tf.reduce_sum(shared_label(p1, p2, 2.0, stop)) for stop in (True, False))
    assert tape.gradient(compared, z) is None and np.abs(tape.gradient(compared, v)).max() > 0
    p, s1 = (tf.nn.softmax(logits / 2).numpy() for logits in (p1 + p2, p1))
    np.testing.assert_allclose(tape.gradient(constant, p1), (s1 - p) / 2, atol=1e-6)  # of KL(p || s1) where p is given
    assert np.abs(tape.gradient(moving, p1) - tape.gradient(constant, p1)).max() > 1e-3


def test_the_encoder_learns_through_the_predictor_alone(methods):
    """z has no gradient: with a predictor that gives a constant, the similarity has none at all."""
    student, (inputs, targets) = methods.student(), methods.batch(views=2)
    method = dataclasses.replace(SMALL)
    nets = Distiller(student, method).nets
    nets["predictor"].get_layer("linear2").kernel.assign(np.zeros((40, 10), "float32"))
    nets["predictor"].get_layer("linear2").bias.assign(np.ones(10, "float32"))
    with tf.GradientTape() as tape:
        term = method.terms(student, nets, inputs, targets, training=True)[1]["similarity"]
    assert np.abs(tape.gradient(term, student.get_layer("conv").kernel)).max() == 0


def test_batch_norm_sees_one_view_at_a_time_unless_called_once(methods):
    (inputs, targets), means = methods.batch(views=2), {}
    for one_call in (False, True):
        student = methods.student()
        method = dataclasses.replace(SMALL, one_call=one_call)
        method.terms(student, Distiller(student, method).nets, inputs, targets, training=True)
        means[one_call] = np.array(student.get_layer("bn").moving_mean)
    student = methods.student()
    pooled = keras.Model(student.input, student.get_layer("pool").output)
    first, second = (np.mean(pooled({"rgb": inputs["rgb"][:, number]}), axis=0) for number in range(2))
    np.testing.assert_allclose(means[False], 0.5 * (0.5 * first) + 0.5 * second, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(means[True], 0.5 * (first + second) / 2, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("channels", "projector"), [(512, 1_050_624), (2048, 4_196_352)])
def test_published_sizes_of_the_heads(methods, channels, projector):
    nets = SKDSRL().networks(methods.student(channels=channels))
    assert nets["projector"].count_params() == projector
    assert sum(int(np.prod(weight.shape)) for weight in nets["predictor"].trainable_weights) == 2_100_224


def test_what_it_cannot_work_with(methods):
    rgb = keras.Input((2, 4, 4, 3), name="rgb")
    plain = keras.Model({"rgb": rgb}, {"verb": keras.layers.Dense(4)(keras.layers.GlobalAveragePooling3D()(rgb))})
    with pytest.raises(InputError, match="SKDSRL compares the student's output 'features'"):
        SKDSRL().networks(plain)
    student, (inputs, targets) = methods.student(), methods.batch()
    with pytest.raises(InputError, match=r"inputs of the shape \(batch, views, ...\)"):
        SMALL.terms(student, SMALL.networks(student), inputs, targets, training=True)
    for field in ("alpha", "beta", "temperature"):
        with pytest.raises(InputError, match=f"method.{field} is -1"):
            SKDSRL(**{field: -1.0})
