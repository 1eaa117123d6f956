"""The egocentric report's LSTM: MobileNetV2 on 20 frames of 256 px, LSTM(50), verbs and nouns of EPIC-KITCHENS-100.

Report, sections 2.3-2.4. Its Table 1 (13 verb categories, a third of the data):

    egokeras train report_lstm data.shards=SHARDS data.heads=verb_category data.videos=EPIC_train_action_labels.csv data.hold_out=0.2

Published there: 7.11 / 21.26 / 31.58 % (top-1/3/5), below the 23.07 / 61.86 / 81.63 % of a constant guess.
"""

from egokeras.models import Backbone, FrameModel, LSTMHead
from egokeras.optim import Optim, StepDecay
from egokeras.recipe import Data, Recipe


def stages():
    return (
        Recipe(
            name="report_lstm",
            data=Data(heads=("verb", "noun"), classes={"verb": 97, "noun": 300, "verb_category": 13, "noun_category": 21}),
            model=FrameModel(backbone=Backbone(), head=LSTMHead(), frames=20, size=256),
            optim=Optim(learning_rate=1e-3, schedule=StepDecay(factor=0.2, first=35, every=20)),
            epochs=100,
            batch_size=16,
            paper="egocentric_report",
            published={"verb_category_top1": 7.11, "verb_category_top3": 21.26, "verb_category_top5": 31.58},
        ),
    )
