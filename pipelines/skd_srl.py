"""SKD-SRL: a 3D ResNet-18 whose two views of a video share a soft label and predict each other.

Vu et al., https://arxiv.org/abs/2209.01311. Data, arguments and settings are those of `r3d_baseline`; the views are two clips of the
video (data.two_clips=false: one clip, changed twice); flip, contrast, brightness, hue, blur and channel splitting have probability 1/2.
Published, top-1: UCF-101 69.8 %, HMDB-51 24.7 %, Kinetics-400 66.7 %; with 50 layers 71.9, 29.8, 75.6 %.

    egokeras train skd_srl data.shards=shards
    egokeras train skd_srl data.shards=shards --seeds 5 method.beta=0,0.5,1
"""

from egokeras.data.official_splits import official
from egokeras.data.transforms import Augment, Crop
from egokeras.distill import SKDSRL
from egokeras.models import ResNet3D
from egokeras.optim import Optim, Plateau
from egokeras.recipe import Data, Recipe

PUBLISHED = {("ucf101", 18): 69.8, ("hmdb51", 18): 24.7, ("kinetics400", 18): 66.7}
PUBLISHED |= {("ucf101", 50): 71.9, ("hmdb51", 50): 29.8, ("kinetics400", 50): 75.6}


def stages(dataset: str = "ucf101", split: int = 1, depth: int = 18, small: bool = False):
    crop = Crop(frames=8, size=64) if small else Crop(frames=16, size=112)
    return (
        Recipe(
            name="skd_srl",
            data=Data(**official(dataset, split), crop=crop, augment=Augment.skd_srl()),
            model=ResNet3D(depth=depth, width=16 if small else 64),
            method=SKDSRL(alpha=0.1, beta=1.0, temperature=10.0),
            optim=Optim(optimizer="sgd", learning_rate=0.01, momentum=0.9, l2=5e-4, schedule=Plateau(factor=0.1, patience=10)),
            epochs=200,
            batch_size=8 if small else 32,
            monitor="val_action_top1",
            paper="vu2022",
            published={"action_top1": PUBLISHED[dataset, depth]} if not small and (dataset, depth) in PUBLISHED else {},
        ),
    )
