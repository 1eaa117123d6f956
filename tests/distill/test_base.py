"""The state of a Distiller: everything that a training changes can be listed by name, carried to another one, and trained on."""

import keras
import numpy as np
import tensorflow as tf

from egokeras.distill import SKDSRL, Distiller
from egokeras.metrics import TopK


def distiller():
    keras.utils.set_random_seed(0)
    features = keras.Input((6,), name="features")
    x = keras.layers.Dense(8, activation="relu")(features)  # no names: Keras numbers those through the process
    x = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(x))
    student = keras.Model({"features": features}, {space: keras.layers.Dense(n, name=space)(x) for space, n in (("verb", 4), ("noun", 7))})
    made = Distiller(student)
    made.compile(keras.optimizers.Adam(1e-2, use_ema=True), top=(1, 5))
    return made


def data():
    random = np.random.default_rng(0)
    targets = {"verb": random.integers(-1, 4, 24).astype("int32"), "noun": random.integers(-1, 7, 24).astype("int32")}
    return tf.data.Dataset.from_tensor_slices(({"features": random.normal(size=(24, 6)).astype("float32")}, targets)).batch(8)


def values(made):
    return {name: keras.ops.convert_to_numpy(variable) for name, variable in made.state_variables().items()}


def steps(made, batches):
    """Train without `fit`, which would begin an epoch: the running means go on, too."""
    step = tf.function(made.train_step)
    for batch in batches:
        step(batch)
    return values(made)


def test_a_training_goes_on_from_the_state_alone():
    undisturbed, first, second = distiller(), distiller(), distiller()
    wanted = steps(undisturbed, [*data(), *data()])
    state = steps(first, data())
    second.build_trackers(first.tracked)
    assert list(second.state_variables()) == list(state) and len({id(v) for v in second.state_variables().values()}) == len(state)
    for name, variable in second.state_variables().items():
        variable.assign(state[name])
    found = steps(second, data())
    assert found.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)


def test_the_state_leaves_out_nothing_that_a_step_changes():
    made = distiller()
    made.build_trackers(["loss", "ce_verb", "ce_noun", "verb_top1", "noun_top1", "noun_top5"])
    before = values(made)
    after = steps(made, data())
    assert list(after) == list(before)
    same = [made.state_variables()[name].name for name in after if np.array_equal(before[name], after[name])]
    assert sorted(same) == ["epoch", "learning_rate"]  # which callbacks change
    assert {id(v) for v in [*made.variables, *made.optimizer.variables]} <= {id(v) for v in made.state_variables().values()}


def test_trackers_made_beforehand_are_those_that_a_step_makes():
    lazy, ready = distiller(), distiller()
    steps(lazy, data().take(1))
    ready.build_trackers(lazy.tracked)
    assert lazy.tracked == ("loss", "ce_verb", "ce_noun", "verb_top1", "noun_top1", "noun_top5")
    ks = {metric.name: metric.k for metric in ready.metrics if isinstance(metric, TopK)}
    assert ks == {"verb_top1": 1, "noun_top1": 1, "noun_top5": 5}
    names = ready.tracked
    ready.build_trackers(["loss"])
    assert ready.tracked == names == lazy.tracked


def test_a_step_is_traced_once(monkeypatch):
    """Where TensorFlow saw a running mean made inside, it would build the whole step again."""
    traced = []
    monkeypatch.setattr(Distiller, "train_step", lambda self, data, step=Distiller.train_step: (traced.append(1), step(self, data))[1])
    made = distiller()
    history = made.fit(data(), epochs=2, verbose=0).history
    assert len(traced) == 1 and history["loss"][1] < history["loss"][0]


def test_a_step_does_not_depend_on_how_many_the_process_has_done():
    """TensorFlow orders a step anew after some 90 of them; a sum of three gradients must not come out otherwise for it.

    Betas of the two branches' BatchNorm have one gradient, which TensorFlow computes once for both, and of each view, and l2.
    """
    keras.utils.set_random_seed(0)

    def branch(x):
        return keras.layers.BatchNormalization()(keras.layers.Dense(32, use_bias=False)(x))

    x = inputs = keras.Input((6,), name="x")
    for _ in range(3):
        x = keras.layers.ReLU()(keras.layers.Add()([branch(x), branch(x)]))
    made = Distiller(keras.Model({"x": inputs}, {"y": keras.layers.Dense(3)(x), "features": x}), SKDSRL(projection=8, hidden=4))
    made.compile(keras.optimizers.SGD(0.01, momentum=0.9), top=(1,), l2=1e-3)
    random = np.random.default_rng(0)
    views, labels = random.normal(size=(200, 8, 2, 6)).astype("float32"), random.integers(0, 3, (200, 8))
    batches = [({"x": tf.constant(view)}, {"y": tf.constant(label)}) for view, label in zip(views, labels, strict=True)]
    begun = steps(made, batches[:20])
    ends = []
    for warm_up in (batches, batches[:1]):
        step = tf.function(made.train_step)
        for batch in warm_up:
            step(batch)
        for name, variable in made.state_variables().items():
            variable.assign(begun[name])
        for batch in batches[20:]:
            step(batch)
        ends.append(values(made))
    assert not [name for name in begun if not np.array_equal(ends[0][name], ends[1][name])]


def test_l2_is_the_weight_decay_that_momentum_sees():
    """The step of PyTorch's SGD: g + l2 w goes into the buffer."""
    keras.utils.set_random_seed(0)
    features = keras.Input((6,), name="features")
    student = keras.Model({"features": features}, {"verb": keras.layers.Dense(4, name="verb")(features)})
    before = [np.array(weight) for weight in student.trainable_weights]
    inputs, labels = np.random.default_rng(0).normal(size=(8, 6)).astype("float32"), np.arange(8) % 4
    made = Distiller(student)
    made.compile(keras.optimizers.SGD(0.1, momentum=0.9), l2=0.3)
    buffers = [np.zeros_like(weight) for weight in before]
    for _ in range(3):
        scores = inputs @ before[0] + before[1]
        p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        p[np.arange(8), labels] -= 1
        for number, gradient in enumerate((inputs.T @ p / 8, p.mean(0))):
            buffers[number] = 0.9 * buffers[number] + gradient + 0.3 * before[number]
            before[number] = before[number] - 0.1 * buffers[number]
        made.train_step(({"features": tf.constant(inputs)}, {"verb": tf.constant(labels, tf.int32)}))
    for expected, weight in zip(before, student.trainable_weights, strict=True):
        np.testing.assert_allclose(weight, expected, rtol=1e-4, atol=1e-6)
