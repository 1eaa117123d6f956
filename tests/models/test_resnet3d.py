"""3D ResNets: published parameter counts and costs, shapes, and how they start."""

import itertools

import keras
import numpy as np
import pytest

from egokeras import models
from egokeras.compress.cost import cost
from egokeras.compress.twin import inference_twin
from egokeras.errors import InputError
from egokeras.models import ResNet3D

PREACT = {"variant": "preact_tf"}
R2PLUS1D = {"variant": "tran", "convolution": "2plus1d"}


def trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def small(**fields):
    return ResNet3D(**{"width": 4, **fields}).build(classes={"verb": 5, "noun": 3}, frames=4, size=18)


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


@pytest.mark.parametrize(
    ("depth", "channels", "counts", "statistics"),
    [
        (18, 1024, {51: 33_259_187, 101: 33_310_437, 400: 33_616_912}, 7_808),
        (50, 4096, {51: 46_426_803, 101: 46_631_653, 400: 47_856_656}, 45_440),
    ],
)
def test_counts_of_the_preactivation_network(depth, channels, counts, statistics):
    classes = {f"of_{count}": count for count in counts}
    model = ResNet3D(depth=depth, **PREACT).build(classes=classes, frames=16, size=16)
    assert model.output["features"].shape == (None, channels)
    backbone, head = model.get_layer("backbone"), model.get_layer("head")
    assert {count: trainable(backbone) + trainable(head.get_layer(f"of_{count}")) for count in counts} == counts
    assert sum(int(np.prod(weight.shape)) for weight in model.non_trainable_weights) == statistics


def test_torchvision_has_the_same_counts_and_costs():
    """Its `num_params` and multiply-adds in thousands of millions, of the networks with weights for Kinetics-400."""
    for model, count, giga in (
        (models.ResNet3D18(400, variant="tran"), 33_371_472, 40.697),
        (models.R2Plus1D18(400), 31_505_325, 40.519),
    ):
        assert trainable(model) == count
        assert cost(model)["macs"]["whole"] / 1e9 == pytest.approx(giga, abs=5e-4)
        assert model.output["features"].shape == (None, 512)


def sizes(model, *names):
    return [model.get_layer("backbone").get_layer(name).output.shape[1:4] for name in names]


def test_strides_of_the_preactivation_network():
    stages = [f"stage{stage}_block2_add" for stage in (1, 2, 3, 4)]
    expected = [(16, 56, 56), (8, 28, 28), (4, 14, 14), (2, 7, 7)]
    model = ResNet3D(width=2, **PREACT).build(classes={"verb": 2}, frames=16, size=112)
    assert sizes(model, "conv1_relu", *stages) == [(16, 56, 56), *expected]
    assert not [layer for layer in model.get_layer("backbone").layers if isinstance(layer, keras.layers.MaxPooling3D)]
    model = ResNet3D(width=2, **PREACT).build(classes={"verb": 2}, frames=16, size=224)
    assert sizes(model, "conv1_relu", "pool1", *stages) == [(16, 112, 112), (16, 56, 56), *expected]
    pooled = {
        size: "pool1"
        in [layer.name for layer in ResNet3D(width=1, **PREACT).build(classes={"verb": 2}, frames=1, size=size).layers[1].layers]
        for size in (159, 160)
    }
    assert pooled == {159: False, 160: True}


def test_strides_of_2plus1d():
    """The spatial factor has the stride of space, the temporal one that of time."""
    model = ResNet3D(width=2, **R2PLUS1D).build(classes={"verb": 2}, frames=16, size=112)
    assert sizes(model, "conv1_spatial", "conv1_temporal") == [(16, 56, 56)] * 2
    factors = ("stage2_block1_conv1_spatial", "stage2_block1_conv1_temporal", "stage2_block1_relu")
    assert sizes(model, *factors) == [(16, 28, 28), (8, 28, 28), (8, 28, 28)]
    assert sizes(model, "stage3_block2_relu", "stage4_block2_relu") == [(4, 14, 14), (2, 7, 7)]


def test_cost_by_hand():
    """8 frames of 32 pixels; what a stage has behind it times what every position of it costs, for 2, 4, 8 and 16 channels."""
    classes = {"verb": 5, "noun": 3}
    model = ResNet3D(width=2, **PREACT).build(classes=classes, frames=8, size=32)
    stem, one, two, three, four = 8 * 16 * 16, 8 * 16 * 16, 4 * 8 * 8, 2 * 4 * 4, 1 * 2 * 2
    stages = one * 27 * 4 * 2 * 2 + two * (27 * (2 * 4 + 3 * 4 * 4) + 2 * 4) + three * (27 * (4 * 8 + 3 * 8 * 8) + 4 * 8)
    stages += four * (27 * (8 * 16 + 3 * 16 * 16) + 8 * 16)
    assert cost(model)["macs"] == {"backbone": stem * 343 * 3 * 2 + stages, "head": 16 * 8, "whole": stem * 2058 + stages + 128}

    # channels between the factors: 45 * 2 // 64 in the stem, 108 // 24 = 4 in stage 1
    model = ResNet3D(width=2, **R2PLUS1D).build(classes=classes, frames=8, size=32)
    stages = one * 4 * (9 + 3) * 4 * 2
    # positions of the first spatial factor, which still sees all frames; channels between in the first block and in the second
    for before, after, entering, leaving, first, second in ((512, two, 2, 4, 7, 9), (64, three, 4, 8, 14, 18), (8, four, 8, 16, 28, 36)):
        stages += before * 9 * entering * first + after * (3 + 9 + 3) * first * leaving
        stages += after * (2 * (9 + 3) * second * leaving + entering * leaving)
    assert cost(model)["macs"]["backbone"] == stem * (49 * 3 * 1 + 3 * 1 * 2) + stages


def kernel(backbone, name):
    return np.asarray(backbone.get_layer(name).kernel)


def test_weights_start_as_he_normal():
    """By what leaves a convolution in the networks from torch, by what enters it in the one from TensorFlow."""
    backbone = ResNet3D(width=32).build(classes={"verb": 2}, frames=4, size=16).get_layer("backbone")
    wider = kernel(backbone, "stage3_block1_conv1")
    assert wider.shape == (3, 3, 3, 64, 128)
    assert np.std(wider) == pytest.approx(np.sqrt(2 / (27 * 128)), rel=0.02)
    backbone = ResNet3D(width=32, **PREACT).build(classes={"verb": 2}, frames=4, size=16).get_layer("backbone")
    assert np.std(kernel(backbone, "stage3_block1_conv1")) == pytest.approx(np.sqrt(2 / (27 * 64)), rel=0.02)
    assert np.abs(kernel(backbone, "stage3_block1_shortcut")).max() <= np.sqrt(6 / (64 + 128))


@pytest.mark.parametrize("fields", [{}, PREACT, R2PLUS1D])
def test_no_two_layers_start_alike_and_a_seed_repeats_them(fields):
    seen = []
    for seed in (3, 3, 4):
        keras.utils.set_random_seed(seed)
        seen.append([np.asarray(weight) for weight in small(**fields).trainable_weights if len(weight.shape) > 1])
    assert all(np.array_equal(one, two) for one, two in zip(seen[0], seen[1], strict=True))
    assert not [one.shape for one, two in zip(seen[0], seen[2], strict=True) if np.array_equal(one, two)]
    assert not [one.shape for one, two in itertools.combinations(seen[0], 2) if one.shape == two.shape and np.allclose(one, two)]


@pytest.mark.parametrize(
    ("fields", "rate"),
    [
        ({"depth": 50}, 0), ({"dropout": 0.2}, 0.2), (PREACT, 0), ({"depth": 34, **PREACT}, 0.5),
        ({"depth": 50, "dropout": 0.0, **PREACT}, 0),
    ],
)  # fmt: skip
def test_dropout_before_the_classifier(fields, rate):
    head = ResNet3D(width=1, **fields).build(classes={"verb": 5}, frames=1, size=8).get_layer("head")
    assert [layer.rate for layer in head.layers if isinstance(layer, keras.layers.Dropout)] == ([rate] if rate else [])
    features = np.ones((64, head.input["features"].shape[1]), "float32")
    trained, used = (head({"features": features}, training=training) for training in (True, False))
    assert np.array_equal(trained["features"], features)
    assert np.allclose(trained["verb"], used["verb"]) == (not rate)


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda: ResNet3D(depth=20), "model.depth is 20; it must be one of 18, 34, 50"),
        (lambda: ResNet3D(shortcut="C"), "model.shortcut is 'C'"),
        (lambda: ResNet3D(variant="preact"), "model.variant is 'preact'; it must be one of hara, tran, preact_tf"),
        (lambda: ResNet3D(convolution="2d"), "model.convolution is '2d'; it must be one of 3d, 2plus1d"),
        (lambda: ResNet3D(variant="preact_tf", shortcut="A"), "model.variant 'preact_tf' only has 'B'; set model.shortcut=B"),
        (lambda: ResNet3D(dropout=1.0), "model.dropout is 1.0; give at least 0 and less than 1"),
        (lambda: ResNet3D(width=0), "model.width is 0"),
        (lambda: ResNet3D(frames=16).build(classes={"verb": 2}, frames=8, size=112), "model.frames is 16 but the shards have 8"),
        (lambda: ResNet3D().build(classes={"verb": 2}, frames=8), "model.size is not set"),
    ],
)
def test_errors_name_the_field_and_the_cure(build, named):
    with pytest.raises(InputError, match=named):
        build()


@pytest.mark.parametrize("fields", [{}, PREACT], ids=["hara", "preact_tf"])
def test_it_is_copied_for_inference(fields):
    model = small(**fields)
    clips = np.random.default_rng(0).integers(0, 256, (1, 4, 18, 18, 3)).astype("uint8")
    expected, found = model({"rgb": clips}, training=False), inference_twin(model)({"rgb": clips})
    assert set(found) == {"verb", "noun", "features"}
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-5)
