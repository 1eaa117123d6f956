"""Losses as plain functions of logits, one value per clip."""

import keras
import tensorflow as tf
from keras import ops


def cross_entropy(labels, logits, class_weights=None):
    """Cross-entropy of integer labels; clips without a label (-1) count zero.

    Args:
        labels: `(batch,)` integers.
        logits: `(batch, classes)`, or `(batch, times, classes)` for predictions at several times, whose mean is taken.
        class_weights: `(classes,)` factors by the class of the label, or None.

    Returns:
        `(batch,)` float32.
    """
    known = labels >= 0
    labels = ops.where(known, labels, 0)
    logits = ops.cast(logits, "float32")
    losses = over_times(keras.losses.sparse_categorical_crossentropy, labels, logits)
    if class_weights is not None:
        losses = losses * ops.take(ops.convert_to_tensor(class_weights, "float32"), labels)
    return losses * ops.cast(known, "float32")


def over_times(loss, labels, logits):
    """A Keras loss `loss(labels, logits, from_logits=True)` of every clip, the mean over times where `logits` have them."""
    if len(logits.shape) == 2:
        return loss(labels, logits, from_logits=True)
    repeated = ops.repeat(ops.expand_dims(labels, 1), logits.shape[1], axis=1)
    return ops.mean(loss(repeated, logits, from_logits=True), axis=1)


def kl_divergence(teacher, student, temperature=1.0):
    """KL(softmax(t / tau) || softmax(s / tau)) of every clip; the gradient goes to both.

    Args:
        teacher, student: logits t and s, `(batch, classes)`, or `(batch, times, classes)`, of which the mean over times is taken.
        temperature: tau.

    Returns:
        `(batch,)` float32.
    """
    log_t, log_s = (ops.log_softmax(ops.cast(logits, "float32") / temperature) for logits in (teacher, student))
    divergence = ops.sum(ops.exp(log_t) * (log_t - log_s), axis=-1)
    return divergence if len(divergence.shape) == 1 else ops.mean(divergence, axis=1)


def mean_over_clips(losses):
    """Mean of per-clip losses over the whole batch; on several devices this device's share of it, see `mean_over_known`."""
    return mean_over_known(losses, ops.zeros_like(losses))


def mean_over_known(losses, labels):
    """Mean of per-clip losses over the clips that have a label; 0 where none has.

    On several devices it is this device's share of the mean over the whole batch: the shares add up to it.
    """
    known = sum_over_replicas(ops.sum(ops.cast(labels >= 0, "float32")))
    return ops.sum(losses) / ops.maximum(known, 1.0)


def sum_over_replicas(values):
    """Sums over the devices of a `tf.distribute` strategy, for any structure of tensors; on one device the values themselves."""
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return values
    return replica.all_reduce(tf.distribute.ReduceOp.SUM, values)
