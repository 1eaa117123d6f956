"""An LSTM or ConvLSTM in two parts: what it makes of each frame alone, and what of them over time.

A window of the first part's results is all that a stream has to keep of its frames, and only the newest one's has to be computed.
"""

import keras
from keras import layers, ops


def gates_of(recurrent):
    """The first part: a layer from frames `(batch, ..., channels)` to what they add to the gates, `(batch, ..., 4 * units)`.

    Args:
        recurrent: a built `keras.layers.LSTM`, or a `ConvLSTM2D` with channels last.
    """
    weights = [weight for weight in recurrent.cell.weights if weight.name != "recurrent_kernel"]
    common = {"use_bias": recurrent.use_bias, "name": f"{recurrent.name}_gates"}
    count = weights[0].shape[-1]
    if isinstance(recurrent, layers.LSTM):
        layer = layers.Dense(count, **common)
    else:
        where = {name: getattr(recurrent, name) for name in ("strides", "padding", "dilation_rate")}
        layer = layers.Conv2D(count, recurrent.kernel_size, **where, **common)
    layer.build((None, *recurrent.input.shape[2:]))
    layer.set_weights([ops.convert_to_numpy(weight) for weight in weights])
    return layer


def recurrence_of(recurrent):
    """The second part, a `GatedRecurrence` with a copy of the weights; arguments as of `gates_of`."""
    kernel, activations = recurrent.cell.recurrent_kernel, (recurrent.activation, recurrent.recurrent_activation)
    layer = GatedRecurrence(kernel.shape[-2], kernel.shape[:-2], *activations, name=f"{recurrent.name}_over_gates")
    layer.build((None, None, 4 * kernel.shape[-2]))
    layer.set_weights([ops.convert_to_numpy(kernel)])
    return layer


def lstm_step(gates, c, activation=ops.tanh, recurrent_activation=ops.sigmoid):
    """h_t and c_t from the four gates' inputs `(..., 4 * units)` in Keras' order, i, f, g, o, and from c_(t-1)."""
    i, f, g, o = ops.split(gates, 4, axis=-1)
    c = recurrent_activation(f) * c + recurrent_activation(i) * activation(g)
    return recurrent_activation(o) * activation(c), c


@keras.saving.register_keras_serializable(package="egokeras")
class GatedRecurrence(layers.Layer):
    """LSTM or ConvLSTM over `(batch, time, ..., 4 * units)`, what the inputs add to the gates i, f, g, o; gives the last output.

    h_t = o tanh(c_t), c_t = f c_(t-1) + i tanh(g), where the gates are sums of what is given and of h_(t-1) times the recurrent kernel.

    Args:
        units: of the output, in its last axis.
        kernel_size: of the convolution of h; () is a product.
        activation: tanh above.
        recurrent_activation: of i, f and o.
    """

    def __init__(self, units, kernel_size=(), activation="tanh", recurrent_activation="sigmoid", **kwargs):
        super().__init__(**kwargs)
        self.units, self.kernel_size = units, tuple(kernel_size)
        self.activation, self.recurrent_activation = map(keras.activations.get, (activation, recurrent_activation))

    def build(self, shape):
        self.recurrent_kernel = self.add_weight((*self.kernel_size, self.units, 4 * self.units), name="recurrent_kernel")

    def call(self, gates):
        first, *others = ops.unstack(gates, axis=1)
        h, c = self._step(first, 0.0)
        for fed in others:
            h, c = self._step(fed + self._recur(h), c)
        return h

    def _recur(self, h):
        return ops.conv(h, self.recurrent_kernel, padding="same") if self.kernel_size else ops.matmul(h, self.recurrent_kernel)

    def _step(self, gates, c):
        return lstm_step(gates, c, self.activation, self.recurrent_activation)

    def compute_output_shape(self, shape):
        return (shape[0], *shape[2:-1], self.units)

    def get_config(self):
        activations = {name: keras.activations.serialize(getattr(self, name)) for name in ("activation", "recurrent_activation")}
        return {**super().get_config(), "units": self.units, "kernel_size": self.kernel_size, **activations}
