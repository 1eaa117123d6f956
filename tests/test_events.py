"""Events against segments: hand-computed scores, the field's own way of counting as a slow reference, what is chosen."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egokeras import events
from egokeras.device.events import BACKGROUND, Event, Smoothing
from egokeras.events import Predictions, Seen, Watched, baselines, choose, detect, fits, judge, part, play, right, score


def event(label, start, stop, known=None):
    return Event(label=label if isinstance(label, tuple) else (label,), start=start, stop=stop, known=start if known is None else known)


TRUTH = (event(0, 10, 20), event(1, 30, 40), event(0, 50, 60))
FOUND = (
    event(0, 12, 20, known=13),  # 8 of 10 s
    event(0, 20, 22),  # wrong, of nothing
    event(0, 31, 39),  # wrong label
    event(1, 38, 46, known=39),  # 2 of 16 s: right at 10 % alone
    event(0, 49, 54),  # 4 of 11 s: right at 10 and 25 %
    event(0, 55, 60),  # the second on this segment: the first has taken it at 10 and 25 %, and this is right at 50 %
)
VIDEO = Watched(FOUND, TRUTH, 120.0)


def test_hand_computed_scores():
    best, overlaps = fits(FOUND, TRUTH)
    assert best.tolist() == [0, -1, -1, 1, 2, 2]
    assert overlaps == pytest.approx([0.8, 0, 0, 2 / 16, 4 / 11, 0.5])
    assert right(FOUND, TRUTH, 0.1).tolist() == [True, False, False, True, True, False]
    assert right(FOUND, TRUTH, 0.5).tolist() == [True, False, False, False, False, True]
    found = score([VIDEO])
    assert (found["segments"], found["events"], found["seconds"]) == (3, 6, 120.0)
    assert found["precision"] == pytest.approx({"10": 50, "25": 100 / 3, "50": 100 / 3})
    assert found["recall"] == pytest.approx({"10": 100, "25": 200 / 3, "50": 200 / 3})
    assert found["f1"] == pytest.approx({"10": 600 / 9, "25": 400 / 9, "50": 400 / 9})
    assert found["false_alarms"] == 1.5 and found["idle_alarms"] == 0.5  # a minute: three of two minutes, one of them where nothing is
    assert found["delay"] == 3.0  # of 3, 9 and -1
    # right: 0-10, 12-20, 22-30, 38-40, 46-49, 50-54, 55-60 and 60-120
    assert found["time"] == pytest.approx(100 * (10 + 8 + 8 + 2 + 3 + 4 + 5 + 60) / 120)


def test_classes_parts_and_baselines():
    found = judge([VIDEO], [["cut", "wash"]])
    assert list(found["classes"]) == ["cut", "wash"]
    assert {name: found["classes"][name]["f1"]["10"] for name in ("cut", "wash")} == pytest.approx({"cut": 400 / 7, "wash": 100})
    nothing, common = found["background"], found["majority"]
    assert nothing["f1"]["10"] == nothing["recall"]["10"] == nothing["false_alarms"] == 0 and nothing["delay"] is None
    assert nothing["time"] == 75 and common["time"] == pytest.approx(100 * 20 / 120) and common["events"] == 1
    pair = Watched((event((0, 1), 0, 5),), (event((0, 2), 0, 5),), 10.0)
    assert [score([part(pair, heads)])["f1"]["50"] for heads in ([0, 1], [0], [1])] == [0, 100, 0]
    assert list(judge([pair], [["cut"], ["cup", "jar", "pan"]])["classes"]) == ["cut pan", "cut jar"]


def test_no_events_and_no_segments():
    assert score([Watched((), (), 60.0)])["time"] == 100
    found = score([Watched((event(0, 0, 6),), (), 60.0)])
    assert (found["f1"]["10"], found["false_alarms"], found["idle_alarms"], found["time"]) == (0, 1, 1, 90)
    assert [video.events for video in baselines([Watched((), (event(1, 0, 1),), 60.0)])["majority"]] == [(event(1, 0.0, 60.0),)]


@st.composite
def disjoint(draw):
    """Events one after another, of three labels."""
    clock, found = 0.0, []
    for pause, length, label in draw(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 8), st.integers(0, 2)), max_size=5)):
        found.append(event(label, clock + pause, clock + pause + length))
        clock = found[-1].stop
    return tuple(found)


def reference(found, truth, threshold):
    """Hits as Lea et al. count them: one event after another takes the segment of its label that it fits best, if that is free."""
    hits, taken = 0, [False] * len(truth)
    for one in found:
        shares = []
        for segment in truth:
            shared = max(0.0, min(one.stop, segment.stop) - max(one.start, segment.start))
            union = max(one.stop, segment.stop) - min(one.start, segment.start)
            shares.append(shared / union if one.label == segment.label else 0.0)
        best = max(range(len(truth)), key=lambda number: shares[number], default=None)
        if best is not None and shares[best] >= threshold and not taken[best]:
            taken[best], hits = True, hits + 1
    return hits


def seconds_right(found, truth, seconds):
    """Of every half second its middle."""
    moments = np.arange(0.25, seconds, 0.5)
    said, true = ([{one.label for one in some if one.start <= moment < one.stop} for moment in moments] for some in (found, truth))
    return sum(0.5 for a, b in zip(said, true, strict=True) if a & b or not (a or b))


@settings(max_examples=50)
@given(found=disjoint(), truth=disjoint(), threshold=st.sampled_from([0.1, 0.25, 0.5]), seed=st.integers(0, 9))
def test_a_slow_reference_counts_the_same(found, truth, threshold, seed):
    hits = reference(found, truth, threshold)
    assert right(found, truth, threshold).sum() == hits <= min(len(found), len(truth))
    judged = score([Watched(found, truth, 100.0)])
    total = len(found) + len(truth)
    assert judged["f1"][f"{100 * threshold:.0f}"] == pytest.approx(200 * hits / total if total else 0)
    assert judged["time"] == pytest.approx(seconds_right(found, truth, 100.0))
    numbers = np.random.default_rng(seed).permutation(3)  # what the labels are called does not matter
    renamed = [tuple(dataclasses.replace(one, label=(int(numbers[one.label[0]]),)) for one in some) for some in (found, truth)]
    assert score([Watched(*renamed, 100.0)]) == judged


@given(truth=disjoint())
def test_perfect_events_are_perfect(truth):
    found = score([Watched(truth, truth, 100.0), Watched((), (), 20.0)])
    assert found["f1"] == ({"10": 100, "25": 100, "50": 100} if truth else {"10": 0, "25": 0, "50": 0})
    assert found["false_alarms"] == 0 and found["time"] == 100 and found["delay"] == (0 if truth else None)


@given(truth=disjoint().filter(len), number=st.integers(0, 20))
def test_an_event_in_two_pieces_is_one_too_many(truth, number):
    number %= len(truth)
    whole = truth[number]
    middle = whole.start + 0.6 * (whole.stop - whole.start)
    pieces = (dataclasses.replace(whole, stop=middle), dataclasses.replace(whole, start=middle))
    found = score([Watched((*truth[:number], *pieces, *truth[number + 1 :]), truth, 100.0)])
    assert found["events"] == len(truth) + 1 and found["recall"]["50"] == 100
    assert found["precision"]["50"] == pytest.approx(100 * len(truth) / (len(truth) + 1))


def seen(rows, truth, step=0.5):
    times = step * np.arange(1, len(rows) + 1)
    return Seen(Predictions(times, {"action": np.log(np.array(rows))}), truth, float(times[-1]))


CLASSES = {"action": ["cut", "wash", BACKGROUND]}


def flickering(shift):
    """Cut from 5 to 10 s, wash from 15 to 20, a prediction in five wrong, each known `shift` seconds late; alarms of 0.35 elsewhere."""
    rows = []
    for number in range(60):
        time = 0.5 * (number + 1) - shift
        true = 0 if 5 <= time < 10 else 1 if 15 <= time < 20 else 2
        row = [0.35, 0.05, 0.6] if number % 7 == 0 else [0.02, 0.02, 0.96]
        if true != 2 and number % 5:
            row = [0.1, 0.1, 0.1]
            row[true] = 0.8
        rows.append(row)
    return seen(rows, (event(0, 5, 10), event(1, 15, 20)), 0.5)


def test_smoothing_and_thresholds_are_chosen():
    video = flickering(shift=2.0)
    plain = score([detect(video, CLASSES, Smoothing(seconds=0, on=0.3, off=0.3))])
    assert plain["f1"]["10"] < 50 and plain["false_alarms"] > 4
    smoothing = choose([video], CLASSES, clip_seconds=2.0)
    assert smoothing.on > 0.35 and (smoothing.seconds > 0 or smoothing.off < 0.1 * smoothing.on) and smoothing.lag > 0
    assert score([detect(video, CLASSES, smoothing)])["f1"] == {"10": 100, "25": 100, "50": 100}
    assert choose([video], CLASSES, clip_seconds=2.0) == smoothing


def test_the_chosen_is_the_best_of_all(monkeypatch):
    monkeypatch.setattr(events, "SMOOTHINGS", (("mean", 0.0), ("exponential", 1.0)))
    monkeypatch.setattr(events, "ONS", (0.3, 0.5, 0.7))
    rows = np.random.default_rng(0).dirichlet([0.5] * 3, 40).tolist()
    video = seen(rows, (event(0, 2, 5), event(1, 8, 12), event(0, 13, 15)))

    def value(smoothing):
        return sum(score([detect(video, CLASSES, smoothing)])["f1"].values())

    every = [
        Smoothing(kind=kind, seconds=seconds, on=on, off=round(share * on, 3), lag=2 * lag)
        for kind, seconds in events.SMOOTHINGS
        for on in events.ONS
        for share in events.OFFS
        for lag in events.LAGS
    ]
    assert value(choose([video], CLASSES, 2.0)) == pytest.approx(max(map(value, every)))


def test_playing_keeps_what_was_due():
    logits = {1.0: {"verb": np.array([1.0, 2.0])}, 3.0: {"verb": np.array([3.0, 4.0])}}
    found = play(((time, f"picture {time}") for time in (0.0, 1.0, 2.0, 3.0)), lambda time, picture: logits.get(time))
    assert found.times.tolist() == [1.0, 3.0] and found.logits["verb"].tolist() == [[1, 2], [3, 4]]
    empty = play([(0.0, None)], lambda time, picture: None)
    assert detect(Seen(empty, (), 1.0), CLASSES, Smoothing()).events == ()
