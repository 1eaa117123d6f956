"""The step function of an anticipation model: one observation and the state in, the predictions from now on and the new state out.

A trained model reads windows of 14 observations from a zero state and predicts for anticipation time t after n = 15 - t / 0.25 of them.
On a stream, the state therefore holds 14 rolling states of each branch, state k being that after the last k + 1 observations. A tick
shifts them, puts a zero state in front and updates all with the new observation; the last 8 give the predictions, the very ones that the
trained model gives for the 8 windows in which this observation is number 7 to 14.

The product of an observation and a kernel is computed once for all states, so that a tick costs far less than a window.
"""

import keras
from keras import layers, ops

from egokeras.errors import InputError
from egokeras.models.anticipation import LABELS, PREDICTIONS
from egokeras.protocol import OBSERVATIONS, STEP

FIRST = OBSERVATIONS - PREDICTIONS
PAST = f"{LABELS}_past"
TICK = round(100 * STEP)  # hundredths of a second
OLDEST = 32767  # hundredths of a second at which ages stop in the training data


def step_model(model):
    """The step function of a trained anticipation model, with its weights.

    Args:
        model: trained, as `egokeras.models.anticipation` or `egokeras.models.past_actions` builds it.

    Returns:
        `keras.Model` from an observation and the state to logits and the new state, which has the names and shapes of the old; a
        stream begins with zeros. Inputs: each modality of features by its name, `(batch, F)` float32; `labels` `(batch, past, 3)`
        int32, the actions that became known since the last tick, oldest first, then zeros: verb id + 1, noun id + 1, hundredths of a
        second since. State: `M_h` and `M_c` `(batch, 14, units)` float32 of each recurrent branch M; `labels_past` `(batch, past, 3)`
        int32, the known actions with their ages, right-aligned. Logits: `{space: (batch, 8, K)}` for 2, 1.75 ... 0.25 s from now.

    Raises:
        InputError: the model is none of these, or reads observations that are still to come.
    """
    names = {layer.name for layer in model.layers}
    _check(model, names)
    inputs = {modality: _input(modality, tensor) for modality, tensor in model.input.items()}
    state, new, branches = {}, {}, []
    if LABELS in inputs:
        state[PAST] = keras.Input(inputs[LABELS].shape[1:], dtype="int32", name=PAST)
        new[PAST] = _remember(state[PAST], inputs[LABELS])
    if not _recurrent(names, LABELS) and set(inputs) == {LABELS}:
        return keras.Model({**inputs, **state}, {**_from_list(model, new[PAST]), **new})
    for modality, tensor in inputs.items():
        x = _seen(model, new[PAST]) if modality == LABELS else layers.Reshape((1, -1), name=f"{modality}_now")(tensor)
        units = model.get_layer(_recurrent(names, modality)).units
        old = {f"{modality}_{part}": keras.Input((OBSERVATIONS, units), name=f"{modality}_{part}") for part in "hc"}
        hidden, cell = _roll(model, names, modality, x, *old.values())
        state |= old
        new |= dict(zip(old, (hidden, cell), strict=True))
        branches.append(_predict(model, names, modality, x, hidden, cell))
    return keras.Model({**inputs, **state}, {**_fused(model, names, branches), **new})


def _check(model, names):
    alone = set(model.input) == {LABELS}
    for modality, tensor in model.input.items():
        if len(tensor.shape) != 3 or not (_recurrent(names, modality) or alone):
            raise InputError(f"the model has no recurrent branch over {modality!r}; only a model that anticipates has a step function.")
        unrolling = f"{modality}_unrolling"
        if unrolling in names and model.get_layer(unrolling).completion:
            raise InputError(f"{unrolling} reads the observations to come (completion=True); train the stage after, with completion=False.")


def _recurrent(names, modality):
    """Name of the branch's first recurrent layer; None if it has none."""
    for first, second in (("rolling", "unrolling"), ("encoder", "decoder")):
        if {f"{modality}_{first}", f"{modality}_{second}"} <= names:
            return f"{modality}_{first}"
    return None


def _input(modality, tensor):
    if modality == LABELS:
        return keras.Input(tensor.shape[1:], dtype="int32", name=modality)
    return keras.Input(tensor.shape[2:], name=modality)


class _Cell:
    """One step of a trained LSTM (gates i, f, c, o) for several states that see the same observation."""

    def __init__(self, lstm):
        kernel, recurrent, bias = lstm.get_weights()
        self.project = _dense(f"{lstm.name}_kernel", kernel, bias)
        self.recurrent = _dense(f"{lstm.name}_recurrent", recurrent)

    def __call__(self, projected, h, c):
        """New `h` and `c`, (batch, states, units); `projected` is `project` of the observation, (batch, 1, 4 * units)."""
        i, f, g, o = ops.split(projected + self.recurrent(h), 4, axis=-1)
        c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
        return ops.sigmoid(o) * ops.tanh(c), c


def _dense(name, kernel, *bias):
    dense = layers.Dense(kernel.shape[1], use_bias=bool(bias), name=name)
    dense.build((None, None, kernel.shape[0]))
    dense.set_weights([kernel, *bias])
    return dense


def _shifted(states):
    """State k to place k + 1, and zeros to place 0."""
    return layers.ZeroPadding1D((1, 0))(layers.Cropping1D((0, 1))(states))


def _roll(model, names, modality, x, h, c):
    """The branch's states after the observation `x`, (batch, 1, F): twice (batch, 14, units)."""
    h, c = _shifted(h), _shifted(c)
    cell = _Cell(model.get_layer(_recurrent(names, modality)))
    if f"{modality}_encoder" not in names:
        return cell(cell.project(x), h, c)
    decoder = _Cell(model.get_layer(f"{modality}_decoder"))
    encoded = cell(cell.project(x), h[:, :FIRST], c[:, :FIRST])
    decoded = decoder(decoder.project(x), h[:, FIRST:], c[:, FIRST:])
    return [ops.concatenate(parts, axis=1) for parts in zip(encoded, decoded, strict=True)]


def _predict(model, names, modality, x, hidden, cell):
    """The branch's logits by label space, (batch, 8, K), and what the attention sees of it, (batch, 8, 2 * units)."""
    rolled, cell = hidden[:, FIRST:], cell[:, FIRST:]
    unrolling = f"{modality}_unrolling"
    last = _unroll(_Cell(model.get_layer(unrolling)), x, rolled, cell) if unrolling in names else rolled
    context = f"{modality}_context"
    seen = last if context in names and _feeds(model, unrolling, context) else rolled
    return {space: model.get_layer(f"{modality}_{space}")(last) for space in model.output}, ops.concatenate([seen, cell], axis=-1)


def _unroll(unrolling, x, h, c):
    """Last hidden states after 9, 8 ... 2 copies of `x`: every copy but the last lets one more start join."""
    projected = unrolling.project(x)
    going = [h[:, :1], c[:, :1]]
    for start in range(1, PREDICTIONS):
        joins = h[:, start : start + 1], c[:, start : start + 1]
        stepped = unrolling(projected, *going)
        going = [ops.concatenate(parts, axis=1) for parts in zip(stepped, joins, strict=True)]
    return unrolling(projected, *unrolling(projected, *going))[0]


def _feeds(model, source, target):
    """Whether a layer's output goes straight into another layer."""
    config = next(layer for layer in model.get_config()["layers"] if layer["name"] == target)
    tensors = keras.tree.flatten(config["inbound_nodes"])
    return source in tensors


def _fused(model, names, branches):
    """Logits by label space, of all branches."""
    scores, contexts = zip(*branches, strict=True)
    if len(scores) == 1:
        return scores[0]
    weights = []
    if "matt_weights" in names:
        attention = ops.concatenate(contexts, axis=-1)
        for name in ("matt_1", "matt_2", "matt_weights"):
            attention = model.get_layer(name)(attention)
        weights = [attention]
    return {space: model.get_layer(space)([*weights, *(branch[space] for branch in scores)]) for space in model.output}


def _remember(past, news):
    """The known actions a tick later, and those that became known after them."""
    known = _aged(past, TICK)
    for row in range(news.shape[1]):
        action = news[:, row : row + 1]
        known = ops.where(action[:, :, :1] > 0, ops.concatenate([known[:, 1:], action], axis=1), known)
    return known


def _aged(actions, hundredths):
    """Actions (..., 3) at a later time."""
    there, age = actions[..., :1] > 0, actions[..., 2:]
    older = ops.where(there, ops.minimum(age + hundredths, OLDEST), 0)
    return ops.concatenate([actions[..., :2], older], axis=-1)


def _seen(model, known):
    """What the trained model's last observation, a tick before the action to anticipate, shows of the known actions: (batch, 1, F)."""
    return model.get_layer(f"{LABELS}_embedding")(_aged(known, TICK))[:, -1:]


def _from_list(model, known):
    """Logits of a model without rolling state: from the list as each of the 8 starts will see it, the prediction for that start."""
    lists = ops.stack([_aged(known, TICK * number) for number in range(PREDICTIONS, 0, -1)], axis=1)
    lists = ops.cast(ops.reshape(lists, (-1, *known.shape[1:])), model.input[LABELS].dtype)
    seen = keras.Model(model.input, model.get_layer(f"{LABELS}_known").output)({LABELS: lists})
    seen = ops.reshape(seen, (-1, PREDICTIONS, *seen.shape[1:]))
    at_start = ops.stack([seen[:, start, start] for start in range(PREDICTIONS)], axis=1)
    return {space: model.get_layer(f"{LABELS}_{space}")(at_start) for space in model.output}
