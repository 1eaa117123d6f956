"""Structured pruning: a trained model without its least important channels, as a smaller dense model.

Channels that hang together (`channels`) go together. Importance is the size of their weights (Li et al., "Pruning Filters for Efficient
ConvNets", https://arxiv.org/abs/1608.08710) or the scale of their BatchNorm (Liu et al., "Network Slimming",
https://arxiv.org/abs/1708.06519), over what removing them saves.
"""

import dataclasses
import math
import typing
from collections.abc import Mapping

import keras
import numpy as np

from egokeras.compress.channels import Channels, Path, channels_of
from egokeras.compress.cost import cost_by_path, walk
from egokeras.compress.narrowing import narrowed
from egokeras.errors import InputError
from egokeras.files import read_json

WEIGHT = {"magnitude": "kernel", "bn_scale": "gamma"}  # which weights tell how important a channel is
TINY = 1e-30  # in the place of 0, to divide by


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pruned:
    """The trained model of a run, of which whole channels are left out; all that is left learns.

    Groups of channels lose blocks of `multiple_of`, the one first whose importance, as a share of what its group still has, is least for
    what it saves: so no layer is used up, and none is spared for having many channels.

    Attributes:
        of: an earlier stage of the recipe, or a run folder.
        macs: share of its multiply-accumulates to keep, above 0 and below 1.
        importance: `magnitude`, the L2 norm of a channel's rows and columns in the kernels of its group, or `bn_scale`, its |gamma| (of
            groups without a BatchNorm the norm); each over the layer's mean, and the mean over the layers.
        latencies: a file that `egokeras benchmark FOLDER --layers --json FILE` wrote for its layers: what is saved are then milliseconds of
            that device. Without one it is multiply-accumulates.
        multiple_of: channels that a group is left with are a multiple of this, unless it keeps all; the int8 kernels of many processors
            work on 8 or 16 at a time.
    """

    of: str = ""
    macs: float = 0.5
    importance: typing.Literal["magnitude", "bn_scale"] = "magnitude"
    latencies: str = ""
    multiple_of: int = 8

    def __post_init__(self):
        if not 0 < self.macs < 1:
            raise InputError(f"model.macs is {self.macs:g}; give the share of the multiply-accumulates to keep, such as 0.5.")
        if self.importance not in WEIGHT:
            raise InputError(f"model.importance is {self.importance!r}; it must be one of {', '.join(WEIGHT)}.")
        if self.multiple_of < 1:
            raise InputError(f"model.multiple_of is {self.multiple_of}; give at least 1.")

    def prune(self, model):
        """The smaller `keras.Model`, with the same inputs and answers and copies of the weights that are left; all of them learn.

        Args:
            model: functional, as the `model.keras` of a run has it.

        Raises:
            InputError: so few multiply-accumulates cannot be reached, or `latencies` is of another model.
        """
        channels = channels_of(model)
        work = Work(channels, _macs(model))
        price = Work(channels, *_measured(self.latencies, channels)) if self.latencies else work
        importances = [_importance(model, channels, number, self.importance) for number in range(len(channels.groups))]
        removed = self._choose(importances, work, price)
        smaller = narrowed(
            model, channels, np.concatenate([group.roots[gone] for group, gone in zip(channels.groups, removed, strict=True)])
        )
        smaller.trainable = True
        return smaller

    def _choose(self, importances, work, price):
        """Positions of the channels to remove, of each group."""
        order = [np.argsort(importance, kind="stable") for importance in importances]
        # what the importance of the channels up to one, from the least, adds up to
        sums = [np.concatenate([[0], np.cumsum(importance[by])]) for importance, by in zip(importances, order, strict=True)]
        gone, sizes = [0] * len(order), [len(by) for by in order]
        left, now, removed = np.ones(len(order)), work.whole, []

        def next_block(group):
            """(importance for what it saves, the group, how many of it are gone then)."""
            fewer = (sizes[group] - gone[group] - 1) // self.multiple_of * self.multiple_of
            then = sizes[group] - fewer
            lost = (sums[group][then] - sums[group][gone[group]]) / max(sums[group][-1] - sums[group][gone[group]], TINY)
            saved = price.saved(left, group, fewer / sizes[group]) if fewer else 0.0
            return lost / saved if saved > 0 else math.inf, group, then

        def leave(group, count):
            """The cost of the model where so many of a group are gone."""
            share = 1 - count / sizes[group]
            cost = now - work.saved(left, group, share)
            gone[group], left[group] = count, share
            return cost

        while now > self.macs * work.whole:
            best, group, then = min(map(next_block, range(len(order))), default=(math.inf, 0, 0))
            if best == math.inf:
                found = f"{now / work.whole:.2f} is left where no layer can lose {self.multiple_of} channels more"
                raise InputError(f"model.macs is {self.macs:g}, but {found}; give more, or a smaller model.multiple_of.")
            removed.append((group, gone[group], then))
            now = leave(group, then)
        for group, before, then in reversed(removed):  # the last block may have been a large one: others have room again
            if gone[group] == then and now - work.saved(left, group, 1 - before / sizes[group]) <= self.macs * work.whole:
                now = leave(group, before)
        return [by[:count] for by, count in zip(order, gone, strict=True)]


@dataclasses.dataclass(frozen=True)
class _Term:
    """What a layer costs, for the shares of channels that groups are left with: `size` times, for each axis, fixed + sum of shares."""

    size: float
    axes: tuple[tuple[float, Mapping[int, float]], ...]

    def at(self, left):
        product = self.size
        for fixed, shares in self.axes:
            product *= fixed + sum(share * left[group] for group, share in shares.items())
        return product


class Work:
    """What a model costs when its groups are left with some of their channels.

    Args:
        channels: of the model.
        sizes: path of a layer to what it costs as it is, in any unit: in proportion to its inputs and outputs, or to its channels where it
            has no kernel.
        fixed: what the model costs beyond that.

    Attributes:
        whole: the cost of the model as it is.
    """

    def __init__(self, channels: Channels, sizes: Mapping[Path, float], fixed=0.0):
        self._group_of = np.full(len(channels.roots), -1)
        for number, one in enumerate(channels.groups):
            self._group_of[one.roots] = number
        self._fixed, self._all = fixed, []
        self._of_group: list[list[_Term]] = [[] for _ in channels.groups]
        for path, size in sizes.items():
            term = _Term(size, tuple(map(self._axis, axes_of(channels, path))))
            self._all.append(term)
            for group in {group for _, shares in term.axes for group in shares}:
                self._of_group[group].append(term)
        self.whole = self.at(np.ones(len(channels.groups)))

    def _axis(self, roots):
        groups, counts = np.unique(self._group_of[roots], return_counts=True)
        shares = dict(zip(groups.tolist(), (counts / len(roots)).tolist(), strict=True))
        return shares.pop(-1, 0.0), shares

    def at(self, left):
        """The cost where the groups are left with these shares of their channels, (groups,)."""
        return self._fixed + sum(term.at(left) for term in self._all)

    def saved(self, left, group, share):
        """What is saved where a group is left with a `share` of its channels, and the others with what `left` (groups,) says."""
        then = left.copy()
        then[group] = share
        return sum(term.at(left) - term.at(then) for term in self._of_group[group])


def axes_of(channels, path):
    """Roots along the axes whose lengths a layer's cost is proportional to: its kernel's, or its output's."""
    kernel = channels.axes.get((path, "kernel"))
    return list(kernel.values()) if kernel else [channels.outputs[path]] if path in channels.outputs else []


def _macs(model):
    """Path to multiply-accumulates, of a recurrent layer those of its inputs, which alone can become fewer."""
    found: dict[Path, float] = {}
    for (path, macs), (_, layer) in zip(cost_by_path(model).items(), walk(model), strict=True):
        kernels = {weight.name: math.prod(weight.shape) for weight in layer.weights if len(weight.shape) >= 2}
        found |= {(path if name == "kernel" else (*path, name)): macs * size / sum(kernels.values()) for name, size in kernels.items()}
    return found


def _measured(file, channels):
    """(path to the milliseconds that shrink with the layer, milliseconds that stay), from a table of latencies.

    A layer took `whole_ms`, and `part_ms` with a `share` of its work; between and below it is a line.
    """
    record = read_json(file)
    try:
        rows = {tuple(row["layer"].split("/")): [float(row[key]) for key in ("whole_ms", "part_ms", "share")] for row in record["layers"]}
        slopes = {path: max(0.0, whole - part) / (1 - share) for path, (whole, part, share) in rows.items()}
    except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(f"model.latencies: {file} is no table of layers ({error!r}); make one with `egokeras layers`.") from None
    missing = [path for path, weight in channels.axes if weight == "kernel" and path not in rows]
    if missing:
        raise InputError(f"model.latencies: {file} lacks the layer {'/'.join(missing[0])!r}; measure the layers of this model.")
    return slopes, sum(whole for whole, _, _ in rows.values()) - sum(slopes.values())


def _importance(model, channels, number, kind):
    """(channels,) of a group: the mean over its layers of norms that are 1 on average."""
    group, layers = channels.groups[number], dict(walk(model))
    wanted = WEIGHT[kind] if any(weight == WEIGHT[kind] for _, weight, _ in group.places) else "kernel"
    found = []
    for path, name, axis in group.places:
        if name == wanted:
            weight = next(weight for weight in layers[path].weights if weight.name == name)
            squares = np.square(keras.ops.convert_to_numpy(weight))
            each = squares.sum(axis=tuple(other for other in range(squares.ndim) if other != axis))
            norms = np.sqrt(np.bincount(channels.axes[path, name][axis], each, len(channels.roots))[group.roots])
            found.append(norms / max(norms.mean(), TINY))
    return np.mean(found, axis=0)
