"""3D ResNet-18 from scratch with augmentation: what SKD-SRL sees, one view at a time.

Vu et al., https://arxiv.org/abs/2209.01311, Table II. Data, arguments and settings are those of `r3d_baseline`; where labels know left
from right, data.augment.flip=0. Published, top-1 on UCF-101: 55.6 %.

    egokeras train r3d_augmented data.shards=shards
"""

from egokeras.data.official_splits import official
from egokeras.data.transforms import Augment, Crop
from egokeras.models import ResNet3D
from egokeras.optim import Optim, Plateau
from egokeras.recipe import Data, Recipe

PUBLISHED = {("ucf101", 18): 55.6}


def stages(dataset: str = "ucf101", split: int = 1, depth: int = 18, small: bool = False):
    crop = Crop(frames=8, size=64) if small else Crop(frames=16, size=112)
    return (
        Recipe(
            name="r3d_augmented",
            data=Data(**official(dataset, split), crop=crop, augment=Augment.skd_srl()),
            model=ResNet3D(depth=depth, width=16 if small else 64),
            optim=Optim(optimizer="sgd", learning_rate=0.01, momentum=0.9, l2=5e-4, schedule=Plateau(factor=0.1, patience=10)),
            epochs=200,
            batch_size=8 if small else 32,
            monitor="val_action_top1",
            paper="vu2022",
            published={"action_top1": PUBLISHED[dataset, depth]} if not small and (dataset, depth) in PUBLISHED else {},
        ),
    )
