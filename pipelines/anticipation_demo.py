"""From pixels to anticipation in the demo's rendered kitchen: RU-LSTM on the demo recogniser's features, labels smoothed by verb and noun.

    egokeras train                                                              (the recogniser, on videos that it renders)
    egokeras features runs/demo runs/demo/world/videos features
    egokeras observe epic100 runs/demo/world sets/features --features features
    egokeras train anticipation_demo data.shards=sets/features

Several sets are joined: data.shards=sets/features,sets/labels. Without the smoothing: method=Supervised.
"""

from egokeras.distill import LabelSmoothing, VerbNoun
from egokeras.models import RULSTM
from egokeras.optim import Optim
from egokeras.recipe import Data, Recipe


def stages():
    return (
        Recipe(
            name="anticipation_demo",
            data=Data(heads=("action",), classes={"action": 50}),
            model=RULSTM(units=96, dropout=0.5),
            method=LabelSmoothing(prior=VerbNoun(), alpha=0.3),
            optim=Optim(learning_rate=1e-3, clip_norm=5.0),
            epochs=40,
            batch_size=32,
        ),
    )
