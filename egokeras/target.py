"""What an export shall reach, such as `latency<10ms,accuracy>-1`: read from text, and how far a file is from it."""

import dataclasses
import math
import operator
import re

from egokeras.errors import InputError

SIGNS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
CONDITION = re.compile(r"\s*([a-z]+)\s*([<>]=?)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*([A-Za-z%]*)\s*")
# Quantity to its units, the first of which is meant where none is given, as factors to the first.
UNITS = {
    "latency": {"ms": 1.0, "s": 1000.0},
    "size": {"MB": 1.0, "kB": 1e-3, "MiB": 1.048576},
    "memory": {"MiB": 1.0, "MB": 1 / 1.048576},
    "accuracy": {"": 1.0, "points": 1.0},
    "agreement": {"%": 1.0, "": 1.0},
}
MORE = ("accuracy", "agreement")  # of which more is better


@dataclasses.dataclass(frozen=True, kw_only=True)
class Condition:
    """One limit.

    Attributes:
        quantity: `latency` (p50), `size`, `memory`, `accuracy` (relative to the Keras model) or `agreement`.
        sign: `<`, `<=`, `>` or `>=`.
        limit: in ms, MB, MiB, percentage points or percent.
    """

    quantity: str
    sign: str
    limit: float

    def __str__(self):
        return f"{self.quantity}{self.sign}{self.limit!r}{next(iter(UNITS[self.quantity]))}"

    def holds(self, value):
        """Whether a value fulfils this; one that is not known, None, does not."""
        return value is not None and SIGNS[self.sign](value, self.limit)

    def beyond(self, value):
        """How far a value is on the wrong side: percent of the limit, or percentage points; infinite where it is not known."""
        if self.holds(value):
            return 0.0
        if value is None:
            return math.inf
        return self.limit - value if self.quantity in MORE else 100 * (value / self.limit - 1)


def parse(text):
    """The `Condition`s of a text in which commas part them, each quantity at most once.

    Raises:
        InputError: names the part that cannot be read.
    """
    conditions = [_condition(part) for part in text.split(",")]
    quantities = [condition.quantity for condition in conditions]
    twice = next((quantity for quantity in quantities if quantities.count(quantity) > 1), None)
    if twice:
        raise InputError(f"target {text!r} limits {twice} twice; give each quantity once.")
    return tuple(conditions)


def _condition(part):
    found = CONDITION.fullmatch(part)
    if not found or found[1] not in UNITS:
        raise InputError(f"target {part!r} is not a limit such as latency<10ms; give one of {', '.join(UNITS)}, < or >, and a number.")
    quantity, sign, number, unit = found.groups()
    wanted = ">" if quantity in MORE else "<"
    if sign[0] != wanted:
        raise InputError(
            f"target {part!r}: of {quantity}, {'more' if wanted == '>' else 'less'} is better; write {quantity}{wanted}{number}."
        )
    units = UNITS[quantity]
    if unit and unit not in units:
        raise InputError(f"target {part!r}: {quantity} has no unit {unit!r}; give {' or '.join(filter(None, units))}.")
    limit = float(number) * (units[unit] if unit else 1.0)
    if not math.isfinite(limit) or (quantity not in MORE and limit <= 0):
        raise InputError(f"target {part!r}: nothing has {quantity} {sign} {number}; give a number above 0.")
    return Condition(quantity=quantity, sign=sign, limit=limit)


def best(candidates, conditions):
    """The most accurate candidate that fulfils all conditions, of several the smallest.

    Args:
        candidates: name to its figures: quantity to value, None where it is not known.
        conditions: what `parse` gives.

    Returns:
        (its name, or None; the name of that which came nearest, beyond the limits by the smallest sum, or None if there is no candidate).
    """
    fitting = [name for name, figures in candidates.items() if all(each.holds(figures[each.quantity]) for each in conditions)]
    if fitting:
        found = min(fitting, key=lambda name: (_worst(candidates[name], "accuracy"), candidates[name]["size"]))
        return found, found
    beyond = {name: sum(each.beyond(figures[each.quantity]) for each in conditions) for name, figures in candidates.items()}
    return None, min(beyond, key=beyond.__getitem__, default=None)


def undominated(candidates):
    """Names of the candidates that no other equals in all quantities and betters in one; what `best` finds is equal to one of them."""
    losses = {name: [_worst(figures, quantity) for quantity in UNITS] for name, figures in candidates.items()}

    def bettered(mine):
        return any(other != mine and all(a <= b for a, b in zip(other, mine, strict=True)) for other in losses.values())

    return [name for name, mine in losses.items() if not bettered(mine)]


def _worst(figures, quantity):
    """Less is better; what is not known is worst."""
    value = figures[quantity]
    return math.inf if value is None else -value if quantity in MORE else value
