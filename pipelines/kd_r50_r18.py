"""KD: a 3D ResNet-18 that learns from a 3D ResNet-50.

Hinton et al., https://arxiv.org/abs/1503.02531, as a baseline of SKD-SRL, https://arxiv.org/abs/2209.01311, Table II, which does not
state alpha and the temperature: here those of the other rows. Data, arguments and settings are those of `r3d_baseline`. Published, top-1
on UCF-101: 61.4 %.

    egokeras train kd_r50_r18 data.shards=shards
    egokeras train kd_r50_r18 data.shards=shards kd_r50_r18.method.teacher=runs/my_teacher
"""

import dataclasses

from egokeras.data.official_splits import official
from egokeras.data.transforms import Augment, Crop
from egokeras.distill import SoftTargets
from egokeras.models import ResNet3D
from egokeras.optim import Optim, Plateau
from egokeras.recipe import Data, Recipe

PUBLISHED = {"ucf101": 61.4}


def stages(dataset: str = "ucf101", split: int = 1, small: bool = False):
    crop = Crop(frames=8, size=64) if small else Crop(frames=16, size=112)
    teacher = Recipe(
        name="teacher_r50",
        data=Data(**official(dataset, split), crop=crop, augment=Augment.skd_srl()),
        model=ResNet3D(depth=50, width=16 if small else 64),
        optim=Optim(optimizer="sgd", learning_rate=0.01, momentum=0.9, l2=5e-4, schedule=Plateau(factor=0.1, patience=10)),
        epochs=200,
        batch_size=8 if small else 32,
        monitor="val_action_top1",
    )
    student = dataclasses.replace(
        teacher,
        name="kd_r50_r18",
        model=dataclasses.replace(teacher.model, depth=18),
        method=SoftTargets(teacher="teacher_r50", alpha=0.1, temperature=10.0),
        paper="vu2022",
        published={"action_top1": PUBLISHED[dataset]} if not small and dataset in PUBLISHED else {},
    )
    return teacher, student
