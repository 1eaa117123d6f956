"""Self-distillation from one's own best: the teacher is the student as it was when it scored highest on held-out clips.

Vu et al., "Teaching Yourself: A Self-Knowledge Distillation Approach to Action Recognition" (IEEE Access 2021),
https://ieeexplore.ieee.org/document/9495804.
"""

import dataclasses

import keras
import numpy as np

from egokeras.distill.soft_targets import check_weights, distilled
from egokeras.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class SelfDistillation:
    """L = sum over heads of CE(y, s) + alpha KL(softmax(t / tau) || softmax(s / tau)), t the logits of the best copy so far.

    Best is the highest mean over heads of the top-1 accuracy on held-out clips after an epoch. Until the first has ended the teacher is the
    student as it began.

    Attributes:
        alpha: weight of the teacher.
        temperature: tau.
        tau_squared: multiply the teacher's term by tau^2.
    """

    alpha: float = 0.1
    temperature: float = 10.0
    tau_squared: bool = False

    def __post_init__(self):
        check_weights(self, "alpha")

    def bind(self, training):
        """This method.

        Raises:
            InputError: no clips are held out.
        """
        if not training.held_out:
            raise InputError("method: SelfDistillation judges its teacher by held-out clips, and there are none; set data.hold_out=0.2.")
        return self

    def networks(self, student):
        return {"teacher": Best(student)}

    def terms(self, student, nets, inputs, targets, training):
        return distilled(self, student, nets["teacher"].net, inputs, targets, training)

    def on_epoch_end(self, student, nets, epoch, logs):
        """Let the teacher be the student of now where it scored higher than ever."""
        nets["teacher"].update(
            student, np.mean([value for name, value in logs.items() if name.startswith("val_") and name.endswith("_top1")])
        )


class Best(keras.Model):
    """A copy of a student, and the score that it had."""

    def __init__(self, student):
        super().__init__(dtype=student.dtype_policy)
        self.net = keras.models.clone_model(student)
        self.net.set_weights(student.get_weights())
        self.score = self.add_weight(shape=(), initializer=keras.initializers.Constant(-np.inf), trainable=False, name="score")
        self.trainable = False
        self.built = True

    def update(self, student, score):
        """Take over a student's weights if its score is higher."""
        if score > float(keras.ops.convert_to_numpy(self.score)):
            self.net.set_weights(student.get_weights())
            self.score.assign(score)
