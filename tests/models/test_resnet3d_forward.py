"""3D ResNets: forward passes in plain NumPy, gradients, and models that come back from a file."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import egokeras
from egokeras.models import ResNet3D

PREACT = {"variant": "preact_tf"}
R2PLUS1D = {"variant": "tran", "convolution": "2plus1d"}


def small(**fields):
    return ResNet3D(**{"width": 4, **fields}).build(classes={"verb": 5, "noun": 3}, frames=4, size=18)


def clips(count=2, frames=4, size=18):
    return np.random.default_rng(0).integers(0, 256, (count, frames, size, size, 3)).astype("uint8")


def shaken(model, random):
    """The model with weights and BatchNorm statistics of which none is an identity."""
    for weight in model.weights:
        value = random.normal(size=weight.shape) / np.sqrt(max(1, np.prod(weight.shape[:-1])))
        weight.assign(1 + 0.3 * np.abs(random.normal(size=weight.shape)) if weight.name in ("gamma", "moving_variance") else value)
    return model


# ---- the slow reference: NumPy, in float64


def convolved(x, kernel, strides, same=False):
    """Correlation of `x` (batch, time, height, width, channels); both sides padded by half the kernel, or as TensorFlow's "same"."""
    pads = [(size // 2, size // 2) for size in kernel.shape[:3]]
    if same:
        lacking = [
            max(0, (-(-n // step) - 1) * step + size - n) for n, step, size in zip(x.shape[1:4], strides, kernel.shape, strict=False)
        ]
        pads = [(n // 2, n - n // 2) for n in lacking]
    x = np.pad(x, [(0, 0), *pads, (0, 0)])
    lengths = [(n - size) // step + 1 for n, size, step in zip(x.shape[1:4], kernel.shape[:3], strides, strict=True)]
    result = 0.0
    for tap in np.ndindex(*kernel.shape[:3]):
        window = [slice(start, start + step * (length - 1) + 1, step) for start, step, length in zip(tap, strides, lengths, strict=True)]
        result = result + x[:, window[0], window[1], window[2]] @ kernel[tap]
    return result


def pooled(x):
    """Maximum over 3x3x3 with stride 2, outside counting as minus infinity."""
    x = np.pad(x, [(0, 0)] + 3 * [(1, 1)] + [(0, 0)], constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3, 3), axis=(1, 2, 3))[:, ::2, ::2, ::2]
    return windows.max((-3, -2, -1))


def reference(model, pixels, depth=18, variant="hara", convolution="3d", shortcut="B"):
    backbone, preact = model.get_layer("backbone"), variant == "preact_tf"

    def weights(name):
        return [np.asarray(weight, "float64") for weight in backbone.get_layer(name).weights]

    def bn(x, name):
        gamma, beta, mean, variance = weights(name)
        return (x - mean) / np.sqrt(variance + (1e-3 if preact else 1e-5)) * gamma + beta

    def bn_relu(x, name):
        return np.maximum(bn(x, name), 0)

    def one(x, name, *strides):
        kernel, *bias = weights(name)
        assert len(bias) == preact
        return convolved(x, kernel, strides, same=preact) + (bias[0] if preact else 0)

    def conv(x, name, strides=(1, 1, 1)):
        if convolution == "3d":
            return one(x, name, *strides)
        x = bn_relu(one(x, f"{name}_spatial", 1, *strides[1:]), f"{name}_spatial_bn")
        return one(x, f"{name}_temporal", strides[0], 1, 1)

    def postactivated(x, name, s):
        if depth == 18:
            y = bn_relu(conv(x, f"{name}_conv1", (s, s, s)), f"{name}_conv1_bn")
            y = bn(conv(y, f"{name}_conv2"), f"{name}_conv2_bn")
        else:
            y = bn_relu(one(x, f"{name}_conv1", 1, 1, 1), f"{name}_conv1_bn")
            y = bn_relu(conv(y, f"{name}_conv2", (s, s, s)), f"{name}_conv2_bn")
            y = bn(one(y, f"{name}_conv3", 1, 1, 1), f"{name}_conv3_bn")
        if x.shape != y.shape and shortcut == "B":
            x = bn(one(x, f"{name}_shortcut", s, s, s), f"{name}_shortcut_bn")
        elif x.shape != y.shape:
            x = x[:, ::s, ::s, ::s]
            x = np.concatenate([x, np.zeros((*x.shape[:4], y.shape[4] - x.shape[4]))], axis=4)
        return np.maximum(x + y, 0)

    def preactivated(x, name, s):
        y = x if name == "stage1_block1" else bn_relu(x, f"{name}_bn1")
        if depth == 18:
            y = conv(bn_relu(conv(y, f"{name}_conv1", (s, s, s)), f"{name}_bn2"), f"{name}_conv2")
        else:
            y = conv(bn_relu(one(y, f"{name}_conv1", s, s, s), f"{name}_bn2"), f"{name}_conv2")
            y = one(bn_relu(y, f"{name}_bn3"), f"{name}_conv3", 1, 1, 1)
        return y + (one(x, f"{name}_shortcut", s, s, s) if x.shape != y.shape else x)

    x = bn_relu(conv(pixels / 127.5 - 1, "conv1", (1, 2, 2)), "conv1_bn")
    x = pooled(x) if variant == "hara" else x
    for stage, blocks in enumerate({18: [2, 2, 2, 2], 50: [3, 4, 6, 3]}[depth], 1):
        for block in range(1, blocks + 1):
            add = preactivated if preact else postactivated
            x = add(x, f"stage{stage}_block{block}", 2 if stage > 1 and block == 1 else 1)
    if not preact:
        return x.mean((1, 2, 3))
    return np.concatenate(list(np.moveaxis(bn_relu(x, "last_bn").mean((2, 3)), 1, 0)), axis=1)


@pytest.mark.parametrize(
    "fields",
    [
        {"depth": 18, "shortcut": "A"}, {"depth": 18, "shortcut": "B"}, {"depth": 50, "shortcut": "A"}, {"depth": 50, "shortcut": "B"},
        {"variant": "tran"}, PREACT, {"depth": 50, **PREACT}, R2PLUS1D, {"depth": 50, "convolution": "2plus1d"},
        {"convolution": "2plus1d", **PREACT},
    ],
)  # fmt: skip
def test_equals_a_forward_pass_in_numpy(fields):
    """9 frames, so that two are left for `preact_tf` to flatten and the strides meet odd lengths."""
    frames = 9 if fields.get("variant") == "preact_tf" else 4
    model = ResNet3D(width=4, **fields).build(classes={"verb": 5, "noun": 3}, frames=frames, size=18)
    model, pixels = shaken(model, np.random.default_rng(1)), clips(frames=frames)
    outputs, expected = model({"rgb": pixels}, training=False), reference(model, pixels, **fields)
    assert expected.std() > 0.01 and np.abs(expected[0] - expected[1]).max() > 1e-3 * expected.max()
    np.testing.assert_allclose(outputs["features"], expected, rtol=1e-3, atol=1e-4 * expected.max())
    dense = model.get_layer("head").get_layer("noun")
    np.testing.assert_allclose(outputs["noun"], outputs["features"] @ dense.kernel + dense.bias, atol=1e-4 * expected.max())


@pytest.mark.parametrize("fields", [{}, {"shortcut": "A"}, {"depth": 50}, {"depth": 34, **PREACT}, R2PLUS1D])
def test_saved_model_predicts_the_same(tmp_path, fields):
    model = shaken(small(**fields), np.random.default_rng(2))
    model.save(tmp_path / "model.keras")
    again = egokeras.load_model(tmp_path / "model.keras")
    names = [layer.name for part in ("backbone", "head") for layer in again.get_layer(part).layers]
    automatic = ("conv3d", "batch_norm", "re_lu", "add_", "dense", "zero_padding", "max_pooling", "global", "dropout_", "flatten_")
    assert not [name for name in names if name.startswith(automatic)]
    outputs = again({"rgb": clips()}, training=False)
    assert outputs["verb"].shape == (2, 5)
    for name, value in model({"rgb": clips()}, training=False).items():
        np.testing.assert_allclose(outputs[name], value, atol=1e-5 * np.abs(value).max())


@pytest.mark.parametrize("fields", [{"shortcut": "B"}, PREACT, R2PLUS1D, {"convolution": "2plus1d", **PREACT}])
def test_every_weight_learns(fields):
    model = small(**fields)
    biased = fields.get("variant") == "preact_tf"  # in training, BatchNorm takes its biases away again
    with tf.GradientTape() as tape:
        outputs = model({"rgb": clips(4)}, training=not biased)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=[0, 1, 2, 0], logits=outputs["noun"]))
    weights = [weight for weight in model.trainable_weights if "verb" not in weight.path]
    gradients = tape.gradient(loss, weights)
    assert weights[0].path.split("/")[0] in ("conv1", "conv1_spatial")
    assert not [weight.path for weight, gradient in zip(weights, gradients, strict=True) if gradient is None or not np.any(gradient)]


def test_logits_stay_float32_under_mixed_precision():
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = small(depth=34, convolution="2plus1d", **PREACT)
        assert model.get_layer("backbone").get_layer("stage1_block1_conv1_spatial").compute_dtype == "float16"
        outputs = model({"rgb": clips()}, training=True)
        assert {str(outputs[space].dtype.name) for space in ("verb", "noun")} == {"float32"}
        assert np.isfinite(outputs["noun"]).all()
    finally:
        keras.mixed_precision.set_global_policy("float32")
