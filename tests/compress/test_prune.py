"""Pruning: the schedule by hand, masks by a slow reference, and training that leaves exactly the zeros that were asked for."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from egokeras.compress.prune import Pruner, Pruning, count, kernels_of, masks
from egokeras.distill import Distiller
from egokeras.errors import InputError
from egokeras.layers import RollingLSTM
from egokeras.optim import Optim


def test_the_schedule_by_hand():
    """0.8 (1 - (1 - x)^3) from step 20 to step 70 of 100."""
    pruning = Pruning(begin=0.2, end=0.7, every=15)
    shares = {0: 0.0, 20: 0.0, 30: 0.8 * 0.488, 45: 0.7, 60: 0.8 * 0.992, 70: 0.8, 100: 0.8}
    assert {step: pruning.at(step, 100) for step in shares} == pytest.approx(shares)
    assert [step for step in range(101) if pruning.due(step, 100)] == [35, 50, 65, 70]
    assert [pruning.full_after(10, 10), pruning.full_after(20, 5), pruning.full_after(100, 1), Pruning(end=1.0).full_after(7, 3)] == [
        6,
        3,
        0,
        2,
    ]
    assert [Pruning(begin=0.5).at(step, 8) for step in (0, 3, 4)] == [0.0, 0.0, 0.8]
    at_once = Pruning(pattern="1:4", begin=0.0, end=0.0)
    assert [step for step in range(9) if at_once.due(step, 8)] == [0] and at_once.at(0, 8) == 0.75 and at_once.full_after(4, 2) == 0


def test_shares_are_counted_without_rounding_errors():
    assert 0.29 * 100 < 29 and count(0.29, 100) == 29 and count(0.8, 9) == 7 and count(0.5, 3) == 1


def reference(weights, before, pruning, sparsity):
    """The same masks by a loop over weights that are sorted by magnitude and place, those that are gone already first."""
    entries, after = [], [mask.copy() for mask in before]
    for number, (weight, mask) in enumerate(zip(weights, before, strict=True)):
        chosen = []
        for place in np.ndindex(weight.shape):
            chosen.append((abs(weight[place]) if mask[place] else -1.0, number, place))
        if pruning.pattern:
            n, m = pruning.kept
            groups = {}
            for entry in chosen:
                *rest, inputs, outputs = entry[2]
                groups.setdefault((*rest, inputs // m, outputs), []).append(entry)
            chosen = [entry for group in groups.values() for entry in sorted(group)[: m - n]]
        entries.append(chosen)
    for part in entries if pruning.threshold == "layer" else [[entry for one in entries for entry in one]]:
        wanted = count(sparsity / pruning.final if pruning.pattern else sparsity, len(part))
        for _, number, place in sorted(part)[: max(wanted, sum(score < 0 for score, _, _ in part))]:
            after[number][place] = False
    return after


@pytest.mark.parametrize("threshold", ["layer", "model"])
@pytest.mark.parametrize("pattern", ["", "2:4", "1:3"])
def test_masks_are_those_of_a_slow_reference(pattern, threshold):
    random = np.random.default_rng(0)
    pruning = Pruning(pattern=pattern, threshold=threshold)
    weights = [random.integers(-4, 5, shape).astype("float32") for shape in ((3, 3, 12, 5), (12, 7), (2, 24, 4))]  # many ties
    before = [np.ones(weight.shape, bool) for weight in weights]
    for share in (0.0, 0.37, 0.9, 0.6, 1.0):  # 0.6: nothing comes back
        found = masks(weights, before, pruning, share * pruning.final)
        for mask, expected, old in zip(found, reference(weights, before, pruning, share * pruning.final), before, strict=True):
            np.testing.assert_array_equal(mask, expected)
            assert not (mask & ~old).any()
        before = found
        weights = [random.integers(-4, 5, mask.shape) * mask.astype("float32") for mask in found]  # also zeros that are not masked
    zeros, sizes = [int((~mask).sum()) for mask in found], [mask.size for mask in found]
    if pattern:
        n, m = pruning.kept
        assert zeros == [size * (m - n) // m for size in sizes]
        assert all((mask.shape[-2] % m == 0) and _most_in_a_group(mask, m) == n for mask in found)
    else:
        assert sum(zeros) == int(0.8 * sum(sizes)) if threshold == "model" else zeros == [int(0.8 * size) for size in sizes]


def _most_in_a_group(mask, m):
    """What TensorRT checks: the largest number of weights left of m consecutive inputs."""
    by_group = np.split(np.moveaxis(mask, -2, 0), mask.shape[-2] // m)
    return max(int(group.sum(axis=0).max()) for group in by_group)


@pytest.fixture(scope="module")
def every_kind():
    """A student with a kernel of every kind."""
    layers = keras.layers
    keras.utils.set_random_seed(0)
    x = keras.Input((2, 6, 6, 4), name="x")
    h = layers.Conv3D(8, (1, 3, 3), name="conv3d")(x)
    h = layers.ConvLSTM2D(4, 3, name="convlstm")(h)
    h = layers.DepthwiseConv2D(2, padding="same", name="depthwise")(h)
    h = layers.Conv2D(8, 1, name="conv2d")(h)
    h = layers.SeparableConv2D(8, 1, name="separable")(h)
    h = layers.Reshape((4, 8), name="steps")(h)
    h = layers.Conv1D(8, 2, padding="same", name="conv1d")(h)
    h, _ = RollingLSTM(4, name="rolling")(layers.GRU(8, return_sequences=True, name="gru")(h))
    h = layers.LSTM(4, name="lstm")(h)
    inner = keras.Input((4,), name="features")
    head = keras.Model({"features": inner}, layers.Dense(5, name="dense")(inner), name="head")
    return keras.Model({"x": x}, {"y": layers.Dense(3, name="y")(head({"features": h}))})


def fitted(student, pruning, optimizer, epochs):
    """Train on noise, 2 steps an epoch."""
    random = np.random.default_rng(0)
    inputs, labels = random.normal(size=(8, *student.input["x"].shape[1:])).astype("float32"), random.integers(0, 3, 8).astype("int32")
    distiller = Distiller(student, masked=pruning.kernels(student).values())
    distiller.compile(optimizer, top=(1,), run_eagerly=True)
    data = tf.data.Dataset.from_tensor_slices(({"x": inputs}, {"y": labels})).batch(4).repeat()
    logs = distiller.fit(data, steps_per_epoch=2, epochs=epochs, callbacks=[Pruner(pruning)], verbose=0, shuffle=False).history
    return distiller, logs


@pytest.mark.parametrize("pattern", ["", "2:4"])
def test_every_kind_of_kernel_ends_with_the_exact_zeros(every_kind, pattern):
    pruning = Pruning(pattern=pattern, every=1, dense=("y",))
    kernels = pruning.kernels(every_kind)
    assert len(kernels_of(every_kind)) == len(kernels) + 1 == 14
    before = every_kind.get_layer("depthwise").kernel.numpy()
    _, logs = fitted(every_kind, pruning, keras.optimizers.Adam(1e-2), epochs=1)
    for path, kernel in kernels.items():
        values = kernel.numpy()
        assert (values == 0).sum() == int(pruning.final * values.size), path
        assert not pattern or _most_in_a_group(values != 0, 4) == 2, path
    assert logs["sparsity"][-1] == pytest.approx(pruning.final, abs=0.02)
    for dense in (every_kind.get_layer("depthwise"), every_kind.get_layer("y")):
        assert (dense.kernel.numpy() != 0).all()
    assert not np.array_equal(before, every_kind.get_layer("depthwise").kernel.numpy())


def small(dtype="float32"):
    keras.utils.set_random_seed(0)
    x = keras.Input((6,), name="x")
    h = keras.layers.Dense(8, activation="relu", dtype=dtype, name="hidden")(x)
    return keras.Model({"x": x}, {"y": keras.layers.Dense(3, name="y")(h)})


OPTIMIZERS = {
    "momentum and clipping": Optim(optimizer="sgd", learning_rate=0.5, clip_norm=0.1),
    "decoupled weight decay and a moving average": Optim(optimizer="adamw", learning_rate=0.1, weight_decay=0.1, ema=0.9),
    "accumulation": Optim(accumulate=3, learning_rate=0.1),
}


@pytest.mark.parametrize(("optim", "dtype"), [*((optim, "float32") for optim in OPTIMIZERS), ("momentum and clipping", "mixed_float16")])
def test_pruned_weights_stay_zero_whatever_the_optimizer(optim, dtype):
    student, optimizer = small(dtype), OPTIMIZERS[optim].build(2, 5)
    optimizer = optimizer if dtype == "float32" else keras.optimizers.LossScaleOptimizer(optimizer)
    distiller, _ = fitted(student, Pruning(every=1), optimizer, epochs=5)
    for kernel, mask in zip(distiller.masked, distiller.masks, strict=True):
        np.testing.assert_array_equal(kernel.numpy() == 0, ~mask.numpy())
        assert (~mask.numpy()).sum() == int(0.8 * mask.numpy().size)


def test_masked_weights_have_no_gradient_and_their_momentum_moves_nothing():
    """Three steps by hand: a mask appears after the first, whose momentum is still there; the norm that is clipped is that of the rest."""
    student = small()
    distiller = Distiller(student, masked=[student.get_layer("y").kernel])
    distiller.compile(keras.optimizers.SGD(0.1, momentum=0.9, clipnorm=0.05), top=(1,))
    inputs, labels = np.random.default_rng(0).normal(size=(8, 6)).astype("float32"), np.arange(8) % 3
    hidden, bias, kernel, last = (weight.numpy() for weight in student.trainable_weights)
    keep = np.arange(24).reshape(8, 3) % 2 == 0
    buffers = [np.zeros_like(weight) for weight in (hidden, bias, kernel, last)]
    for step in range(3):
        if step == 1:
            distiller.masks[0].assign(keep)
        h = np.maximum(inputs @ hidden + bias, 0)
        scores = np.exp(h @ kernel + last)
        p = scores / scores.sum(1, keepdims=True) - np.eye(3)[labels]
        back = (p @ kernel.T) * (h > 0)
        gradients = [inputs.T @ back / 8, back.mean(0), (h.T @ p / 8) * (keep if step else 1), p.mean(0)]
        for number, gradient in enumerate(gradients):
            clipped = gradient * min(1, 0.05 / np.linalg.norm(gradient))
            buffers[number] = 0.9 * buffers[number] - 0.1 * clipped
        hidden, bias, kernel, last = (value + buffer for value, buffer in zip((hidden, bias, kernel, last), buffers, strict=True))
        kernel = kernel * keep if step else kernel
        distiller.train_step(({"x": tf.constant(inputs)}, {"y": tf.constant(labels, tf.int32)}))
    for found, expected in zip(student.trainable_weights, (hidden, bias, kernel, last), strict=True):
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-6)
    assert np.abs(buffers[2][~keep]).min() > 0 and not student.get_layer("y").kernel.numpy()[~keep].any()


def test_a_frozen_layer_is_not_pruned():
    student = small()
    student.get_layer("hidden").trainable = False
    assert list(Pruning().kernels(student)) == ["y/kernel"]
    student.get_layer("y").trainable = False
    with pytest.raises(InputError, match="no kernel learns and is not kept dense"):
        Pruning().check(student)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sparsity": 1.0}, "pruning.sparsity is 1; give a share between 0 and 1"),
        ({"pattern": "4:2"}, "pruning.pattern is '4:2'; give N:M with N less than M"),
        ({"pattern": "half"}, "pruning.pattern is 'half'"),
        ({"pattern": "2:4", "sparsity": 0.8}, "pruning.sparsity is 0.8, but 2:4 leaves 0.5"),
        ({"begin": 0.6}, "begin 0.6, end 0.5; both are shares"),
        ({"every": 0}, "pruning.every is 0; give at least 1 step"),
    ],
)
def test_wrong_fields_are_named(fields, message):
    with pytest.raises(InputError, match=message):
        Pruning(**fields)


def test_layers_that_are_not_there_and_patterns_that_fit_nothing():
    with pytest.raises(InputError, match=r"pruning.dense: no layer with a kernel is called 'hiden'; nearest: hidden"):
        Pruning(dense=("hiden",)).check(small())
    assert list(Pruning(pattern="2:4").kernels(small())) == ["y/kernel"]  # 6 inputs do not divide by 4
    with pytest.raises(InputError, match="no kernel has inputs that divide by 5 and learns"):
        Pruning(pattern="2:5").check(small())
    Pruning(dense=("hid*",)).check(small())
    with pytest.raises(InputError, match="give steps_per_epoch"):
        distiller = Distiller(small(), masked=Pruning().kernels(small()).values())
        distiller.compile("sgd")
        distiller.fit(
            tf.data.Dataset.from_tensors(({"x": np.zeros((2, 6))}, {"y": [0, 1]})).filter(lambda *_: True), callbacks=[Pruner(Pruning())]
        )
