"""A description in a TFLite file: read back without the code that wrote it, and the file computes what it did."""

import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egokeras.compress.metadata import Description, FileKind, Tensor, TextFile, described, signature
from egokeras.compress.sparsity import weights
from egokeras.errors import CONTROL

VERBS, NOUNS = ("put, away", "čaj", "🍵"), ("door", "", "  cup")
LABELS = {
    head: TextFile(name=f"{head}_labels.txt", kind=FileKind.TENSOR_AXIS_LABELS, description="classes", lines=lines)
    for head, lines in (("verb", VERBS), ("noun", NOUNS))
}
DESCRIPTION = Description(
    name="kitchen",
    description="Verbs & nouns.",
    version="1f",
    inputs={
        "rgb": Tensor(description="frames", axes=("batch", "time", "height", "width", "channels"), pixels=True, rgb=True),
        "state": Tensor(description="zeros at first"),
    },
    outputs={
        "verb": Tensor(description="what is done", axes=("batch", "class"), files=(LABELS["verb"],)),
        "noun": Tensor(description="with what", files=(LABELS["noun"],)),
        "state": Tensor(description="the new one"),
    },
)


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """A TFLite file: two frames of 4 pixels and a state to two heads of three classes and the new state."""
    import tensorflow as tf

    kernels = np.random.default_rng(0).standard_normal((2, 24, 3)).astype(np.float32)
    given = tf.TensorSpec((1, 2, 2, 2, 3), tf.uint8, name="rgb"), tf.TensorSpec((1, 3), tf.float32, name="state")

    @tf.function(input_signature=given)
    def answer(rgb, state):
        pixels = tf.reshape(tf.cast(rgb, tf.float32), (1, 24))
        return {"verb": pixels @ kernels[0], "noun": pixels @ kernels[1] + state, "state": state + 1.0}

    module = tf.Module()
    module.answer = answer
    folder = str(tmp_path_factory.mktemp("saved"))
    tf.saved_model.save(module, folder, signatures={"serving_default": answer})
    return tf.lite.TFLiteConverter.from_saved_model(folder).convert()


def unpacked(content):
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytes(content), 0))


def packed(model):
    import flatbuffers

    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def answers(content):
    from ai_edge_litert.interpreter import Interpreter

    random, runner = np.random.default_rng(1), Interpreter(model_content=bytes(content)).get_signature_runner("serving_default")
    rgb, state = random.integers(0, 256, (1, 2, 2, 2, 3)), random.standard_normal((1, 3))
    return runner(rgb=rgb.astype(np.uint8), state=state.astype(np.float32))


def assert_computes_the_same(found, content):
    given, wanted = answers(found), answers(content)
    assert set(given) == set(wanted) == {"verb", "noun", "state"}
    for name, values in wanted.items():
        np.testing.assert_array_equal(given[name], values, strict=True)


def test_the_file_says_what_it_takes_and_gives_and_computes_the_same(content, tflite_metadata):
    found = described(content, DESCRIPTION)
    assert_computes_the_same(found, content)
    said = tflite_metadata(found)
    assert (said["name"], said["description"], said["version"], said["parser"]) == ("kitchen", "Verbs & nouns.", "1f", "1.0.0")
    assert said["files"] == {"verb_labels.txt": list(VERBS), "noun_labels.txt": list(NOUNS)}
    tensors = {side: {tensor.pop("name"): tensor for tensor in said[side]} for side in ("inputs", "outputs")}
    plain = {"axes": [], "content": "feature", "colours": 0, "range": None, "normalization": [], "limits": None, "files": []}
    pixels = {"content": "image", "colours": 1, "range": (2, 4), "normalization": [(1, [0.0], [1.0])], "limits": ([0.0], [255.0])}
    axes = ["batch", "time", "height", "width", "channels"]
    assert tensors["inputs"] == {
        "rgb": {**plain, "description": "frames", "axes": axes, **pixels},
        "state": {**plain, "description": "zeros at first"},
    }
    assert tensors["outputs"] == {
        "verb": {**plain, "description": "what is done", "axes": ["batch", "class"], "files": [("verb_labels.txt", 2)]},
        "noun": {**plain, "description": "with what", "files": [("noun_labels.txt", 2)]},
        "state": {**plain, "description": "the new one"},
    }


def test_every_buffer_is_aligned_and_keeps_its_numbers(content):
    from ai_edge_litert import schema_py_generated as schema

    found = described(content, DESCRIPTION)
    model = schema.Model.GetRootAs(found, 0)
    data = [buffer.DataAsNumpy() for buffer in map(model.Buffers, range(model.BuffersLength())) if buffer.DataLength()]
    start = np.frombuffer(found, np.uint8).__array_interface__["data"][0]
    assert len(data) > 3 and {(values.__array_interface__["data"][0] - start) % 16 for values in data} == {0}
    assert [(each.name, each.values.tobytes()) for each in weights(found)] == [
        (each.name, each.values.tobytes()) for each in weights(content)
    ]


def test_tensors_are_named_by_the_signature_not_by_their_order(content, tflite_metadata):
    model = unpacked(content)
    (graph,) = model.subgraphs
    order = signature(content)
    graph.inputs, graph.outputs = graph.inputs[::-1].tolist(), graph.outputs[::-1].tolist()
    turned = packed(model)
    assert signature(turned) == (order[0][::-1], order[1][::-1]) != order
    said = tflite_metadata(described(turned, DESCRIPTION))
    assert tuple([tensor["name"] for tensor in said[side]] for side in ("inputs", "outputs")) == signature(turned)
    assert_computes_the_same(described(turned, DESCRIPTION), content)


def test_weights_behind_the_model_are_kept(content):
    """As ai-edge-quantizer writes them: the buffer has the place of its data in the file."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model = unpacked(content)
    place = max(range(len(model.buffers)), key=lambda number: 0 if model.buffers[number].data is None else len(model.buffers[number].data))
    data, buffer = bytes(model.buffers[place].data), model.buffers[place]
    buffer.data, buffer.offset, buffer.size = None, 1, 1
    outside = bytearray(packed(model))
    outside += bytes(-len(outside) % 16)
    flatbuffer_utils.update_packed_buffer(schema.Model.GetRootAs(outside, 0).Buffers(place), offset=len(outside), size=len(data))
    outside += data
    assert_computes_the_same(outside, content)
    assert_computes_the_same(described(outside, DESCRIPTION), content)


def test_an_older_description_is_replaced(content):
    once = described(content, DESCRIPTION)
    other = dataclasses.replace(DESCRIPTION, name="other", version="2" * 99)
    assert described(once, DESCRIPTION) == once != described(once, other)
    assert described(described(once, other), DESCRIPTION) == once


def test_a_file_without_labels_is_no_archive(content, tflite_metadata):
    bare = {name: Tensor(description="") for name in ("rgb", "verb", "noun", "state")}
    found = described(content, dataclasses.replace(DESCRIPTION, inputs=bare, outputs=bare))
    assert tflite_metadata(found)["files"] == {} and b"PK\x05\x06" not in found


@settings(max_examples=10)
@given(st.lists(st.text().filter(lambda line: not CONTROL.search(line))), st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_any_labels_come_back_in_their_order(content, tflite_metadata, lines, words):
    file = dataclasses.replace(LABELS["verb"], lines=tuple(lines))
    outputs = {**DESCRIPTION.outputs, "verb": Tensor(description=words, files=(file,))}
    said = tflite_metadata(described(content, dataclasses.replace(DESCRIPTION, description=words, outputs=outputs)))
    assert said["files"]["verb_labels.txt"] == lines and said["description"] == words
    assert not any(re.search("[\r\n]", line) for line in said["files"]["verb_labels.txt"])
