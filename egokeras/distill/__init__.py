"""Training methods: one file per paper, and the `Distiller` that trains a student by any of them."""

from egokeras.distill.base import Distiller
from egokeras.distill.label_priors import GloVe, LabelSmoothing, Mixture, Temporal, Uniform, VerbNoun
from egokeras.distill.progressive import ProgressiveDistillation, SupervisedExits
from egokeras.distill.self_distillation import SelfDistillation
from egokeras.distill.skd_srl import SKDSRL
from egokeras.distill.soft_targets import SoftTargets
from egokeras.distill.supervised import Supervised

__all__ = [
    "SKDSRL",
    "Distiller",
    "GloVe",
    "LabelSmoothing",
    "Mixture",
    "ProgressiveDistillation",
    "SelfDistillation",
    "SoftTargets",
    "Supervised",
    "SupervisedExits",
    "Temporal",
    "Uniform",
    "VerbNoun",
]
