"""Your own clips: frozen MobileNetV2 with ImageNet weights, ConvNet1D on its features, to a file for the device and a page.

    egokeras train --videos FOLDER

FOLDER holds a folder of videos per class. Without a network give the weights: model.backbone.weights=mobilenet_v2.h5.
"""

from egokeras.models import Backbone, ConvNet1DHead, FrameModel
from egokeras.optim import Optim
from egokeras.recipe import Recipe


def stages():
    return (
        Recipe(
            name="own_clips",
            model=FrameModel(backbone=Backbone(), head=ConvNet1DHead(filters=32)),
            optim=Optim(learning_rate=1e-3),
            epochs=40,
            folds=5,
            exports=("float16", "int8"),
            measured=True,
        ),
    )
