"""Training methods: one file per paper, and the `Distiller` that trains a student by any of them."""

from egokeras.distill.base import Distiller
from egokeras.distill.label_priors import GloVe, LabelSmoothing, Mixture, Temporal, Uniform, VerbNoun
from egokeras.distill.supervised import Supervised

__all__ = ["Distiller", "GloVe", "LabelSmoothing", "Mixture", "Supervised", "Temporal", "Uniform", "VerbNoun"]
