"""TFLite metadata: a file says itself what it takes and gives, to viewers, code generators and other people's programs.

The format is that of TensorFlow Lite Support and MediaPipe (`metadata_schema.fbs`, identifier M001): a FlatBuffer in the model's buffer
TFLITE_METADATA, and the files that it names behind the model, as a ZIP archive. Their own writers cannot be installed beside TensorFlow and
tensorflow-model-optimization: tflite-support wants protobuf 3, mediapipe absl-py 2 and another OpenCV.
"""

import dataclasses
import enum
import io
import typing
import zipfile

import numpy as np

NAME, IDENTIFIER = b"TFLITE_METADATA", b"M001"
PARSER = "1.0.0"  # of the schema; no field here is newer
ALIGNMENT = 16  # bytes, of a buffer of weights


class FileKind(enum.IntEnum):
    """What a packed file is."""

    DESCRIPTIONS = 1
    TENSOR_AXIS_LABELS = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextFile:
    """A text that is packed into the model's file.

    Attributes:
        name: of the file.
        kind: its `FileKind`.
        description: of what is in it.
        lines: without line breaks.
    """

    name: str
    kind: FileKind
    description: str
    lines: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tensor:
    """What is said of an input or an output.

    Attributes:
        description: in words.
        axes: name of each axis; none are given where it is empty.
        pixels: whether it takes uint8 from 0 to 255 as they are.
        rgb: whether its last three axes are RGB pictures.
        files: of `TextFile`.
    """

    description: str
    axes: tuple[str, ...] = ()
    pixels: bool = False
    rgb: bool = False
    files: tuple[TextFile, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Description:
    """What is said of a file.

    Attributes:
        name, description, version: of the model.
        inputs, outputs: name in the signature to `Tensor`.
    """

    name: str
    description: str
    version: str
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


def signature(content):
    """Names of the inputs and of the outputs of a TFLite file with one signature, in the order of its graph.

    Args:
        content: the bytes of the file.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(bytes(content), 0)
    names, graph = model.SignatureDefs(0), model.Subgraphs(0)
    inputs = {entry.TensorIndex(): entry.Name().decode() for entry in map(names.Inputs, range(names.InputsLength()))}
    outputs = {entry.TensorIndex(): entry.Name().decode() for entry in map(names.Outputs, range(names.OutputsLength()))}
    return [inputs[index] for index in graph.InputsAsNumpy()], [outputs[index] for index in graph.OutputsAsNumpy()]


def described(content, description):
    """A TFLite file that carries a description; it computes the same.

    Args:
        content: the bytes of the file, with one signature; an older description in it is replaced.
        description: a `Description` of all its inputs and outputs.
    """
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytes(content))
    entry = next((entry for entry in model.metadata or [] if entry.name == NAME), None)
    if entry is None:
        entry = schema.MetadataT()
        entry.name, entry.buffer = NAME, len(model.buffers)
        model.buffers.append(schema.BufferT())
        model.metadata = [*(model.metadata or []), entry]
    inputs, outputs = signature(content)
    tensors = {name: description.inputs[name] for name in inputs}, {name: description.outputs[name] for name in outputs}
    packed = _flatbuffer(_model(description, *tensors), IDENTIFIER)
    model.buffers[entry.buffer].data = packed
    model.buffers = [_aligned(buffer) for buffer in model.buffers]
    files = {file.name: file for side in tensors for tensor in side.values() for file in tensor.files}
    return _with_files(bytes(flatbuffer_utils.convert_object_to_bytearray(model)), files.values())


def _aligned(buffer):
    """A copy that is packed as the schema wants it, its data at a multiple of 16 bytes; the generated code forgets that."""
    from ai_edge_litert import schema_py_generated as schema

    class Aligned(schema.BufferT):
        def Pack(self, builder):
            if self.data is not None:
                builder.Prep(ALIGNMENT, len(self.data))
            return super().Pack(builder)

    copy = Aligned()
    copy.data = None if buffer.data is None else np.frombuffer(buffer.data, np.uint8)
    return copy


def _with_files(content, files):
    """`content` with files behind it as a ZIP archive, not compressed, because MediaPipe maps them; the same bytes every time."""
    whole = io.BytesIO()
    whole.write(content)
    if files:
        with zipfile.ZipFile(whole, "w") as archive:
            for file in files:
                archive.writestr(zipfile.ZipInfo(file.name), "".join(f"{line}\n" for line in file.lines))
    return whole.getvalue()


# Tables of metadata_schema.fbs with their fields in its order, as far as they are used; a union takes a field for its type.


class _Associated(typing.NamedTuple):
    name: str
    description: str
    type: FileKind


class _Properties(enum.IntEnum):
    FEATURE = 1
    IMAGE = 2


class _ColourSpace(enum.IntEnum):
    RGB = 1


class _Options(enum.IntEnum):
    NORMALIZATION = 1


class _ValueRange(typing.NamedTuple):
    min: int
    max: int


class _Content(typing.NamedTuple):
    type: _Properties
    properties: tuple
    range: _ValueRange | None = None


class _ProcessUnit(typing.NamedTuple):
    type: _Options
    options: tuple


class _Tensor(typing.NamedTuple):
    name: str
    description: str
    dimension_names: list | None
    content: _Content
    process_units: list | None
    stats: tuple | None
    associated_files: list | None


class _Graph(typing.NamedTuple):
    name: str
    description: str
    inputs: list
    outputs: list


class _Model(typing.NamedTuple):
    name: str
    description: str
    version: str
    subgraphs: list
    author: str | None = None
    license: str | None = None
    associated_files: list | None = None
    min_parser_version: str = PARSER


def _model(description, inputs, outputs):
    tables = [[_tensor(name, tensor) for name, tensor in side.items()] for side in (inputs, outputs)]
    graph = _Graph(description.name, description.description, *tables)
    return _Model(description.name, description.description, description.version, [graph])


def _tensor(name, tensor):
    """Pixels are normalised with mean 0 and deviation 1, that is not at all; pictures of a clip are many on its last three axes."""
    content = _Content(_Properties.FEATURE, ())
    if tensor.rgb:
        axes = len(tensor.axes)
        content = _Content(_Properties.IMAGE, (_ColourSpace.RGB,), _ValueRange(axes - 3, axes - 1) if axes > 4 else None)
    zero, one, most = (np.array([value], np.float32) for value in (0, 1, 255))
    files = [_Associated(file.name, file.description, file.kind) for file in tensor.files]
    return _Tensor(
        name=name,
        description=tensor.description,
        dimension_names=list(tensor.axes) or None,
        content=content,
        process_units=[_ProcessUnit(_Options.NORMALIZATION, (zero, one))] if tensor.pixels else None,
        stats=(most, zero) if tensor.pixels else None,
        associated_files=files or None,
    )


def _flatbuffer(root, identifier):
    import flatbuffers

    builder = flatbuffers.Builder()
    builder.Finish(_packed(builder, root), identifier)
    return bytes(builder.Output())


def _packed(builder, value):
    """Write a string, an array of numbers, a list, or a table (a tuple of its fields, None for those it has not); returns its offset."""
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, np.ndarray):
        return builder.CreateNumpyVector(value)
    inner = [each if each is None or isinstance(each, int) else _packed(builder, each) for each in value]
    if isinstance(value, list):
        builder.StartVector(4, len(inner), 4)
        for offset in reversed(inner):
            builder.PrependUOffsetTRelative(offset)
        return builder.EndVector()
    builder.StartObject(len(inner))
    for slot, (each, found) in enumerate(zip(value, inner, strict=True)):
        if isinstance(each, enum.IntEnum):  # a byte in the schema, all of them
            builder.PrependInt8Slot(slot, int(each), 0)
        elif isinstance(each, int):
            builder.PrependInt32Slot(slot, found, 0)
        elif each is not None:
            builder.PrependUOffsetTRelativeSlot(slot, found, 0)
    return builder.EndObject()
