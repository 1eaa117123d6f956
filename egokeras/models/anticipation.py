"""What comes next, from 14 observations 3.5 to 0.25 s before an action starts: an LSTM encoder-decoder, and RU-LSTM.

Both give their logits after observations 7 to 14, that is 2, 1.75 ... 0.25 s before the start. Every modality has a branch of its own
whose layers are named after it, so that a later stage finds its weights: a branch has the same names and shapes alone and in a fusion.
"""

import dataclasses
import typing
from collections.abc import Mapping

import keras
from keras import layers

from egokeras.errors import InputError
from egokeras.layers import PastActions, RollingLSTM, UnrollingLSTM, WeightedSum
from egokeras.protocol import ANTICIPATION, OBSERVATIONS, STEP

PREDICTIONS = len(ANTICIPATION)
LABELS = "labels"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """How the modality `labels`, the actions before, becomes features (see `PastActions`).

    Attributes:
        verbs, nouns: how many there are at most; the defaults hold EPIC-KITCHENS-55, -100 and EGTEA Gaze+.
        last: known actions that an observation sees; must be fewer than the data has, as its list ends 0.25 s before the start and what
            is then known anew pushes out the oldest (more than 5 of them in 3.25 s: 0.03% of EPIC-KITCHENS-55).
        verb_size, noun_size: widths of the vectors.
    """

    verbs: int = 128
    nouns: int = 512
    last: int = 5
    verb_size: int = 64
    noun_size: int = 128

    def __post_init__(self):
        for field, value in dataclasses.asdict(self).items():
            if value < 1:
                raise InputError(f"model.labels.{field} is {value}; give at least 1.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnticipationLSTM:
    """LSTM encoder over the first 6 observations, whose state begins a decoder LSTM over the last 8; several modalities: mean of logits.

    The baseline of Camporese et al. (ICPR 2020), https://arxiv.org/abs/2004.07711; sizes are RU-LSTM's, as the paper's text gives none.

    Attributes:
        modalities: which of the data's to use; empty is all.
        units: width of the states.
        dropout: rate before the logits.
        labels: of the modality `labels`.
    """

    modalities: tuple[str, ...] = ()
    units: int = 1024
    dropout: float = 0.8
    labels: Vocabulary = Vocabulary()

    def __post_init__(self):
        _check(self)

    def build(self, *, classes, shapes):
        """Model from the modalities by name to `{space: (batch, 8, classes[space]) logits}`.

        Args:
            classes: label space to number of classes.
            shapes: modality to shape without batch: `(14, F)` features, `(past, 3)` for `labels`.

        Raises:
            InputError: a modality is not there or has another shape.
        """
        inputs = _inputs(_chosen(self.modalities, shapes))
        scores = []
        for modality, tensor in inputs.items():
            x = _features(modality, tensor, self.labels)
            first = OBSERVATIONS - PREDICTIONS
            hidden, cell = RollingLSTM(self.units, name=f"{modality}_encoder")(x[:, :first])
            hidden, _ = RollingLSTM(self.units, name=f"{modality}_decoder")(x[:, first:], hidden[:, -1], cell[:, -1])
            scores.append(_scores(modality, hidden, self.dropout, classes))
        return keras.Model(inputs, _averaged(scores))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RULSTM:
    """Rolling-unrolling LSTM: Furnari and Farinella (ICCV 2019), https://arxiv.org/abs/1905.09035, section 3.

    A rolling LSTM sums up the observations; after each of the last 8, an unrolling LSTM goes on from its state to the start of the action.

    Attributes:
        modalities: which of the data's to use, one branch each; empty is all.
        units: width of the states.
        dropout: rate on the inputs of both LSTMs, before the logits, and in the fusion.
        completion: sequence-completion pre-training: the unrolling LSTM is fed the observations to come.
        fusion: of several branches: `matt` weights their logits by modality attention (section 3.3), `late` is their mean.
        context: what the attention sees of a branch: its last unrolled hidden state and rolling cell state (as the published code),
            or rolling hidden and cell state (as the paper).
        labels: of the modality `labels`.
    """

    modalities: tuple[str, ...] = ()
    units: int = 1024
    dropout: float = 0.8
    completion: bool = False
    fusion: typing.Literal["late", "matt"] = "matt"
    context: typing.Literal["unrolled_h+rolling_c", "rolling_h+rolling_c"] = "unrolled_h+rolling_c"
    labels: Vocabulary = Vocabulary()

    def __post_init__(self):
        _check(self)
        for field in ("fusion", "context"):
            known = typing.get_args(typing.get_type_hints(RULSTM)[field])
            if getattr(self, field) not in known:
                raise InputError(f"model.{field} is {getattr(self, field)!r}; it must be one of {', '.join(known)}.")

    def build(self, *, classes, shapes):
        """Model from the modalities by name to `{space: (batch, 8, classes[space]) logits}`; arguments as for `AnticipationLSTM`."""
        inputs = _inputs(_chosen(self.modalities, shapes))
        branches = [self._branch(modality, tensor, classes) for modality, tensor in inputs.items()]
        scores, contexts = zip(*branches, strict=True)
        if self.fusion == "late" or len(inputs) == 1:
            return keras.Model(inputs, _averaged(scores))
        weights = self._attention(contexts)
        fused = {space: WeightedSum(dtype="float32", name=space)([weights, *(branch[space] for branch in scores)]) for space in classes}
        return keras.Model(inputs, fused)

    def _branch(self, modality, tensor, classes):
        """A branch's logits by label space, and its context `(batch, 8, 2 * units)`."""
        x = _features(modality, tensor, self.labels)
        dropped = layers.Dropout(self.dropout, name=f"{modality}_input_dropout")(x)
        hidden, cell = RollingLSTM(self.units, name=f"{modality}_rolling")(dropped)
        how = {"predictions": PREDICTIONS, "completion": self.completion, "dropout": self.dropout}
        unrolled = UnrollingLSTM(self.units, **how, name=f"{modality}_unrolling")(x, hidden, cell)
        first = OBSERVATIONS - PREDICTIONS
        seen = unrolled if self.context == "unrolled_h+rolling_c" else hidden[:, first:]
        context = layers.Concatenate(name=f"{modality}_context")([seen, cell[:, first:]])
        return _scores(modality, unrolled, self.dropout, classes), context

    def _attention(self, contexts):
        """Modality attention: the weight of each branch at each time, `(batch, 8, branches)`."""
        x = layers.Concatenate(name="matt_context")(contexts)
        widths = [max(1, x.shape[-1] // share) for share in (4, 8)]
        for i, width in enumerate(widths, 1):
            x = layers.Dense(width, activation="relu", name=f"matt_{i}")(x)
            x = layers.Dropout(self.dropout, name=f"matt_{i}_dropout")(x)
        return layers.Dense(len(contexts), activation="softmax", dtype="float32", name="matt_weights")(x)


def _check(model):
    if model.units < 1 or not 0 <= model.dropout < 1:
        raise InputError(f"model.units is {model.units} and model.dropout {model.dropout:g}; give at least 1, and 0 up to less than 1.")
    if len(set(model.modalities)) < len(model.modalities):
        raise InputError(f"model.modalities names one twice: {', '.join(model.modalities)}.")


def _chosen(modalities, shapes: Mapping[str, tuple[int, ...]]):
    """The shapes of the modalities wanted, checked."""
    if not shapes:
        raise InputError("the data has no modality for an anticipation model; prepare features or labels of 14 observations.")
    absent = [modality for modality in modalities if modality not in shapes]
    if absent:
        raise InputError(f"model.modalities: the data has no {absent[0]!r}; it has {', '.join(shapes)}.")
    chosen = {modality: tuple(shapes[modality]) for modality in modalities or shapes}
    for modality, shape in chosen.items():
        fits, wanted = len(shape) == 2 and shape[0] == OBSERVATIONS, f"({OBSERVATIONS}, features)"
        if modality == LABELS:
            fits, wanted = len(shape) == 2 and shape[1] == 3, "(past actions, 3)"
        if not fits:
            raise InputError(f"modality {modality!r} has the shape {shape} and not {wanted}; prepare it as an anticipation set.")
    return chosen


def _inputs(shapes):
    return {m: keras.Input(shape, dtype="int16" if m == LABELS else "float32", name=m) for m, shape in shapes.items()}


def check_last(field, last, past):
    """The oldest of `past` actions must stay unread: whether it is there tells how much happened after the observation."""
    if last >= past:
        raise InputError(f"{field} is {last}, the data lists {past} past actions; give fewer than {past}.")


def _features(modality, tensor, vocabulary):
    """Observations `(batch, 14, F)` of a modality."""
    if modality != LABELS:
        return tensor
    check_last("model.labels.last", vocabulary.last, tensor.shape[1])
    when = {"observations": OBSERVATIONS, "step": round(100 * STEP)}
    return PastActions(**dataclasses.asdict(vocabulary), **when, name=f"{LABELS}_embedding")(tensor)


def _scores(modality, x, dropout, classes):
    """Logits of one branch by label space; they stay float32 under mixed precision."""
    x = layers.Dropout(dropout, name=f"{modality}_dropout")(x)
    return {space: layers.Dense(count, dtype="float32", name=f"{modality}_{space}")(x) for space, count in classes.items()}


def _averaged(scores):
    if len(scores) == 1:
        return scores[0]
    return {space: layers.Average(dtype="float32", name=space)([branch[space] for branch in scores]) for space in scores[0]}
