"""From logits to events: hand-computed ones, the same found by a slow reference, and what holds for any logits."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egokeras.device.artifact import Artifact
from egokeras.device.events import BACKGROUND, Detector, Event, Smoother, Smoothing, answer
from egokeras.errors import InputError

PLAIN = Smoothing(seconds=0, on=0.6, off=0.4)
CLASSES = {"action": ["cut", "wash", BACKGROUND]}


def play(rows, smoothing=PLAIN, classes=CLASSES, step=1.0):
    """Events of probabilities (predictions, classes) of one head, or by head, at 0, 1, 2 ... seconds; the stream ends a step later."""
    rows = {"action": rows} if isinstance(rows, list) else rows
    detector, found, number = Detector(classes, smoothing), [], 0
    for number, values in enumerate(zip(*rows.values(), strict=True)):
        logits = {head: np.log(np.maximum(value, 1e-9)) for head, value in zip(rows, values, strict=True)}
        found.append(detector.add(step * number, logits))
    return [event for event in (*found, detector.finish(step * (number + 1))) if event]


def test_an_event_begins_at_on_and_ends_under_off():
    rows = [[0.5, 0.1, 0.4], [0.7, 0.1, 0.2], [0.41, 0.0, 0.59], [0.39, 0.0, 0.61], [0.5, 0.0, 0.5]]
    (event,) = play(rows)
    assert dataclasses.replace(event, score=0) == Event(label=(0,), start=1.0, stop=3.0, known=1.0, score=0)
    assert event.score == pytest.approx((0.7 + 0.41) / 2)


def test_another_action_takes_over_and_the_end_ends():
    found = play([[0.9, 0.1, 0], [0.52, 0.48, 0], [0.45, 0.55, 0], [0, 1, 0]], Smoothing(seconds=0, on=0.5, off=0.3))
    assert [(event.label, event.start, event.stop, event.known) for event in found] == [((0,), 0.0, 2.0, 0.0), ((1,), 2.0, 4.0, 2.0)]


def test_background_is_no_event_and_ends_none_by_itself():
    assert play([[0, 0, 1], [0.1, 0.1, 0.8]]) == []
    assert len(play([[0.7, 0, 0.3], [0.45, 0, 0.55], [0.7, 0, 0.3]])) == 1


def test_what_is_going_on_can_be_seen():
    detector = Detector(CLASSES, PLAIN)
    assert detector.add(0.0, {"action": np.log([0.8, 0.1, 0.1])}) is None and detector.current.known == 0.0
    detector.add(2.0, {"action": np.log([0.6, 0.2, 0.2])})
    assert detector.current.stop == 2.0 and detector.current.score == pytest.approx(0.7)
    assert detector.finish(3.0).stop == 3.0 and detector.current is None and detector.finish(4.0) is None


def test_an_event_lies_a_lag_before_it_shows():
    (event,) = play([[0, 0, 1], [0.7, 0.1, 0.2], [0.7, 0.1, 0.2], [0, 0, 1]], dataclasses.replace(PLAIN, lag=1.5))
    assert (event.start, event.stop, event.known) == (0.0, 1.5, 1.0)


def test_verb_and_noun_are_a_product():
    classes = {"verb": ["cut", BACKGROUND], "noun": ["jar", "pan", BACKGROUND]}
    rows = {"noun": [[0.1, 0.9, 0], [0.1, 0.6, 0.3]], "verb": [[0.8, 0.2], [0.6, 0.4]]}
    (event,) = play(rows, classes=classes)
    assert event.label == (0, 1) and event.score == pytest.approx(0.72) and event.stop == 1.0  # 0.36 is under 0.4
    assert play({"verb": [[0.9, 0.1]], "noun": [[0.3, 0.3, 0.4]]}, classes=classes) == []


def test_probabilities_are_smoothed():
    logits = [{"action": np.log(row)} for row in ([0.8, 0.2], [0.4, 0.6], [0.2, 0.8])]
    mean = Smoother(["action"], Smoothing(seconds=1.0))
    found = [mean.add(0.5 * number, row)[0][0] for number, row in enumerate(logits)]
    assert found == pytest.approx([0.8, 0.6, 0.3])  # of a second two predictions
    slow = Smoother(["action"], Smoothing(kind="exponential", seconds=0.5 / math.log(2)))  # half is new after 0.5 s
    found = [slow.add(time, row)[0][0] for time, row in zip((0, 0.5, 1.5), logits, strict=True)]
    assert found == pytest.approx([0.8, 0.6, 0.6 / 4 + 0.2 * 3 / 4])


def reference(rows, smoothing, step):
    """[(label, first, behind the last)] of one head in which the last class is background, by definition."""
    rows, times = np.array(rows), step * np.arange(len(rows))
    rows = rows / rows.sum(1, keepdims=True)
    smooth = []
    for number, time in enumerate(times):
        if smoothing.kind == "mean":
            smooth.append(
                np.mean([row for row, at in zip(rows, times, strict=True) if time - smoothing.seconds + 1e-3 < at <= time or at == time], 0)
            )
        else:
            keep = np.exp(-step / smoothing.seconds) if smoothing.seconds and number else 0.0
            smooth.append(keep * (smooth[-1] if number else 0) + (1 - keep) * rows[number])
    events, going = [], None
    for number, row in enumerate(smooth):
        best = int(row[:-1].argmax())
        if going and (row[going[0]] < smoothing.off or (best != going[0] and row[best] >= smoothing.on)):
            events.append((*going, number))
            going = None
        if going is None and row[best] >= smoothing.on:
            going = best, number
    return [*events, *([(*going, len(rows))] if going else [])]


ROWS = st.lists(st.lists(st.floats(0.01, 1), min_size=4, max_size=4), min_size=1, max_size=25)
SMOOTHINGS = st.builds(
    lambda kind, seconds, on, share: Smoothing(kind=kind, seconds=seconds, on=on, off=on * share),
    st.sampled_from(["mean", "exponential"]),
    st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    st.sampled_from([0.2113, 0.3517, 0.5371, 0.8641]),  # which no mean is by chance
    st.sampled_from([0.3119, 0.7331, 1.0]),
)
FOUR = {"action": ["a", "b", "c", BACKGROUND]}


@given(rows=ROWS, smoothing=SMOOTHINGS)
def test_a_slow_reference_finds_the_same(rows, smoothing):
    rows = [[value + 1e-6 * place for place, value in enumerate(row)] for row in rows]  # no ties
    found = play(rows, smoothing, FOUR, step=0.5)
    assert [(event.label[0], event.start, event.stop) for event in found] == [
        (label, 0.5 * first, 0.5 * last) for label, first, last in reference(rows, smoothing, 0.5)
    ]
    assert all(event.start < event.stop and 0 < event.score <= 1 for event in found)
    assert all(one.stop <= other.start for one, other in itertools.pairwise(found))


@given(rows=ROWS, smoothing=SMOOTHINGS, order=st.permutations(range(4)))
def test_the_order_of_the_classes_does_not_matter(rows, smoothing, order):
    rows = [[value + 1e-6 * place for place, value in enumerate(row)] for row in rows]  # no ties
    moved = {"action": [FOUR["action"][number] for number in order]}
    found = play(rows, smoothing, FOUR)
    again = play([[row[number] for number in order] for row in rows], smoothing, moved)
    names = [
        [(classes["action"][event.label[0]], event.start, event.stop) for event in events]
        for classes, events in ((FOUR, found), (moved, again))
    ]
    assert names[0] == names[1]


@given(labels=st.lists(st.integers(0, 3), min_size=1, max_size=30))
def test_certain_predictions_are_their_runs(labels):
    found = play([np.eye(4)[label].tolist() for label in labels], PLAIN, FOUR)
    changes = [0, *(number for number in range(1, len(labels)) if labels[number] != labels[number - 1]), len(labels)]
    runs = [((labels[first],), first, last) for first, last in itertools.pairwise(changes) if labels[first] != 3]
    assert [(event.label, event.start, event.stop) for event in found] == runs


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "median"}, "events.kind is 'median'; it is one of mean, exponential"),
        ({"seconds": -1}, "events.seconds is -1; give a number from 0"),
        ({"on": "0.5"}, "events.on is '0.5'; give a number"),
        ({"on": 0.2}, "events.on is 0.2, events.off 0.3; give 0 < off <= on <= 1"),
        ({"off": 0}, "events.off 0; give"),
        ({"lag": float("nan")}, "events.lag is nan"),
        ({"window": 1}, "events is .*; it has kind, seconds, on, off, lag"),
        (["mean"], "events is .*; it has kind"),
    ],
)
def test_what_no_artifact_can_have_is_refused(fields, message):
    with pytest.raises(InputError, match=message):
        Smoothing.of({"events": fields})


def test_it_lies_in_an_artifact():
    smoothing = Smoothing(kind="exponential", seconds=2, on=0.7, off=0.2, lag=0.5)
    assert Smoothing.of({"events": dataclasses.asdict(smoothing)}) == smoothing and Smoothing.of({}) == Smoothing()


def test_the_answer_is_that_of_the_artifact(tiny):
    artifact = Artifact.open(tiny)
    logits = {"noun": np.array([0.0, 2.0]), "verb": np.array([0.0, 1.0, 3.0])}
    detector = Detector(artifact.classes, Smoothing(seconds=0, on=0.1, off=0.1))
    detector.add(0.0, logits)
    names = [artifact.classes[head][number] for head, number in zip(answer(artifact.classes), detector.current.label, strict=True)]
    assert [(" ".join(names), pytest.approx(detector.current.score))] == artifact.top(logits)
    assert answer({"mood": [], "other": []}) == ("mood",) and answer({"noun": [], "verb": [], "action": []}) == ("action",)
