"""RU-LSTM with label smoothing: each branch learns by sequence completion, then to anticipate; then all with modality attention.

Furnari and Farinella (ICCV 2019), https://arxiv.org/abs/1905.09035; label smoothing https://arxiv.org/abs/2004.07711, whose alpha is not
published. Every stage is 100 epochs of SGD of which the best by top-5 is kept (mean over the eight times; the paper's code looks at 1 s),
and the next begins with its weights. For EPIC-KITCHENS-55 and -100; EGTEA Gaze+ has no objects.

    egokeras train anticipation_rulstm data.shards=sets/rgb,sets/flow,sets/objects
    egokeras train anticipation_rulstm modalities=rgb_features,flow_features data.shards=sets/rgb,sets/flow
    egokeras train anticipation_rulstm modalities=rgb_features data.shards=sets/rgb method.prior=VerbNoun

Published on EPIC-KITCHENS-55, top-5 actions at 1 s: one-hot 35.32, GloVe + verb-noun 35.90; RGB alone 30.83, flow 21.42, objects 29.89.
"""

from egokeras.distill import LabelSmoothing, Uniform
from egokeras.models import RULSTM
from egokeras.optim import Optim
from egokeras.recipe import Data, Recipe

NAME = "anticipation_rulstm"
PUBLISHED = {  # with one-hot labels
    ("rgb_features",): 30.83,
    ("flow_features",): 21.42,
    ("objects",): 29.89,
    ("rgb_features", "flow_features", "objects"): 35.32,
}


def stages(modalities: tuple[str, ...] = ("rgb_features", "flow_features", "objects")):
    """Two stages per modality, `MODALITY_completion` and `MODALITY`, and the fusion if there are several."""
    if len(modalities) == 1:
        return (_stage("completion", modalities, completion=True), _stage(NAME, modalities, start_from=("completion",)))
    branches = []
    for modality in modalities:
        first = f"{modality}_completion"
        branches += [_stage(first, (modality,), completion=True), _stage(modality, (modality,), start_from=(first,))]
    return (*branches, _stage(NAME, modalities, start_from=modalities))


def _stage(name, modalities, completion=False, start_from=()):
    return Recipe(
        name=name,
        data=Data(heads=("action",)),
        model=RULSTM(modalities=modalities, units=1024, dropout=0.8, completion=completion, fusion="matt"),
        method=LabelSmoothing(prior=Uniform(), alpha=0.3),
        optim=Optim(optimizer="sgd", learning_rate=0.01, momentum=0.9),
        epochs=100,
        batch_size=128,
        early_stopping=100,
        monitor="val_action_top5",
        start_from=start_from,
        paper="furnari2019",
        published={} if completion or modalities not in PUBLISHED else {"action_top5@1s": PUBLISHED[modalities]},
    )
