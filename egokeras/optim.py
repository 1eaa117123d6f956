"""Optimizers and how the learning rate falls, as frozen dataclasses."""

import dataclasses
import math
import typing

from egokeras.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepDecay:
    """The learning rate times `factor` at epoch `first` and every `every` epochs after it (the report, section 2.4).

    Attributes:
        rule: `plain` decays at first, first + every, first + 2 every ...; `repo` follows the report's code, which decays at
            `first` and then at the multiples of `every`.
    """

    factor: float = 0.2
    first: int = 35
    every: int = 20
    rule: typing.Literal["plain", "repo"] = "plain"

    def at(self, epoch, epochs):
        """Factor on the learning rate in `epoch` (from 0) of `epochs`."""
        if epoch < self.first:
            return 1.0
        extra = (epoch - self.first) // self.every if self.rule == "plain" else epoch // self.every - self.first // self.every
        return self.factor ** (1 + extra)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cosine:
    """From the full learning rate to zero along half a cosine."""

    def at(self, epoch, epochs):
        """Factor on the learning rate in `epoch` (from 0) of `epochs`."""
        return 0.5 * (1 + math.cos(math.pi * epoch / epochs))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plateau:
    """The learning rate times `factor` whenever the recipe's `monitor` has not been better than its best for `patience` epochs."""

    factor: float = 0.1
    patience: int = 10

    def __post_init__(self):
        if not 0 < self.factor < 1 or self.patience < 1:
            found = f"factor {self.factor:g}, patience {self.patience}"
            raise InputError(f"optim.schedule: Plateau has {found}; give a factor between 0 and 1, and at least 1 epoch of patience.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optim:
    """Optimizer and learning rate.

    Attributes:
        optimizer: `adam`, `adamw` or `sgd`.
        learning_rate: at the start.
        schedule: how it falls, or None.
        momentum: of `sgd`.
        weight_decay: decoupled, of `adamw` and `sgd`: weights shrink by `learning_rate * weight_decay` in every step.
        l2: adds l2 / 2 |w|^2 of all trainable weights to the loss, so that its gradient l2 w takes part in momentum: what PyTorch's SGD
            calls weight decay, and papers that train with it.
        clip_norm: largest norm of each weight's gradient, or None.
        accumulate: batches whose mean gradient makes one step, where memory is too short for a larger batch; BatchNorm sees each alone.
        ema: momentum of a moving average of the weights, which the trained model gets; None is none.
    """

    optimizer: typing.Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = 1e-3
    schedule: StepDecay | Cosine | Plateau | None = None
    momentum: float = 0.9
    weight_decay: float = 0.0
    l2: float = 0.0
    clip_norm: float | None = None
    accumulate: int = 1
    ema: float | None = None

    def __post_init__(self):
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"optim.learning_rate is {self.learning_rate:g}; it must be more than 0.")
        if not 0 <= self.l2 < math.inf:
            raise InputError(f"optim.l2 is {self.l2:g}; it must be at least 0.")
        if self.accumulate < 1:
            raise InputError(f"optim.accumulate is {self.accumulate}; give at least 1 batch for a step.")

    def build(self, steps_per_epoch, epochs):
        """The `keras.optimizers.Optimizer`; its rate is a function of the step alone, or with `Plateau` a variable that a callback lowers.

        Raises:
            InputError: a weight decay for an optimizer that has none.
        """
        import keras

        if self.weight_decay and self.optimizer == "adam":
            raise InputError(f"optim.weight_decay is {self.weight_decay:g}, but adam has none; use optim.optimizer=adamw.")
        rate = self.learning_rate
        if self.schedule is not None and not isinstance(self.schedule, Plateau):
            rates = [self.learning_rate * self.schedule.at(epoch, epochs) for epoch in range(epochs)]
            changes = [epoch for epoch in range(1, epochs) if rates[epoch] != rates[epoch - 1]]
            boundaries = [
                epoch * steps_per_epoch - 1 for epoch in (*changes, epochs)
            ]  # a rate holds up to its boundary, that step included
            values = [rates[0], *(rates[epoch] for epoch in changes), rates[-1]]
            rate = keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, values)
        common = {"learning_rate": rate, "clipnorm": self.clip_norm}
        if self.accumulate > 1:
            common["gradient_accumulation_steps"] = self.accumulate
        if self.ema is not None:
            common |= {"use_ema": True, "ema_momentum": self.ema}
        if self.optimizer == "sgd":
            return keras.optimizers.SGD(momentum=self.momentum, weight_decay=self.weight_decay or None, **common)
        if self.optimizer == "adamw":
            return keras.optimizers.AdamW(weight_decay=self.weight_decay, **common)
        return keras.optimizers.Adam(**common)
