"""Pruning by masks: the smallest weights of a network become zero while it trains, by any method, and stay zero.

How many follows the polynomial schedule of Zhu & Gupta, "To prune, or not to prune" (2017), https://arxiv.org/abs/1710.01878. N:M sparsity,
https://arxiv.org/abs/2104.08378, is what the sparse tensor cores of Ampere and later GPUs compute with, laid out as TensorRT looks for
it: for each output channel and each place in a kernel, of every 4 consecutive input channels at most 2 are not zero.

What zeros give: a file that compresses better. Zeros anywhere give no speed on CPUs, nor does 2:4, whose speed is that of GPUs with sparse
tensor cores. To be faster on a CPU a network must lose whole channels.
"""

import dataclasses
import difflib
import fnmatch
import math
import re
import typing

import keras
import numpy as np

from egokeras.errors import InputError

KERNELS = ("kernel", "recurrent_kernel", "pointwise_kernel")
SPARSITY = 0.8
PRUNED = -1.0  # the score of a weight that is zero for good, below all magnitudes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pruning:
    """Which weights become zero, and when; kernels of depthwise convolutions stay dense, as they are too small to be worth it.

    Attributes:
        sparsity: share of zeros at the end; None is 0.8, or what `pattern` leaves.
        pattern: `2:4` keeps at most 2 of every 4 consecutive input channels, and leaves kernels dense whose inputs do not divide by 4;
            so for any N:M. Empty lets the smallest weights go wherever they are.
        threshold: `layer` gives every kernel the same sparsity; `model` compares weights of all kernels, which then have it together.
        begin, end: of the schedule, as shares of the training; equal ones prune at once, 0 before the first step.
        every: steps between two prunings.
        dense: names of layers that stay dense, or patterns such as `conv_1` and `block_*_expand`.
    """

    sparsity: float | None = None
    pattern: str = ""
    threshold: typing.Literal["layer", "model"] = "layer"
    begin: float = 0.0
    end: float = 0.5
    every: int = 100
    dense: tuple[str, ...] = ()

    def __post_init__(self):
        if self.pattern and not (re.fullmatch(r"[1-9]\d*:[1-9]\d*", self.pattern) and self.kept[0] < self.kept[1]):
            raise InputError(f"pruning.pattern is {self.pattern!r}; give N:M with N less than M, such as 2:4, or nothing.")
        if not 0 < self.final < 1:
            raise InputError(f"pruning.sparsity is {self.sparsity:g}; give a share between 0 and 1, such as 0.8.")
        if self.pattern and self.sparsity not in (None, self.final):
            raise InputError(f"pruning.sparsity is {self.sparsity:g}, but {self.pattern} leaves {self.final:g}; leave one of them away.")
        if not 0 <= self.begin <= self.end <= 1:
            found = f"begin {self.begin:g}, end {self.end:g}"
            raise InputError(f"pruning has {found}; both are shares of the training from 0 to 1, and the end is not before the beginning.")
        if self.every < 1:
            raise InputError(f"pruning.every is {self.every}; give at least 1 step.")

    @property
    def kept(self):
        """N and M of the pattern."""
        n, m = map(int, self.pattern.split(":"))
        return n, m

    @property
    def final(self):
        """The share of zeros at the end."""
        if self.pattern:
            return 1 - self.kept[0] / self.kept[1]
        return SPARSITY if self.sparsity is None else self.sparsity

    def at(self, step, steps):
        """The share of zeros after `step` of `steps` steps of training: s_f (1 - (1 - (t - t_0) / (t_1 - t_0))^3) from t_0 to t_1."""
        first, last = self._steps(steps)
        if step >= last:
            return self.final
        return 0.0 if step <= first else self.final * (1 - (1 - (step - first) / (last - first)) ** 3)

    def due(self, step, steps):
        """Whether weights go after `step` of `steps` steps."""
        first, last = self._steps(steps)
        return step == last or (first < step < last and (step - first) % self.every == 0)

    def full_after(self, steps_per_epoch, epochs):
        """The first epoch, counted from 0, at whose end all zeros are there: only its weights and later ones may be the best."""
        return max(0, math.ceil(self._steps(steps_per_epoch * epochs)[1] / steps_per_epoch) - 1)

    def _steps(self, steps):
        return round(self.begin * steps), round(self.end * steps)

    def kernels(self, model):
        """Path to variable of the kernels of `model` that are pruned: those that learn, are not `dense` and fit the pattern.

        Args:
            model: a `keras.Model`, maybe with models nested in it.
        """
        learns = {id(weight) for weight in model.trainable_weights}
        width = self.kept[1] if self.pattern else 1
        return {
            path: kernel
            for path, (layer, kernel) in kernels_of(model).items()
            if id(kernel) in learns and kernel.shape[-2] % width == 0 and not any(fnmatch.fnmatch(layer, name) for name in self.dense)
        }

    def check(self, model):
        """Refuse what would prune nothing, or leave dense what is not there.

        Raises:
            InputError: no layer of `model` has the name, or no kernel is left to prune.
        """
        layers = list(dict.fromkeys(layer for layer, _ in kernels_of(model).values()))
        for name in self.dense:
            if not fnmatch.filter(layers, name):
                nearest = ", ".join(difflib.get_close_matches(name, layers, n=3)) or ", ".join(layers[:3])
                raise InputError(f"pruning.dense: no layer with a kernel is called {name!r}; nearest: {nearest}.")
        if not self.kernels(model):
            fits = f" has inputs that divide by {self.kept[1]} and" if self.pattern else ""
            raise InputError(f"pruning: no kernel{fits} learns and is not kept dense; leave pruning away, or let more layers learn.")


def kernels_of(model):
    """Path (`backbone/conv_1/kernel`) to the name of the layer and the variable, of every kernel that pruning knows.

    Their last axis are the outputs, the one before it the inputs. Depthwise convolutions are left out.
    """
    found: dict = {}
    for path, layer in _leaves(model):
        if not isinstance(layer, keras.layers.DepthwiseConv1D | keras.layers.DepthwiseConv2D):
            found |= {"/".join((*path, weight.path)): (layer.name, weight) for weight in layer.weights if weight.name in KERNELS}
    return found


def _leaves(model, path=()):
    """Names of the models around each layer, and the layer."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _leaves(layer, (*path, layer.name))
        else:
            yield path, layer


def count(share, whole):
    """floor(share * whole), also where 0.29 * 100 is a little less than 29 in floating point."""
    return math.floor(round(share * whole, 6))


def masks(weights, before, pruning, sparsity):
    """Which weights stay.

    Args:
        weights: arrays (..., inputs, outputs), all kernels that are pruned.
        before: bool arrays like them: False where a weight is zero for good.
        pruning: a `Pruning`.
        sparsity: share of zeros now, at most the final one.

    Returns:
        Bool arrays like `before`, in which nothing that was False is True: of every kernel, or of all together, exactly
        floor(sparsity * weights) are False, those of the smallest magnitude (with a pattern: of those that it leaves no room
        for). Among equal magnitudes it is the first ones that go.
    """
    scores = [np.where(mask, np.abs(weight), PRUNED) for weight, mask in zip(weights, before, strict=True)]
    sizes, share = [score.size for score in scores], sparsity
    if pruning.pattern:
        superfluous = [_superfluous(score, *pruning.kept) for score in scores]
        scores = [np.where(goes, score, np.inf) for score, goes in zip(scores, superfluous, strict=True)]
        sizes, share = [int(goes.sum()) for goes in superfluous], sparsity / pruning.final
    gone = [int((~mask).sum()) for mask in before]
    if pruning.threshold == "layer":
        return [~smallest(score, max(zeros, count(share, size))) for score, zeros, size in zip(scores, gone, sizes, strict=True)]
    together = smallest(np.concatenate([score.ravel() for score in scores]), max(sum(gone), count(share, sum(sizes))))
    parts = np.split(together, np.cumsum([score.size for score in scores])[:-1])
    return [~part.reshape(score.shape) for part, score in zip(parts, scores, strict=True)]


def smallest(scores, count):
    """Where the `count` smallest of `scores` are, a bool array of its shape; among equal ones the first."""
    found, flat = np.zeros(scores.size, bool), scores.ravel()
    if count:
        limit = np.partition(flat, count - 1)[count - 1]
        found[flat < limit] = True
        found[np.flatnonzero(flat == limit)[: count - found.sum()]] = True
    return found.reshape(scores.shape)


def _superfluous(scores, n, m):
    """Where the m - n smallest of every m consecutive inputs are; among equal ones the first."""
    inputs_last = np.moveaxis(scores, -2, -1)
    groups = inputs_last.reshape(-1, m)
    found = np.zeros(groups.shape, bool)
    np.put_along_axis(found, np.argsort(groups, axis=1, kind="stable")[:, : m - n], True, axis=1)
    return np.moveaxis(found.reshape(inputs_last.shape), -1, -2)


class Pruner(keras.callbacks.Callback):
    """Prunes the student of a `Distiller` while it trains, and logs its `sparsity`; must be the first of the callbacks.

    The Distiller is made with the kernels, `Distiller(student, method, masked=pruning.kernels(student).values())`; it holds them at zero
    where its masks are False. Masks follow from weights, earlier masks and the step alone, and never give a weight back, so that a step
    that a resumed training only counts changes nothing.

    Args:
        pruning: a `Pruning`.
    """

    def __init__(self, pruning):
        super().__init__()
        self.pruning = pruning

    def on_train_begin(self, logs=None):
        if self.params["steps"] is None:
            raise InputError("pruning follows a schedule over all steps; give steps_per_epoch to fit.")
        self._prune(0)

    def on_epoch_begin(self, epoch, logs=None):
        self.begun = epoch * self.params["steps"]

    def on_train_batch_end(self, batch, logs=None):
        self._prune(self.begun + batch + 1)

    def on_epoch_end(self, epoch, logs=None):
        found = self._masks()
        logs["sparsity"] = 1 - sum(int(mask.sum()) for mask in found) / sum(mask.size for mask in found)

    def on_train_end(self, logs=None):
        self.model.apply_masks()  # to the moving average of the weights, which Keras has just put in their place

    def _masks(self):
        return [keras.ops.convert_to_numpy(mask) for mask in self.model.masks]

    def _prune(self, step):
        steps = self.params["steps"] * self.params["epochs"]
        if not self.pruning.due(step, steps):
            return
        weights = [keras.ops.convert_to_numpy(weight) for weight in self.model.masked]
        found = masks(weights, self._masks(), self.pruning, self.pruning.at(step, steps))
        for mask, values in zip(self.model.masks, found, strict=True):
            mask.assign(values)
        self.model.apply_masks()
