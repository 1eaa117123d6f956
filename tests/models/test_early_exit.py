"""Early-exit ResNets: published counts and costs, what is frozen, and the mean over segments."""

import keras
import numpy as np
import pytest

import egokeras
from egokeras.compress.cost import cost
from egokeras.errors import InputError
from egokeras.models.early_exit import EarlyExitResNet, InternalClassifier


def built(size=64, segments=1, classes=None, **fields):
    spec = EarlyExitResNet(**fields)
    channels = 2 if spec.modality == "motion_vector" else 3
    return spec.build(classes=classes or {"action": 101}, shapes={spec.modality: (segments, size, size, channels)})


def weights_of(model, name):
    layers = [layer for layer in model.layers if name in layer.name]
    return sum(int(np.prod(weight.shape)) for layer in layers for weight in layer.trainable_weights)


@pytest.mark.parametrize(
    ("depth", "classes", "expected"),
    [
        (18, 101, (304_357, 354_661, 1_004_133)),
        (50, 101, (251_109, 1_593_957, 11_094_117)),
        (18, 51, (253_107, 252_211, 799_283)),
        (50, 51, (199_859, 1_389_107, 10_274_867)),
    ],
)
def test_published_sizes_of_the_internal_classifiers(depth, classes, expected):
    model = built(size=224, depth=depth, classes={"action": classes})
    assert tuple(weights_of(model, f"exit_{number}") for number in (1, 2, 3)) == expected


@pytest.mark.parametrize(("depth", "expected"), [(18, 11_689_512), (34, 21_797_672), (50, 25_557_032)])
def test_published_sizes_of_the_networks(depth, expected):
    """Those of the ImageNet networks, all weights that learn."""
    model = built(depth=depth, classes={"action": 1000}, exits=())
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == expected


@pytest.mark.parametrize(
    ("modality", "depth", "kernel", "expected"),
    [
        ("residual", 18, 3, (1.123, 1.650, 2.177, 2.588)),
        ("motion_vector", 18, 3, (1.084, 1.611, 2.138, 2.549)),
        ("residual", 18, 7, (1.123, 1.997, 2.524, 2.935)),
        ("iframe", 50, 3, (1.248, 3.201, 6.517, 7.326)),
    ],
)
def test_published_multiply_accumulates(modality, depth, kernel, expected):
    """Cumulative, in billions, of the exits on the way (METHODS P12)."""
    exits = None
    if kernel == 7:
        exits = (InternalClassifier(stage=1, kernel=7), InternalClassifier(stage=2, kernel=7), InternalClassifier(stage=3))
    model = built(size=224, modality=modality, depth=depth, exits=exits)
    names = ["action_exit_1", "action_exit_2", "action_exit_3", "action"]
    for last, wanted in enumerate(expected, 1):
        part = keras.Model(model.input, {name: model.output[name] for name in names[:last]})
        assert cost(part)["macs"]["whole"] / 1e9 == pytest.approx(wanted, abs=0.0006)


def test_adaptive_means_are_torchs():
    """14 pixels to 4 cells: they overlap, from floor(14 i / 4) to ceil(14 (i + 1) / 4)."""
    picture = np.random.default_rng(0).normal(size=(1, 14, 14, 1)).astype("float32")
    found = np.asarray(keras.layers.AdaptiveAveragePooling2D(4)(picture))[0, :, :, 0]
    edges = [(14 * cell // 4, -(-14 * (cell + 1) // 4)) for cell in range(4)]
    expected = [[picture[0, top:bottom, left:right, 0].mean() for left, right in edges] for top, bottom in edges]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_logits_are_means_over_segments():
    keras.utils.set_random_seed(0)
    several, one = built(segments=3, width=4, classes={"verb": 4, "noun": 3}), built(width=4, classes={"verb": 4, "noun": 3})
    one.set_weights(several.get_weights())
    clips = np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64, 3)).astype("uint8")
    found = several.predict({"iframe": clips}, verbose=0)
    apart = [one.predict({"iframe": clips[:, number : number + 1]}, verbose=0) for number in range(3)]
    assert set(found) == {"verb", "noun", "features", *(f"{space}_exit_{number}" for space in ("verb", "noun") for number in (1, 2, 3))}
    for name, values in found.items():
        np.testing.assert_allclose(values, np.mean([each[name] for each in apart], axis=0), rtol=1e-4, atol=1e-5)


def test_a_shortcut_skips_pixels_before_its_convolution():
    """Its weights and its answer are those of a 1x1 convolution with a stride, whose gradient crashes in TensorFlow on few channels."""
    model = EarlyExitResNet(width=2, exits=()).build(classes={"action": 3}, shapes={"iframe": (1, 64, 64, 3)})
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert all(layer.strides == (1, 1) or min(layer.kernel_size) > 1 for layer in convolutions)
    shortcut = model.get_layer("stage2_block1_shortcut")
    maps = np.random.default_rng(0).normal(size=(3, 16, 16, 2)).astype("float32")
    strided = keras.ops.conv(maps, shortcut.kernel, strides=2, padding="valid")
    np.testing.assert_allclose(shortcut(model.get_layer("stage2_block1_shortcut_stride")(maps)), strided, rtol=1e-5, atol=1e-6)


def test_a_frozen_network_infers_and_its_exits_learn():
    model = built(width=4, modality="motion_vector", frozen=True, classes={"action": 5})
    assert model.trainable_weights and all("exit_" in weight.path for weight in model.trainable_weights)
    clips = np.random.default_rng(0).integers(0, 256, (4, 1, 64, 64, 2)).astype("uint8")
    fixed = [weight for layer in model.layers if "exit_" not in layer.name for weight in layer.weights]
    before, inferred = [np.array(weight) for weight in fixed], model({"motion_vector": clips}, training=False)
    trained = model({"motion_vector": clips}, training=True)
    np.testing.assert_array_equal(trained["action"], inferred["action"])
    assert np.abs(trained["action_exit_1"] - inferred["action_exit_1"]).max() > 0  # its BatchNorm sees the batch
    assert all(np.array_equal(old, new) for old, new in zip(before, fixed, strict=True))


def test_it_is_saved_and_loaded(tmp_path):
    model = built(width=4, modality="residual", classes={"action": 5}, frozen=True)
    model.save(tmp_path / "model.keras")
    clips = np.random.default_rng(0).integers(0, 256, (2, 1, 64, 64, 3)).astype("uint8")
    again = egokeras.load_model(tmp_path / "model.keras")
    for name, values in model.predict({"residual": clips}, verbose=0).items():
        np.testing.assert_array_equal(values, again.predict({"residual": clips}, verbose=0)[name])
    assert len(again.trainable_weights) == len(model.trainable_weights)


def test_what_does_not_fit():
    with pytest.raises(InputError, match="model.modality is 'sound'"):
        EarlyExitResNet(modality="sound")
    with pytest.raises(InputError, match="sits behind stage 1, 2 or 3"):
        EarlyExitResNet(exits=(InternalClassifier(stage=4),))
    with pytest.raises(InputError, match="without exits nothing would learn"):
        EarlyExitResNet(exits=(), frozen=True)
    with pytest.raises(InputError, match="model.modality is 'residual', the data has rgb"):
        EarlyExitResNet(modality="residual").build(classes={"action": 2}, shapes={"rgb": (3, 8, 8, 3)})
    with pytest.raises(InputError, match="model.size is 32, the data has 64"):
        EarlyExitResNet(size=32).build(classes={"action": 2}, shapes={"iframe": (1, 64, 64, 3)})
    with pytest.raises(InputError, match="too small for 4x4 cells"):
        built(size=32, width=2)
