"""A deep network whose clips leave where they are sure: exits with heads of their own over time, on a rendered kitchen or own videos.

egokeras train early_exit_demo
egokeras wise runs/early_exit_demo --lost 0.5 --milliseconds
egokeras export runs/early_exit_demo early_exit early_exit_float32

Network and exits learn the labels together. Of a clip that leaves at the first exit a seventh of the network is computed.
"""

from egokeras.data.transforms import Augment
from egokeras.distill import SupervisedExits
from egokeras.models import ConvNet1DHead, FrameModel, ResNet2D, WithExits
from egokeras.optim import Cosine, Optim
from egokeras.recipe import Data, Recipe


def stages():
    return (
        Recipe(
            name="early_exit_demo",
            data=Data(classes={"verb": 11, "noun": 12}, augment=Augment(shift=0.1, brightness=0.15, contrast=0.2)),
            model=WithExits(
                model=FrameModel(
                    backbone=ResNet2D(depth=34, width=16), head=ConvNet1DHead(filters=64, last_filters=128, dropout=0.3), frames=10, size=64
                ),
                at=("pool1", "stage1_block3_relu", "stage2_block4_relu"),
                channels=8,
                head=ConvNet1DHead(filters=32, last_filters=64, dropout=0.3),
            ),
            method=SupervisedExits(last=True),
            optim=Optim(optimizer="adamw", learning_rate=2e-3, schedule=Cosine(), weight_decay=1e-4),
            epochs=30,
        ),
    )
