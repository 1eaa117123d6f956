"""The demo: a teacher from scratch on a rendered kitchen, a student of half its channels' work, and a gated int8 file with a page.

The student is what is left of the teacher when the channels that matter least are gone; the teacher shows it how to make up for them.

egokeras train
"""

import dataclasses

from egokeras.compress.pruned import Pruned
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
        model=Pruned(of="teacher", macs=0.5),
        method=SoftTargets(teacher="teacher", alpha=1.0, temperature=4.0, tau_squared=True),
        optim=dataclasses.replace(teacher.optim, learning_rate=1e-3),
        epochs=25,
        exports=("float32", "int8", "stream"),
    )
    return teacher, student
