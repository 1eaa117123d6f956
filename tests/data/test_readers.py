"""Readers by name, a user's own reader, groups from file names, and the held-out split."""

import collections
import dataclasses
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egokeras.data import readers
from egokeras.data.segments import Annotations, Segment, check, classes_of
from egokeras.errors import InputError


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "clips.csv"
    path.write_text("file,label\nk/P01_a.mp4,x\nk/P01_b.mp4,y\nk/P02_a.mp4,x\nk/P02_b.mp4,y\n")
    return path


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("epic10", "did you mean 'epic100'.*epic55, epic100, egtea, ucf101, hmdb51, kinetics, folders, table, or my.py:function"),
        ("Table", "did you mean 'table'"),
        ("qqqqqq", "'qqqqqq' is unknown; There are epic55"),
    ],
)
def test_an_unknown_name_gets_the_nearest(table, name, words):
    with pytest.raises(InputError, match=words):
        readers.read(name, [table])


def test_a_path_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nothing.csv does not exist"):
        readers.read("table", [tmp_path / "nothing.csv"])
    with pytest.raises(InputError, match="no annotations given"):
        readers.read("table", [])


@pytest.mark.parametrize(("group", "groups"), [("P[0-9]+", ["P01", "P01", "P02", "P02"]), (r"_(.)\.", ["a", "b", "a", "b"])])
def test_groups_come_out_of_file_names(table, group, groups):
    found = readers.read("table", [str(table)], group=group)
    assert [segment.group for segment in found.segments] == groups and found.exclusive == "group"


@pytest.mark.parametrize(
    ("group", "words"), [("^k", "finds nothing in the file name of k/P01_a.mp4"), ("(", "is not a regular"), ("(z)?a", "finds nothing")]
)
def test_groups_that_are_not_there(table, group, words):
    with pytest.raises(InputError, match=words):
        readers.read("table", [table], group=group)


def test_a_group_on_both_sides_is_refused(table):
    table.write_text("file,label,split\nP01_a.mp4,x,train\nP01_b.mp4,y,val\n")
    assert len(readers.read("table", [table]).segments) == 2
    with pytest.raises(InputError, match="group 'P01' is in train and validation"):
        readers.read("table", [table], group="P..")


OWN = """
from __future__ import annotations
import dataclasses
from egokeras.data.segments import Annotations, Segment

@dataclasses.dataclass
class Line:
    name: str

def segments(paths):
    for line in paths[0].read_text().split():
        yield Segment(uid=Line(line).name, video=line, labels={"action": line[0]})

def whole(paths):
    return Annotations(segments=tuple(segments(paths)), classes={"action": ("b", "a", "c")})

def wrong(paths):
    return ["a.mp4"]

def none(paths):
    pass
"""


@pytest.fixture
def own(tmp_path):
    (tmp_path / "my.py").write_text(OWN)
    (tmp_path / "list.txt").write_text("b.mp4 a.mp4")
    return f"{tmp_path / 'my.py'}", [tmp_path / "list.txt"]


def test_ones_own_reader_by_its_file(own):
    file, paths = own
    found = readers.read(f"{file}:segments", paths)
    assert [segment.video for segment in found.segments] == ["b.mp4", "a.mp4"] and found.classes == {"action": ("a", "b")}
    assert found.sources == (*paths, pathlib.Path(file))
    assert readers.read(f"{file}:whole", paths).classes == {"action": ("b", "a", "c")}


@pytest.mark.parametrize(
    ("function", "words"),
    [("segment", "no function 'segment'; it has .*segments, whole"), ("wrong", "wrong gave str 'a.mp4'"), ("none", "none gave NoneType")],
)
def test_a_wrong_own_reader_is_named(own, function, words):
    with pytest.raises(InputError, match=words):
        readers.read(f"{own[0]}:{function}", own[1])


def test_an_own_reader_that_is_not_there(table):
    with pytest.raises(InputError, match=r"no.py does not exist"):
        readers.read("no.py:segments", [table])


def made(rows):
    """Annotations of (video, class, group) rows."""
    found = tuple(Segment(uid=str(n), video=v, labels={"action": c}, group=g) for n, (v, c, g) in enumerate(rows))
    return Annotations(segments=found, classes=classes_of(found))


def sides(annotations, of):
    found = collections.defaultdict(set)
    for segment in annotations.segments:
        found[of(segment)].update(segment.splits)
    return found


def test_single_videos_are_held_out_in_proportion():
    rows = [(f"{c}{n}", c, "") for c, count in (("a", 50), ("b", 10), ("c", 5)) for n in range(count)]
    found = readers.hold_out(made(rows))
    held = collections.Counter(segment.labels["action"] for segment in found.segments if segment.splits == ("validation",))
    assert held == {"a": 10, "b": 2, "c": 1} and len({segment.splits for segment in found.segments}) == 2
    assert found == readers.hold_out(made(rows)) != readers.hold_out(made(rows), seed=1)


@given(
    rows=st.lists(st.tuples(st.integers(0, 30), st.sampled_from("abcd"), st.integers(0, 7)), min_size=2, max_size=60),
    share=st.sampled_from([0.1, 0.2, 0.4]),
    seed=st.integers(0, 3),
)
def test_groups_stay_whole_and_no_class_loses_all_of_its_training(rows, share, seed):
    rows = [(f"{video}-{group}", label, f"g{group}") for video, label, group in rows]
    if len({label for _, label, _ in rows}) < 2:
        return
    groups = [{group for _, label, group in rows if label == wanted} for wanted in "abcd"]
    try:
        found = readers.hold_out(made(rows), share=share, seed=seed)
    except InputError as error:
        assert "group" in str(error) and min(map(len, filter(None, groups))) == 1
        return
    assert all(len(splits) == 1 for splits in sides(found, lambda s: s.group).values())
    assert all("train" in splits for splits in sides(found, lambda s: s.labels["action"]).values())
    held = sum(segment.splits == ("validation",) for segment in found.segments)
    assert 2 * held <= len(rows)
    assert found == check(found) and found.exclusive == "group"


def test_every_class_with_two_groups_of_its_own_is_on_both_sides():
    rows = [(f"{c}{g}{n}", c, f"{c}{g}") for c in "abcde" for g in range(2) for n in range(3)] + [(f"z{n}", "z", "z") for n in range(3)]
    found = sides(readers.hold_out(made(rows)), lambda s: s.labels["action"])
    assert all(found[c] == {"train", "validation"} for c in "abcde") and found["z"] == {"train"}


def test_only_training_segments_are_parted():
    rows = made([(f"v{n}", "ab"[n % 2], "") for n in range(20)])
    splits = [("train",)] * 16 + [("test",)] * 4
    rows = dataclasses.replace(rows, segments=tuple(dataclasses.replace(s, splits=p) for s, p in zip(rows.segments, splits, strict=True)))
    found = readers.hold_out(rows)
    assert [segment.splits for segment in found.segments[16:]] == [("test",)] * 4
    assert collections.Counter(segment.splits[0] for segment in found.segments[:16]) == {"train": 12, "validation": 4}


def test_groups_of_one_class_each_cannot_be_parted():
    with pytest.raises(InputError, match="from one group only"):
        readers.hold_out(made([("v1", "a", "g"), ("v2", "b", "h")]))


def test_one_group_cannot_be_parted():
    with pytest.raises(InputError, match="1 groups of videos"):
        readers.hold_out(made([("v1", "a", "g"), ("v2", "b", "g")]))


def test_real_clips_without_a_split(shared_data):
    found = readers.read("folders", [shared_data / "fight_surv"])
    assert len(found.segments) == 144
    counts = collections.Counter((s.labels["action"], s.splits[0]) for s in readers.hold_out(found).segments)
    assert 14 <= counts["fight", "validation"] <= 15 and 14 <= counts["noFight", "validation"] <= 15
