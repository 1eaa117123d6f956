"""Lowered networks give the answers of the 3D ones, as Keras models and as TFLite files, in which nothing 3D is left."""

import collections
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from egokeras import export
from egokeras.compress.conversion import Conversion
from egokeras.compress.lowering import LoweredAdaptiveAveragePooling2D, LoweredConv2D, LoweredZeroPadding2D
from egokeras.compress.twin import inference_twin
from egokeras.errors import InputError
from egokeras.export import Export, ship_all
from egokeras.files import write_json
from egokeras.models import ResNet3D, resnet3d

CLASSES = {"verb": ["open", "close"], "noun": ["door", "cup", "tap"]}


def shaken(model, seed=1):
    """The model with random weights and BatchNorm statistics, so that a swap or a mistaken fold would show."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        value = random.normal(size=weight.shape) / np.sqrt(max(1, np.prod(weight.shape[:-1])))
        weight.assign(0.7 + np.abs(value) if weight.name in ("gamma", "moving_variance") else value)
    return model


def parts(model):
    """All layers, also of models nested in it."""
    for layer in model.layers:
        yield from parts(layer) if isinstance(layer, keras.Model) else (layer,)


def assert_equal_when_lowered(model, clips):
    twin = inference_twin(model, batch=len(clips))
    in_3d = ("Conv3D", "MaxPooling3D", "AveragePooling3D", "GlobalAveragePooling3D", "GlobalMaxPooling3D", "ZeroPadding3D")
    assert not [layer.name for layer in parts(twin) if type(layer).__name__ in in_3d]
    expected, found = model({"rgb": clips}, training=False), twin({"rgb": clips}, training=False)
    for name, values in expected.items():
        values = np.asarray(values)
        assert np.abs(values).max() > 1e-3
        np.testing.assert_allclose(found[name], values, atol=1e-4 * np.abs(values).max())


@settings(max_examples=12, deadline=None)
@given(height=st.integers(1, 9), width=st.integers(1, 9), cells=st.tuples(*[st.integers(1, 4)] * 2))
def test_adaptive_pooling_equals_its_lowering(height, width, cells):
    maps = np.random.default_rng(0).normal(size=(2, height, width, 3)).astype("float32")
    one = layers.AdaptiveAveragePooling2D(cells)
    found = LoweredAdaptiveAveragePooling2D.from_config(one.get_config())(maps)
    np.testing.assert_allclose(found, one(maps), atol=1e-6)


def test_adaptive_pooling_of_equal_cells_is_one_pooling():
    maps = keras.Input((8, 12, 3))
    model = keras.Model({"maps": maps}, {"cells": layers.AdaptiveAveragePooling2D((4, 4))(maps)})
    graph = tf.function(inference_twin(model).call).get_concrete_function({"maps": tf.TensorSpec((1, 8, 12, 3))}).graph
    assert [each.type for each in graph.get_operations() if "Pool" in each.type or "Gather" in each.type] == ["AvgPool"]


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(*[st.integers(1, 12)] * 2),
    channels=st.integers(1, 5),
    kernel=st.tuples(*[st.integers(1, 7)] * 2),
    strides=st.one_of(st.just((1, 2)), st.tuples(*[st.integers(1, 3)] * 2)),
    padding=st.sampled_from(("same", "valid")),
    zeros=st.tuples(*[st.tuples(*[st.integers(0, 3)] * 2)] * 2),
)
def test_a_convolution_equals_its_lowering_for_int8(size, channels, kernel, strides, padding, zeros):
    maps = np.random.default_rng(0).normal(size=(2, *size, channels)).astype("float32")
    pad = layers.ZeroPadding2D(zeros)
    padded = np.asarray(pad(maps))
    np.testing.assert_array_equal(LoweredZeroPadding2D.from_config(pad.get_config())(maps), padded)
    kernel = tuple(np.minimum(kernel, padded.shape[1:3]).tolist())
    one = layers.Conv2D(3, kernel, strides, padding, bias_initializer="normal", activation="relu")
    expected = one(padded)
    other = LoweredConv2D.from_config(one.get_config())
    other.build(padded.shape)
    other.set_weights(one.get_weights())
    np.testing.assert_allclose(other(padded), expected, atol=1e-5)


@pytest.mark.parametrize(("kind", "channels"), [("float32", 3), ("int8", 6)])
def test_int8_alone_sees_pixels_by_pairs(kind, channels, tmp_path, convert_here):
    from ai_edge_litert.interpreter import Interpreter

    rgb = keras.Input((16, 16, 3), name="rgb")
    maps = layers.Conv2D(8, 7, 2)(layers.ZeroPadding2D(3)(rgb))
    shaken(keras.Model({"rgb": rgb}, {"maps": layers.Conv2D(4, 3, 2)(maps)})).save(tmp_path / "model.keras")
    np.save(tmp_path / "rgb.npy", np.random.default_rng(0).normal(size=(4, 1, 16, 16, 3)).astype("float32"))
    calibration = {"rgb": str(tmp_path / "rgb.npy")} if kind == "int8" else None
    file = str(tmp_path / "model.tflite")
    source = {"model": str(tmp_path / "model.keras"), "outputs": ("maps",), "calibration": calibration}
    assert convert_here([Conversion(kind=kind, file=file, **source)]) == [None]
    kernels = [tuple(each["shape"]) for each in Interpreter(file).get_tensor_details() if each["shape"].size == 4]
    assert (8, 7, 7 if channels == 3 else 4, channels) in kernels and (4, 3, 3, 8) in kernels


@pytest.mark.parametrize(
    "fields",
    [
        {"shortcut": "A"},
        {"variant": "tran", "convolution": "2plus1d"},
        {"variant": "preact_tf"},
    ],
)
def test_resnets_equal_their_lowering(fields):
    """9 frames and 18 pixels: strides meet even and odd lengths."""
    model = ResNet3D(width=2, **fields).build(classes={"verb": 5}, frames=9, size=18)
    clips = np.random.default_rng(0).integers(0, 256, (1, 9, 18, 18, 3)).astype("uint8")
    assert_equal_when_lowered(shaken(model), clips)


def threes(low, high):
    return st.tuples(*[st.integers(low, high)] * 3)


PADDING = st.sampled_from(["same", "valid"])
STEPS = st.one_of(
    st.tuples(st.just("conv"), threes(1, 3), threes(1, 3), PADDING, st.integers(1, 4), st.booleans(), st.sampled_from([None, "relu"])),
    st.tuples(st.just("max") | st.just("average"), threes(1, 3), threes(1, 3), PADDING),
    st.tuples(st.just("pad"), threes(0, 2), threes(0, 2)),
    st.tuples(st.just("channels"), st.integers(0, 2), st.integers(0, 2)),
    st.tuples(st.just("bn")),
    st.tuples(st.just("residual"), threes(1, 3)),
)


def add(x, kind, *args):
    """One step of a random network; a window never exceeds what it sees."""
    if kind == "conv":
        kernel, strides, padding, filters, bias, activation = args
        kernel = tuple(np.minimum(kernel, x.shape[1:4]).tolist())
        return layers.Conv3D(filters, kernel, strides, padding, use_bias=bias, activation=activation)(x)
    if kind in ("max", "average"):
        pool, strides, padding = args
        pool = tuple(np.minimum(pool, x.shape[1:4]).tolist())
        return (layers.MaxPooling3D if kind == "max" else layers.AveragePooling3D)(pool, strides, padding)(x)
    if kind == "pad":
        return layers.ZeroPadding3D(tuple(zip(*args, strict=True)))(x)
    if kind == "channels":
        return layers.ZeroPadding3D(((0, 0), (1, 0), args), data_format="channels_first")(x)
    if kind == "bn":
        return layers.BatchNormalization()(x)
    y = layers.BatchNormalization()(layers.Conv3D(x.shape[-1], args[0], padding="same", use_bias=False)(x))
    return layers.ReLU()(layers.Add()([x, y]))


@settings(max_examples=10)
@given(size=st.tuples(*[st.integers(1, 7)] * 3), steps=st.lists(STEPS, min_size=1, max_size=3), seed=st.integers(0, 9), keep=st.booleans())
def test_any_network_equals_its_lowering(size, steps, seed, keep):
    keras.backend.clear_session()
    x = rgb = keras.Input((*size, 2), name="rgb")
    for step in steps:
        x = add(x, *step)
    ends = {"maps": x, "mean": layers.GlobalAveragePooling3D(keepdims=keep)(x), "most": layers.GlobalMaxPooling3D(keepdims=keep)(x)}
    model = shaken(keras.Model({"rgb": rgb}, ends), seed)
    clips = np.random.default_rng(seed).normal(size=(2, *size, 2)).astype("float32")
    twin = inference_twin(model, batch=2)
    found = twin({"rgb": clips}, training=False)
    for name, values in model({"rgb": clips}, training=False).items():
        assert tuple(twin.output[name].shape) == values.shape
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"dilation_rate": (2, 1, 1)}, "layer wide is a Conv3D with dilation"),
        ({"groups": 2}, "layer wide is a Conv3D with groups"),
        ({"data_format": "channels_first"}, "layer wide is a Conv3D with channels first"),
    ],
)
def test_what_cannot_be_lowered_is_named(settings, named):
    rgb = keras.Input((4, 4, 4, 4), name="rgb")
    x = layers.Conv3D(2, 1 if "data_format" in settings else 2, name="wide", **settings)
    config = keras.Model({"rgb": rgb}, {"maps": layers.Conv3D(2, 1, name="wide")(rgb)}).get_config()
    config["layers"][1]["config"] = x.get_config()

    class Model:
        def get_config(self):
            return config

    with pytest.raises(InputError, match=f"{named}, which TFLite cannot compute"):
        inference_twin(Model())


@pytest.fixture(scope="module")
def run_dir(write_clips, tmp_path_factory):
    """A run of a 3D ResNet of two blocks with random weights, on 24 clips of noise of rising contrast."""
    folder, random = tmp_path_factory.mktemp("lowered"), np.random.default_rng(0)
    pixels = (random.integers(0, 256, (24, 4, 16, 16, 3)) * np.linspace(0.1, 1, 24)[:, None, None, None, None]).astype("uint8")
    labels = [{"verb": CLASSES["verb"][row % 2], "noun": CLASSES["noun"][row % 3]} for row in range(24)]
    clips = [(pixels[row], ("train", "validation")[row % 2], f"v{row}", "", labels[row]) for row in range(24)]
    (folder / "shards").mkdir()
    write_clips(folder / "shards", clips, CLASSES)
    run = folder / "run"
    run.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resnet3d, "BLOCKS", {18: (1, 1)})
        model = ResNet3D(width=4).build(classes={space: len(names) for space, names in CLASSES.items()}, frames=4, size=16)
    shaken(model).save(run / "model.keras")
    write_json(run / "classes.json", CLASSES)
    write_json(run / "recipe.json", {"data": {"shards": str(folder / "shards")}})
    return run


@pytest.fixture(scope="module")
def shipments(run_dir, convert_here):
    exports = [Export(name=kind, quantization=kind, max_lost_points=100.0, min_agreement=0.0) for kind in ("float32", "int8")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "convert", convert_here)
        return {shipment.export.name: shipment for shipment in ship_all(exports, run_dir)}


def test_a_run_ships_in_float_and_in_int8(shipments):
    for shipment in shipments.values():
        assert shipment.path is not None and shipment.gate["answer"] == "pass", shipment.reason
        about = json.loads((shipment.path / "artifact.json").read_text())
        assert about["inputs"]["rgb"]["shape"] == [1, 4, 16, 16, 3] and about["outputs"] == CLASSES
    assert shipments["float32"].gate["max_relative_difference"] < 1e-4
    int8 = shipments["int8"].gate
    assert 1e-4 < int8["max_relative_difference"] < 0.1
    assert all(figures["agreement"] >= 90 for figures in int8["heads"].values())


def test_the_files_compute_in_2d_and_int8_all_through(shipments):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    for kind, shipment in shipments.items():
        plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        interpreter = Interpreter(str(shipment.path / "model.tflite"), experimental_op_resolver_type=plain)
        operations = collections.Counter(operation["op_name"] for operation in interpreter._get_ops_details())
        assert operations["CONV_2D"] == 6 and not [name for name in operations if "3D" in name]  # one of them the shortcut
        assert operations["MUL"] == 1  # of the pixels: BatchNorm is in the convolutions
        if kind == "int8":
            assert (operations["QUANTIZE"], operations["DEQUANTIZE"]) == (1, 2)  # the pixels, the heads
            assert not [each["name"] for each in interpreter.get_tensor_details() if each["dtype"] == np.float32 and each["shape"].size > 2]
