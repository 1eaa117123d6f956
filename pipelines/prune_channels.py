"""Structured pruning: a network is trained, loses half of its multiply-accumulates in whole channels, and learns on from what it was.

Li et al., https://arxiv.org/abs/1608.08710, prune and train on; that the whole network teaches what is left of it is distillation,
https://arxiv.org/abs/1503.02531. Data is the demo's, `runs/demo/shards` after `egokeras train`, or one's own of 10 frames and 64 pixels.

    egokeras train prune_channels data.shards=runs/demo/shards
    egokeras train prune_channels data.shards=runs/demo/shards macs=0.3 prune_channels.model.importance=bn_scale
    egokeras train prune_channels data.shards=runs/demo/shards of=runs/my_run

The last one prunes a network that is trained already. `egokeras layers` and `egokeras benchmark --layers` measure how long the layers of a
network take on a device; `prune_channels.model.latencies=FILE` then removes the channels that cost most time there.
"""

import dataclasses

from egokeras.compress.pruned import Pruned
from egokeras.data.transforms import Augment
from egokeras.distill import SoftTargets
from egokeras.models import ConvNet1DHead, FrameModel, SmallBackbone
from egokeras.optim import Cosine, Optim
from egokeras.recipe import Data, Recipe


def stages(macs: float = 0.5, of: str = ""):
    whole = Recipe(
        name="whole",
        data=Data(augment=Augment(shift=0.1, brightness=0.15, contrast=0.2)),
        model=FrameModel(backbone=SmallBackbone(), head=ConvNet1DHead(filters=64, last_filters=128, dropout=0.3), frames=10, size=64),
        optim=Optim(optimizer="adamw", learning_rate=2e-3, schedule=Cosine(), weight_decay=1e-4),
        epochs=35,
    )
    pruned = dataclasses.replace(
        whole,
        name="prune_channels",
        model=Pruned(of=of or "whole", macs=macs, multiple_of=4),  # its layers are narrow
        method=SoftTargets(teacher=of or "whole", alpha=1.0, temperature=4.0, tau_squared=True),
        optim=dataclasses.replace(whole.optim, learning_rate=1e-3),
        epochs=25,
        exports=("float32", "int8"),
    )
    return (pruned,) if of else (whole, pruned)
