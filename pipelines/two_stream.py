"""Two streams: a ResNet on RGB and one on stacks of optical flow, fused, over TSN's segments (the egocentric report's section 2.2).

Wang et al., https://arxiv.org/abs/1608.00859. Of 24 moments of every action training sees a random one in each of 8 parts:

    egokeras prepare epic100 EPIC_100_train.csv EPIC_100_validation.csv VIDEOS sets/rgb --frames 24 --encoding jpeg
    egokeras prepare epic100 EPIC_100_train.csv EPIC_100_validation.csv VIDEOS sets/flow --frames 24 --encoding jpeg \\
        --modality flow --flow-stack 5 --flow-seconds 0.04
    egokeras train two_stream data.shards=sets/rgb,sets/flow

Your own videos, a folder for each class, on a CPU:

    egokeras prepare folders VIDEOS VIDEOS own/rgb --frames 24 --size 128
    egokeras prepare folders VIDEOS VIDEOS own/flow --frames 24 --size 128 --modality flow --flow-stack 5 --flow-seconds 0.04
    egokeras train two_stream small=true data.shards=own/rgb,own/flow

Each stream learns alone; the whole begins with their weights, and its 20 epochs are ours. `modalities=rgb,rgb_difference` takes what
changes (`--modality rgb_difference`) in the place of flow; `model.head=ConvLSTMHead` reads maps in time where the consensus averages
scores; `model.fusion=logits` averages the streams' scores. Where labels know left from right: `data.augment.flip=0`. All begins from
scratch; with ImageNet's weights: `model.backbone=Backbone model.backbone.name=ResNet50 model.backbone.trainable_from=""`. EPIC's own TSN,
which does that, has 27.40 % of the validation set's actions from RGB and 22.86 % from flow.
"""

import dataclasses

from egokeras.data.transforms import Augment, Crop
from egokeras.models import ConsensusHead, ResNet2D, TwoStream
from egokeras.optim import Optim, StepDecay
from egokeras.recipe import Data, Recipe


def stages(modalities: tuple[str, ...] = ("rgb", "flow"), small: bool = False):
    """A stage for each modality, and the fusion if there are several."""
    crop = Crop(segments=8, size=112, sides=(128, 112, 96, 84)) if small else Crop(segments=8, size=224, sides=(256, 224, 192, 168))
    backbone = ResNet2D(width=16) if small else ResNet2D(depth=50)
    decay = StepDecay(factor=0.1, first=20, every=20)
    whole = Recipe(
        name="two_stream",
        data=Data(classes={"verb": 97, "noun": 300}, crop=crop, augment=Augment(flip=0.5)),
        model=TwoStream(modalities=modalities, backbone=backbone, head=ConsensusHead(dropout=0.7)),
        optim=Optim(optimizer="sgd", learning_rate=0.01, momentum=0.9, l2=5e-4, clip_norm=20.0, schedule=decay),
        epochs=80,
        batch_size=8 if small else 32,
        paper="wang2016",
    )
    if len(modalities) == 1:
        return (whole,)
    networks = {modality: dataclasses.replace(whole.model, modalities=(modality,)) for modality in modalities}
    streams = [dataclasses.replace(whole, name=modality, model=network) for modality, network in networks.items()]
    optim = dataclasses.replace(whole.optim, learning_rate=0.001, schedule=None)
    return (*streams, dataclasses.replace(whole, optim=optim, epochs=20, start_from=modalities))
