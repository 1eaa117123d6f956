"""Zeros of a TFLite file, counted in one that is built by hand."""

import zlib

import numpy as np
import pytest

from egokeras.compress.sparsity import summary, weights

TENSORS = {  # name: values, zero point
    "kernel": (np.array([[0, 2, 0], [0, 5, 6]], np.float32), None),
    "int8": (np.array([[[3, 2], [3, 0]]], np.int8), 3),
    "half": (np.array([[0, 1e-7], [1, -0.0]], np.float16), None),
    "bias": (np.zeros(4, np.float32), None),
    "factors": (np.zeros((1, 1, 5), np.float32), None),
    "shape": (np.zeros((2, 2), np.int32), None),
    "activation": (None, None),
}


@pytest.fixture
def content():
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    kinds = {name: getattr(schema.TensorType, name.upper()) for name in ("float32", "float16", "int8", "int32")}
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.buffers, graph.tensors = [schema.BufferT()], []
    for name, (values, zero) in TENSORS.items():
        tensor, buffer = schema.TensorT(), schema.BufferT()
        tensor.name, tensor.shape, tensor.type = name, [2, 2], kinds["float32"]
        if values is not None:
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
            tensor.shape, tensor.type, tensor.buffer = list(values.shape), kinds[values.dtype.name], len(model.buffers)
            model.buffers.append(buffer)
        if zero is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [0.5], [zero]
        graph.tensors.append(tensor)
    model.subgraphs = [graph]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_zeros_are_counted_tensor_by_tensor(content):
    found = {tensor.name: tensor for tensor in weights(content)}
    assert {name: tensor.zeros for name, tensor in found.items()} == {"kernel": 3, "int8": 2, "half": 2}
    for name, tensor in found.items():
        np.testing.assert_array_equal(tensor.values, TENSORS[name][0], strict=True)
    assert summary(content) == {"sparsity": 0.5, "compressed_bytes": len(zlib.compress(content))}
