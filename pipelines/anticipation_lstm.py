"""The LSTM baseline of label smoothing for anticipation: encoder over 6 observations, decoder over 8, one branch per modality.

Camporese et al. (ICPR 2020), https://arxiv.org/abs/2004.07711. Sizes and optimiser are RU-LSTM's, as the paper's text gives none; alpha
is ours, chosen per prior and dataset on held-out training videos. For EPIC-KITCHENS-55, -100 and EGTEA Gaze+ alike; the data says
what there is: sets of features made by `egokeras observe`, several joined with commas.

    egokeras train anticipation_lstm data.shards=sets/rgb
    egokeras train anticipation_lstm data.shards=sets/rgb,sets/flow,sets/objects method.prior=VerbNoun
    egokeras train anticipation_lstm data.shards=sets/rgb method=Supervised          (one-hot labels)

Published on EPIC-KITCHENS-55, top-5 actions at 1 s: one-hot 31.93, uniform 32.41, verb-noun 33.08, GloVe + verb-noun 33.56.
"""

from egokeras.distill import LabelSmoothing, Uniform
from egokeras.models import AnticipationLSTM
from egokeras.optim import Optim
from egokeras.recipe import Data, Recipe


def stages():
    return (
        Recipe(
            name="anticipation_lstm",
            data=Data(heads=("action",)),
            model=AnticipationLSTM(units=1024, dropout=0.8),
            method=LabelSmoothing(prior=Uniform(), alpha=0.3),
            optim=Optim(optimizer="sgd", learning_rate=0.01, momentum=0.9),
            epochs=100,
            batch_size=128,
            early_stopping=100,
            monitor="val_action_top5",
            paper="camporese2020",
            published={"action_top5@1s": 32.41},  # uniform, all three modalities
        ),
    )
