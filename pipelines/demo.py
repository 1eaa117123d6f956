"""The demo: a teacher and a student half its size from scratch on a rendered kitchen, to a gated int8 file for the device and a page.

egokeras train
"""

import dataclasses

from egokeras.data.transforms import Augment
from egokeras.distill import SoftTargets
from egokeras.models import ConvNet1DHead, FrameModel, SmallBackbone
from egokeras.optim import Cosine, Optim
from egokeras.recipe import Data, Recipe


def stages():
    teacher = Recipe(
        name="teacher",
        data=Data(classes={"verb": 11, "noun": 12}, augment=Augment(shift=0.1, brightness=0.15, contrast=0.2)),
        model=FrameModel(backbone=SmallBackbone(), head=ConvNet1DHead(filters=64, last_filters=128, dropout=0.3), frames=10, size=64),
        optim=Optim(optimizer="adamw", learning_rate=2e-3, schedule=Cosine(), weight_decay=1e-4),
        epochs=35,
        measured=True,
    )
    student = dataclasses.replace(
        teacher,
        name="demo",
        model=dataclasses.replace(
            teacher.model, backbone=SmallBackbone(channels=(12, 24, 48, 64)), head=ConvNet1DHead(filters=48, last_filters=96, dropout=0.3)
        ),
        method=SoftTargets(teacher="teacher", alpha=1.0, temperature=4.0, tau_squared=True),
        epochs=50,
        exports=("float32", "int8"),
    )
    return teacher, student
