"""Channels of a functional Keras model that can only be removed together.

Every position on the last axis of every tensor carries a label. A convolution gives its outputs new ones, a BatchNorm hands its input's on,
an addition makes those of its inputs one, a Flatten repeats them: equal labels are one channel, and so are the rows and columns of weights
along which they run. Channels of the model's inputs and answers are fixed, and so are those around a layer that is not listed here: it
stays as it is. (Fang et al., "DepGraph: Towards Any Structural Pruning", https://arxiv.org/abs/2301.12900, has the idea.)
"""

import dataclasses
import inspect
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping

import keras
import numpy as np
from keras import layers

from egokeras.layers import FoldTime, UnfoldTime

SHRINKING = ("features",)  # outputs of ours that may have fewer channels; all others are answers
CONVOLUTIONS = (layers.Conv1D, layers.Conv2D, layers.Conv3D)
DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
RECURRENT = (layers.LSTM, layers.GRU, layers.SimpleRNN, layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D)
MERGING = (layers.Add, layers.Subtract, layers.Multiply, layers.Average, layers.Maximum, layers.Minimum)
CHANNEL_BY_CHANNEL = (
    layers.ReLU, layers.LeakyReLU, layers.ELU, layers.Activation, layers.Dropout, layers.SpatialDropout1D, layers.SpatialDropout2D,
    layers.SpatialDropout3D, layers.GaussianNoise, layers.GaussianDropout, layers.Identity,
)  # fmt: skip
SPATIAL = tuple(
    one
    for name, one in inspect.getmembers(layers, inspect.isclass)
    if name.removesuffix("1D").removesuffix("2D").removesuffix("3D")
    in ("MaxPooling", "AveragePooling", "GlobalMaxPooling", "GlobalAveragePooling", "AdaptiveAveragePooling", "AdaptiveMaxPooling",
        "ZeroPadding", "Cropping", "UpSampling")
)  # fmt: skip
MIXING = ("softmax", "log_softmax", "sparsemax", "glu")  # activations that are not channel by channel

Path = tuple[str, ...]  # names of the models around a layer, and its own


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Channels that the same layers share: each can go alone.

    Attributes:
        roots: (channels,) int.
        places: (path of a layer, name of its weight, axis) to how often each channel comes there.
    """

    roots: np.ndarray
    places: Mapping[tuple[Path, str, int], int]

    @property
    def name(self):
        """The first layer that makes them."""
        return "/".join(next(iter(self.places))[0])


@dataclasses.dataclass(frozen=True, eq=False)
class Channels:
    """The channels of a model.

    Attributes:
        roots: (labels,) int, of every label the one that stands for all that are the same channel.
        groups: of the channels that can be removed, in the order of computation.
        axes: path of a layer and name of its weight to {axis: roots (length of the axis,)}.
        outputs: path of a layer to the roots of its output.
        edits: path of a layer to a function of its configuration and `keep` (labels,) bool that gives the configuration of the smaller one.
    """

    roots: np.ndarray
    groups: tuple[Group, ...]
    axes: Mapping[tuple[Path, str], Mapping[int, np.ndarray]]
    outputs: Mapping[Path, np.ndarray]
    edits: Mapping[Path, Callable]


def channels_of(model):
    """The `Channels` of a functional `keras.Model`; models nested in it to any depth, if each is called once."""
    tracer = _Tracer()
    ends = tracer.trace(model, model.get_config(), [tracer.new(tensor.shape[-1], fixed=True) for tensor in model.inputs], ())
    names = keras.tree.flatten({name: name for name in model.output}) if isinstance(model.output, dict) else [""] * len(ends)
    for name, labels in zip(names, ends, strict=True):
        if name not in SHRINKING:
            tracer.fix(labels)
    return tracer.channels()


@dataclasses.dataclass(frozen=True)
class _Tensor:
    """What a configuration says of a tensor: the layer that makes it, which of its outputs it is, and the shape where that is said."""

    layer: str
    index: int
    shape: tuple


def _tensors(value):
    """All tensors of a part of a configuration, in the order in which Keras flattens them."""

    def found(value):
        if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
            layer, _, index = value["config"]["keras_history"]
            return _Tensor(layer, index, tuple(value["config"]["shape"]))
        if isinstance(value, list | tuple) and len(value) == 3 and isinstance(value[0], str):
            return _Tensor(value[0], value[2], ())
        if isinstance(value, dict):
            return {key: found(item) for key, item in value.items()}
        return [found(item) for item in value] if isinstance(value, list | tuple) else None

    return [tensor for tensor in keras.tree.flatten(found(value)) if isinstance(tensor, _Tensor)]


class _Tracer:
    """Goes through a model and gives labels; those that turn out to be one channel are joined (union-find)."""

    def __init__(self):
        self._parents: list[int] = []
        self._fixed: set[int] = set()
        self._axes: dict[tuple[Path, str], dict[int, np.ndarray]] = defaultdict(dict)
        self._outputs: dict[Path, np.ndarray] = {}
        self._edits: dict[Path, Callable] = {}

    def new(self, count, fixed=False):
        """Labels that nothing else has."""
        labels = np.arange(len(self._parents), len(self._parents) + count)
        self._parents.extend(labels.tolist())
        if fixed:
            self.fix(labels)
        return labels

    def fix(self, labels):
        self._fixed.update(labels.tolist())

    def trace(self, model, config, given, path):
        """Labels of the outputs of a model, whose inputs have the labels `given`."""
        known = {(tensor.layer, tensor.index): labels for tensor, labels in zip(_tensors(config["input_layers"]), given, strict=True)}
        made = {operation.name: operation for operation in model.operations}

        def labels_of(tensor, channels):
            """Of what an unknown layer has made they are fixed."""
            place = (tensor.layer, tensor.index)
            if place not in known:
                known[place] = self.new(channels, fixed=True)
            return known[place]

        left_alone = []
        for entry in config["layers"]:
            nodes, name = entry["inbound_nodes"], entry["name"]
            if not nodes:
                self._keep_input(known[name, 0], (*path, name))
            elif len(nodes) > 1:
                left_alone.append(nodes)  # called twice
            else:
                tensors = _tensors(nodes)
                inputs = [(labels_of(tensor, tensor.shape[-1]), tensor.shape) for tensor in tensors]
                results = self._through(made[name], entry["config"], inputs, (*path, name))
                known.update({(name, index): labels for index, labels in enumerate(results)})
        for tensor in _tensors(left_alone):
            self.fix(labels_of(tensor, tensor.shape[-1]))
        ends = zip(_tensors(config["output_layers"]), model.outputs, strict=True)
        return [labels_of(tensor, output.shape[-1]) for tensor, output in ends]

    def _keep_input(self, labels, path):
        self._edits[path] = lambda config, keep: {**config, "batch_shape": (*config["batch_shape"][:-1], int(keep[labels].sum()))}

    def _through(self, layer, config, inputs, path):
        """Labels of the outputs of a layer; none if it is to be left alone."""
        if isinstance(layer, keras.Model) and "input_layers" in config and len(inputs) == len(layer.inputs):
            return self.trace(layer, config, [labels for labels, _ in inputs], path)
        rule = next((rule for kinds, rule in _RULES if isinstance(layer, kinds)), None)
        proper = config.get("activation") not in MIXING and config.get("data_format") != "channels_first"
        special = isinstance(layer, layers.ZeroPadding3D)
        found = rule(self, layer, inputs, path) if rule and (proper or special) else None
        if found is None:
            for labels, _ in inputs:
                self.fix(labels)
            return []
        self._outputs[path] = found
        return [found]

    def _cut(self, path, weight, **axes):
        """Say which labels run along the axes of a weight, `axis0=` first."""
        self._axes[path, weight].update({int(name.removeprefix("axis")): labels for name, labels in axes.items()})

    def _convolve(self, layer, inputs, path):
        """A kernel (..., inputs, outputs)."""
        (labels, _), out = inputs[0], self.new(layer.kernel.shape[-1])
        if getattr(layer, "groups", 1) != 1 or getattr(layer, "lora_rank", None):
            return None
        last = len(layer.kernel.shape) - 1
        self._cut(path, "kernel", **{f"axis{last - 1}": labels, f"axis{last}": out})
        if layer.use_bias:
            self._cut(path, "bias", axis0=out)
        size = "units" if isinstance(layer, layers.Dense) else "filters"
        self._edits[path] = lambda config, keep: {**config, size: int(keep[out].sum())}
        return out

    def _convolve_depthwise(self, layer, inputs, path):
        """A kernel (..., inputs, multiplier)."""
        labels, _ = inputs[0]
        out = np.repeat(labels, layer.depth_multiplier)
        self._cut(path, "kernel", **{f"axis{len(layer.kernel.shape) - 2}": labels})
        if layer.use_bias:
            self._cut(path, "bias", axis0=out)
        return out

    def _recur(self, layer, inputs, path):
        """Its state keeps its size, and so does what it gives."""
        if len(inputs) > 1 or layer.return_state:
            return None
        labels, _ = inputs[0]
        kernel = next(weight for weight in layer.weights if weight.name == "kernel")
        self._cut(path, "kernel", **{f"axis{len(kernel.shape) - 2}": labels})
        return self.new(layer.output.shape[-1], fixed=True)

    def _normalize(self, layer, inputs, path):
        labels, shape = inputs[0]
        if len(inputs) > 1 or layer.axis not in (-1, len(shape) - 1):
            return None
        for weight in layer.weights:
            self._cut(path, weight.name, axis0=labels)
        return labels

    def _merge(self, layer, inputs, path):
        """Channel by channel with one another."""
        first, *others = [labels for labels, _ in inputs]
        if any(len(labels) != len(first) for labels in others):
            return None
        for labels in others:
            self._join(first, labels)
        return first

    def _concatenate(self, layer, inputs, path):
        if layer.axis not in (-1, len(inputs[0][1]) - 1):
            return self._merge(layer, inputs, path)
        return np.concatenate([labels for labels, _ in inputs])

    def _pass(self, layer, inputs, path):
        return inputs[0][0] if len(inputs) == 1 else None

    def _pad(self, layer, inputs, path):
        """As channels first, the last axis is one that it pads: with channels of zeros."""
        if layer.data_format != "channels_first":
            return self._pass(layer, inputs, path)
        before, after = map(self.new, layer.padding[-1])

        def edit(config, keep):
            return {**config, "padding": (*config["padding"][:-1], (int(keep[before].sum()), int(keep[after].sum())))}

        self._edits[path] = edit
        return np.concatenate([before, inputs[0][0], after])

    def _reshape(self, layer, inputs, path):
        """Rows of labels that repeat along all axes but the last; others can lose nothing."""
        labels, shape = inputs[0]
        if None in shape[1:]:
            return None
        rows = np.broadcast_to(labels, shape[1:]).reshape(-1, layer.output.shape[-1])
        if (rows != rows[0]).any():
            return None
        out = rows[0]

        def edit(config, keep):
            *before, last = config["target_shape"]
            return {**config, "target_shape": (*before, last if last == -1 else int(keep[out].sum()))}

        if isinstance(layer, layers.Reshape):
            self._edits[path] = edit
        return out

    def _join(self, some, others):
        for one, other in zip(some.tolist(), others.tolist(), strict=True):
            self._parents[self._root(one)] = self._root(other)

    def _root(self, label):
        while self._parents[label] != label:
            self._parents[label] = label = self._parents[self._parents[label]]
        return label

    def channels(self):
        """What has been found."""
        roots = np.array([self._root(label) for label in range(len(self._parents))])
        fixed = {roots[label] for label in self._fixed}
        axes = {place: {axis: roots[labels] for axis, labels in cuts.items()} for place, cuts in self._axes.items()}
        places: dict[int, Counter] = defaultdict(Counter)
        for (path, weight), cuts in axes.items():
            for axis, found in cuts.items():
                for root in found.tolist():
                    places[root][path, weight, axis] += 1
        alike = defaultdict(list)
        for root, found in places.items():
            if root not in fixed:
                alike[frozenset(found.items())].append(root)
        groups = tuple(Group(np.array(same), dict(places[same[0]])) for same in alike.values())
        return Channels(roots, groups, axes, {path: roots[labels] for path, labels in self._outputs.items()}, self._edits)


_RULES = (  # kinds of layers, and how labels come through them; None where they do not
    ((*CONVOLUTIONS, layers.Dense), _Tracer._convolve),
    (DEPTHWISE, _Tracer._convolve_depthwise),
    (RECURRENT, _Tracer._recur),
    ((layers.BatchNormalization,), _Tracer._normalize),
    (MERGING, _Tracer._merge),
    ((layers.Concatenate,), _Tracer._concatenate),
    ((layers.ZeroPadding3D,), _Tracer._pad),
    ((layers.Flatten, layers.Reshape), _Tracer._reshape),
    ((*CHANNEL_BY_CHANNEL, *SPATIAL, FoldTime, UnfoldTime), _Tracer._pass),
)
