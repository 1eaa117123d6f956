"""A SavedModel as a part of an artifact, run by TensorFlow on the CPU; the only module of the device side that needs it.

The file `saved_model.pb` holds all: a graph, its weights as constants, and one signature. A graph of TensorFlow can do more than compute,
for example write files, so one with any operation but those of `OPERATIONS` is refused before TensorFlow sees it; nothing is run when it
is loaded, and later only what its outputs need.
"""

from egokeras import accelerator
from egokeras.errors import InputError

# What computes numbers of numbers and does nothing else, of the operations that layers of Keras are made of.
OPERATIONS = """
    Abs AddN AddV2 All Any ArgMax ArgMin Atan2 AvgPool AvgPool3D BatchMatMulV2 BatchMatMulV3 BatchToSpaceND BiasAdd BroadcastTo Cast Ceil
    ClipByValue Concat ConcatV2 Const Conv2D Conv2DBackpropInput Conv3D Cos Cumsum DepthToSpace DepthwiseConv2dNative Div DivNoNan Einsum
    Elu Equal Erf Exp ExpandDims Expm1 Fill Floor FloorDiv FloorMod FusedBatchNormV3 Gather GatherNd GatherV2 Greater GreaterEqual
    Identity IdentityN LeakyRelu Less LessEqual Log Log1p LogSoftmax LogicalAnd LogicalNot LogicalOr MatMul Max MaxPool MaxPool3D Maximum
    Mean Min Minimum MirrorPad Mul Neg NoOp NotEqual OneHot OnesLike Pack Pad PadV2 Placeholder Pow Prod Range Rank RealDiv Reciprocal
    Relu Relu6 Reshape ResizeBilinear ResizeNearestNeighbor ReverseV2 Round Rsqrt Select SelectV2 Selu Shape Sigmoid Sign Sin Size Slice
    Softmax Softplus Softsign SpaceToBatchND SpaceToDepth Split SplitV Sqrt Square SquaredDifference Squeeze StopGradient StridedSlice
    Sub Sum Tan Tanh Tile TopKV2 Transpose Unpack Where ZerosLike
"""


class SavedModelRunner:
    """Runs a file as TFLite's signature runners run theirs: arrays by name in, arrays by name out.

    Args:
        file: path of the `saved_model.pb`.
        threads: of TensorFlow, where this is the first that the process does with it.

    Attributes:
        signature: the name of its signature.

    Raises:
        InputError: TensorFlow is not installed, or the file cannot be loaded or has operations that are not of `OPERATIONS`.
    """

    def __init__(self, file, threads):
        try:
            accelerator.start(strict=False)
        except ImportError:
            raise InputError(f"{file} is run by TensorFlow, which is not installed; run `pip install tensorflow`.") from None
        import tensorflow as tf

        options = tf.compat.v1.ConfigProto(
            intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads, device_count={"GPU": 0}
        )
        content, graph = _content(file), tf.Graph()
        [(self.signature, signature)] = content.signature_def.items()
        try:
            with graph.as_default():
                tf.graph_util.import_graph_def(content.graph_def, name="")
            self._tensors = [
                {name: graph.get_tensor_by_name(about.name) for name, about in side.items()}
                for side in (signature.inputs, signature.outputs)
            ]
            for name, about in signature.outputs.items():
                self._tensors[1][name].set_shape(tf.TensorShape(about.tensor_shape))  # the graph alone may tell less
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(file, error) from None
        self._session = tf.compat.v1.Session(graph=graph, config=options)

    def __call__(self, **inputs):
        given, wanted = self._tensors
        return self._session.run(wanted, {given[name]: values for name, values in inputs.items()})

    def get_input_details(self):
        """Input to its shape and dtype."""
        return _details(self._tensors[0])

    def get_output_details(self):
        """Output to its shape and dtype."""
        return _details(self._tensors[1])


def _content(file):
    """The graph and its one signature, of a file that has both and can only compute."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    try:
        graphs = saved_model_pb2.SavedModel.FromString(file.read_bytes()).meta_graphs
    except DecodeError as error:
        raise _damaged(file, error) from None
    if len(graphs) != 1 or len(graphs[0].signature_def) != 1:
        raise _damaged(file, f"{len(graphs)} graphs with {sum(len(graph.signature_def) for graph in graphs)} signatures, not one")
    graph = graphs[0].graph_def
    foreign = sorted({node.op for node in graph.node} - set(OPERATIONS.split()))
    if foreign or graph.library.function:
        found = ", ".join(map(repr, foreign)) or "functions"
        raise InputError(f"{file} holds {found:.200}, which egokeras runs from no file: it could do more than compute; do not trust it.")
    return graphs[0]


def _damaged(file, reason):
    return InputError(f"{file} cannot be loaded ({' '.join(str(reason).split()):.200}); export it again.")


def _details(tensors):
    """A free batch size counts as the 1 that artifacts are described with, any other size that is not fixed as -1."""
    shapes = {name: tensor.shape.as_list() if tensor.shape.rank else [-1] for name, tensor in tensors.items()}
    return {
        name: {"shape": [first or 1, *(size or -1 for size in rest)], "dtype": tensors[name].dtype.as_numpy_dtype}
        for name, (first, *rest) in shapes.items()
    }
