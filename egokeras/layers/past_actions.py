"""The actions before as a modality: what is known of them at each observation, and not a moment earlier.

For RU-LSTM, which reads them beside other modalities; a model that reads their list as a sequence has `action_history`.
"""

import keras
import numpy as np
from keras import ops

LONGEST = 30_000  # hundredths of a second: older actions are alike, in whichever window (int16 ends shortly after)


@keras.saving.register_keras_serializable(package="egokeras")
class PastActions(keras.layers.Layer):
    """The last few known actions at each observation: `(batch, past, 3)` integers -> `(batch, observations, features)`.

    A past action is (verb id + 1, noun id + 1, age), the oldest first; its age are the hundredths of a second from the moment when it
    became known to the start of the action to anticipate. Observation j comes `step * (observations - j)` hundredths before that start
    and sees those at least as old. The features are, for the last known action, the one before it and so on: verb vector, noun vector,
    whether there is one, and log(1 + seconds for which it has been known).

    Args:
        verbs, nouns: sizes of the vocabularies.
        last: actions that an observation sees.
        verb_size, noun_size: widths of the vectors.
        observations: how many there are.
        step: hundredths of a second between two.
    """

    def __init__(self, verbs, nouns, last=5, verb_size=64, noun_size=128, observations=14, step=25, **kwargs):
        super().__init__(**kwargs)
        self.last, self.observations, self.step = last, observations, step
        vectors = {"embeddings_initializer": keras.initializers.RandomNormal(stddev=1.0), "dtype": self.dtype_policy}
        self.verbs = keras.layers.Embedding(verbs + 1, verb_size, name="verbs", **vectors)
        self.nouns = keras.layers.Embedding(nouns + 1, noun_size, name="nouns", **vectors)

    def build(self, shape):
        self.verbs.build(shape[:2])
        self.nouns.build(shape[:2])

    def call(self, actions):
        actions = ops.cast(actions, "int32")
        least = self.step * np.arange(self.observations, 0, -1, dtype="int32")[:, None]
        over = ops.minimum(actions[:, None, :, 2] - least, LONGEST)  # (batch, observations, past)
        known = ops.cast(over >= 0, self.compute_dtype)
        past = actions.shape[1]
        rank = ops.matmul(known, ops.cast(np.tri(past), self.compute_dtype))  # 1 for the last known one, 2 for the one before it
        ranks = ops.cast(np.arange(1, self.last + 1)[:, None], self.compute_dtype)
        slots = ops.cast(rank[:, :, None] == ranks, self.compute_dtype) * known[:, :, None]  # (batch, observations, last, past)
        vectors = ops.concatenate([self.verbs(actions[..., 0]), self.nouns(actions[..., 1])], axis=-1)
        seconds = ops.log1p(ops.cast(ops.maximum(over, 0), self.compute_dtype) / 100)
        features = [ops.matmul(slots, vectors[:, None]), ops.sum(slots, -1, keepdims=True), ops.matmul(slots, seconds[..., None])]
        return ops.reshape(ops.concatenate(features, axis=-1), (-1, *self.compute_output_shape(actions.shape)[1:]))

    def compute_output_shape(self, shape):
        return (shape[0], self.observations, self.last * (self.verbs.output_dim + self.nouns.output_dim + 2))

    def get_config(self):
        own = {"verbs": self.verbs.input_dim - 1, "nouns": self.nouns.input_dim - 1, "last": self.last}
        own |= {"verb_size": self.verbs.output_dim, "noun_size": self.nouns.output_dim}
        return {**super().get_config(), **own, "observations": self.observations, "step": self.step}
