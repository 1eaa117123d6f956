"""The ConvLSTM whose 446,909 weights stand in the egocentric report's Table 1: an older design than its text describes.

MobileNetV2 up to block_12_add (16x16 maps of 96 channels), ConvLSTM of 64 filters 3x3, average, Dense(1000), 13 verb categories.
The weights' shapes fix those numbers; stride, padding, pooling and activations cannot be recovered and are our choice.

    egokeras train report_convlstm_table1 data.shards=SHARDS data.videos=EPIC_train_action_labels.csv data.hold_out=0.2

Published: 12.00 / 35.95 / 58.30 % (top-1/3/5), below the 23.07 / 61.86 / 81.63 % of a constant guess.
"""

from egokeras.models import Backbone, ConvLSTMHead, FrameModel
from egokeras.optim import Optim, StepDecay
from egokeras.recipe import Data, Recipe


def stages():
    return (
        Recipe(
            name="report_convlstm_table1",
            data=Data(heads=("verb_category",), classes={"verb": 97, "noun": 300, "verb_category": 13, "noun_category": 21}),
            model=FrameModel(backbone=Backbone(cut="block_12_add"), head=ConvLSTMHead.table1(), frames=20, size=256),
            optim=Optim(learning_rate=1e-3, schedule=StepDecay(factor=0.2, first=35, every=20)),
            epochs=100,
            batch_size=16,
            paper="egocentric_report",
            published={"verb_category_top1": 12.00, "verb_category_top3": 35.95, "verb_category_top5": 58.30},
        ),
    )
