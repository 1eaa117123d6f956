"""Channels that do nothing can be removed without a trace: from our networks, and from networks drawn at random."""

import keras
import numpy as np
import pytest
from keras import layers

import egokeras
from egokeras import models
from egokeras.compress.channels import channels_of
from egokeras.compress.cost import walk
from egokeras.compress.narrowing import narrowed

CLASSES = {"verb": 3, "noun": 4}


def frames(backbone, head):
    return models.FrameModel(backbone=backbone, head=head).build(classes=CLASSES, frames=6, size=32)


NETWORKS = {
    "MobileNetV2, LSTM": lambda: frames(models.Backbone(weights=None, alpha=0.35, trainable_from="", cut="block_4_add"), models.LSTMHead()),
    "small, ConvLSTM": lambda: frames(models.SmallBackbone(channels=(4, 6)), models.ConvLSTMHead(kernel=2, dense=9)),
    "small, ConvNet1D": lambda: frames(models.SmallBackbone(), models.ConvNet1DHead()),
    "ResNet, exits": lambda: models.EarlyExitResNet(width=4, modality="motion_vector").build(
        classes=CLASSES, shapes={"motion_vector": (2, 96, 96, 2)}
    ),
    "exits on maps over time": lambda: models.WithExits(
        model=models.ResNet3D(width=4, shortcut="A"), at=("stage1_block2_relu",)
    ).build(classes=CLASSES, frames=6, size=64),
    "pre-activation": lambda: models.ResNet3D(width=4, variant="preact_tf").build(classes=CLASSES, frames=16, size=16),
}  # fmt: skip


def drawn(seed):
    """A network of random blocks: convolutions, depthwise ones, sums, products, concatenations, maps as rows, dense layers."""
    random = np.random.default_rng(seed)
    names = iter(range(1000))

    def name(kind):
        return f"{kind}_{next(names)}"

    def convolved(x, filters=None, strides=1):
        filters = filters or int(random.integers(2, 9))
        x = layers.Conv2D(filters, int(random.choice([1, 3])), strides, "same", use_bias=bool(random.integers(2)), name=name("conv"))(x)
        x = layers.BatchNormalization(name=name("bn"))(x) if random.integers(2) else x
        return layers.ReLU(name=name("relu"))(x) if random.integers(2) else layers.LeakyReLU(0.1, name=name("leaky"))(x)

    def depthwise(x):
        return layers.DepthwiseConv2D(3, padding="same", depth_multiplier=int(random.integers(1, 3)), use_bias=False, name=name("dw"))(x)

    def gated(x):
        gate = layers.GlobalAveragePooling2D(keepdims=True, name=name("squeeze"))(x)
        gate = layers.Conv2D(x.shape[-1], 1, activation="sigmoid", name=name("excite"))(gate)
        return layers.Multiply(name=name("gate"))([x, gate])

    blocks = [
        convolved,
        depthwise,
        gated,
        lambda x: layers.Add(name=name("add"))([x, convolved(x, x.shape[-1])]),
        lambda x: layers.Maximum(name=name("max"))([convolved(x, 5), convolved(x, 5)]),
        lambda x: layers.Concatenate(name=name("join"))([x, convolved(x), convolved(x)]),
        lambda x: layers.Concatenate(axis=1, name=name("stack"))([x, convolved(x, x.shape[-1])]),
        lambda x: layers.MaxPooling2D(2, padding="same", name=name("pool"))(x),
        lambda x: layers.Reshape((x.shape[1] * x.shape[2], 1, x.shape[3]), name=name("rows"))(x),
        lambda x: layers.LayerNormalization(name=name("whole"))(x),
    ]
    image = keras.Input((6, 6, 3), name="rgb")
    x = convolved(image)
    inner = keras.Input(x.shape[1:], name="features")
    y = inner
    for block in random.choice(len(blocks), 5):
        y = blocks[block](y)
    y = layers.Flatten(name="flatten")(y) if random.integers(2) else layers.GlobalMaxPooling2D(name="top")(y)
    y = layers.Dense(7, activation="relu", name="hidden")(y)
    head = keras.Model({"features": inner}, {"action": layers.Dense(4, name="action")(y), "features": y}, name="head")
    return keras.Model({"rgb": image}, head({"features": x}))


def randomise(model):
    """Weights of a network that has seen data."""
    random = np.random.default_rng(0)
    spread = {"gamma": (1, 0.2), "beta": (0, 0.2), "moving_mean": (0, 0.2), "bias": (0, 0.2), "moving_variance": (1, 0.05)}
    for _, layer in walk(model):
        layer.set_weights(
            [
                random.normal(*spread[weight.name], values.shape) if weight.name in spread else values
                for weight, values in zip(layer.weights, layer.get_weights(), strict=True)
            ]
        )


def silence(model, channels, removed):
    """Let `removed` channels be 0 wherever they are made: no weight makes them, and no BatchNorm lifts them again."""
    for path, layer in walk(model):
        found = []
        for weight, values in zip(layer.weights, layer.get_weights(), strict=True):
            roots = channels.axes.get((path, weight.name), {}).get(len(values.shape) - 1)
            if roots is not None and not weight.name.startswith("moving"):
                values[..., np.isin(roots, removed)] = 0
            found.append(values)
        layer.set_weights(found)


def some_of(channels, seed=1):
    """A random part of the channels of every group."""
    random = np.random.default_rng(seed)
    return np.concatenate([random.permutation(group.roots)[: random.integers(0, len(group.roots))] for group in channels.groups])


def check_exact(model):
    channels = channels_of(model)
    removed = some_of(channels)
    random = np.random.default_rng(2)
    clips = {name: random.integers(0, 256, (2, *tensor.shape[1:])).astype(tensor.dtype) for name, tensor in model.input.items()}
    silence(model, channels, removed)
    smaller = narrowed(model, channels, removed)
    assert smaller.count_params() < model.count_params()
    before, after = model(clips, training=False), smaller(clips, training=False)
    for name in set(before) - {"features"}:
        assert np.abs(before[name]).max() > 0.01
        np.testing.assert_allclose(after[name], before[name], atol=1e-5 * max(1, np.abs(before[name]).max()))
    return smaller, clips, after


@pytest.mark.parametrize("name", NETWORKS)
def test_channels_of_zeros_leave_without_a_trace(name):
    keras.utils.set_random_seed(0)
    model = NETWORKS[name]()
    randomise(model)
    check_exact(model)


@pytest.mark.parametrize("seed", range(6))
def test_of_networks_drawn_at_random(seed):
    keras.utils.set_random_seed(seed)
    model = drawn(seed)
    randomise(model)
    check_exact(model)


def test_it_is_a_model_like_any_other(tmp_path):
    model = models.FrameModel(backbone=models.SmallBackbone(channels=(4, 6))).build(classes=CLASSES, frames=5, size=16)
    model.get_layer("backbone").trainable = False
    randomise(model)
    smaller, clips, answers = check_exact(model)
    smaller.save(tmp_path / "model.keras")
    again = egokeras.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(clips, training=False)["verb"], answers["verb"], atol=1e-6)
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
    assert {weight.name for _, layer in walk(smaller) for weight in layer.non_trainable_weights} <= {"moving_mean", "moving_variance"}
    assert not {"conv_1", "conv_2"} - {path[-1] for path, layer in walk(smaller) if layer.trainable_weights}


def places(channels):
    """Each group's size, and the layers whose weights it cuts."""
    return sorted((len(group.roots), sorted({path[-1] for path, _, _ in group.places})) for group in channels.groups)


def test_groups_by_hand():
    image = keras.Input((4, 4, 3), name="rgb")
    stem = layers.Conv2D(4, 3, padding="same", name="stem")(image)
    inner = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(layers.Conv2D(8, 1, name="expand")(stem))
    block = layers.Add(name="add")([stem, layers.Conv2D(4, 1, name="project")(inner)])
    joined = layers.Concatenate(name="join")([block, layers.Conv2D(2, 1, name="side")(block)])
    rows = layers.LSTM(5, name="lstm")(layers.Reshape((4, 24), name="rows")(joined))
    model = keras.Model({"rgb": image}, {"action": layers.Dense(3, name="action")(rows), "features": rows})
    channels = channels_of(model)
    assert places(channels) == [
        (2, ["lstm", "side"]),
        (4, ["expand", "lstm", "project", "side", "stem"]),
        (8, ["depthwise", "expand", "project"]),
    ]
    removed = np.concatenate([group.roots[:1] for group in channels.groups])
    smaller = narrowed(model, channels, removed)
    shapes = {layer.name: layer.kernel.shape for layer in smaller.layers if hasattr(layer, "kernel")}
    assert shapes["expand"] == (1, 1, 3, 7) and shapes["side"] == (1, 1, 3, 1) and smaller.get_layer("lstm").input.shape == (None, 4, 16)
    assert smaller.output["action"].shape == (None, 3) and smaller.output["features"].shape == (None, 5)
    np.testing.assert_array_equal(smaller.get_layer("project").kernel, model.get_layer("project").kernel[:, :, 1:, 1:])


def test_what_is_not_known_is_left_alone():
    """Groups, a LayerNorm, a layer that is called twice: their channels stay, those of others go."""
    image = keras.Input((4, 4, 3), name="rgb")
    x = layers.Conv2D(6, 1, name="free")(image)
    x = layers.Conv2D(4, 1, name="before")(x)
    x = layers.Conv2D(8, 1, groups=2, name="grouped")(x)
    x = layers.LayerNormalization(name="norm")(layers.Conv2D(5, 1, name="normed")(x))
    twice = layers.Conv2D(5, 1, name="twice")
    x = layers.Activation("softmax", name="softmax")(layers.Conv2D(7, 1, name="shares")(twice(twice(layers.Conv2D(5, 1, name="fed")(x)))))
    x = layers.Dense(9, name="hidden")(layers.Flatten(name="flatten")(x))
    model = keras.Model({"rgb": image}, {"action": layers.Dense(3, name="action")(x)})
    channels = channels_of(model)
    assert places(channels) == [(6, ["before", "free"]), (9, ["action", "hidden"])]
    randomise(model)
    check_exact(model)


def test_a_model_without_names_keeps_its_outputs():
    image = keras.Input((4, 4, 3))
    x = layers.Conv2D(6, 1, name="first")(image)
    model = keras.Model(image, layers.Conv2D(5, 1, name="last")(x))
    assert places(channels_of(model)) == [(6, ["first", "last"])]
