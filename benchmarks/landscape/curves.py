"""The loss along random directions in which every filter is as long as the network's own.

Li et al., "Visualizing the Loss Landscape of Neural Nets" (NeurIPS 2018), https://arxiv.org/abs/1712.09913. Where BatchNorm follows,
a filter of twice the length computes the same: steps that are relative to its length make networks comparable.
"""

import numpy as np


def filter_normalised(weights, rng):
    """d_ij / |d_ij| |theta_ij| for the filters j of every layer i, d of independent normal numbers; biases and BatchNorm stay (0).

    Args:
        weights: arrays, the last axis of a kernel over its filters (or units).
        rng: `np.random.Generator`.

    Returns:
        An array for each of `weights`.
    """
    return [_direction(np.asarray(weight), rng) for weight in weights]


def _direction(weight, rng):
    if weight.ndim < 2:
        return np.zeros_like(weight)
    drawn, axes = rng.standard_normal(weight.shape), tuple(range(weight.ndim - 1))
    return drawn * (_length(weight, axes) / _length(drawn, axes))


def _length(values, axes):
    return np.sqrt((values.astype(np.float64) ** 2).sum(axis=axes))


def along(loss, direction, steps):
    """L(theta + a d) for every a of `steps`: (steps,) float64; theta stays as it was.

    Args:
        loss: a `Loss`.
        direction: d, an array for each of its weights.
        steps: numbers.
    """
    theta = [weight.numpy() for weight in loss.weights]
    try:
        found = []
        for step in steps:
            for weight, start, part in zip(loss.weights, theta, direction, strict=True):
                weight.assign(start + step * part)
            found.append(loss.value())
        return np.array(found)
    finally:
        for weight, start in zip(loss.weights, theta, strict=True):
            weight.assign(start)
