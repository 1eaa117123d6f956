"""A small network for video without end: windows of 1.5 s at any place of rendered kitchen videos, and a class for time without an action.

python -c "from egokeras.data.synthetic import World; World(idle=3.0, seconds=(150.0, 180.0)).render('world')"
egokeras prepare epic100 world world/videos shards --continuous 1.5 --frames 10 --size 64
egokeras train continuous_demo data.shards=shards
egokeras export runs/continuous_demo float16
egokeras evaluate runs/continuous_demo/exports/float16 --continuous world/videos world --dataset epic100 --choose train
"""

from egokeras.data.transforms import Augment
from egokeras.models import ConvNet1DHead, FrameModel, SmallBackbone
from egokeras.optim import Cosine, Optim
from egokeras.recipe import Data, Recipe


def stages():
    return (
        Recipe(
            name="continuous_demo",
            data=Data(classes={"verb": 12, "noun": 13}, augment=Augment(shift=0.1, brightness=0.15, contrast=0.2)),
            model=FrameModel(
                backbone=SmallBackbone(channels=(12, 24, 48, 64)),
                head=ConvNet1DHead(filters=48, last_filters=96, dropout=0.3),
                frames=10,
                size=64,
            ),
            optim=Optim(optimizer="adamw", learning_rate=2e-3, schedule=Cosine(), weight_decay=1e-4),
            epochs=50,
            exports=("float16",),
        ),
    )
