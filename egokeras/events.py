"""Events of whole videos against their annotated segments: precision, recall, F1, false alarms, delay; and the smoothing that suits best.

Counting follows Lea et al., https://arxiv.org/abs/1611.05267, section 4 (F1@10, 25, 50): an event is right if its label is, and the
intersection over union in time with the segment of that label that it fits best is at least 10, 25 or 50 %; each segment counts once.
Time without any action is no class here.
"""

import dataclasses
import itertools
import typing

import numpy as np

from egokeras.device.events import Detector, Event, Smoother, Smoothing

THRESHOLDS = (0.1, 0.25, 0.5)
# What `choose` chooses from: kind and seconds of the smoothing, `on`, `off` as a share of it, `lag` as a share of a clip.
SMOOTHINGS = (("mean", 0.0), *itertools.product(("mean", "exponential"), (0.5, 1.0, 2.0)))
ONS = tuple(step / 20 for step in range(2, 20))
OFFS = (0.4, 0.7, 1.0)
LAGS = (0.0, 0.25, 0.5, 0.75)


OF_A_CLASS = ("segments", "events", "f1", "precision", "recall", "false_alarms", "delay")


class Predictions(typing.NamedTuple):
    """What a model said over one video: `times` (predictions,) in seconds, and head to logits (predictions, classes)."""

    times: np.ndarray
    logits: dict[str, np.ndarray]


class Seen(typing.NamedTuple):
    """One video: what a model said, its annotated segments (as `Event`s), and how long it is in seconds."""

    predictions: Predictions
    truth: tuple[Event, ...]
    seconds: float


class Watched(typing.NamedTuple):
    """The same with the events that were found in the place of what the model said."""

    events: tuple[Event, ...]
    truth: tuple[Event, ...]
    seconds: float


def play(frames, add):
    """Predictions over frames.

    Args:
        frames: (seconds, picture) in order.
        add: function of both to logits by head, or None where no prediction is due, such as `Stream.add`.
    """
    found = [(time, logits) for time, picture in frames if (logits := add(time, picture)) is not None]
    heads = found[0][1] if found else ()
    return Predictions(np.array([time for time, _ in found]), {head: np.stack([logits[head] for _, logits in found]) for head in heads})


def detect(video, classes, smoothing):
    """The `Watched` video with the events that a device would have found in a `Seen` one; `classes` is head to names."""
    held = smoothed(video.predictions, classes, smoothing)
    return Watched(_events(Detector(classes, smoothing), video, held), video.truth, video.seconds)


def smoothed(predictions, classes, smoothing):
    """Smoothed probabilities at every time, each an array for each head of the answer."""
    smoother = Smoother(Detector(classes, smoothing).heads, smoothing)
    rows = range(len(predictions.times))
    return [smoother.add(predictions.times[row], {head: found[row] for head, found in predictions.logits.items()}) for row in rows]


def _events(detector, video, probabilities):
    steps = [detector.step(float(time), found) for time, found in zip(video.predictions.times, probabilities, strict=True)]
    return tuple(event for event in (*steps, detector.finish(video.seconds)) if event)


def fits(events, truth):
    """For each event the segment of its label that it fits best, or -1, and their intersection over union: both (events,)."""
    if not events or not truth:
        return np.full(len(events), -1), np.zeros(len(events))
    (starts, stops), (first, last) = (np.array([(one.start, one.stop) for one in found]).T for found in (events, truth))
    shared = np.minimum(stops[:, None], last) - np.maximum(starts[:, None], first)
    same = np.array([[event.label == segment.label for segment in truth] for event in events])
    union = np.maximum(stops[:, None], last) - np.minimum(starts[:, None], first)
    share = np.where(same & (shared > 0), shared / np.maximum(union, 1e-9), 0.0)
    best = share.argmax(axis=1)
    overlaps = share[np.arange(len(events)), best]
    return np.where(overlaps > 0, best, -1), overlaps


def right(events, truth, threshold):
    """Which events are right, (events,) bool: of those that fit a segment well enough, the first."""
    best, overlaps = fits(events, truth)
    found, taken = np.zeros(len(events), bool), set()
    for number, (segment, overlap) in enumerate(zip(best.tolist(), overlaps, strict=True)):
        if overlap >= threshold and segment not in taken:
            found[number] = True
            taken.add(segment)
    return found


def score(videos):
    """What events are worth.

    Args:
        videos: `Watched` ones.

    Returns:
        Dict with `seconds`, `segments` and `events`; `f1` at 10, 25 and 50 % (keys "10", "25", "50") with `precision` and `recall`, in
        percent; at 10 %, `false_alarms` (wrong events a minute), `idle_alarms` (those of them where nothing at all is annotated) and
        `delay` (median seconds from the start of a segment that was found to the moment at which the first event of its label on it
        was known; None if none was found); `time` (percent of all time that is labelled right, as `background` where nothing is).
    """
    seconds = sum(video.seconds for video in videos)
    counts = {"segments": sum(len(video.truth) for video in videos), "events": sum(len(video.events) for video in videos)}
    hits = {threshold: [right(video.events, video.truth, threshold) for video in videos] for threshold in THRESHOLDS}
    rates = {f"{100 * threshold:.0f}": _rates(sum(int(found.sum()) for found in hits[threshold]), counts) for threshold in THRESHOLDS}
    wrong = [
        [event for event, fine in zip(video.events, found, strict=True) if not fine] for video, found in zip(videos, hits[0.1], strict=True)
    ]
    idle = sum(not _overlapped(event, video.truth) for video, events in zip(videos, wrong, strict=True) for event in events)
    delays = [delay for video in videos for delay in _delays(video)]
    return {
        "seconds": seconds,
        **counts,
        **{name: {at: found[name] for at, found in rates.items()} for name in ("f1", "precision", "recall")},
        "false_alarms": 60 * sum(map(len, wrong)) / seconds,
        "idle_alarms": 60 * idle / seconds,
        "delay": float(np.median(delays)) if delays else None,
        "time": 100 * sum(map(_seconds_right, videos)) / seconds,
    }


def _rates(hits, counts):
    """In percent; of no events none is right, which counts as a precision of 0."""
    return {
        "precision": 100 * hits / max(1, counts["events"]),
        "recall": 100 * hits / max(1, counts["segments"]),
        "f1": 200 * hits / max(1, counts["events"] + counts["segments"]),
    }


def _overlapped(event, truth):
    return any(min(event.stop, segment.stop) > max(event.start, segment.start) for segment in truth)


def _delays(video):
    """Seconds, for each segment that an event fits by 10 %, until the first event on it was known."""
    best, overlaps = fits(video.events, video.truth)
    for number in set(best[overlaps >= THRESHOLDS[0]].tolist()):
        segment = video.truth[number]
        on_it = (event.known for event in video.events if event.label == segment.label and _overlapped(event, (segment,)))
        yield min(on_it) - segment.start


def _seconds_right(video):
    """Seconds of a video at which its event is one of the labels that are true then, or both are none."""
    bounds = {0.0, video.seconds, *(moment for one in (*video.events, *video.truth) for moment in (one.start, one.stop))}
    edges = np.array(sorted(moment for moment in bounds if 0 <= moment <= video.seconds))
    found = 0.0
    for start, stop in itertools.pairwise(edges):
        said, true = ({one.label for one in some if one.start <= start and stop <= one.stop} for some in (video.events, video.truth))
        found += (stop - start) * bool(said & true or not (said or true))
    return float(found)


def judge(videos, names):
    """`score` of a model and of both baselines, and for each class that has a segment or an event, those with most segments first.

    Args:
        videos: `Watched` ones.
        names: for each head of a label the names of its classes.

    Returns:
        Dict with `model`, `background` and `majority`, and `classes`: name to some of `score`.
    """
    labels = {one.label for video in videos for one in (*video.truth, *video.events)}
    of = {label: score([_restricted(video, label) for video in videos]) for label in labels}
    order = sorted(of, key=lambda label: (-of[label]["segments"], label))
    called = {label: " ".join(head[number] for head, number in zip(names, label, strict=True)) for label in order}
    classes = {called[label]: {name: of[label][name] for name in OF_A_CLASS} for label in order}
    return {"model": score(videos), **{name: score(found) for name, found in baselines(videos).items()}, "classes": classes}


def part(video, heads):
    """A `Watched` video with labels of some heads alone, given by their places in the label."""
    shorter = {
        name: tuple(dataclasses.replace(one, label=tuple(one.label[head] for head in heads)) for one in getattr(video, name))
        for name in ("events", "truth")
    }
    return video._replace(**shorter)


def _restricted(video, label):
    return video._replace(**{name: tuple(one for one in getattr(video, name) if one.label == label) for name in ("events", "truth")})


def baselines(videos):
    """What says nothing, and what always says the commonest label of these very segments: `Watched` videos by name."""
    labels = [segment.label for video in videos for segment in video.truth]
    common = max(sorted(set(labels)), key=labels.count)
    return {
        "background": [video._replace(events=()) for video in videos],
        "majority": [video._replace(events=(Event(label=common, start=0.0, stop=video.seconds, known=0.0),)) for video in videos],
    }


def choose(videos, classes, clip_seconds):
    """The `Smoothing` with the best F1, the mean of that at 10, 25 and 50 %; of equal ones that which finds the fewest events.

    Args:
        videos: `Seen` ones.
        classes: head to names.
        clip_seconds: length of the windows, which bounds the lag.
    """
    best, most = Smoothing(), (-1.0, 0)
    truth = [video.truth for video in videos]
    for kind, seconds in SMOOTHINGS:
        held = [smoothed(video.predictions, classes, Smoothing(kind=kind, seconds=seconds)) for video in videos]
        for on, share in itertools.product(ONS, OFFS):
            smoothing = Smoothing(kind=kind, seconds=seconds, on=on, off=round(share * on, 3))
            found = [_events(Detector(classes, smoothing), video, probabilities) for video, probabilities in zip(videos, held, strict=True)]
            for lag in (round(share * clip_seconds, 3) for share in LAGS):
                f1 = _mean_f1([tuple(_earlier(event, lag) for event in events) for events in found], truth)
                value = round(f1, 9), -sum(map(len, found))
                if value > most:
                    best, most = dataclasses.replace(smoothing, lag=lag), value
    return best


def _earlier(event, lag):
    return dataclasses.replace(event, start=max(0.0, event.start - lag), stop=max(0.0, event.stop - lag))


def _mean_f1(events, truth):
    hits = sum(int(right(found, true, threshold).sum()) for threshold in THRESHOLDS for found, true in zip(events, truth, strict=True))
    return 2 * hits / max(1, len(THRESHOLDS) * sum(len(found) + len(true) for found, true in zip(events, truth, strict=True)))
