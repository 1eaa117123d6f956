"""How pixels of each modality come into a network: the first layer of every backbone."""

import statistics

from egokeras.errors import InputError
from egokeras.layers import NormalizePixels

# How the weights of keras.applications want their pixels: mean and deviation per channel, and BGR or RGB.
NORMALIZATION: dict[str, dict] = {
    "tf": {"mean": (127.5,) * 3, "deviation": (127.5,) * 3},
    "torch": {"mean": tuple(255 * m for m in (0.485, 0.456, 0.406)), "deviation": tuple(255 * s for s in (0.229, 0.224, 0.225))},
    "caffe": {"mean": (103.939, 116.779, 123.68), "deviation": (1.0,) * 3, "bgr": True},
    "none": {"mean": (0.0,) * 3, "deviation": (1.0,) * 3},  # the network normalises by itself
}
LIGHT = ("rgb", "iframe")
STILL = ("flow", "rgb_difference", "motion_vector", "residual")  # stored around 128


def normalized(pixels, kind, modality):
    """Pixels as weights of a `kind` of NORMALIZATION want them; the layer is `normalize`.

    Motion and changes are centred at 128, where they are stored, and divided by the mean deviation of the colours, as in TSN's code.

    Raises:
        InputError: the network normalises by itself, and these are no pictures of light.
    """
    how = NORMALIZATION[kind]
    if modality not in LIGHT:
        if kind == "none":
            raise InputError(f"model.backbone normalises RGB by itself and cannot take {modality}; take another, such as MobileNetV2.")
        how = {"mean": (128.0,), "deviation": (statistics.fmean(how["deviation"]),)}
    return NormalizePixels(**how, name="normalize")(pixels)
