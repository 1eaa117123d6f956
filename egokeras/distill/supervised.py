"""Plain supervised training: the sum over label spaces of the cross-entropy (the egocentric report, section 2.3.2)."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from egokeras.distill.inputs import run
from egokeras.errors import InputError
from egokeras.losses import cross_entropy, mean_over_known


@dataclasses.dataclass(frozen=True, kw_only=True)
class Supervised:
    """L = CE(verb) + CE(noun), or of whatever label spaces the targets have.

    Attributes:
        class_weights: None; `balanced` for n / (classes * n_c), so that each class weighs the same in all;
            or a mapping from label space to one weight per class.
    """

    class_weights: str | Mapping[str, tuple[float, ...]] | None = None

    def bind(self, training):
        """This method with `balanced` weights worked out from the labels of a `TrainingSet`."""
        if self.class_weights is None or isinstance(self.class_weights, Mapping):
            return self
        if self.class_weights != "balanced":
            raise InputError(f"method.class_weights {self.class_weights!r} is not known; use 'balanced', None or weights by label space.")
        weights = {space: balanced_weights(labels, len(training.classes[space])) for space, labels in training.labels.items()}
        return dataclasses.replace(self, class_weights=weights)

    def networks(self, student):
        return {}

    def terms(self, student, nets, inputs, targets, training):
        outputs = run(student, inputs, training)
        weights = self.class_weights if isinstance(self.class_weights, Mapping) else {}
        return outputs, {
            f"ce_{space}": mean_over_known(cross_entropy(labels, outputs[space], weights.get(space)), labels)
            for space, labels in targets.items()
        }


def balanced_weights(labels, classes):
    """n / (classes present * n_c) for each class; a class that does not occur gets 0."""
    counts = np.bincount(labels[labels >= 0], minlength=classes)
    present = np.count_nonzero(counts)
    return tuple(float(counts.sum() / (present * count)) if count else 0.0 for count in counts)
