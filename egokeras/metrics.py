"""Metrics that know clips without a label."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="egokeras")
class TopK(keras.metrics.Mean):
    """Share of labelled clips whose class is among the k highest logits; labels of -1 are left out.

    A tie counts against us: the label must beat all but k-1 of the others, so that constant logits score 0. Predictions at several
    times, `(batch, times, classes)`, count by the mean over the times.
    """

    def __init__(self, k=1, name=None, **kwargs):
        super().__init__(name=name or f"top{k}", **kwargs)
        self.k = k

    def update_state(self, labels, logits, sample_weight=None):
        known = ops.cast(labels >= 0, "float32")
        own = ops.reshape(ops.maximum(labels, 0), (-1, *[1] * (len(logits.shape) - 1)))
        own = ops.take_along_axis(logits, ops.broadcast_to(own, (*ops.shape(logits)[:-1], 1)), axis=-1)
        not_below = ops.sum(ops.cast(logits >= own, "int32"), axis=-1)  # the label itself is one of them
        hits = ops.cast(not_below <= self.k, "float32")
        weight = known if sample_weight is None else known * sample_weight
        return super().update_state(hits if len(hits.shape) == 1 else ops.mean(hits, axis=1), weight)

    def get_config(self):
        return {**super().get_config(), "k": self.k}
