"""ONNX files answer as Keras does, and their Q/DQ nodes are such as TensorRT takes."""

import numpy as np
import pytest

from egokeras.compress import conversion, onnx
from egokeras.compress.conversion import ConversionError
from egokeras.files import write_json

pytest.importorskip("tf2onnx", reason="extra `onnx` is not installed")
pytest.importorskip("onnxruntime", reason="extra `onnx` is not installed")

CLIPS = np.random.default_rng(0).integers(0, 256, (6, 3, 16, 16, 3), np.uint8)
HEADS = {"verb": 3, "noun": 4}


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """Folder of float32.onnx and int8.onnx of a network with a recurrent head, and its logits."""
    import keras

    from egokeras import models

    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("onnx")
    network = models.FrameModel(backbone=models.SmallBackbone(channels=(8,)), head=models.LSTMHead(units=8))
    model = network.build(classes=HEADS, frames=3, size=16)
    model.set_weights([weight * 2 for weight in model.get_weights()])
    model.save(folder / "model.keras")
    np.save(folder / "clips.npy", CLIPS)
    common = {"model": str(folder / "model.keras"), "outputs": list(HEADS), "calibration": {"rgb": str(folder / "clips.npy")}}
    write_json(folder / "job.json", [{**common, "kind": kind, "file": str(folder / f"{kind}.onnx")} for kind in ("float32", "int8")])
    conversion.main(folder / "job.json")
    return folder, model.predict({"rgb": CLIPS}, verbose=0)


@pytest.mark.parametrize(("kind", "tolerance"), [("float32", 1e-4), ("int8", 0.1)])
def test_answers_by_name(converted, kind, tolerance):
    import onnxruntime

    folder, expected = converted
    session = onnxruntime.InferenceSession(folder / f"{kind}.onnx", providers=["CPUExecutionProvider"])
    assert [(given.name, given.type, given.shape) for given in session.get_inputs()] == [("rgb", "tensor(uint8)", [1, 3, 16, 16, 3])]
    assert session.get_modelmeta().graph_name == "serving_default"
    found = [session.run(list(HEADS), {"rgb": clip[None]}) for clip in CLIPS]
    for number, head in enumerate(HEADS):
        logits = np.concatenate([outputs[number] for outputs in found])
        np.testing.assert_allclose(logits, expected[head], atol=tolerance * np.abs(expected[head]).max())
        assert kind == "float32" or np.abs(logits - expected[head]).max() > 1e-6  # it is quantized


def graph(folder, kind):
    from onnx import load, numpy_helper

    model = load(folder / f"{kind}.onnx")
    return model, {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}


def test_pixels_are_cast_before_all_else(converted):
    for kind in ("float32", "int8"):
        model, _ = graph(converted[0], kind)
        assert [node.op_type for node in model.graph.node if "rgb" in node.input] == ["Cast"]
        assert {each.domain: each.version for each in model.opset_import}[""] == 17


def test_quantization_is_what_tensorrt_takes(converted):
    """Symmetric, int8, one scale for each channel of a convolution's weights, and no bias in int32."""
    model, constants = graph(converted[0], "int8")
    pairs = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    for node in pairs:
        zero = constants[node.input[2]]
        assert zero.dtype == np.int8 and not zero.any()
        assert node.op_type == "QuantizeLinear" or node.input[0] not in constants  # weights have both nodes
    made_by = {output: node for node in model.graph.node for output in node.output}
    layers = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    assert len(layers) > 4
    for layer in layers:
        assert [made_by[name].op_type for name in layer.input[:2]] == ["DequantizeLinear"] * 2
        assert layer.input[2:] == [] or layer.input[2] in constants
        if layer.op_type == "Conv":
            weights = constants[made_by[made_by[layer.input[1]].input[0]].input[0]]
            scales = constants[made_by[layer.input[1]].input[1]]
            np.testing.assert_allclose(scales, np.abs(weights).reshape(len(weights), -1).max(axis=1) / 127, rtol=1e-2)


def test_foreign_operations_are_refused():
    from onnx import helper

    graph = helper.make_graph([helper.make_node("Erf", ["x"], ["y"]), helper.make_node("MatrixInverse", ["y"], ["z"])], "g", [], [])
    with pytest.raises(ConversionError, match="operations that ONNX lacks: MatrixInverse"):
        onnx._check(helper.make_model(graph))
