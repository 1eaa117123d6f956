"""One training step for every method: the method gives the terms of its loss, the Distiller does the rest.

A method is a frozen dataclass with two functions:

- `networks(student)`: the extra networks it needs, by name (`{}` for none);
- `terms(student, nets, inputs, targets, training)`: the student's outputs, and the terms of its loss by name, in the order of
  the paper; their sum is minimised.

It may also define `on_epoch_end(nets, epoch, logs)`, and `bind(labels, classes)`, which returns the method with what it must know
of the training labels (class weights, priors).
"""

import dataclasses

import keras
import tensorflow as tf

from egokeras.distill.inputs import run
from egokeras.distill.supervised import Supervised
from egokeras.metrics import TopK


@dataclasses.dataclass
class _Trackers:
    """Running means of an epoch; they come into being with the first step, when the names of the terms are known."""

    losses: dict = dataclasses.field(default_factory=dict)
    scores: dict = dataclasses.field(default_factory=dict)

    def __iter__(self):
        return iter([*self.losses.values(), *self.scores.values()])


class Distiller(keras.Model):
    """Trains `student` by `method`; an ordinary Keras model to `compile` and `fit` on `(inputs, targets)` of named tensors.

    Targets are integer labels `(batch,)`, named like the student's outputs; -1 is a clip without that label.

    Args:
        student: a `keras.Model` with named inputs and a dict of outputs.
        method: see the module; by default cross-entropy on the labels.
    """

    def __init__(self, student, method=None, **kwargs):
        super().__init__(dtype=student.dtype_policy, **kwargs)  # Keras scales the loss where the policy is mixed_float16
        self.student = student
        self.method = method or Supervised()
        self.nets = self.method.networks(student)
        self.trackers = _Trackers()
        self.epoch = self.add_weight(shape=(), dtype="int32", initializer="zeros", trainable=False, name="epoch")
        self.built = True

    def call(self, inputs, training=False):
        return run(self.student, inputs, training)

    def compile(self, optimizer="adam", *, top=(1, 5), **kwargs):
        """As `keras.Model.compile`, with the method in the place of a loss.

        Args:
            optimizer: a Keras optimizer or its name.
            top: the k of the top-k accuracies that are kept for every output that has a target.
            **kwargs: `metrics`, `jit_compile` and so on, for Keras.
        """
        self.top = tuple(top)
        super().compile(optimizer=optimizer, **kwargs)

    @property
    def metrics(self):
        return [*super().metrics, *self.trackers]  # ours last: Keras' idle tracker of a loss that it does not compute gives way

    def train_step(self, data):
        """One step of the optimizer on the sum of the method's terms and the student's own penalties."""
        inputs, targets = data
        with tf.GradientTape() as tape:
            outputs, terms = self.method.terms(self.student, self.nets, inputs, targets, training=True)
            loss = sum(terms.values()) + sum(self.student.losses)
            scaled = self.optimizer.scale_loss(loss)
        weights = self.trainable_variables
        self.optimizer.apply(tape.gradient(scaled, weights), weights)
        return self._logs(inputs, targets, outputs, {"loss": loss, **terms})

    def test_step(self, data):
        """The supervised loss and the metrics, whatever the method, so that `val_loss` means the same for all."""
        inputs, targets = data
        outputs, terms = Supervised().terms(self.student, {}, inputs, targets, training=False)
        return self._logs(inputs, targets, outputs, {"loss": sum(terms.values())})

    def _logs(self, inputs, targets, outputs, losses):
        clips = tf.shape(next(iter(targets.values())))[0]
        for name, value in losses.items():
            _made(self.trackers.losses, name, keras.metrics.Mean).update_state(value, sample_weight=clips)
        for space, labels in targets.items():
            for k in (k for k in self.top if k < outputs[space].shape[-1]):
                _made(self.trackers.scores, f"{space}_top{k}", TopK, k=k).update_state(labels, outputs[space])
        results = self.compute_metrics(inputs, targets, {space: outputs[space] for space in targets})
        idle = self.trackers.losses.keys() - losses.keys()  # terms of training, while validating
        return {name: value for name, value in results.items() if name not in idle}


def _made(trackers, name, kind, **settings):
    if name not in trackers:
        with tf.init_scope():  # variables belong to the model, not to the graph of this step
            trackers[name] = kind(name=name, **settings)
    return trackers[name]
