"""3D ResNets: published parameter counts, and a forward pass in plain NumPy."""

import numpy as np
import pytest
import tensorflow as tf

import egokeras
from egokeras import models
from egokeras.errors import InputError
from egokeras.models import ResNet3D


def trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


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


@pytest.mark.parametrize(
    ("depth", "shortcut", "backbone"),
    [(18, "A", 33_030_080), (18, "B", 33_203_904), (34, "B", 63_513_536), (50, "A", 43_422_400), (50, "B", 46_198_976)],
)
def test_published_parameter_counts(depth, shortcut, backbone):
    model = ResNet3D(depth=depth, shortcut=shortcut).build(classes={"action": 101}, frames=16, size=112)
    assert trainable(model.get_layer("backbone")) == backbone
    channels = 2048 if depth == 50 else 512
    assert trainable(model) == backbone + 101 * (channels + 1)
    assert model.output["features"].shape == (None, channels)


def test_published_whole_counts_and_sizes():
    model = models.ResNet3D18(101)
    assert (trainable(model), trainable(models.ResNet3D50(400))) == (33_255_717, 47_018_576)
    backbone = model.get_layer("backbone")
    sizes = {"conv1": (16, 56, 56), "pool1": (8, 28, 28)} | {
        f"stage{stage}_block1_relu": size for stage, size in enumerate([(8, 28, 28), (4, 14, 14), (2, 7, 7), (1, 4, 4)], 1)
    }
    assert {name: backbone.get_layer(name).output.shape[1:4] for name in sizes} == sizes
    assert model.input["rgb"].shape == (None, 16, 112, 112, 3) and model.input["rgb"].dtype == "uint8"


# ---- the slow reference: NumPy, in float64


def convolved(x, kernel, stride):
    """Correlation of `x` (batch, time, height, width, channels) with both sides padded by half the kernel."""
    size, strides = kernel.shape[0], (stride,) * 3 if isinstance(stride, int) else stride
    x = np.pad(x, [(0, 0)] + 3 * [(size // 2, size // 2)] + [(0, 0)])
    lengths = [(length - size) // step + 1 for length, step in zip(x.shape[1:4], strides, strict=True)]
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


def reference(model, pixels, depth, shortcut):
    backbone = model.get_layer("backbone")

    def layer(x, name, stride=1):
        kernel = np.asarray(backbone.get_layer(name).kernel, "float64")
        gamma, beta, mean, variance = (np.asarray(weight, "float64") for weight in backbone.get_layer(f"{name}_bn").weights)
        return (convolved(x, kernel, stride) - mean) / np.sqrt(variance + 1e-5) * gamma + beta

    x = pooled(np.maximum(layer(pixels / 127.5 - 1, "conv1", (1, 2, 2)), 0))
    for stage, blocks in enumerate({18: [2, 2, 2, 2], 50: [3, 4, 6, 3]}[depth], 1):
        for block in range(1, blocks + 1):
            name, stride = f"stage{stage}_block{block}", 2 if stage > 1 and block == 1 else 1
            if depth == 18:
                y = layer(np.maximum(layer(x, f"{name}_conv1", stride), 0), f"{name}_conv2")
            else:
                y = np.maximum(layer(np.maximum(layer(x, f"{name}_conv1"), 0), f"{name}_conv2", stride), 0)
                y = layer(y, f"{name}_conv3")
            if x.shape != y.shape and shortcut == "B":
                x = layer(x, f"{name}_shortcut", stride)
            elif x.shape != y.shape:
                x = x[:, ::stride, ::stride, ::stride]
                x = np.concatenate([x, np.zeros((*x.shape[:4], y.shape[4] - x.shape[4]))], axis=4)
            x = np.maximum(x + y, 0)
    return x.mean((1, 2, 3))


@pytest.mark.parametrize(("depth", "shortcut"), [(18, "A"), (18, "B"), (50, "A"), (50, "B")])
def test_equals_a_forward_pass_in_numpy(depth, shortcut):
    model = shaken(small(depth=depth, shortcut=shortcut), np.random.default_rng(1))
    outputs, expected = model({"rgb": clips()}, training=False), reference(model, clips(), depth, shortcut)
    assert expected.std() > 0.01
    np.testing.assert_allclose(outputs["features"], expected, rtol=1e-3, atol=1e-4 * expected.max())
    dense = model.get_layer("head").get_layer("noun")
    np.testing.assert_allclose(outputs["noun"], outputs["features"] @ dense.kernel + dense.bias, atol=1e-4 * expected.max())


@pytest.mark.parametrize("fields", [{}, {"shortcut": "A"}, {"depth": 50}])
def test_saved_model_predicts_the_same(tmp_path, fields):
    model = shaken(small(**fields), np.random.default_rng(2))
    model.save(tmp_path / "model.keras")
    again = egokeras.load_model(tmp_path / "model.keras")
    names = [layer.name for part in ("backbone", "head") for layer in again.get_layer(part).layers]
    assert not [name for name in names if name.startswith(("conv3d", "batch_norm", "re_lu", "add_", "dense", "zero_padding"))]
    outputs = again({"rgb": clips()}, training=False)
    assert outputs["verb"].shape == (2, 5)
    for name, value in model({"rgb": clips()}, training=False).items():
        np.testing.assert_allclose(outputs[name], value, atol=1e-5 * np.abs(value).max())


def test_every_weight_learns():
    model = small(shortcut="B")
    with tf.GradientTape() as tape:
        outputs = model({"rgb": clips(4)}, training=True)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=[0, 1, 2, 0], logits=outputs["noun"]))
    weights = [weight for weight in model.trainable_weights if "verb" not in weight.path]
    gradients = tape.gradient(loss, weights)
    assert weights[0].path.startswith("conv1/")
    assert not [weight.path for weight, gradient in zip(weights, gradients, strict=True) if gradient is None or not np.any(gradient)]


def test_weights_start_as_he_normal_and_no_two_layers_alike():
    backbone = ResNet3D(width=32).build(classes={"verb": 2}, frames=4, size=16).get_layer("backbone")
    wider, first, second = (np.asarray(backbone.get_layer(f"stage3_block{name}").kernel) for name in ("1_conv1", "2_conv1", "2_conv2"))
    assert wider.shape == (3, 3, 3, 64, 128)
    assert np.std(wider) == pytest.approx(np.sqrt(2 / (27 * 128)), rel=0.02)
    assert not np.allclose(first, second)


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda: ResNet3D(depth=20), "model.depth is 20; it must be one of 18, 34, 50"),
        (lambda: ResNet3D(shortcut="C"), "model.shortcut is 'C'"),
        (lambda: ResNet3D(width=0), "model.width is 0"),
        (lambda: ResNet3D(frames=16).build(classes={"verb": 2}, frames=8, size=112), "model.frames is 16 but the shards have 8"),
        (lambda: ResNet3D().build(classes={"verb": 2}, frames=8), "model.size is not set"),
    ],
)
def test_errors_name_the_field_and_the_cure(build, named):
    with pytest.raises(InputError, match=named):
        build()
