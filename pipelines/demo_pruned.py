"""The demo's student with 80 % of its weights zero: pruned while the unpruned one teaches it.

    egokeras train                                                                   (the demo renders and prepares its clips)
    egokeras train demo_pruned data.shards=runs/demo/shards
    egokeras train demo_pruned data.shards=runs/demo/shards pruning.pattern=2:4

The schedule is Zhu & Gupta's, https://arxiv.org/abs/1710.01878. The first convolution and the classifiers stay dense.
"""

import dataclasses

from egokeras.compress.prune import Pruning
from egokeras.data.transforms import Augment
from egokeras.distill import SoftTargets
from egokeras.models import ConvNet1DHead, FrameModel, SmallBackbone
from egokeras.optim import Cosine, Optim
from egokeras.recipe import Data, Recipe


def stages():
    dense = Recipe(
        name="dense",
        data=Data(classes={"verb": 11, "noun": 12}, augment=Augment(shift=0.1, brightness=0.15, contrast=0.2)),
        model=FrameModel(
            backbone=SmallBackbone(channels=(12, 24, 48, 64)),
            head=ConvNet1DHead(filters=48, last_filters=96, dropout=0.3),
            frames=10,
            size=64,
        ),
        optim=Optim(optimizer="adamw", learning_rate=2e-3, schedule=Cosine(), weight_decay=1e-4),
        epochs=50,
    )
    pruned = dataclasses.replace(
        dense,
        name="demo_pruned",
        method=SoftTargets(teacher="dense", alpha=1.0, temperature=4.0, tau_squared=True),
        start_from=("dense",),
        pruning=Pruning(every=20, dense=("conv_1", "verb", "noun")),
        exports=("float32", "int8"),
    )
    return dense, pruned
