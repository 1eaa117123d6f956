"""The egocentric report's best system: MobileNetV2 on 20 frames of 256 px and ConvNet1D, verbs and nouns of EPIC-KITCHENS-100.

Report, sections 2.3-2.4; 85,137 weights in the head for 97 verbs and 300 nouns. Its Table 1 as overrides:

    egokeras train report_convnet1d data.shards=SHARDS data.heads=verb_category data.videos=EPIC_train_action_labels.csv data.hold_out=0.2

Published there: 18.17 / 50.56 / 73.69 % (top-1/3/5, 13 verb categories); a constant guess has 23.07 / 61.86 / 81.63 %.
Published in its Table 2 (all of EPIC-100): verbs 18.80 / 43.49 / 55.47 %, nouns 3.82 / 11.08 / 17.76 %; a constant guess has
20.04 / 49.51 / 63.21 % and 3.93 / 11.89 / 18.81 %.
"""

from egokeras.models import Backbone, ConvNet1DHead, FrameModel
from egokeras.optim import Optim, StepDecay
from egokeras.recipe import Data, Recipe


def stages():
    return (
        Recipe(
            name="report_convnet1d",
            data=Data(heads=("verb", "noun"), classes={"verb": 97, "noun": 300, "verb_category": 13, "noun_category": 21}),
            model=FrameModel(backbone=Backbone(), head=ConvNet1DHead(), frames=20, size=256),
            optim=Optim(learning_rate=1e-3, schedule=StepDecay(factor=0.2, first=35, every=20)),
            epochs=100,
            batch_size=16,
            paper="egocentric_report",
            published={
                "verb_top1": 18.80,
                "verb_top3": 43.49,
                "verb_top5": 55.47,
                "noun_top1": 3.82,
                "noun_top3": 11.08,
                "noun_top5": 17.76,
                "verb_category_top1": 18.17,
                "verb_category_top3": 50.56,
                "verb_category_top5": 73.69,
            },
        ),
    )
