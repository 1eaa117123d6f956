"""Every kind of TFLite file answers as Keras does."""

import importlib.util
import pathlib

import numpy as np
import pytest

import egokeras
from egokeras.compress import prune
from egokeras.compress.conversion import Conversion, ConversionError, convert
from egokeras.compress.prune import Pruning
from egokeras.compress.sparsity import weights
from egokeras.compress.tflite import KINDS, WEIGHT_ONLY, check_builtin

CLIPS = np.random.default_rng(0).integers(0, 256, (12, 8, 24, 24, 3), np.uint8)
HEADS = {"verb": 3, "noun": 4}
MADE = [kind for kind in KINDS if kind != WEIGHT_ONLY or importlib.util.find_spec("ai_edge_quantizer")]
PRUNINGS = {
    "LSTMHead": Pruning(),
    "ConvLSTMHead": Pruning(pattern="2:4"),
    "ConvNet1DHead": Pruning(),
    "AverageHead": Pruning(pattern="2:4"),
}


@pytest.fixture(scope="module", params=["LSTMHead", "ConvLSTMHead", "ConvNet1DHead", "AverageHead"])
def converted(request, tmp_path_factory):
    """A small model's logits, with each of the temporal heads, and its file of every kind from one child process."""
    import keras

    from egokeras import models

    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("tflite")
    settings = {"LSTMHead": {"units": 8}, "ConvLSTMHead": {"kernel": 3, "strides": 1}}
    head = getattr(models, request.param)(**settings.get(request.param, {}))
    model = models.FrameModel(backbone=models.SmallBackbone(channels=(8, 16)), head=head).build(classes=HEADS, frames=8, size=24)
    model.set_weights([weight * 2 for weight in model.get_weights()])
    prune_at_once(model, PRUNINGS[request.param])
    model.save(folder / "model.keras")
    np.save(folder / "clips.npy", CLIPS)
    calibration = {"rgb": str(folder / "clips.npy")}
    assert convert(jobs(folder, *MADE, model=folder / "model.keras", outputs=tuple(HEADS), calibration=calibration)) == [None] * len(MADE)
    assert sorted(path.suffix for path in folder.iterdir()) == [".keras", ".npy"] + [".tflite"] * len(MADE)
    return folder, model.predict({"rgb": CLIPS}, verbose=0), request.param


def prune_at_once(model, pruning):
    kernels = pruning.kernels(model).values()
    whole = [kernel.numpy() for kernel in kernels]
    kept = prune.masks(whole, [np.ones(values.shape, bool) for values in whole], pruning, pruning.final)
    for kernel, values, mask in zip(kernels, whole, kept, strict=True):
        kernel.assign(values * mask)


@pytest.mark.parametrize("kind", MADE)
def test_the_zeros_of_a_pruned_network_are_in_every_file(converted, kind):
    """Exactly: BatchNorm scales zeros to zeros, and an int8 zero is 0. Gates of a ConvLSTM are tensors of their own in a file."""
    folder, _, head = converted
    kernels = PRUNINGS[head].kernels(egokeras.load_model(folder / "model.keras"))
    content = (folder / f"{kind}.tflite").read_bytes()
    pixels, pattern = (8, 3, 2, 6) if kind == "int8" else (8, 3, 3, 3), PRUNINGS[head].pattern  # int8 sees pixels by pairs (see `lowering`)
    found = [tensor for tensor in weights(content) if tensor.values.shape != pixels or not pattern]
    sizes, zeros = sum(tensor.values.size for tensor in found), sum(tensor.zeros for tensor in found)
    wanted = sum(int((kernel.numpy() == 0).sum()) for kernel in kernels.values())
    rounded = 0.003 * sizes if kind in ("int8", "dynamic_range", WEIGHT_ONLY) else 0  # what is next to nothing becomes zero, too
    beside = 0 if pattern else np.prod(pixels) - np.prod((8, 3, 3, 3))  # of the pairs
    assert sizes == sum(kernel.numpy().size for kernel in kernels.values()) + beside
    assert wanted + beside <= zeros <= wanted + beside + rounded
    for tensor in found if pattern else ():
        groups = (tensor.values != 0).reshape(*tensor.values.shape[:-1], -1, 4)  # inputs are the last axis, as those of TensorRT's KCRS
        assert groups.sum(-1).max() == 2


TOLERANCES = [("float32", 1e-4), ("float16", 5e-3), ("weight_only", 0.02), ("dynamic_range", 0.05), ("int8", 0.1)]


@pytest.mark.parametrize(("kind", "tolerance"), [each for each in TOLERANCES if each[0] in MADE])
def test_every_kind_answers_by_name(converted, kind, tolerance):
    from ai_edge_litert.interpreter import Interpreter

    folder, expected, _ = converted
    interpreter = Interpreter(str(folder / f"{kind}.tflite"))
    assert interpreter.get_signature_list() == {"serving_default": {"inputs": ["rgb"], "outputs": ["noun", "verb"]}}
    runner = interpreter.get_signature_runner("serving_default")
    pixels = runner.get_input_details()["rgb"]
    assert pixels["dtype"] == np.uint8 and pixels["shape"].tolist() == [1, 8, 24, 24, 3]
    if kind == "int8":
        assert pixels["quantization"] == (1.0, 0)
    found = [runner(rgb=clip[None]) for clip in CLIPS]
    for head, classes in HEADS.items():
        logits = np.concatenate([outputs[head] for outputs in found])
        assert logits.dtype == np.float32 and logits.shape == (len(CLIPS), classes)
        np.testing.assert_allclose(logits, expected[head], atol=tolerance * np.abs(expected[head]).max())


def test_int8_computes_in_int8(converted):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(converted[0] / "int8.tflite"))
    types = [detail["dtype"] for detail in interpreter.get_tensor_details() if detail["shape"].size == 4]
    assert types.count(np.float32) == 0 and types.count(np.int8) > 4


def jobs(folder, *kinds, model, outputs, calibration):
    return [
        Conversion(model=str(model), outputs=outputs, kind=kind, file=str(folder / f"{kind}.tflite"), calibration=calibration)
        for kind in kinds
    ]


def test_foreign_operations_are_refused(converted):
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    code = schema.OperatorCodeT()
    code.builtinCode, code.customCode = schema.BuiltinOperator.CUSTOM, "FlexErf"
    model = schema.ModelT()
    model.operatorCodes = [code]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    with pytest.raises(ConversionError, match="FlexErf"):
        check_builtin(builder.Output())
    check_builtin(pathlib.Path(converted[0], "float32.tflite").read_bytes())
