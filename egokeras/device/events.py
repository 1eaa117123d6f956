"""From predictions over time to events: smoothed probabilities, one threshold that begins an event and a lower one that ends it.

Needs numpy alone. `Detector` is what `egokeras predict` and the evaluation of whole videos share.
"""

import collections
import dataclasses
import math

import numpy as np

from egokeras.errors import InputError
from egokeras.protocol import BACKGROUND

KINDS = ("mean", "exponential")
# Heads whose product is the answer, the best first.
ANSWERS = (("action",), ("verb", "noun"), ("verb_category", "noun_category"))
# Times written with three decimals still mean the prediction that they were taken from (seconds).
ROUNDING = 0.001


@dataclasses.dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened, or is still going on.

    Attributes:
        label: class of each head of the answer: (verb, noun), or (action,).
        start, stop: seconds between which it happened.
        known: the moment, in seconds, at which the device could say so.
        score: mean probability while it lasted.
    """

    label: tuple[int, ...]
    start: float
    stop: float
    known: float
    score: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Smoothing:
    """How probabilities become events.

    Attributes:
        kind: of the smoothing: `mean` over the last `seconds`, or `exponential` with that time constant.
        seconds: 0 is no smoothing.
        on: probability at which an event begins.
        off: probability under which it ends, at most `on`.
        lag: seconds that an event lies before the moments at which it shows in the probabilities, for windows look back.
    """

    kind: str = "mean"
    seconds: float = 1.0
    on: float = 0.5
    off: float = 0.3
    lag: float = 0.0

    def __post_init__(self):
        if self.kind not in KINDS:
            raise InputError(f"events.kind is {self.kind!r:.80}; it is one of {', '.join(KINDS)}.")
        for field in ("seconds", "on", "off", "lag"):
            value = getattr(self, field)
            if type(value) not in (int, float) or not 0 <= value < math.inf:
                raise InputError(f"events.{field} is {value!r:.80}; give a number from 0.")
        if not 0 < self.off <= self.on <= 1:
            raise InputError(f"events.on is {self.on:g}, events.off {self.off:g}; give 0 < off <= on <= 1.")

    @classmethod
    def of(cls, manifest):
        """That of an artifact: what its manifest says under `events`, else the defaults.

        Raises:
            InputError: a field is unknown or no artifact can have it.
        """
        found = manifest.get("events", {})
        names = [field.name for field in dataclasses.fields(cls)]
        if not isinstance(found, dict) or not set(found) <= set(names):
            raise InputError(f"events is {found!r:.80}; it has {', '.join(names)}.")
        return cls(**found)


def answer(classes):
    """The heads whose product is the answer, of a dict with the heads that there are."""
    return next((heads for heads in ANSWERS if set(heads) <= set(classes)), tuple(classes)[:1])


class Smoother:
    """Smooths the probabilities of one stream, head by head."""

    def __init__(self, heads, smoothing):
        self.heads, self.smoothing = heads, smoothing
        self._recent: collections.deque = collections.deque()  # (time, probabilities)
        self._held = None

    def add(self, time, logits):
        """Take the logits (head to (classes,)) that were known at `time` seconds; returns probabilities, one array for each head."""
        fresh = [_softmax(logits[head]) for head in self.heads]
        if self.smoothing.kind == "mean":
            self._recent.append((time, fresh))
            while self._recent[0][0] < time and self._recent[0][0] <= time - self.smoothing.seconds + ROUNDING:
                self._recent.popleft()
            return [sum(parts) / len(parts) for parts in zip(*(found for _, found in self._recent), strict=True)]
        if self._held is not None and self.smoothing.seconds:
            before, held = self._held
            share = math.exp((before - time) / self.smoothing.seconds)
            fresh = [share * old + (1 - share) * new for old, new in zip(held, fresh, strict=True)]
        self._held = time, fresh
        return fresh


class Detector:
    """Finds the events of one stream, one at a time: they never overlap.

    An event begins where the most probable class that is not `background` reaches `on` (of several heads, the product of their most
    probable), and ends where it falls under `off`, or another is more probable that reaches `on`.

    Attributes:
        heads: whose classes make an event's label.
        current: the event that is going on, with the newest moment as its `stop`; or None.
    """

    def __init__(self, classes, smoothing):
        """`classes`: head to names, as `Artifact.classes`; `smoothing`: a `Smoothing`."""
        self.heads, self.smoothing = answer(classes), smoothing
        self.current = None
        self._smoother = Smoother(self.heads, smoothing)
        self._eligible = [np.array([name != BACKGROUND for name in classes[head]]) for head in self.heads]
        self._scores = 0.0, 0  # sum of the current event's probabilities, and their number

    def add(self, time, logits):
        """Take the next prediction; returns the event that it ends, or None.

        Args:
            time: seconds, larger than that before.
            logits: head to (classes,), such as `egokeras.device.stream.Stream.add` gives.
        """
        return self.step(time, self._smoother.add(time, logits))

    def step(self, time, probabilities):
        """As `add`, for probabilities that are smoothed already, one array for each head."""
        best = tuple(int(np.where(fine, found, -1).argmax()) for fine, found in zip(self._eligible, probabilities, strict=True))
        probability, going = self._probability(best, probabilities), self.current
        held = self._probability(going.label, probabilities) if going else 0.0
        begins = probability >= self.smoothing.on and (going is None or best != going.label)
        if going and not begins and held >= self.smoothing.off:
            self._scores = self._scores[0] + held, self._scores[1] + 1
            self.current = dataclasses.replace(going, stop=self._moved(time), score=self._scores[0] / self._scores[1])
            return None
        if begins:
            self._scores = probability, 1
            self.current = Event(label=best, start=self._moved(time), stop=self._moved(time), known=time, score=probability)
        else:
            self.current = None
        return dataclasses.replace(going, stop=self._moved(time)) if going else None

    def finish(self, time):
        """The event that is going on when the stream ends, at `time` seconds; or None."""
        going, self.current = self.current, None
        return going and dataclasses.replace(going, stop=max(going.stop, self._moved(time)))

    def _probability(self, label, probabilities):
        return float(math.prod(found[number] for found, number in zip(probabilities, label, strict=True)))

    def _moved(self, time):
        return max(0.0, time - self.smoothing.lag)


def _softmax(logits):
    exponentials = np.exp(np.asarray(logits, np.float64) - np.max(logits))
    return exponentials / exponentials.sum()
