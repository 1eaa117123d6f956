"""3D ResNet-18 from scratch, plain: the baseline of SKD-SRL's tables.

Vu et al., https://arxiv.org/abs/2209.01311, section IV. Two clips of 16 frames are cut from a stored stretch of each video:

    egokeras prepare ucf101 classInd.txt trainlist01.txt testlist01.txt UCF-101 shards --rule dense --frames 64 \\
        --size 128 --width 171 --resize crop --encoding jpeg
    egokeras train r3d_baseline data.shards=shards            (dataset=hmdb51 split=2, dataset=kinetics400, dataset=own; depth=50)

`small=true` is a network that learns on a CPU: 16 channels, 8 frames of 64 pixels. Published, top-1: UCF-101 46.5 %, HMDB-51 17.1 %,
Kinetics-400 54.2 %; with 50 layers 59.2, 22.0, 61.3 %. The paper names neither the split nor what its schedule looked at; here that is a
tenth of the training clips.
"""

from egokeras.data.official_splits import official
from egokeras.data.transforms import Crop
from egokeras.models import ResNet3D
from egokeras.optim import Optim, Plateau
from egokeras.recipe import Data, Recipe

PUBLISHED = {("ucf101", 18): 46.5, ("hmdb51", 18): 17.1, ("kinetics400", 18): 54.2}
PUBLISHED |= {("ucf101", 50): 59.2, ("hmdb51", 50): 22.0, ("kinetics400", 50): 61.3}


def stages(dataset: str = "ucf101", split: int = 1, depth: int = 18, small: bool = False):
    crop = Crop(frames=8, size=64) if small else Crop(frames=16, size=112)
    return (
        Recipe(
            name="r3d_baseline",
            data=Data(**official(dataset, split), crop=crop),
            model=ResNet3D(depth=depth, width=16 if small else 64),
            optim=Optim(optimizer="sgd", learning_rate=0.01, momentum=0.9, l2=5e-4, schedule=Plateau(factor=0.1, patience=10)),
            epochs=200,
            batch_size=8 if small else 32,
            monitor="val_action_top1",
            paper="vu2022",
            published={"action_top1": PUBLISHED[dataset, depth]} if not small and (dataset, depth) in PUBLISHED else {},
        ),
    )
