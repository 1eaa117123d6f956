"""The two halves of a recogniser of clips, and the step functions of a stream: what a frame shows, and what the last frames show.

A stream recomputes nothing of frames that it has seen. Its memory is the window of what the last frames showed, so that every answer is
that of the clip of these frames; or it is the state of the head's recurrent layer, which costs one step of it and not all, and which
goes on beyond the length of the training clips.
"""

import keras
from keras import layers

from egokeras.errors import InputError
from egokeras.layers import FoldTime, UnfoldTime
from egokeras.layers.gated_recurrence import gates_of, recurrence_of

WINDOW = "window"
EMBEDDING = "embedding"
CELLS = (keras.layers.LSTM, keras.layers.ConvLSTM2D)


def halves(model):
    """The per-clip halves of a trained model that holds nested models `backbone` and `head`.

    Returns:
        Models from its inputs to `{"features": ...}`, and from `{"features": ...}` to its logits and `embedding`.

    Raises:
        InputError: the model has no such halves.
    """
    backbone, head = _nested(model)
    return keras.Model(backbone.input, {"features": backbone.output}), embedded(head)


def embedded(model):
    """A model that has the vector which its classifiers see, its output `features`, as `embedding`."""
    answers = {EMBEDDING if name == "features" else name: tensor for name, tensor in model.output.items()}
    return keras.Model(model.input, answers)


def features_step(model):
    """What one frame shows.

    Args:
        model: trained, as `egokeras.models.FrameModel` builds it.

    Returns:
        Model `rgb` `(batch, height, width, 3)` uint8 -> `features` `(batch, 1, channels)`, or maps.

    Raises:
        InputError: the model has no backbone that computes frame by frame.
    """
    backbone = _per_frame(model)
    return _one_frame(keras.Model(backbone.input, {"features": backbone.output}))


def frame_network(model):
    """What one frame shows, of pictures: `features_step` without the axis of time.

    Args:
        model: as for `features_step`.

    Returns:
        Model from pictures `(batch, height, width, 3)` to features `(batch, channels)`, or maps.

    Raises:
        InputError: the model has no backbone that computes frame by frame.
    """
    backbone = _per_frame(model)
    return keras.Model(backbone.get_layer("fold_time").output, backbone.layers[-1].input)


def exit_steps(model, exits):
    """What one frame shows to each exit of a network, and what each exit sees in the last frames.

    Args:
        model: trained, with exits behind the frames of one backbone, as `egokeras.models.WithExits` builds it; its clips have T frames.
        exits: names of the outputs of each exit.

    Returns:
        Model `rgb` `(batch, height, width, 3)` uint8 -> `features_1` `(batch, 1, channels)` and so on, or maps; and for each exit the model
        from its own of these, `(batch, T, channels)`, to its outputs.

    Raises:
        InputError: not all exits have features of their own, frame by frame.
    """
    unfoldings = exit_unfoldings(model, exits)
    names = {layer.name: f"features_{number}" for number, layer in enumerate((each for group in unfoldings for each in group), 1)}
    features = {names[each.name]: each.output for group in unfoldings for each in group}
    return _one_frame(keras.Model(model.input, features)), [
        _over_time({names[each.name]: each.output for each in group}, {name: model.output[name] for name in outputs})
        for group, outputs in zip(unfoldings, exits, strict=True)
    ]


def exit_unfoldings(model, exits):
    """The `UnfoldTime` layers of each exit, behind which it sees the frames in their order; arguments and errors as of `exit_steps`."""
    folding = [number for number, layer in enumerate(model.layers) if isinstance(layer, FoldTime)]
    if set(model.input) != {"rgb"} or folding != [1]:  # right behind the input
        raise InputError("the model does not compute one frame of RGB after another; only such a model has a stream.")
    found = [_layers_before([model.output[name] for name in outputs], model, UnfoldTime) for outputs in exits]
    known: set = set()
    for number, group in enumerate(found, 1):
        if not group or known & set(group):
            raise InputError(f"exit {number} sits on what the model computes over time; only exits that sit on frames have a stream.")
        known |= set(group)
    return found


def _layers_before(tensors, model, kind):
    return [layer for layer in keras.Model(model.input, tensors).layers if isinstance(layer, kind)]


def _over_time(features, outputs):
    """Model from tensors inside another, by name, to outputs of that."""
    inputs = {name: keras.Input(tensor.shape[1:], name=name) for name, tensor in features.items()}
    return keras.Model(inputs, keras.Model(list(features.values()), outputs)(list(inputs.values())))


def _one_frame(network):
    """Copy of a network that folds the frames of a clip into the batch, from a frame `rgb` `(batch, height, width, 3)` uint8."""

    def clone(operation):
        if isinstance(operation, FoldTime):
            return layers.Identity(name=operation.name)
        changed = {"time": 1} if isinstance(operation, UnfoldTime) else {}
        return type(operation).from_config({**operation.get_config(), **changed})

    frame = keras.Input(network.input["rgb"].shape[2:], dtype="uint8", name="rgb")
    single = keras.models.clone_model(network, input_tensors={"rgb": frame}, clone_function=clone)
    single.set_weights(network.get_weights())
    return single


def window_step(model):
    """What the last frames show, of a memory of what each of them showed.

    Args:
        model: as for `features_step`; its clips have T frames.

    Returns:
        Model from `features` `(batch, 1, channels)` and the state to logits by head, `embedding` and the new state: `window`
        `(batch, T - 1, ...)`, the oldest first, of features, or of what the LSTM or ConvLSTM that reads them has made of them for its
        gates; it begins with zeros, and from frame T on the logits are those of the last T frames.
    """
    _, head = _nested(model)
    (given,) = head.input.values()
    if given.shape[1] == 1:
        raise InputError("the model's clips have one frame; such a model needs no memory: export it as a clip.")
    head = embedded(head)
    features = keras.Input((1, *given.shape[2:]), name="features")
    each, over_time = _parts(head, given)
    seen = each(features)
    window = keras.Input((given.shape[1] - 1, *seen.shape[2:]), name=WINDOW)
    known = layers.Concatenate(axis=1, name="last_frames")([window, seen])
    return keras.Model({"features": features, WINDOW: window}, {**over_time(known), WINDOW: known[:, 1:]})


def _parts(head, features):
    """What a head computes of each frame alone, and of the window of that: functions of tensors, the second to the head's outputs."""
    recurrent = _reader(head, features)
    if recurrent is None:
        return (lambda frame: frame), lambda window: head({"features": window})
    gates, recurrence = gates_of(recurrent), recurrence_of(recurrent)
    behind = keras.Model(recurrent.output, head.output)
    return (lambda frame: UnfoldTime(1)(gates(FoldTime()(frame)))), lambda window: behind(recurrence(window))


def _reader(head, features):
    """The LSTM or ConvLSTM that alone reads the features and gives its last output; None if something else reads them."""
    readers = [layer for layer in head.layers[1:] if any(tensor is features for tensor in keras.tree.flatten(layer.input))]
    if len(readers) != 1 or not isinstance(readers[0], CELLS):
        return None
    (layer,) = readers
    odd = layer.return_sequences or layer.return_state or layer.go_backwards or layer.stateful
    return None if odd or getattr(layer, "data_format", None) == "channels_first" else layer


def carried_step(model):
    """What a stream shows, of the state of the head's LSTM or ConvLSTM.

    Args:
        model: as for `features_step`, with an `LSTMHead` or a `ConvLSTMHead`.

    Returns:
        Model from `features` `(batch, 1, channels)` and the state to logits by head, `embedding` and the new state: `h` and `c` of the
        recurrent layer, which begin with zeros; after T frames the logits are those of their clip.

    Raises:
        InputError: the head has no recurrent layer.
    """
    _, head = _nested(model)
    recurrent = [layer for layer in head.layers if isinstance(layer, CELLS)]
    if len(recurrent) != 1:
        raise InputError("the model's head has no recurrent layer whose state could be carried; export it with memory='window'.")
    (layer,) = recurrent
    features = keras.Input((1, *layer.input.shape[2:]), name="features")
    sizes = layer.output.shape[1:]
    state = {name: keras.Input(sizes, name=name) for name in "hc"}
    config = {**layer.get_config(), "return_state": True, "name": f"{layer.name}_step"}
    step = type(layer).from_config(config)
    output, h, c = step(features, initial_state=[state["h"], state["c"]])
    step.set_weights(layer.get_weights())
    behind = keras.Model(layer.output, embedded(head).output)
    return keras.Model({"features": features, **state}, {**behind(output), "h": h, "c": c})


def _per_frame(model):
    """The nested model `backbone` that folds frames into the batch."""
    backbone, _ = _nested(model)
    if type(backbone.layers[-1]).__name__ != "UnfoldTime" or set(backbone.input) != {"rgb"}:
        raise InputError("the model's backbone does not compute one frame of RGB after another; only such a model has a stream.")
    return backbone


def _nested(model):
    """The nested models `backbone` and `head`."""
    nested = {layer.name: layer for layer in model.layers if isinstance(layer, keras.Model)}
    if not {"backbone", "head"} <= set(nested):
        raise InputError(f"the model {model.name!r} has no nested models `backbone` and `head`, which an export in two halves needs.")
    return nested["backbone"], nested["head"]
