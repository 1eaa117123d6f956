"""Exits on any model's layers, against the model without them and a slow internal classifier."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import egokeras
from egokeras import cli, recipe, students
from egokeras.compress.twin import inference_twin
from egokeras.distill import SupervisedExits
from egokeras.errors import InputError
from egokeras.models import Backbone, ConvLSTMHead, ConvNet1DHead, FrameModel, LSTMHead, ResNet3D, SmallBackbone, TwoStream
from egokeras.models.early_exit import EarlyExitResNet, InternalClassifier
from egokeras.models.with_exits import WithExits, places, unnested

CLASSES = {"verb": 3, "noun": 2}
SMALL = SmallBackbone(channels=(4, 6))
FRAMES = FrameModel(backbone=SMALL, head=LSTMHead(units=3))


def clips(frames=4, size=32, count=2):
    return np.random.default_rng(0).integers(0, 256, (count, frames, size, size, 3)).astype("uint8")


def built(spec, seed=0, frames=4, size=32):
    keras.utils.set_random_seed(seed)
    return spec.build(classes=CLASSES, frames=frames, size=size)


def shuffled(model):
    """`model` with weights, and BatchNorm statistics, that differ from those it begins with."""
    random = np.random.default_rng(1)
    model.set_weights(
        [random.uniform(0.3, 1, weight.shape) * (random.integers(0, 2, weight.shape) * 2 - 1) for weight in model.get_weights()]
    )
    for weight in model.weights:
        if weight.path.endswith("moving_variance"):
            weight.assign(np.abs(weight))
    return model


def slow_cells(model, maps, number):
    """Padding, convolution, BatchNorm and overlapping cells in loops; maps are (frames, time, height, width, channels)."""
    kernel = np.array(model.get_layer(f"exit_{number}_conv").kernel)
    kernel = kernel if kernel.ndim == 5 else kernel[None]
    time = 1 if len(kernel) > 1 else 0
    padded = np.pad(maps, ((0, 0), (time, time), (1, 1), (1, 1), (0, 0)))
    length, height, width = (padded.shape[axis + 1] - kernel.shape[axis] + 1 for axis in range(3))
    x = 0
    for t, i, j in np.ndindex(kernel.shape[:3]):
        x = x + padded[:, t : t + length, i : i + height, j : j + width] @ kernel[t, i, j]
    gamma, beta, mean, variance = (np.array(weight) for weight in model.get_layer(f"exit_{number}_bn").weights)
    x = ((x - mean) / np.sqrt(variance + 1e-5) * gamma + beta).mean(axis=1)
    rows, columns = ([(side * cell // 4, -(-side * (cell + 1) // 4)) for cell in range(4)] for side in (height, width))
    cells = [x[:, top:bottom, left:right].mean(axis=(1, 2)) for top, bottom in rows for left, right in columns]
    return np.concatenate(cells, axis=1)


def slow_exit(model, maps, number, space):
    """`slow_cells` and linear."""
    kernel = model.get_layer(f"exit_{number}_conv").kernel
    over_time = len(kernel.shape) == 5 and kernel.shape[0] > 1
    linear = model.get_layer(f"{space}_exit_{number}" if over_time else f"{space}_exit_{number}_linear")
    return slow_cells(model, maps, number) @ np.array(linear.kernel) + np.array(linear.bias)


def test_maps_of_frames_give_the_mean_over_the_frames():
    model = shuffled(built(WithExits(model=FRAMES, at=("conv_2_relu", "conv_1_relu"), channels=5)))
    assert set(model.output) == {"verb", "noun", "features", *(f"{space}_exit_{number}" for space in CLASSES for number in (1, 2))}
    found = model({"rgb": clips()}, training=False)
    for number in (1, 2):  # in the order of computation
        maps = np.asarray(keras.Model(model.input, model.get_layer(f"conv_{number}_relu").output)({"rgb": clips()}))
        expected = slow_exit(model, maps[:, None], number, "noun").reshape(2, 4, 2).mean(axis=1)
        np.testing.assert_allclose(found[f"noun_exit_{number}"], expected, rtol=1e-4, atol=1e-4)


def test_a_head_sees_the_frames_in_their_order():
    spec = WithExits(model=FRAMES, at=("conv_1_relu", "unfold_time"), channels=3, head=ConvNet1DHead(filters=2, last_filters=3, blocks=0))
    model = shuffled(built(spec))
    ends = keras.Model(model.input, [model.get_layer(name).output for name in spec.at])
    found, turned = (model({"rgb": pixels}, training=False) for pixels in (clips(), clips()[:, ::-1]))
    maps, vectors = (np.asarray(values) for values in ends({"rgb": clips()}))
    for number, seen in enumerate((slow_cells(model, maps[:, None], 1).reshape(2, 4, -1), vectors), 1):
        expected = model.get_layer(f"exit_{number}_head")({"features": seen}, training=False)
        for space in CLASSES:
            name = f"{space}_exit_{number}"
            np.testing.assert_allclose(found[name], expected[space], rtol=1e-4, atol=1e-3)
            assert np.abs(found[name] - turned[name]).max() > 0.01
    plain = shuffled(built(dataclasses.replace(spec, head=None)))
    mean, turned = (plain({"rgb": pixels}, training=False)["verb_exit_1"] for pixels in (clips(), clips()[:, ::-1]))
    np.testing.assert_allclose(mean, turned, rtol=1e-4)


def test_maps_over_time_give_the_mean_over_time():
    model = shuffled(built(WithExits(model=ResNet3D(width=2), at=("stage1_block2_relu",))))
    maps = np.asarray(keras.Model(model.input, model.get_layer("stage1_block2_relu").output)({"rgb": clips()}))
    assert maps.shape == (2, 2, 8, 8, 2)
    found = model({"rgb": clips()}, training=False)["verb_exit_1"]
    np.testing.assert_allclose(found, slow_exit(model, maps, 1, "verb"), rtol=1e-4, atol=1e-4)


def test_vectors_are_read_by_one_dense():
    """Of a clip, of the frames of a clip, and of frames that the batch counts."""
    model = shuffled(built(WithExits(model=FRAMES, at=("cells", "unfold_time", "lstm"))))
    ends = keras.Model(model.input, [model.get_layer(name).output for name in ("cells", "lstm")])
    frames, last = (np.asarray(values) for values in ends({"rgb": clips()}))
    found = model({"rgb": clips()}, training=False)
    for number, vectors in enumerate((frames.reshape(2, 4, -1).mean(axis=1),) * 2 + (last,), 1):
        linear = model.get_layer(f"verb_exit_{number}" if number == 3 else f"verb_exit_{number}_linear")
        np.testing.assert_allclose(found[f"verb_exit_{number}"], vectors @ np.array(linear.kernel) + np.array(linear.bias), atol=1e-4)


@pytest.mark.parametrize(
    ("spec", "at", "head"),
    [
        (FRAMES, "conv_1_relu", None),
        (FRAMES, "conv_1_relu", LSTMHead(units=2)),
        (FrameModel(backbone=SMALL, head=ConvLSTMHead(kernel=2, strides=1)), "convlstm_bn", None),
        (ResNet3D(width=2, variant="preact_tf"), "stage1_block1_add", None),
    ],
    ids=["frames", "frames in order", "convlstm", "3d"],
)
def test_the_models_own_answers_stay(spec, at, head, tmp_path):
    plain, frozen = built(spec), built(WithExits(model=spec, at=(at,), head=head, frozen=True))
    inputs = {"rgb": clips()}
    own, found = plain(inputs, training=False), frozen(inputs, training=True)  # no Dropout, no statistics of the batch
    for name in own:
        np.testing.assert_allclose(found[name], own[name], rtol=1e-5, atol=1e-6)
    frozen.save(tmp_path / "model.keras")
    again = egokeras.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(inputs)["verb_exit_1"], frozen(inputs)["verb_exit_1"])
    twin = inference_twin(frozen, outputs=["noun_exit_1"], batch=2)
    np.testing.assert_allclose(twin(inputs)["noun_exit_1"], frozen(inputs)["noun_exit_1"], rtol=1e-4, atol=1e-6)


def test_a_frozen_models_exits_alone_learn():
    for frozen, expected in ((True, {"exit"}), (False, {"exit", "own"})):
        model = built(WithExits(model=FRAMES, at=("conv_1_relu", "lstm"), frozen=frozen))
        targets = {space: tf.constant([0, 1]) for space in CLASSES}
        with tf.GradientTape() as tape:
            terms = SupervisedExits(last=True).terms(model, {}, {"rgb": clips()}, targets, training=True)[1]
            loss = sum(terms.values())
        reached = [np.abs(gradient).max() > 0 for gradient in tape.gradient(loss, model.trainable_weights)]
        assert all(reached) and {"exit" if "exit_" in weight.path else "own" for weight in model.trainable_weights} == expected


def test_it_begins_with_the_weights_of_a_plain_training(tmp_path):
    plain = built(FRAMES, seed=1)
    plain.save(tmp_path / "model.keras")
    model = built(WithExits(model=FRAMES, at=("conv_1_relu",), frozen=True))
    before = model.get_layer("exit_1_conv").get_weights()[0]
    students.take_weights(model, [tmp_path / "model.keras"])
    np.testing.assert_allclose(model({"rgb": clips()})["noun"], plain({"rgb": clips()}, training=False)["noun"], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(model.get_layer("exit_1_conv").get_weights()[0], before)


def test_a_resnets_own_exits_are_these():
    """Exits on the stages of the plain network make the published one."""
    plain = EarlyExitResNet(modality="residual", width=2, exits=())
    exits = tuple(InternalClassifier(stage=stage) for stage in (1, 2, 3))
    ours = WithExits(model=plain, at=tuple(f"stage{stage}_block2_relu" for stage in (1, 2, 3)))
    one, other = (
        spec.build(classes=CLASSES, shapes={"residual": (2, 64, 64, 3)}) for spec in (dataclasses.replace(plain, exits=exits), ours)
    )
    assert [layer.name for layer in one.layers] == [layer.name for layer in other.layers]
    other.set_weights(one.get_weights())
    pixels = np.random.default_rng(0).integers(0, 256, (2, 2, 64, 64, 3)).astype("uint8")
    expected, found = one({"residual": pixels}), other({"residual": pixels})
    assert len(found) == 9 and all(np.array_equal(found[name], expected[name]) for name in expected)


def test_unnested_layers_and_their_places():
    model = built(FRAMES)
    flat = unnested(model)
    assert not any(isinstance(layer, keras.Model) for layer in flat.layers)
    known = places(flat)
    assert list(known)[:3] == ["normalize", "conv_1", "conv_1_bn"]
    assert known["conv_1"].shape == (None, 16, 16, 4) and known["lstm"].shape == (None, 3)
    assert not {"rgb", "fold_time", "verb", "noun"} & set(known)  # pixels, and what is the answer already
    inside, outside = keras.Input((2,)), keras.Input((2,))
    nested = keras.Model(inside, keras.layers.Dense(2, name="same")(inside))
    with pytest.raises(InputError, match='model.model: The name "same" is used 2 times'):
        unnested(keras.Model(outside, keras.layers.Dense(2, name="same")(nested(outside))))


def test_a_recipe_takes_it(capsys):
    changes = ["model=WithExits", "model.model.backbone=SmallBackbone", "model.at=conv_1_relu,conv_3_relu", "model.model.frames=4"]
    changes += ["model.model.size=64", "data.classes={'action': 7}", "data.heads=action"]
    stage = recipe.load("report_lstm", changes)[0]
    assert stage.model == WithExits(model=FrameModel(backbone=SmallBackbone(), frames=4, size=64), at=("conv_1_relu", "conv_3_relu"))
    students.check_kind(stage.model, {"rgb": (4, 64, 64, 3)})
    with pytest.raises(InputError, match="FrameModel takes rgb clips, the data has residual"):
        students.check_kind(stage.model, {"residual": (4, 64, 64, 3)})
    assert cli.main(["describe", "report_lstm", *changes, "--layers", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)[0]
    assert facts["outputs"]["action_exit_2"] == [7]
    layers = {name: (shape, share) for name, *shape, share in facts["layers"]}
    assert layers["conv_1_relu"][0] == [32, 32, 16] and 0 < layers["conv_1_relu"][1] < layers["conv_3_relu"][1] < 1


def test_what_does_not_fit():
    with pytest.raises(
        InputError, match=r"model.at: 'conv_1_rel' is no layer on which an exit can sit; .*--layers` lists all, some are conv_1"
    ):
        built(WithExits(model=FRAMES, at=("conv_1_rel",)))
    with pytest.raises(InputError, match="model.at is empty"):
        built(WithExits(model=FRAMES))
    with pytest.raises(InputError, match="map behind conv_2_relu is too small for 4x4 cells"):
        built(WithExits(model=FRAMES, at=("conv_2_relu",)), size=8)
    with pytest.raises(InputError, match=r"model.model has exits already"):
        spec = WithExits(model=EarlyExitResNet(width=2), at=("conv1",))
        spec.build(classes=CLASSES, shapes={"iframe": (1, 64, 64, 3)})
    with pytest.raises(InputError, match="model.head: lstm has no frames that a head could see in their order; leave model.head unset"):
        built(WithExits(model=FRAMES, at=("lstm",), head=LSTMHead()))
    with pytest.raises(InputError, match="model.kernel is 0"):
        WithExits(kernel=0)


def clip_of_segments(modality, size=64):
    return {modality: (2, size, size, 2 if modality == "motion_vector" else 3)}


@pytest.mark.parametrize("modality", ["iframe", "motion_vector"])
def test_mobilenet_of_compressed_video_has_its_published_size(modality):
    """METHODS P6 and P7; a stem of two channels has 288 weights less."""
    network = TwoStream(modalities=(modality,), backbone=Backbone(weights=None, trainable_from=""))
    spec = WithExits(model=network, at=("block_2_add", "block_5_add", "block_12_add"))
    model = spec.build(classes={"action": 101}, shapes=clip_of_segments(modality, 96))
    stem = {"iframe": 0, "motion_vector": -288}[modality]
    own = [layer for layer in model.layers if "exit_" not in layer.name and layer.name != "action_scores"]
    assert sum(layer.count_params() for layer in own) == 2_257_984 + stem
    before = keras.Model(model.input, model.get_layer("block_12_add").output)
    assert before.count_params() == 558_656 + stem
    for number, channels in enumerate((24, 32, 96), 1):
        weights = [weight for weight in model.trainable_weights if f"exit_{number}" in weight.path]
        expected = 9 * channels * channels + 2 * channels + 16 * channels * 101 + 101
        assert sum(int(np.prod(weight.shape)) for weight in weights) == expected
