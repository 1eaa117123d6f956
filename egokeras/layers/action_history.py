"""The list of past actions as a sequence: what each was, the gaps between them, and which of them are known at an anticipation time.

`labels` is `(batch, past, 3)` integers, oldest first and right-aligned, zeros where there is none: verb id + 1, noun id + 1, and the
age, hundredths of a second from the moment when the action became known to the start of the one to be anticipated. What is known at every
observation, as RU-LSTM reads it, is in `past_actions`.
"""

import keras
from keras import ops

SECOND = 100  # hundredths


@keras.saving.register_keras_serializable(package="egokeras")
class EmbedPastActions(keras.layers.Layer):
    """`labels` to `(batch, past, verb_size + noun_size + 1)`: vector of the verb, of the noun, log(1 + seconds after the action before).

    What is not to be read is masked: places without an action, and of the actions known at the first anticipation time all but the
    `last`. For a list has room for so many, so that how far back it goes tells how much happened later than what is known: more than
    a prediction at that time may know.

    Args:
        verbs, nouns: how many there are at most.
        verb_size, noun_size: widths of the vectors.
        last: actions to read, and those that became known after the first time; fewer than the list has room for.
        first: the first anticipation time, seconds.
    """

    def __init__(self, verbs, nouns, verb_size, noun_size, last, first, **kwargs):
        super().__init__(**kwargs)
        self.last, self.first = last, first
        normal = keras.initializers.RandomNormal(stddev=1.0)  # Keras' own, 20 times smaller, costs a training several epochs
        vectors = {"embeddings_initializer": normal, "dtype": self.dtype_policy}
        self.verbs = keras.layers.Embedding(verbs + 1, verb_size, name="verbs", **vectors)
        self.nouns = keras.layers.Embedding(nouns + 1, noun_size, name="nouns", **vectors)

    def build(self, shape):
        self.verbs.build(shape[:-1])
        self.nouns.build(shape[:-1])

    def call(self, labels):
        labels = ops.cast(labels, "int32")
        read, age = self.compute_mask(labels), labels[..., 2]
        gap = ops.where(read[:, :-1], age[:, :-1] - age[:, 1:], 0)
        gap = ops.pad(ops.cast(ops.maximum(gap, 0), self.compute_dtype), ((0, 0), (1, 0)))
        vectors = [self.verbs(labels[..., 0]), self.nouns(labels[..., 1])]
        return ops.concatenate([*vectors, ops.expand_dims(ops.log1p(gap / SECOND), -1)], axis=-1)

    def compute_mask(self, labels, previous_mask=None):
        labels = ops.cast(labels, "int32")
        there = labels[..., 0] > 0
        early = ops.cast(ops.logical_and(there, labels[..., 2] >= round(SECOND * self.first)), "int32")
        not_later = ops.sum(early, axis=1, keepdims=True) - ops.cumsum(early, axis=1) + early  # 1 for the last of them, 2 before it
        return ops.logical_and(there, not_later <= self.last)

    def compute_output_shape(self, shape):
        return (*shape[:-1], self.verbs.output_dim + self.nouns.output_dim + 1)

    def get_config(self):
        own = {"verbs": self.verbs.input_dim - 1, "nouns": self.nouns.input_dim - 1, "last": self.last, "first": self.first}
        return {**super().get_config(), **own, "verb_size": self.verbs.output_dim, "noun_size": self.nouns.output_dim}


@keras.saving.register_keras_serializable(package="egokeras")
class KnownAt(keras.layers.Layer):
    """What is known at each anticipation time: `[labels, states (batch, past, units)]` to `(batch, times, units + 1 + times)`.

    At time t an action is known if its age is at least t, and every action before it is known too. The result is the state after the
    last known action, log(1 + seconds since that became known), both 0 where nothing is known, and which of the times it is, one-hot.

    Args:
        times: seconds before the start of the action to be anticipated.
    """

    def __init__(self, times, **kwargs):
        super().__init__(**kwargs)
        self.times = tuple(times)

    def call(self, inputs):
        labels, states = inputs
        labels = ops.expand_dims(ops.cast(labels, "int32"), 1)  # (batch, 1, past, 3)
        there, over = labels[..., 0] > 0, labels[..., 2] - [[round(SECOND * time)] for time in self.times]
        unknown = ops.cumsum(ops.cast(ops.logical_and(there, over < 0), "int32"), axis=-1)
        known = ops.logical_and(there, unknown == 0)  # (batch, times, past)
        after = ops.pad(known[..., 1:], ((0, 0), (0, 0), (0, 1)))
        last = ops.logical_and(known, ops.logical_not(after))
        seconds = ops.cast(ops.sum(ops.where(last, over, 0), axis=-1, keepdims=True), self.compute_dtype) / SECOND
        which = ops.broadcast_to(ops.eye(len(self.times), dtype=self.compute_dtype), (*ops.shape(known)[:2], len(self.times)))
        return ops.concatenate([ops.matmul(ops.cast(last, self.compute_dtype), states), ops.log1p(seconds), which], axis=-1)

    def compute_mask(self, inputs, previous_mask=None):
        return None

    def compute_output_shape(self, shapes):
        (batch, _, units), times = shapes[1], len(self.times)
        return (batch, times, units + 1 + times)

    def get_config(self):
        return {**super().get_config(), "times": list(self.times)}


@keras.saving.register_keras_serializable(package="egokeras")
class DrawTimes(keras.layers.Layer):
    """In training `count` of the times of `(batch, times, F)`, other ones for every clip, none of them twice; else all of them.

    Args:
        count: how many.
        seed: of the draws; None takes one from Keras' random seed.
    """

    def __init__(self, count, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.count, self.seed = count, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs, training=False):
        times = inputs.shape[1]
        if not training or self.count >= times:
            return inputs
        draws = keras.random.uniform((ops.shape(inputs)[0], times), seed=self.seed_generator)
        drawn = ops.top_k(draws, self.count)[1]
        return ops.matmul(ops.one_hot(drawn, times, dtype=inputs.dtype), inputs)

    def compute_output_shape(self, shape):
        """Outside training; in training there are `count` times."""
        return shape

    def get_config(self):
        return {**super().get_config(), "count": self.count, "seed": self.seed}
