"""Anticipation from past actions alone, with label smoothing: what a device that recognises actions knows before the next one.

The model is our own; the smoothing that of Camporese et al. (ICPR 2020), https://arxiv.org/abs/2004.07711. Width, alpha and number of
epochs were chosen on held-out training videos of EPIC-KITCHENS-55 (`benchmarks/label_priors.py`); EGTEA Gaze+ is at its best after 10.
About a minute and a half on one core.

    egokeras observe epic55 rulstm/ek55 EPIC_verb_classes.csv EPIC_noun_classes.csv sets/labels --labels
    egokeras train anticipation_labels data.shards=sets/labels
    egokeras train anticipation_labels data.shards=sets/labels method.alpha=0.7 method.prior=Mixture \\
        method.prior.parts.0.vectors=glove.6B.300d.txt
    egokeras train anticipation_labels data.shards=sets/labels method=Supervised epochs=15          (one-hot labels)
    egokeras train anticipation_labels data.shards=sets/egtea data.train=train1 data.validation=validation1 epochs=10

Top-5 actions at 1 s on EPIC-KITCHENS-55, mean of 5 seeds, from ground-truth past actions: one-hot 37.4, verb-noun 38.9, GloVe + verb-noun
(the prior chosen on held-out training videos) 39.2 %. Published with features of the video: 31.93, 33.08, 33.56 %.
"""

from egokeras.distill import LabelSmoothing, VerbNoun
from egokeras.models.past_actions import PastActionsLSTM
from egokeras.optim import Optim
from egokeras.recipe import Data, Recipe


def stages():
    return (
        Recipe(
            name="anticipation_labels",
            data=Data(heads=("action",)),
            model=PastActionsLSTM(units=128, dropout=0.5),
            method=LabelSmoothing(prior=VerbNoun(), alpha=0.5),
            optim=Optim(learning_rate=2e-3),
            epochs=16,
            batch_size=128,
            paper="camporese2020",
            measured=True,
        ),
    )
