"""The recurrent layers of RU-LSTM, https://arxiv.org/abs/1905.09035, section 3: rolling, unrolling and the fusion of branches.

Weights, their order and their gates (i, f, c, o) are those of `keras.layers.LSTM`: a `kernel`, a `recurrent_kernel` and one `bias`.
"""

import keras
import numpy as np
from keras import ops

from egokeras.layers.gated_recurrence import lstm_step


@keras.saving.register_keras_serializable(package="egokeras")
class RollingLSTM(keras.layers.Layer):
    """LSTM that gives its hidden and its cell state after every step: `(batch, steps, F)` -> twice `(batch, steps, units)`.

    `keras.layers.LSTM` keeps the cell state of the last step alone; the unrolling LSTM starts from those of eight. On a CPU this one is
    twice as fast, as the inputs of all steps take one product. Called with states `(batch, units)` too, it begins with them.

    Args:
        units: width of the states.
    """

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.cell = keras.layers.LSTMCell(units, dtype=self.dtype_policy, name="cell")

    def build(self, observations_shape, hidden_shape=None, cell_shape=None):
        self.cell.build((None, observations_shape[-1]))
        self.cell_steps = observations_shape[1]

    def call(self, observations, hidden=None, cell=None):
        recurrent = ops.convert_to_tensor(self.cell.recurrent_kernel)
        projected = _project(observations, self.cell)
        zeros = ops.zeros((ops.shape(observations)[0], self.units), projected.dtype)
        h, c = (zeros if state is None else state for state in (hidden, cell))
        states = []
        for fed in ops.unstack(projected, axis=1):
            h, c = _step(fed, h, c, recurrent)
            states.append((h, c))
        return tuple(ops.stack(part, axis=1) for part in zip(*states, strict=True))

    def compute_output_shape(self, observations_shape, hidden_shape=None, cell_shape=None):
        return ((*observations_shape[:2], self.units),) * 2

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable(package="egokeras")
class UnrollingLSTM(keras.layers.Layer):
    """LSTM from the rolling states after each of the last steps t to the start of the action, all of them in one batch.

    Called with the observations `(batch, steps, F)` and the rolling LSTM's hidden and cell states `(batch, steps, units)`; gives the
    last hidden states `(batch, predictions, units)`. From (h_t, c_t) it is fed x_t `steps - t + 1` times, t counted from 0: one step for
    every 0.25 s to the start of the action, and one for x_t itself. Starts that have come to their end leave the batch.

    Args:
        units: width of the states.
        predictions: from how many of the last steps to unroll.
        completion: feed the true future x_t, x_t+1 ... to the last one, `steps - t` of them (sequence-completion pre-training).
        dropout: rate on what is fed, drawn anew for every copy.
    """

    def __init__(self, units, predictions=8, completion=False, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.units, self.predictions, self.completion = units, predictions, completion
        self.cell = keras.layers.LSTMCell(units, dtype=self.dtype_policy, name="cell")
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="dropout")

    def build(self, observations_shape, hidden_shape, cell_shape):
        self.cell.build((None, observations_shape[-1]))
        self.dropout.build(observations_shape)
        self.cell_steps = sum(end - begin for begin, end in _plan(self.predictions, self.completion))

    def call(self, observations, hidden, cell, training=False):
        first = observations.shape[1] - self.predictions
        recurrent = ops.convert_to_tensor(self.cell.recurrent_kernel)
        h, c, ended = hidden[:, first:], cell[:, first:], []
        for fed in self._fed(observations[:, first:], training):
            going = fed.shape[1]
            ended.append(h[:, going:])
            h, c = _step(fed, h[:, :going], c[:, :going], recurrent)
        return ops.concatenate([h, *reversed(ended)], axis=1)

    def _fed(self, x, training):
        """What each step adds to the gates of the starts that still go on, the earliest start first."""
        steps = _plan(self.predictions, self.completion)
        if not (training and self.dropout.rate):
            projected = _project(x, self.cell)  # every copy is the same
            return [projected[:, begin:end] for begin, end in steps]
        copies = ops.concatenate([x[:, begin:end] for begin, end in steps], axis=1)
        projected = _project(self.dropout(copies, training=True), self.cell)
        return ops.split(projected, np.cumsum([end - begin for begin, end in steps])[:-1].tolist(), axis=1)

    def compute_output_shape(self, observations_shape, hidden_shape, cell_shape):
        return (hidden_shape[0], self.predictions, self.units)

    def get_config(self):
        own = {"units": self.units, "predictions": self.predictions, "completion": self.completion, "dropout": self.dropout.rate}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="egokeras")
class WeightedSum(keras.layers.Layer):
    """The branches' scores, `(batch, times, K)` each, weighted by `(batch, times, branches)`: called with `[weights, *scores]`."""

    def call(self, inputs):
        weights, *scores = inputs
        return sum(weights[..., i : i + 1] * branch for i, branch in enumerate(scores))

    def compute_output_shape(self, shapes):
        return shapes[1]


def _project(x, cell):
    """What the inputs of all steps add to the gates: one product in the place of one per step."""
    return ops.matmul(x, cell.kernel) + cell.bias


def _step(projected, h, c, recurrent):
    return lstm_step(projected + ops.matmul(h, recurrent), c)


def _plan(starts, completion):
    """For each step of unrolling the observations that are fed, from and to, counted from the earliest start."""
    if completion:
        return [(step, starts) for step in range(starts)]
    return [(0, min(starts, starts + 1 - step)) for step in range(starts + 1)]
