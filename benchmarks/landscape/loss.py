"""The loss of a trained network on fixed clips, as a function of its weights, and products with its Hessian."""

import numpy as np
import tensorflow as tf

from egokeras.distill import Supervised


class Loss:
    """L(theta): the mean cross-entropy of the labels, summed over label spaces, on the same clips every time, BatchNorm inferring.

    Attributes:
        weights: theta: all variables on the way to the network's own answer but the running statistics of BatchNorm; frozen ones too.
        size: numbers in theta.

    Args:
        model: a `keras.Model` with named inputs and a dict of outputs; internal classifiers take no part.
        batches: list of (inputs, targets), as of `egokeras.data.load`; every clip has its labels.
    """

    def __init__(self, model, batches):
        import keras

        spaces = list(batches[0][1])
        self.model = keras.Model(model.input, {space: model.output[space] for space in spaces})
        for layer in self.model.layers:
            layer.trainable = True
        self.weights = [weight.value for weight in self.model.trainable_variables]
        self.size = sum(int(np.prod(weight.shape)) for weight in self.weights)
        clips = [len(targets[spaces[0]]) for _, targets in batches]
        self._batches = [
            (*({name: tf.convert_to_tensor(values) for name, values in part.items()} for part in batch), count / sum(clips))
            for batch, count in zip(batches, clips, strict=True)
        ]
        self._of_batch, self._product_of_batch = tf.function(self._loss), tf.function(self._product)

    def value(self):
        """L(theta)."""
        return float(sum(share * float(self._of_batch(inputs, targets)) for inputs, targets, share in self._batches))

    def product(self, vector):
        """H v, the Hessian of L at theta times a vector: (size,) float64."""
        places = np.cumsum([int(np.prod(weight.shape)) for weight in self.weights])[:-1]
        flat = np.split(np.asarray(vector, np.float32).ravel(), places)
        parts = [tf.reshape(part, weight.shape) for part, weight in zip(flat, self.weights, strict=True)]
        found = np.zeros(self.size)
        for inputs, targets, share in self._batches:
            products = self._product_of_batch(inputs, targets, parts)
            found += share * np.concatenate([values.numpy().ravel() for values in products])
        return found

    def _loss(self, inputs, targets):
        _, terms = Supervised().terms(self.model, {}, inputs, targets, training=False)
        return sum(terms.values())

    def _product(self, inputs, targets, vector):
        """The gradient of (gradient of L) . v."""
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                loss = self._loss(inputs, targets)
            gradients = inner.gradient(loss, self.weights)
            along = sum(tf.reduce_sum(gradient * part) for gradient, part in zip(gradients, vector, strict=True))
        return outer.gradient(along, self.weights, unconnected_gradients="zero")
