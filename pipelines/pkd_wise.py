"""PKD: three networks of compressed video, whose early exits learn from motion vectors, then residuals, then whole pictures.

Soufleri et al., https://arxiv.org/abs/2407.02713, and its code. Three segments of every clip, each a frame's motion and residual since its
whole picture:

    egokeras prepare ucf101 classInd.txt trainlist01.txt testlist01.txt UCF-101 sets --modality compressed --frames 3 --size 224 \\
        --resize crop
    egokeras train pkd_wise data.shards=sets/iframe,sets/residual,sets/motion_vector

First each network learns the labels; then its internal classifiers learn from all three, one teacher after another, while the rest of it
stays as it is. `teachers=iframe` is the baseline of one teacher, `teachers=iframe,residual,motion_vector` the reversed order; `small=true`
trains on a CPU; `network=mobilenet_v2` takes MobileNetV2s for the ResNets, with exits where their maps halve next. The code's networks
begin with weights of Kinetics-400 and its schedule looks at the test list; these begin from scratch, and look at a tenth of the training
clips.
"""

import dataclasses

from egokeras.data.official_splits import official
from egokeras.distill import ProgressiveDistillation
from egokeras.errors import InputError
from egokeras.models import Backbone, ConsensusHead, EarlyExitResNet, TwoStream, WithExits
from egokeras.optim import Optim, StepDecay
from egokeras.recipe import Data, Recipe

NETWORKS = {  # depth, learning rate, clips of a batch
    "motion_vector": (18, 0.01, 80),
    "residual": (18, 0.005, 80),
    "iframe": (50, 0.0003, 40),
}
MOBILENET_EXITS = ("block_2_add", "block_5_add", "block_12_add")


def models(network, modality, depth, small):
    """The model of a modality, and the same with exits that alone learn."""
    if network == "resnet":
        plain = EarlyExitResNet(modality=modality, depth=18 if small else depth, width=16 if small else 64, exits=())
        return plain, dataclasses.replace(plain, exits=None, frozen=True)
    if network == "mobilenet_v2":
        backbone = Backbone(alpha=0.35 if small else 1.0, weights=None, trainable_from="")
        plain = TwoStream(modalities=(modality,), backbone=backbone, head=ConsensusHead(dropout=0.2))
        return plain, WithExits(model=plain, at=MOBILENET_EXITS, frozen=True)
    raise InputError(f"network is {network!r}; give resnet or mobilenet_v2.")


def stages(
    dataset: str = "ucf101",
    split: int = 1,
    small: bool = False,
    teachers: tuple[str, ...] = ("motion_vector", "residual", "iframe"),
    network: str = "resnet",
):
    epochs, first, every = (30, 10, 5) if small else (300, 150, 50)
    boundaries = tuple(epochs * turn // 6 for turn in range(1, len(teachers)))  # 50 and 100 of 300
    made = []
    for modality, (depth, rate, batch) in NETWORKS.items():
        plain, with_exits = models(network, modality, depth, small)
        labels = Recipe(
            name=modality,
            data=Data(**official(dataset, split)),
            model=plain,
            optim=Optim(optimizer="adamw", learning_rate=rate, weight_decay=1e-4, schedule=StepDecay(factor=0.1, first=150, every=120)),
            epochs=40 if small else 510,
            batch_size=16 if small else batch,
            paper="soufleri2024",
        )
        exits = dataclasses.replace(
            labels,
            name="pkd_wise" if modality == "iframe" else f"{modality}_exits",
            model=with_exits,
            method=ProgressiveDistillation(teachers=teachers, boundaries=boundaries),
            optim=Optim(learning_rate=rate, schedule=StepDecay(factor=0.1, first=first, every=every)),
            epochs=epochs,
            batch_size=16 if small else 32,
            start_from=(modality,),
        )
        made.append((labels, exits))
    return tuple(labels for labels, _ in made) + tuple(exits for _, exits in made)
