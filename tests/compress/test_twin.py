"""The inference twin gives the model's answers from a static graph."""

import keras
import numpy as np
import pytest

from egokeras import early_exits
from egokeras.compress.twin import inference_twin
from egokeras.errors import InputError
from egokeras.models import Backbone, ConvLSTMHead, ConvNet1DHead, FrameModel, LSTMHead, SmallBackbone, WithExits, streaming

HEADS = {
    "lstm": LSTMHead(units=6),
    "convlstm": ConvLSTMHead(filters=4, kernel=3, strides=1, padding="same"),
    "conv1d": ConvNet1DHead(filters=4, last_filters=6),
}


def built(head):
    """A small MobileNetV2 with a temporal head; every weight is random, BatchNorm's too, so that a swap would show."""
    keras.utils.set_random_seed(0)
    backbone = Backbone(alpha=0.35, weights=None, cut="block_3_project_BN", trainable_from="block_1_expand")
    model = FrameModel(backbone=backbone, head=head).build(classes={"verb": 3, "noun": 4}, frames=5, size=32)
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.5, 1.5, w.shape) if w.ndim == 1 else w * rng.uniform(1, 3, w.shape) for w in model.get_weights()])
    return model


def clips_of(count):
    """Noise of rising contrast, (count, 5, 32, 32, 3) uint8."""
    noise = np.random.default_rng(1).integers(0, 256, (count, 5, 32, 32, 3))
    return (noise * np.linspace(0.2, 1, count)[:, None, None, None, None]).astype(np.uint8)


def layers_of(model):
    for layer in model.layers:
        yield layer
        yield from layers_of(layer) if isinstance(layer, keras.Model) else ()


@pytest.mark.parametrize("name", HEADS)
def test_twin_equals_its_model(name):
    model = built(HEADS[name])
    twin = inference_twin(model, ["noun", "verb"])
    clips = clips_of(3)
    expected = model.predict({"rgb": clips}, verbose=0)
    found = [twin({"rgb": clip[None]}, training=False) for clip in clips]
    assert sorted(twin.output) == ["noun", "verb"] and [tuple(x.shape) for x in twin.inputs] == [(1, 5, 32, 32, 3)]
    for head in ("verb", "noun"):
        assert np.ptp(expected[head], axis=0).max() > 1e-3  # the clips do differ
        np.testing.assert_allclose(np.concatenate([outputs[head] for outputs in found]), expected[head], atol=1e-5)
        assert twin.output[head].shape[0] == 1
    assert all(layer.unroll for layer in layers_of(twin) if hasattr(layer, "unroll"))
    assert any(hasattr(layer, "unroll") for layer in layers_of(model)) == ("lstm" in name)


PIECES = {
    "whole": lambda: built(HEADS["lstm"]),
    "step": lambda: streaming.features_step(built(HEADS["conv1d"])),
    "parts": lambda: early_exits.parts({"rgb": with_exit()}, ["verb"])[0],
}


def with_exit():
    frames = FrameModel(backbone=SmallBackbone(channels=(6, 8)), head=HEADS["conv1d"], frames=5, size=32)
    return WithExits(model=frames, at=("conv_1_relu",), channels=4).build(classes={"verb": 3}, frames=5, size=32)


@pytest.mark.parametrize("piece", PIECES)
def test_float_pixels_are_never_cast(piece):
    model = PIECES[piece]()
    twin, clip = inference_twin(model, pixels="float32"), clips_of(1)
    clip = clip[:, 0] if piece == "step" else clip
    name = next(name for name in twin.output if name != "noun")
    found, half = (np.array(twin({"rgb": clip + more})[name]) for more in (np.float32(0), np.linspace(0, 0.9, 3, dtype=np.float32)))
    np.testing.assert_allclose(found, model({"rgb": clip})[name], atol=1e-5)
    assert np.abs(found - half).max() > 1e-6  # no cast to uint8 is left inside
    assert {tensor.dtype for operation in twin.operations for tensor in keras.tree.flatten(operation.output)} == {"float32"}


def test_the_model_is_left_alone():
    model = built(HEADS["lstm"])
    before = [weight.copy() for weight in model.get_weights()]
    twin = inference_twin(model, pixels="float32")
    assert twin.inputs[0].dtype == "float32" and model.inputs[0].dtype == "uint8"
    twin.set_weights([weight * 0 for weight in twin.get_weights()])
    assert all(np.array_equal(weight, old) for weight, old in zip(model.get_weights(), before, strict=True))


def test_mixed_precision_ends_at_the_twin():
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = built(HEADS["conv1d"])
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert model.get_layer("head").get_layer("conv_1a").compute_dtype == "float16"
    assert {layer.compute_dtype for layer in layers_of(inference_twin(model))} == {"float32"}


def test_an_unknown_output_is_named():
    features = keras.Input((3,), name="features")
    model = keras.Model({"features": features}, {"verb": keras.layers.Dense(2)(features)})
    with pytest.raises(InputError, match="no output 'action'; it has verb"):
        inference_twin(model, ["action"])
