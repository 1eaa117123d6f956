"""How the verbs of the small kitchen move hands and things, how the head moves, how the light changes.

Time-reversed verbs share one motion: `perform("close", noun, t)` is `perform("open", noun, 1 - t)`, so the frames of one are the frames of
the other played backwards, and nothing but their order tells them apart. Lengths are in heights of the view, x to the right, y down.
"""

import dataclasses

import numpy as np

REVERSED = {"close": "open", "put": "take", "fill": "pour-out"}
AT_SINK = ("pour-out", "fill", "wash")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pose:
    """One moment at a spot, relative to its centre.

    Attributes:
        at: x, y, scale and turn (radians) of the thing.
        amount: its state from 0 to 1: how far open, how full.
        hand: x, y of the dominant hand's grip and how far it is closed.
        other: the same for the other hand.
        tool: what the dominant hand holds besides: spoon, blade or cloth.
        stream: x, y and width of water that falls from there.
        foam: how much soap is around the thing, 0 to 1.
    """

    at: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 0.0)
    amount: float = 0.0
    hand: tuple[float, float, float] | None = None
    other: tuple[float, float, float] | None = None
    tool: str = ""
    stream: tuple[float, float, float] | None = None
    foam: float = 0.0


def perform(verb, noun, t, amount=0.0):
    """The Pose at moment `t` in [0, 1] of an action; `amount` is the thing's state where the verb leaves it as it is."""
    if verb in REVERSED:
        return perform(REVERSED[verb], noun, 1 - t, amount)
    return _MOTIONS[verb](noun, t, amount)


def ease(t, start=0.0, stop=1.0):
    """0 before `start`, 1 after `stop`, smooth between; numbers or arrays."""
    t = np.clip((t - start) / (stop - start), 0, 1)
    return t * t * (3 - 2 * t)


def _bump(t, rise):
    """0 at both ends, 1 between `rise` and `1 - rise`."""
    return ease(t, 0, rise) * ease(1 - t, 0, rise)


def _reach(there, x, y):
    """A hand on its way from below the view (`there` = 0) to (x, y), where it closes."""
    home = -0.45 if x < 0 else 0.45
    return home + (x - home) * there, 1.1 + (y - 1.1) * there, ease(there, 0.7, 1)


def handle(noun, amount):
    """Where a hand holds the door, drawer or lid that is `amount` open."""
    if noun == "drawer":
        return 0.0, 0.03 + 0.42 * amount
    if noun == "jar":
        return 0.42 * amount, -0.25 - 0.15 * np.sin(np.pi * amount) + 0.4 * amount
    return -0.42 + 0.8 * np.cos(0.65 * np.pi * amount), 0.1 * np.sin(0.65 * np.pi * amount)


def _open(noun, t, _):
    amount, there = ease(t, 0.25, 0.75), _bump(t, 0.25)
    x, y = handle(noun, amount)
    hand = (0.45 + (x - 0.45) * there, 1.1 + (y - 1.1) * there, ease(there, 0.7, 1))
    return Pose(amount=amount, hand=hand, other=_reach(there, -0.16, 0.1) if noun == "jar" else None)


def _take(_, t, amount):
    away = ease(t, 0.45, 1)
    x, y = 0.4 * away, 1.3 * away
    hand = _reach(ease(t, 0, 0.42), 0.1, 0.08) if t < 0.45 else (x + 0.1, y + 0.08, 1.0)
    return Pose(at=(x, y, 1 + 0.3 * away, 0.0), amount=amount, hand=hand)


def _pour_out(_, t, __):
    there, turn = _bump(t, 0.27), -1.9 * _bump(t, 0.45) ** 3
    x, y = 0.45 - 0.33 * there, 1.2 - 1.35 * there
    stream = (x - 0.22, y + 0.05, 0.09 * ease(-turn, 1.2, 1.8))
    return Pose(at=(x, y, 1.0, turn), amount=1 - ease(t, 0.38, 0.62), hand=(x + 0.14, y + 0.08, 1.0), stream=stream)


def _stir(_, t, amount):
    there, angle = _bump(t, 0.2), 6 * np.pi * t
    x, y, _ = _reach(there, 0.3, -0.28)
    hand = (x + 0.14 * there * np.cos(angle), y + 0.06 * there * np.sin(angle), 1.0)
    return Pose(amount=amount, hand=hand, other=_reach(there, -0.28, 0.12), tool="spoon")


def _cut(_, t, __):
    there = _bump(t, 0.2)
    x, y, _ = _reach(there, 0.36, -0.02)
    hand = (x - 0.15 * there * (t - 0.5), y + 0.14 * there * np.sin(8.6 * np.pi * t), 1.0)
    return Pose(hand=hand, other=_reach(there, -0.26, 0.05), tool="blade")


def _wash(_, t, amount):
    there, angle = _bump(t, 0.2), 6 * np.pi * t
    x, y = 0.45 - 0.5 * there + 0.1 * there * np.cos(angle), 1.2 - 1.15 * there + 0.06 * there * np.sin(angle)
    at, hand = (x, y, 1.0, 0.4 * there * np.sin(angle)), (x + 0.18, y + 0.12, 1.0)
    return Pose(at=at, amount=amount, hand=hand, other=_reach(there, -0.24, 0.14), stream=(-0.05, -0.42, 0.1 * there), foam=there)


def _wipe(_, t, amount):
    there = _bump(t, 0.2)
    x, y, _ = _reach(there, 0.0, 0.0)
    return Pose(amount=amount, hand=(x + 0.36 * there * np.sin(5.4 * np.pi * t), y + 0.3 * there * (t - 0.5), 0.2), tool="cloth")


def _shake(_, t, amount):
    lift = ease(t, 0.2, 0.35) * ease(1 - t, 0.2, 0.35)
    swing = lift * np.sin(8.6 * np.pi * t)
    x, y = 0.1 * swing, -0.08 * lift + 0.2 * swing
    hand = _reach(_bump(t, 0.2), 0.12, 0.05)
    return Pose(at=(x, y, 1.0, 0.6 * lift + 0.3 * swing), amount=amount, hand=(hand[0] + x, hand[1] + y, hand[2]))


_MOTIONS = {"open": _open, "take": _take, "pour-out": _pour_out, "stir": _stir, "cut": _cut, "wash": _wash, "wipe": _wipe, "shake": _shake}


def views(actions, places, size, times, rng, still=False):
    """For each time the affine map (2, 3) from scene to pixels: the head turns from action to action, wanders, is never at rest.

    `places` holds the scene x of each action, `size` the width and height in pixels; with `still` it is at rest during the actions.
    """
    width, height = size
    count = len(actions)
    framing = rng.uniform(-1, 1, (count, 4)) * (0.12, 0.07, 0.12, 0.08) * (not still) + (0, 0, 1, 0)
    framing[:, 0] += places
    step = np.interp(times, [moment for action in actions for moment in (action.start, action.stop)], np.repeat(np.arange(count), 2))
    index, share = step.astype(int), ease(step % 1)[:, None]
    path = framing[index] * (1 - share) + framing[np.minimum(index + 1, count - 1)] * share
    path += (rng.uniform(-1, 1, (count, 4)) * (0.5, 0.1, 0.1, 0.1))[index] * 4 * share * (1 - share)
    path += np.stack([_sway(times, rng) for _ in range(4)], axis=1) * (0.05, 0.035, 0.03, 0.03) * (not still)
    for x, y, zoom, roll in path:
        cos, sin = height * zoom * np.cos(roll), height * zoom * np.sin(roll)
        linear = np.array([[cos, -sin], [sin, cos]])
        yield np.column_stack([linear, (width / 2, height / 2) - linear @ (x, y)])


def lights(times, rng, still=False):
    """For each time the gain of red, green and blue: the tint of the day, and clouds."""
    tint = rng.uniform(0.7, 1.1) * rng.uniform(0.92, 1.08, 3)
    clouds = 1 + 0.1 * _sway(times, rng)
    return np.ones((len(times), 3)) if still else clouds[:, None] * tint


def _sway(times, rng):
    """A sum of slow sines, about -1 to 1; played backwards it looks the same, so it cannot betray the direction of time."""
    waves = ((0.5, 0.6), (1.2, 0.3), (2.5, 0.1))
    return sum(size * np.sin(2 * np.pi * (rng.uniform(0.5, 1) * hertz * times + rng.uniform())) for hertz, size in waves)
