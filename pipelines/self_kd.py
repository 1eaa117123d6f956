"""Self-KD: a 3D ResNet-18 that learns from itself as it was when it did best.

Vu et al., "Teaching Yourself" (2021), as a baseline of SKD-SRL, https://arxiv.org/abs/2209.01311, Table II. Data, arguments and settings
are those of `r3d_baseline`; best is judged by the held-out tenth of the training clips. Published, top-1 on UCF-101: 66.7 %.

    egokeras train self_kd data.shards=shards
"""

from egokeras.data.official_splits import official
from egokeras.data.transforms import Augment, Crop
from egokeras.distill import SelfDistillation
from egokeras.models import ResNet3D
from egokeras.optim import Optim, Plateau
from egokeras.recipe import Data, Recipe

PUBLISHED = {("ucf101", 18): 66.7}


def stages(dataset: str = "ucf101", split: int = 1, depth: int = 18, small: bool = False):
    crop = Crop(frames=8, size=64) if small else Crop(frames=16, size=112)
    return (
        Recipe(
            name="self_kd",
            data=Data(**official(dataset, split), crop=crop, augment=Augment.skd_srl()),
            model=ResNet3D(depth=depth, width=16 if small else 64),
            method=SelfDistillation(alpha=0.1, temperature=10.0),
            optim=Optim(optimizer="sgd", learning_rate=0.01, momentum=0.9, l2=5e-4, schedule=Plateau(factor=0.1, patience=10)),
            epochs=200,
            batch_size=8 if small else 32,
            monitor="val_action_top1",
            paper="vu2022",
            published={"action_top1": PUBLISHED[dataset, depth]} if not small and (dataset, depth) in PUBLISHED else {},
        ),
    )
