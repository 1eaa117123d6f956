"""Past actions against a loop over all pairs of segments: nothing is seen too early; mistakes belong to the action, not to the window."""

import collections
import dataclasses
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egokeras.data import readers
from egokeras.data.past_actions import past_actions, recognised
from egokeras.data.segments import Annotations, Segment
from egokeras.errors import InputError

CLASSES = {"verb": ("take", "open", "wash"), "noun": ("cup", "door", "tap", "pan")}


def annotations(*found):
    """Annotations of (video, start, stop, verb id, noun id); -1 is no label."""
    made = []
    for number, (video, start, stop, *ids) in enumerate(found):
        labels = {space: CLASSES[space][index] for space, index in zip(("verb", "noun"), ids, strict=True) if index >= 0}
        made.append(Segment(uid=f"s{number}", video=video, start=start, stop=stop, labels=labels, splits=("train",)))
    return Annotations(segments=tuple(made), classes=CLASSES)


def slow(found, past, known):
    """(segments, past, 3) by looking at every other segment of the video, in exact thousandths of a second."""
    result = np.zeros((len(found), past, 3), np.int16)
    for row, target in enumerate(found):
        now, entries = round(1000 * target[1]), []
        for other, (video, start, stop, verb, noun) in enumerate(found):
            since = round(1000 * (start if known == "start" else stop))
            if video == target[0] and now - since >= 250 and verb >= 0 and noun >= 0:
                entries.append((since, round(1000 * start), other, (verb + 1, noun + 1, min(32767, (now - since) // 10))))
        for place, entry in enumerate(sorted(entries)[-past:]):
            result[row, past - min(past, len(entries)) + place] = entry[3]
    return result


def test_by_hand():
    found = annotations(("a", 5.0, 9.0, 0, 0), ("a", 1.0, 2.5, 1, 1), ("b", 2.0, 3.0, 2, 2), ("a", 2.0, 6.0, 2, 3), ("a", 4.8, 5.5, 0, 1))
    labels = past_actions(found, past=3)
    assert labels.dtype == np.int16 and labels.shape == (5, 3, 3)
    assert labels[0].tolist() == [[0, 0, 0], [2, 2, 400], [3, 4, 300]]  # that from 4.8 s on is not known at 4.75 s
    assert labels[3].tolist() == [[0, 0, 0], [0, 0, 0], [2, 2, 100]] and not labels[[1, 2]].any()
    assert past_actions(found, past=3, known="stop")[0].tolist() == [[0, 0, 0], [0, 0, 0], [2, 2, 250]]  # the one to 6 s goes on
    assert past_actions(found, past=1)[0].tolist() == [[3, 4, 300]]


def test_at_the_border_and_at_once():
    found = annotations(("a", 5.0, 6.0, 0, 0), ("a", 4.75, 4.76, 1, 1), ("a", 3.0, 4.0, 2, 2), ("a", 2.0, 4.0, 0, 3), ("a", 3.0, 3.5, 1, 0))
    assert past_actions(found, past=4)[0].tolist() == [[1, 4, 300], [3, 3, 200], [2, 1, 200], [2, 2, 25]]
    assert past_actions(found, past=4, known="stop")[0].tolist() == [[0, 0, 0], [2, 1, 150], [1, 4, 100], [3, 3, 100]]


SEGMENT = st.tuples(st.sampled_from("ab"), st.integers(0, 400), st.integers(1, 300), st.integers(-1, 2), st.integers(0, 3))


@given(st.lists(SEGMENT, min_size=1, max_size=30), st.integers(1, 6), st.sampled_from(["start", "stop"]), st.sampled_from([100, 30, 2]))
def test_the_same_as_a_loop_and_nothing_too_early(drawn, past, known, ticks):
    found = [(video, start / ticks, (start + length) / ticks, verb, noun) for video, start, length, verb, noun in drawn]
    labels = past_actions(annotations(*found), past=past, known=known)
    if ticks != 30:  # thirtieths of a second are no thousandths
        assert labels.tolist() == slow(found, past, known).tolist()
    for (video, start, *_), window in zip(found, labels.tolist(), strict=True):
        ages = [age for verb, _, age in window if verb]
        assert ages == sorted(ages, reverse=True) and min(ages, default=25) >= 25
        then = [other[1 if known == "start" else 2] for other in found if other[0] == video and min(other[3:]) >= 0]
        left_out = max(0, sum(moment <= start - 0.25 + 1e-6 for moment in then) - past)
        for seconds in (0.25, 1.0, 2.0):
            count = sum(moment <= start - seconds + 1e-6 for moment in then)
            assert sum(age >= 100 * seconds for age in ages) == max(0, count - left_out)


def test_long_ago_is_32767():
    assert past_actions(annotations(("a", 0.0, 1.0, 0, 0), ("a", 500.0, 501.0, 0, 0)))[1, -1].tolist() == [1, 1, 32767]


def many(count=4000, videos=20, seed=0):
    random = np.random.default_rng(seed)
    rows = [
        (f"v{random.integers(videos)}", round(2.0 * row, 2), 2.0 * row + 1, random.choice(3, p=[0.6, 0.3, 0.1]), random.integers(4))
        for row in range(count)
    ]
    return annotations(*rows)


def test_a_mistake_is_the_same_in_every_window():
    found = many()
    truth, seen = past_actions(found), past_actions(found, errors=0.4)
    assert (truth[..., 2] == seen[..., 2]).all() and not np.array_equal(truth, seen)
    verbs, nouns = recognised(found, errors=0.4)
    moments = {(segment.video, segment.start): row for row, segment in enumerate(found.segments)}
    for segment, window in zip(found.segments[::37], seen[::37].tolist(), strict=True):
        for verb, noun, age in window:
            if verb and age < 32767:
                row = moments[segment.video, round(segment.start - age / 100, 2)]
                assert (verb - 1, noun - 1) == (verbs[row], nouns[row])


def test_mistakes_are_drawn_by_the_frequencies_of_training():
    found = many(40_000)
    right = recognised(found)
    wrong = recognised(found, errors=0.25, seed=3)
    changed = (right[0] != wrong[0]) | (right[1] != wrong[1])
    assert changed.mean() == pytest.approx(0.25, abs=0.01)
    truth, taken = (4 * verbs + nouns for verbs, nouns in (right, wrong))
    share = np.bincount(truth, minlength=12) / len(truth)
    for action in range(0, 12, 5):
        drawn = np.bincount(taken[changed & (truth == action)], minlength=12)
        expected = np.where(np.arange(12) == action, 0, share) / (1 - share[action])
        np.testing.assert_allclose(drawn / drawn.sum(), expected, atol=4 * np.sqrt(0.25 / drawn.sum()))
        assert drawn[action] == 0
    more = recognised(found, errors=0.5, seed=3)
    assert all((few[changed] == many[changed]).all() for few, many in zip(wrong, more, strict=True))
    assert (recognised(found, errors=0.25, seed=4)[0] != wrong[0]).any()
    assert ((recognised(found, errors=1.0)[0] != right[0]) | (recognised(found, errors=1.0)[1] != right[1])).all()


def test_mistakes_are_of_training_only_and_spare_what_has_no_label():
    train = annotations(("a", 0.0, 1.0, 0, 0), ("a", 2.0, 3.0, 1, 1), ("a", 3.0, 4.0, -1, 2))
    held = [dataclasses.replace(one, uid=f"h{one.uid}", video="b", splits=("validation",)) for one in many(50).segments]
    found = dataclasses.replace(train, segments=(*train.segments, *held))
    verbs, nouns = recognised(found, errors=1.0)
    assert (verbs[:3].tolist(), nouns[:3].tolist()) == ([1, 0, -1], [1, 0, 2])
    assert set(zip(verbs[3:].tolist(), nouns[3:].tolist(), strict=True)) == {(0, 0), (1, 1)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"known": "middle"}, "known is 'middle'"),
        ({"known": "stop"}, "'s1' has no stop"),
        ({"past": 0}, "past is 0"),
        ({"errors": 1.5}, "errors is 1.5"),
        ({"errors": float("nan")}, "errors is nan"),
        ({"errors": 0.1}, "the training splits have 1 actions"),
    ],
)
def test_what_cannot_be_done_is_said(changes, words):
    with pytest.raises(InputError, match=words):
        past_actions(annotations(("a", 0.0, 1.0, 0, 0), ("a", 1.0, None, 0, 0)), **changes)


def test_there_must_be_verbs_and_nouns():
    found = Annotations(segments=(Segment(uid="1", video="a", labels={"action": "run"}),), classes={"action": ("run", "sit")})
    with pytest.raises(InputError, match="no labels of verb"):
        past_actions(found)


def test_real_epic55_in_a_moment(shared_data):
    classes = [shared_data / "ek55" / f"EPIC_{space}_classes.csv" for space in ("verb", "noun")]
    found = readers.read("epic55", [shared_data / "rulstm" / "ek55", *classes])
    started = time.perf_counter()
    labels, mistaken = past_actions(found), past_actions(found, errors=0.2)
    assert time.perf_counter() - started < 3  # 0.25 s on a quiet core
    assert labels.shape == (28472, 10, 3)
    seen = labels[..., 0] > 0
    wrong = ((labels[..., :2] != mistaken[..., :2]).any(-1) & seen).sum() / seen.sum()
    assert wrong == pytest.approx(0.2, abs=0.01) and ((mistaken[..., 0] > 0) == seen).all()
    video = collections.Counter(segment.video for segment in found.segments).most_common(40)[-1][0]
    rows = [row for row, segment in enumerate(found.segments) if segment.video == video]
    ids = {space: {name: number for number, name in enumerate(found.classes[space])} for space in ("verb", "noun")}
    for row in rows:
        target, entries = found.segments[row], []
        for other in (found.segments[place] for place in rows):
            if target.start - other.start >= 0.25 - 1e-7:
                entries.append((other.start, ids["verb"][other.labels["verb"]] + 1, ids["noun"][other.labels["noun"]] + 1))
        expected = [list(entry[1:]) for entry in sorted(entries, key=lambda entry: entry[0])[-10:]]
        assert labels[row, 10 - len(expected) :, :2].tolist() == expected
