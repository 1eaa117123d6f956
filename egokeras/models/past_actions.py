"""Anticipation from the labels of the past actions alone: what a device that recognises actions knows before the next one."""

import dataclasses

import keras
from keras import layers

from egokeras.errors import InputError
from egokeras.layers.action_history import DrawTimes, EmbedPastActions, KnownAt
from egokeras.models.anticipation import check_last
from egokeras.protocol import ANTICIPATION


@dataclasses.dataclass(frozen=True, kw_only=True)
class PastActionsLSTM:
    """An LSTM over the past actions; the prediction at time t reads its state after the last action that is known at t (own design).

    One pass over the actions serves all times: at t a prefix of them is known. The state goes, with the time since that last action
    and which of the times it is, through Dropout to one Dense per label space.

    Attributes:
        verbs, nouns: how many there are at most; the defaults hold EPIC-KITCHENS-55, -100 and EGTEA Gaze+.
        verb_size, noun_size: widths of their vectors.
        last: actions known at 2 s that are read, beside those that become known later; must be fewer than the data has, as its list ends
            0.25 s before the start and what is then known anew pushes out the oldest (more than 4 of them: none in EPIC-KITCHENS-55).
        units: width of the state.
        input_dropout: rate on what the LSTM reads.
        dropout: rate before the logits.
        times_per_step: of how many of the eight times, drawn for every clip, a training step learns: the softmax over all actions is
            the larger part of the work, and the mean over the drawn times is right in expectation.
    """

    verbs: int = 128
    nouns: int = 512
    verb_size: int = 64
    noun_size: int = 128
    last: int = 6
    units: int = 128
    input_dropout: float = 0.3
    dropout: float = 0.5
    times_per_step: int = 1

    def __post_init__(self):
        if not 1 <= self.times_per_step <= len(ANTICIPATION):
            raise InputError(f"model.times_per_step is {self.times_per_step}; give 1 to {len(ANTICIPATION)}.")

    def build(self, *, classes, shapes):
        """Model from `labels` to `{space: (batch, 8, classes[space]) logits}`; in training `(batch, times_per_step, classes[space])`.

        Args:
            classes: label space to number of classes.
            shapes: modality to shape without batch; `labels` is `(past, 3)`.

        Raises:
            InputError: the data has no past actions, or not more than `last`.
        """
        shape = tuple(shapes.get("labels", ()))
        if len(shape) != 2 or shape[1] != 3:
            found = f"labels of the shape {shape}" if shape else f"only {', '.join(shapes) or 'nothing'}"
            raise InputError(f"PastActionsLSTM needs the modality 'labels', (past actions, 3); the data has {found}.")
        check_last("model.last", self.last, shape[0])
        labels = keras.Input(shape, dtype="int16", name="labels")
        sizes = (self.verbs, self.nouns, self.verb_size, self.noun_size)
        x = EmbedPastActions(*sizes, last=self.last, first=ANTICIPATION[0], name="labels_embedding")(labels)
        x = layers.Dropout(self.input_dropout, name="labels_input_dropout")(x)
        # unrolled: a loop of a few steps takes longer on a CPU
        states = layers.LSTM(self.units, return_sequences=True, unroll=True, name="labels_rolling")(x)
        x = KnownAt(ANTICIPATION, name="labels_known")([labels, states])
        x = layers.Dropout(self.dropout, name="labels_dropout")(DrawTimes(self.times_per_step, name="labels_times")(x))
        logits = {space: layers.Dense(count, dtype="float32", name=f"labels_{space}")(x) for space, count in classes.items()}
        return keras.Model({"labels": labels}, logits)
