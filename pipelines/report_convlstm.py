"""The egocentric report's ConvLSTM as its text has it: 8 filters of 4x4 with stride 4 on MobileNetV2's maps.

Report, sections 2.3-2.4; 659,621 weights in the head for 13 verb categories. Its Table 1 as overrides:

    egokeras train report_convlstm data.shards=SHARDS data.heads=verb_category data.videos=EPIC_train_action_labels.csv data.hold_out=0.2

Published there: 12.00 / 35.95 / 58.30 % (top-1/3/5), below the 23.07 / 61.86 / 81.63 % of a constant guess.
"""

from egokeras.models import Backbone, ConvLSTMHead, FrameModel
from egokeras.optim import Optim, StepDecay
from egokeras.recipe import Data, Recipe


def stages():
    return (
        Recipe(
            name="report_convlstm",
            data=Data(heads=("verb", "noun"), classes={"verb": 97, "noun": 300, "verb_category": 13, "noun_category": 21}),
            model=FrameModel(backbone=Backbone(), head=ConvLSTMHead(), frames=20, size=256),
            optim=Optim(learning_rate=1e-3, schedule=StepDecay(factor=0.2, first=35, every=20)),
            epochs=100,
            batch_size=16,
            paper="egocentric_report",
            published={"verb_category_top1": 12.00, "verb_category_top3": 35.95, "verb_category_top5": 58.30},
        ),
    )
