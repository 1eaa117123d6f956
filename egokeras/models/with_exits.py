"""Any model of clips with early exits: internal classifiers on layers that are given by name."""

import dataclasses
import difflib

import keras

from egokeras.errors import InputError
from egokeras.layers import FoldTime
from egokeras.models.early_exit import EarlyExitResNet
from egokeras.models.frame_model import FrameModel
from egokeras.models.internal_classifiers import Tap, attach
from egokeras.models.resnet3d import ResNet3D
from egokeras.models.temporal_heads import AverageHead, ConvNet1DHead, LSTMHead
from egokeras.models.two_stream import TwoStream


@dataclasses.dataclass(frozen=True, kw_only=True)
class WithExits:
    """A model of clips, and an internal classifier (see `Tap`) on each of some layers.

    The end of a stage, where the next one halves the maps, is a good place: there a residual network has computed most that its maps can
    say, and MobileNetV2's are `block_2_add`, `block_5_add`, `block_12_add`.

    Attributes:
        model: the model; the built one has all its layers, also those of a backbone and a head, side by side under their own names.
        at: names of the layers; `egokeras describe RECIPE --layers` lists them. Exits are numbered in the order of computation.
        channels: of the classifiers' convolutions; None is as many as the layer has.
        kernel: of the classifiers' convolutions.
        head: of the classifiers, over the frames in their order (see `Tap`); None is the published mean over frames, which cannot tell to
            open from to close.
        frozen: whether only the internal classifiers learn, and the rest infers: its BatchNorm neither uses nor moves statistics of
            batches, and its Dropout lets everything pass.
    """

    model: FrameModel | ResNet3D | EarlyExitResNet | TwoStream = FrameModel()
    at: tuple[str, ...] = ()
    channels: int | None = None
    kernel: int = 3
    head: LSTMHead | ConvNet1DHead | AverageHead | None = None
    frozen: bool = False

    def __post_init__(self):
        for field in ("channels", "kernel"):
            value = getattr(self, field)
            if value is not None and value < 1:
                raise InputError(f"model.{field} is {value}; give at least 1.")

    def build(self, *, classes, frames=None, size=None, shapes=None):
        """The model with outputs `{space}_exit_1` ... (batch, classes[space]) beside its own; arguments as of `model.build`.

        Raises:
            InputError: no such layer, one that no classifier can sit on, or what `model.build` refuses.
        """
        given = {"frames": frames, "size": size} if shapes is None else {"shapes": shapes}
        model = unnested(self.model.build(classes=classes, **given))
        if any("_exit_" in name for name in model.output):
            raise InputError("model.model has exits already; give it none: model.model.exits=().")
        for layer in model.layers if self.frozen else ():
            layer.trainable = False
            if isinstance(layer, keras.layers.Dropout):
                layer.rate = 0.0
        return attach(model, self._taps(model), classes)

    def _taps(self, model):
        known = places(model)
        for name in self.at or ("",):
            if name not in known:
                nearest = difflib.get_close_matches(name, known, n=3) or list(known)[-3:]
                found = f"model.at: {name!r} is no layer on which an exit can sit" if name else "model.at is empty"
                raise InputError(f"{found}; `egokeras describe RECIPE --layers` lists all, some are {', '.join(nearest)}.")
        chosen = [name for name in known if name in self.at]
        return [Tap(tensor=known[name], name=name, channels=self.channels, kernel=self.kernel, head=self.head) for name in chosen]


def unnested(model):
    """A copy of a functional model in which the layers of models nested in it stand beside its own.

    Raises:
        InputError: two of them have one name.
    """

    def call(layer, *args, **kwargs):
        return layer.call(*args, **kwargs) if isinstance(layer, keras.Model) else layer(*args, **kwargs)

    try:
        flat = keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)
    except ValueError as error:
        raise InputError(f"model.model: {str(error).splitlines()[0]}") from None
    copy = keras.models.clone_model(flat)  # layers that were never called elsewhere
    copy.set_weights(flat.get_weights())
    return copy


def places(model):
    """Layer name to output, of the layers on which an exit can sit, in the order of computation; `model` has no models nested in it."""
    ends = {id(tensor) for tensor in keras.tree.flatten(model.output)}
    outputs = {layer.name: layer.output for layer in model.layers if not isinstance(layer, (keras.layers.InputLayer, FoldTime))}
    return {name: tensor for name, tensor in outputs.items() if _fits(tensor) and id(tensor) not in ends}


def _fits(tensor):
    """Whether it is one tensor of maps or vectors of a known size."""
    return isinstance(tensor, keras.KerasTensor) and 2 <= len(tensor.shape) <= 5 and None not in tensor.shape[1:]
