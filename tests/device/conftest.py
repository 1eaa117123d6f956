"""Small TFLite files whose answers can be worked out by hand; made once per session."""

import json
import pathlib

import pytest

from egokeras.files import sha256, write_json

FRAMES, HEIGHT, WIDTH = 4, 12, 16
CLASSES = {"verb": ["open", "close", "pour"], "noun": ["fridge", "cup"]}


def build(folder):
    """Write the artifact `folder`/tiny and, without a signature, `folder`/bare.tflite.

    The verb's logits are the means of red, green and blue over 16; the noun's those of the first and the last frame.
    """
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((1, FRAMES, HEIGHT, WIDTH, 3), tf.uint8, name="rgb")])
    def logits(rgb):
        pixels = tf.cast(rgb, tf.float32) / 16
        return {"verb": tf.reduce_mean(pixels, (1, 2, 3)), "noun": tf.reduce_mean(pixels, (2, 3, 4))[:, :: FRAMES - 1]}

    module = tf.Module()
    module.logits = logits
    tf.saved_model.save(module, str(folder / "saved"), signatures={"serving_default": logits})
    artifact = folder / "tiny"
    artifact.mkdir()
    (artifact / "model.tflite").write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved")).convert())
    bare = tf.lite.TFLiteConverter.from_concrete_functions([logits.get_concrete_function()], module).convert()
    (folder / "bare.tflite").write_bytes(bare)
    write_json(artifact / "artifact.json", manifest(artifact / "model.tflite"))
    return artifact


def manifest(model, name=None):
    name = name or model.name
    return {
        "format": 2,
        "name": "tiny",
        "files": {name: {"sha256": sha256(model), "bytes": model.stat().st_size}},
        "parts": [{"file": name, "signature": "serving_default", "quantization": "float32"}],
        "inputs": {"rgb": {"shape": [1, FRAMES, HEIGHT, WIDTH, 3], "dtype": "uint8", "channels": "RGB", "resize": "squash"}},
        "outputs": CLASSES,
        "sampling": {"rule": "uniform", "frames": FRAMES, "clip_seconds": 1.0},
        "parent": {"run": "none", "model_sha256": "", "data_sha256": ""},
        "gate": {"answer": "pass"},
        "quantization": "float32",
        "egokeras": "0",
    }


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> pathlib.Path:
    """Folder of an artifact: 4 frames of 12x16 pixels over 1 s to 3 verbs and 2 nouns."""
    return build(tmp_path_factory.mktemp("artifact"))


@pytest.fixture(scope="session")
def tiny_onnx(tmp_path_factory) -> pathlib.Path:
    """Folder of the same artifact with an ONNX file."""
    pytest.importorskip("onnxruntime", reason="extra `onnx` is not installed")
    onnx = pytest.importorskip("onnx", reason="extra `onnx` is not installed")
    nodes = [
        onnx.helper.make_node("Cast", ["rgb"], ["pixels"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("Div", ["pixels", "sixteen"], ["scaled"]),
        onnx.helper.make_node("ReduceMean", ["scaled"], ["verb"], axes=[1, 2, 3], keepdims=0),
        onnx.helper.make_node("ReduceMean", ["scaled"], ["frames"], axes=[2, 3, 4], keepdims=0),
        onnx.helper.make_node("Gather", ["frames", "ends"], ["noun"], axis=1),
    ]
    constants = [
        onnx.helper.make_tensor("sixteen", onnx.TensorProto.FLOAT, [], [16.0]),
        onnx.helper.make_tensor("ends", onnx.TensorProto.INT64, [2], [0, FRAMES - 1]),
    ]
    rgb = onnx.helper.make_tensor_value_info("rgb", onnx.TensorProto.UINT8, [1, FRAMES, HEIGHT, WIDTH, 3])
    logits = [onnx.helper.make_tensor_value_info(head, onnx.TensorProto.FLOAT, [1, len(CLASSES[head])]) for head in CLASSES]
    graph = onnx.helper.make_graph(nodes, "serving_default", [rgb], logits, constants)
    folder = tmp_path_factory.mktemp("tiny_onnx")
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), folder / "model.onnx")
    write_json(folder / "artifact.json", manifest(folder / "model.onnx"))
    return folder


@pytest.fixture(scope="session")
def tiny_savedmodel(tiny, tmp_path_factory) -> pathlib.Path:
    """Folder of the same artifact with a SavedModel."""
    from egokeras.compress import savedmodel

    folder = tmp_path_factory.mktemp("tiny_savedmodel")
    file = folder / "model" / "saved_model.pb"
    file.parent.mkdir()
    file.write_bytes(savedmodel.content(tiny.parent / "saved", None))
    write_json(folder / "artifact.json", manifest(file, "model/saved_model.pb"))
    return folder


@pytest.fixture(scope="session")
def bare(tiny) -> pathlib.Path:
    """A TFLite file without signature or description."""
    return tiny.parent / "bare.tflite"


@pytest.fixture(scope="session")
def write_stream():
    """A function that writes an artifact of the kind `stream`, a file of each function, and gives its folder."""
    import tensorflow as tf

    def written(folder, functions, **fields):
        folder.mkdir()
        for name, function in functions.items():
            module = tf.Module()
            module.function = function
            tf.saved_model.save(module, str(folder.parent / name), signatures={"serving_default": function})
            content = tf.lite.TFLiteConverter.from_saved_model(str(folder.parent / name)).convert()
            (folder / f"{name}.tflite").write_bytes(content)
        files = [folder / f"{name}.tflite" for name in functions]
        about = {
            "format": 2,
            "kind": "stream",
            "name": "colours",
            "parts": [{"file": file.name, "signature": "serving_default", "quantization": "float32"} for file in files],
            "files": {file.name: {"sha256": sha256(file), "bytes": file.stat().st_size} for file in files},
            "memory": "window",
            "quantization": "float32",
        }
        write_json(folder / "artifact.json", about | fields)
        return folder

    return written


@pytest.fixture
def change(colours, tmp_path):
    """A function that copies the artifact with other fields and gives its folder."""

    def changed(**fields):
        for file in colours.iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        write_json(tmp_path / "artifact.json", json.loads((colours / "artifact.json").read_text()) | fields)
        return tmp_path

    return changed
