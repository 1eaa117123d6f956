"""Progressive knowledge distillation: internal classifiers learn from the networks of several modalities, one after another.

Soufleri et al., "Advancing Compressed Video Action Recognition through Progressive Knowledge Distillation" (2024),
https://arxiv.org/abs/2407.02713, and its code: soft cross-entropy alone, no labels, no factor T^2. One optimizer over the sum of the exits'
losses does what the code's one per exit do, since no two exits share a weight.
"""

import dataclasses

import keras
import tensorflow as tf

import egokeras
from egokeras.distill.inputs import exits_of, run
from egokeras.distill.soft_targets import model_file
from egokeras.errors import InputError
from egokeras.files import sha256
from egokeras.losses import cross_entropy, mean_over_clips, mean_over_known

OWN = "self"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProgressiveDistillation:
    """L = sum over exits e of - sum_c softmax(t / T)_c log softmax(z_e / T)_c, t the final logits of the teacher of the epoch.

    Attributes:
        teachers: run folders, files or earlier stages, in the order in which they teach; `self` is the student's own last exit. Every one
            reads its own modality of the same clips.
        boundaries: epochs in which the next teacher takes over, one fewer than teachers.
        temperature: T.
    """

    teachers: tuple[str, ...] = ("motion_vector", "residual", "iframe")
    boundaries: tuple[int, ...] = (50, 100)
    temperature: float = 1.0

    def __post_init__(self):
        if (
            not self.teachers
            or len(self.boundaries) != len(self.teachers) - 1
            or list(self.boundaries) != sorted(set(self.boundaries) - {0})
        ):
            found = f"{len(self.teachers)} teachers and boundaries {self.boundaries}"
            raise InputError(f"method: ProgressiveDistillation has {found}; give one rising epoch fewer than teachers.")
        if not 0 < self.temperature < float("inf"):
            raise InputError(f"method.temperature is {self.temperature}; give more than 0.")

    def bind(self, training):
        """This method with the files of its teachers.

        Raises:
            InputError: one is not there.
        """
        return dataclasses.replace(self, teachers=tuple(name if name == OWN else str(training.find(name)) for name in self.teachers))

    @property
    def made_of(self):
        """What a snapshot of the training must agree with: the teachers."""
        return {f"teacher {number}": sha256(model_file(name)) for number, name in enumerate(self.teachers, 1) if name != OWN}

    def networks(self, student):
        nets = {f"teacher_{number}": egokeras.load_model(model_file(name)) for number, name in enumerate(self.teachers) if name != OWN}
        for net in nets.values():
            net.trainable = False
        if not any("_exit_" in name for name in student.output):
            raise InputError("method: ProgressiveDistillation teaches internal classifiers, and this model has none; give it exits.")
        return {**nets, "curriculum": Curriculum()}

    def terms(self, student, nets, inputs, targets, training):
        outputs = run(student, inputs, training)
        soft = self._taught(outputs, nets, inputs, targets)
        terms = {}
        for name, space in exits_of(outputs, targets).items():
            t = tf.nn.softmax(soft[space] / self.temperature)
            losses = -tf.reduce_sum(t * tf.nn.log_softmax(outputs[name] / self.temperature), axis=-1)
            terms[f"kd_{name}"] = mean_over_clips(losses)
        return outputs, terms

    def _taught(self, outputs, nets, inputs, targets):
        """Label space to the logits of the teacher whose turn it is; the others do not run."""

        def answer(number):
            net = nets.get(f"teacher_{number}")
            found = outputs if net is None else run(net, inputs, training=False)
            return {space: tf.stop_gradient(tf.cast(found[space], "float32")) for space in targets}

        turns = [lambda number=number: answer(number) for number in range(len(self.teachers))]
        return tf.switch_case(tf.convert_to_tensor(nets["curriculum"].turn.value), turns) if len(turns) > 1 else turns[0]()

    def on_epoch_end(self, student, nets, epoch, logs):
        """Let the teacher of the next epoch have its turn."""
        nets["curriculum"].turn.assign(sum(epoch + 1 >= boundary for boundary in self.boundaries))


class Curriculum(keras.layers.Layer):
    """Whose turn it is, from 0; a variable, so that a training goes on with it."""

    def __init__(self):
        super().__init__()
        self.turn = self.add_weight(shape=(), dtype="int32", initializer="zeros", trainable=False, name="turn")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SupervisedExits:
    """L = sum over exits of CE(y, z_e): the baseline that learns from the labels.

    Attributes:
        last: whether the network's last exit learns with them.
    """

    last: bool = False

    def networks(self, student):
        return {}

    def terms(self, student, nets, inputs, targets, training):
        outputs = run(student, inputs, training)
        scored = {**({space: space for space in targets} if self.last else {}), **exits_of(outputs, targets)}
        losses = {name: cross_entropy(targets[space], outputs[name]) for name, space in scored.items()}
        return outputs, {f"ce_{name}": mean_over_known(loss, targets[scored[name]]) for name, loss in losses.items()}
