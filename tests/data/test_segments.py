"""What a set of segments must be like before anything is made of it."""

import dataclasses
import pathlib

import pytest

from egokeras.data import segments
from egokeras.data.segments import Annotations, Segment
from egokeras.errors import InputError


def annotations(*found, exclusive="video"):
    """Annotations of (uid, video, split, group) tuples, two classes."""
    made = [Segment(uid=u, video=v, splits=(s,) if s else (), group=g, labels={"action": "run"}) for u, v, s, g in found]
    return Annotations(segments=tuple(made), classes={"action": ("run", "sit")}, sources=(pathlib.Path("a.csv"),), exclusive=exclusive)


GOOD = annotations(("1", "a.mp4", "train", "x"), ("2", "b.mp4", "validation", "x"), ("3", "a.mp4", "train", "x"))


def test_a_good_set_comes_back_as_it_is():
    assert segments.check(GOOD) is GOOD


def changed(**values):
    return dataclasses.replace(GOOD, segments=(dataclasses.replace(GOOD.segments[0], **values), *GOOD.segments[1:]))


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (annotations(), "a.csv: no segment"),
        (changed(uid="2"), "'2' appears twice"),
        (changed(start=-1.0), "not a span"),
        (changed(start=2.0, stop=2.0), "not a span"),
        (changed(start=float("nan")), "not a span"),
        (changed(stop=float("inf")), "not a span"),
        (changed(labels={"action": "fly"}), "'fly' is not among the 2"),
        (changed(labels={"verb": "run"}), "verb 'run' is not among the 0"),
        (changed(splits=("val",)), "'val' is unknown"),
        (changed(splits=()), "no split although"),
        (dataclasses.replace(GOOD, classes={"action": ("run",)}), "at least two"),
        (dataclasses.replace(GOOD, classes={"action": ("run", "run")}), "at least two"),
    ],
)
def test_what_cannot_be_used_is_named(bad, words):
    with pytest.raises(InputError, match=words):
        segments.check(bad)


@pytest.mark.parametrize(
    "video", ["", "/etc/passwd", "../a.mp4", "a/../../b.mp4", "./a.mp4", "a//b.mp4", "C:/a.mp4", "..\\a.mp4", "a\0b", "\udce4"]
)
def test_a_video_stays_below_its_folder(video):
    assert not segments.is_inside(video)
    with pytest.raises(InputError, match="below the video folder"):
        segments.check(changed(video=video))


@pytest.mark.parametrize("video", ["P01_01", "a b/c.MP4", "..a/b...mp4", "Küche/料理.mp4", "Recording 10.00\u202fAM.mov", "10:30.mp4"])
def test_unusual_names_are_allowed(video):
    assert segments.is_inside(video)


@pytest.mark.parametrize(
    ("exclusive", "found", "leak"),
    [
        ("video", [("1", "a", "train", ""), ("2", "a", "validation", "")], "video 'a'"),
        ("video", [("1", "a", "validation", ""), ("2", "a", "test", "")], "video 'a'"),
        ("video", [("1", "a", "train", "x"), ("2", "b", "test", "x")], None),
        ("video", [("1", "a", "train1", ""), ("2", "a", "test2", "")], None),
        ("video", [("1", "a", "train2", ""), ("2", "a", "test2", "")], "video 'a'"),
        ("group", [("1", "a", "train", "x"), ("2", "b", "test", "x")], "group 'x'"),
        ("group", [("1", "a", "train", "x"), ("2", "a", "test", "y")], "video 'a'"),
        ("group", [("1", "a", "train", ""), ("2", "b", "test", "")], None),
        ("segment", [("1", "a", "train1", "x"), ("2", "a", "test1", "x")], None),
    ],
)
def test_splits_share_nothing_that_is_exclusive(exclusive, found, leak):
    made = annotations(*found, exclusive=exclusive)
    if leak is None:
        segments.check(made)
    else:
        with pytest.raises(InputError, match=leak):
            segments.check(made)


def test_one_segment_may_not_be_on_both_sides():
    both = dataclasses.replace(GOOD.segments[0], splits=("train1", "test1"))
    with pytest.raises(InputError, match="'1' is in test1 and train1"):
        segments.check(dataclasses.replace(GOOD, segments=(both,), exclusive="segment"))


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("EPIC_100_train.reconstructed.csv", "train"),
        ("EPIC_train_action_labels.csv", "train"),
        ("EPIC_100_validation.csv", "validation"),
        ("EPIC_100_test_timestamps.csv", "test"),
        ("EPIC_test_s2_timestamps.csv", "test2"),
        ("test_seen.csv", "test1"),
        ("test_unseen.csv", "test2"),
        ("training.csv", "train"),
        ("validation3.csv", "validation3"),
        ("train_split2", "train2"),
        ("trainlist01", "train1"),
        ("testlist10", "test10"),
        ("hmdb51_flow_val_split_1.txt", "validation1"),
        ("Val", "validation"),
        ("dev", "validation"),
        ("constraint.csv", ""),
        ("latest.csv", ""),
        ("trainer.csv", ""),
        ("clips.csv", ""),
    ],
)
def test_the_split_in_a_name(name, split):
    assert segments.split_named(name) == split


def test_merge_unites_the_splits_of_a_segment():
    one, other = GOOD.segments[:2]
    again = dataclasses.replace(one, splits=("test2",))
    assert segments.merge([one, other, again, one]) == (dataclasses.replace(one, splits=("train", "test2")), other)
    with pytest.raises(InputError, match="'1' is listed twice"):
        segments.merge([one, dataclasses.replace(one, stop=3.0)])


def test_classes_are_sorted_per_space():
    found = [Segment(uid=n, video=n, labels={"verb": n, "noun": "x"}) for n in "cab"]
    assert segments.classes_of(found) == {"noun": ("x",), "verb": ("a", "b", "c")}


VERBS_NOUNS = {"verb": ("take", "open"), "noun": ("cup", "door", "tap")}


def labelled(*found, classes=VERBS_NOUNS, **values):
    """Annotations of the labels of each segment, in the order of the label spaces; "" is none."""
    made = [
        Segment(uid=str(row), video="a", splits=("train",), labels={s: name for s, name in zip(classes, names, strict=True) if name})
        for row, names in enumerate(found)
    ]
    return Annotations(segments=tuple(made), classes=classes, **values)


def test_every_pair_of_verb_and_noun_becomes_an_action():
    found = segments.with_actions(labelled(("open", "tap"), ("take", "tap"), ("open", "cup"), ("open", "tap"), ("take", ""), ("", "")))
    assert found.classes["action"] == ("take tap", "open cup", "open tap") and found.actions == ((0, 2), (1, 0), (1, 2))
    assert [segment.labels.get("action") for segment in found.segments] == ["open tap", "take tap", "open cup", "open tap", None, None]
    assert segments.with_actions(found) is found
    assert segments.with_actions(GOOD) is GOOD


def test_actions_have_the_pair_that_they_have_most_often():
    classes = {**VERBS_NOUNS, "action": ("drink", "leave")}
    rows = [("take", "tap", "drink"), ("take", "cup", "drink"), ("take", "cup", "drink"), ("open", "door", "leave")]
    assert segments.with_actions(labelled(*rows, classes=classes)).actions == ((0, 0), (1, 1))
    assert segments.with_actions(labelled(*rows[:2], classes=classes)).actions == ()  # nothing is known of leaving


@pytest.mark.parametrize(
    ("actions", "words"),
    [
        (((0, 0),), "1 pairs of verb and noun are given for 2 actions"),
        (((0, 0), (2, 0)), r"'leave' has verb and noun \(2, 0\)"),
        (((0, 0), (0, -1)), "'leave' has"),
    ],
)
def test_pairs_that_are_no_classes(actions, words):
    classes = {**VERBS_NOUNS, "action": ("drink", "leave")}
    with pytest.raises(InputError, match=words):
        segments.check(labelled(("take", "tap", "drink"), classes=classes, actions=actions))


def test_discarded_is_apart_from_all_splits():
    assert [segments.numbering(split) for split in ("train", "validation2", segments.DISCARDED)] == ["", "2", "discarded"]


def test_names_of_a_video():
    assert segments.names_of("a/P01.v1.mp4") == ("a/P01.v1.mp4", "a/P01.v1") and segments.names_of("P01_01") == ("P01_01",)
