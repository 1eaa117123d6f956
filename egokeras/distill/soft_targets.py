"""Knowledge distillation: the student learns the labels and what a trained teacher says.

Hinton et al., "Distilling the Knowledge in a Neural Network" (2015), https://arxiv.org/abs/1503.02531; the defaults are those of the
self-distillation papers that compare with it (alpha 0.1, temperature 10, no tau^2).
"""

import dataclasses
import pathlib
import typing

import keras

import egokeras
from egokeras.distill.inputs import run
from egokeras.errors import InputError
from egokeras.files import sha256
from egokeras.losses import cross_entropy, kl_divergence, mean_over_clips, mean_over_known


@dataclasses.dataclass(frozen=True, kw_only=True)
class SoftTargets:
    """L = sum over heads of CE(y, s) + alpha KL(softmax(t / tau) || softmax(s / tau)), s and t the logits of student and teacher.

    Attributes:
        teacher: a run folder or a `model.keras`, in a recipe also the name of an earlier stage; or a `keras.Model`.
        alpha: weight of the teacher.
        temperature: tau.
        tau_squared: multiply the teacher's term by tau^2, which keeps its gradient's size whatever the temperature (Hinton, section 2).
    """

    teacher: str | keras.Model = ""
    alpha: float = 0.1
    temperature: float = 10.0
    tau_squared: bool = False
    reads_clips: typing.ClassVar[bool] = True  # also where the student could do with features

    def __post_init__(self):
        check_weights(self, "alpha")

    def bind(self, training):
        """This method with the file of its teacher, looked for beside the run.

        Raises:
            InputError: there is none.
        """
        return self if isinstance(self.teacher, keras.Model) else dataclasses.replace(self, teacher=str(training.find(self.teacher)))

    @property
    def made_of(self):
        """What a snapshot of the training must agree with: the teacher."""
        return {} if isinstance(self.teacher, keras.Model) else {"teacher": sha256(model_file(self.teacher))}

    def networks(self, student):
        teacher = self.teacher if isinstance(self.teacher, keras.Model) else egokeras.load_model(model_file(self.teacher))
        _check_fit(teacher, student)
        teacher.trainable = False
        return {"teacher": teacher}

    def terms(self, student, nets, inputs, targets, training):
        return distilled(self, student, nets["teacher"], inputs, targets, training)


def distilled(method, student, teacher, inputs, targets, training):
    """Outputs and terms of a student that learns labels and a teacher's logits; `method` has alpha, temperature and tau_squared."""
    outputs, soft = run(student, inputs, training), run(teacher, inputs, training=False)
    weight = method.alpha * (method.temperature**2 if method.tau_squared else 1.0)
    terms = {f"ce_{space}": mean_over_known(cross_entropy(labels, outputs[space]), labels) for space, labels in targets.items()}
    for space in targets:
        if space in soft:
            terms[f"kl_{space}"] = weight * mean_over_clips(kl_divergence(soft[space], outputs[space], method.temperature))
    return outputs, terms


def check_weights(method, *names):
    """Refuse weights below 0 and temperatures that are no numbers above 0.

    Raises:
        InputError: names the field.
    """
    for name in names:
        if not 0 <= getattr(method, name) < float("inf"):
            raise InputError(f"method.{name} is {getattr(method, name)}; give a weight from 0.")
    if not 0 < method.temperature < float("inf"):
        raise InputError(f"method.temperature is {method.temperature}; give more than 0.")


def model_file(teacher):
    """The `model.keras` that a folder or a path means.

    Raises:
        InputError: there is none.
    """
    path = pathlib.Path(teacher)
    file = path / "model.keras" if path.is_dir() else path
    if not teacher or not file.is_file():
        raise InputError(f"method.teacher: there is no model {str(teacher)!r}; give a run folder, a model.keras or an earlier stage.")
    return file


def _check_fit(teacher, student):
    for name, given in student.input.items():
        wanted = teacher.input.get(name, given) if isinstance(teacher.input, dict) else given
        if wanted.shape[1:] != given.shape[1:]:
            shapes = f"{name} of {wanted.shape[1:]}, the student {given.shape[1:]}"
            raise InputError(f"method.teacher takes {shapes}; train a teacher on the same clips.")
    common = [space for space in student.output if space in teacher.output and space != "features"]
    for space in common:
        classes = [net.output[space].shape[-1] for net in (teacher, student)]
        if classes[0] != classes[1]:
            raise InputError(f"method.teacher has {classes[0]} classes of {space}, the student {classes[1]}; train it on the same labels.")
    if not common:
        raise InputError(
            f"method.teacher has the heads {', '.join(teacher.output)} and none of the student's: {', '.join(student.output)}."
        )
