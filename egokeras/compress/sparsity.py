"""How many weights of a TFLite file are zero, tensor by tensor, and how small the file gets when it is packed."""

import dataclasses
import zlib

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Weights:
    """A tensor of weights in a TFLite file.

    Attributes:
        name: as the converter has named it.
        values: int8, float16 or float32; 1D and 2D convolutions have the axes (outputs, ..., inputs), 3D ones (..., inputs, outputs),
            depthwise ones (1, ..., channels), matrices (outputs, inputs).
        zeros: how many of its numbers mean exactly zero.
    """

    name: str
    values: np.ndarray
    zeros: int


def weights(content):
    """The constant tensors of a TFLite file that have at least two axes longer than 1, so no biases, shapes and factors.

    Args:
        content: the bytes of the file.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(bytes(content), 0)
    types = {schema.TensorType.INT8: np.int8, schema.TensorType.FLOAT16: np.float16, schema.TensorType.FLOAT32: np.float32}
    found = []
    for graph in map(model.Subgraphs, range(model.SubgraphsLength())):
        for tensor in map(graph.Tensors, range(graph.TensorsLength())):
            buffer = model.Buffers(tensor.Buffer())
            shape = tuple(tensor.Shape(axis) for axis in range(tensor.ShapeLength()))
            if buffer.DataLength() and tensor.Type() in types and sum(length > 1 for length in shape) >= 2:
                values = buffer.DataAsNumpy().view(types[tensor.Type()]).reshape(shape)
                quantized = tensor.Quantization()
                zero = quantized.ZeroPoint(0) if quantized is not None and quantized.ZeroPointLength() else 0
                found.append(Weights(name=tensor.Name().decode(), values=values, zeros=int((values == zero).sum())))
    return found


def summary(content):
    """The share of zeros in the weights of a TFLite file, and the bytes of any file compressed as zip and app packages do (deflate)."""
    if content[4:8] != b"TFL3":
        return {"compressed_bytes": len(zlib.compress(content))}
    found = weights(content)
    share = sum(tensor.zeros for tensor in found) / max(1, sum(tensor.values.size for tensor in found))
    return {"sparsity": round(share, 6), "compressed_bytes": len(zlib.compress(content))}
