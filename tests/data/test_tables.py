"""The `table` format round trip, and hostile rows named by file, line and column."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egokeras.data import segments, tables
from egokeras.errors import InputError


@pytest.fixture
def table(tmp_path):
    """Write a table's content and return its path."""

    def write(content, name="clips.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def clock(seconds, places):
    whole, rest = divmod(seconds, 60)
    return f"{int(whole) // 60}:{int(whole) % 60:02d}:{rest:0{places + 3 if places else 2}.{places}f}"


names = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=12)
labels = names.map(str.strip).filter(bool)
files = names.map(str.strip).filter(lambda name: name and segments.is_inside(name) and name.strip("./"))
spans = st.tuples(st.integers(0, 10**6), st.integers(1, 10**5))


@given(
    data=st.lists(st.tuples(files, labels, spans), min_size=1, max_size=5, unique_by=lambda row: (row[0], row[2])),
    delimiter=st.sampled_from(",;\t"),
    bom=st.booleans(),
    ending=st.sampled_from(["\n", "\r\n"]),
    form=st.sampled_from(["seconds", "clock", "frames"]),
)
def test_what_was_written_is_read(tmp_path_factory, data, delimiter, bom, ending, form):
    show = {"seconds": lambda ms: f"{ms / 1000:.3f}", "clock": lambda ms: clock(ms / 1000, 3), "frames": str}[form]
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=ending)
    writer.writerow(["file", " Label ", "start", "stop", "note"] + ["fps"] * (form == "frames"))
    for file, label, (start, length) in data:
        writer.writerow([file, label, show(start), show(start + length), "a, b; c"] + ["1000"] * (form == "frames"))
    path = tmp_path_factory.mktemp("table") / "clips.csv"
    path.write_text(text.getvalue(), encoding="utf-8-sig" if bom else "utf-8", newline="")
    found = tables.read([path]).segments
    assert [(segment.video, segment.labels["action"]) for segment in found] == [(file, label) for file, label, _ in data]
    for segment, (_, _, (start, length)) in zip(found, data, strict=True):
        assert segment.start == pytest.approx(start / 1000, abs=1e-9) and segment.stop == pytest.approx((start + length) / 1000, abs=1e-9)


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("12.5", 12.5), ("3.", 3), ("1e-3", 0.001), ("1:02", 62), ("00:00:03.37", 3.37), ("10:59:59.5", 39599.5)]
    + [(bad, None) for bad in ("", "-1", "1,5", "1:60", "0:60:00", "nan", "inf", "1e999", "abc", "1:2:3:4", "٣", " 1", "1;2")],
)
def test_seconds(text, value):
    assert tables.seconds(text) == (value if value is None else pytest.approx(value))


def test_all_columns(table):
    path = table(
        "file;verb;noun;start;stop;split;source\nk1\\a.mp4;open;door;0;1.5;Training;s1\n./k1/a.mp4;close;door;1:00;;train;s1\nb.mp4;;;;;test;s2\n"
    )
    found = tables.read([path])
    first, second, third = found.segments
    assert (first.uid, first.video, first.start, first.stop) == ("k1/a.mp4@0.000-1.500", "k1/a.mp4", 0, 1.5)
    assert (second.uid, second.video, second.start, second.stop) == ("k1/a.mp4@60.000-", "k1/a.mp4", 60, None)
    assert (third.uid, third.labels, third.splits, third.group) == ("b.mp4", {}, ("test",), "s2")
    assert first.labels == {"verb": "open", "noun": "door"} and first.splits == ("train",)
    assert found.exclusive == "group" and found.classes == {"noun": ("door",), "verb": ("close", "open")} and found.sources == (path,)


def test_frames_need_their_own_rate(table):
    found = tables.read([table("file,label,start,stop,fps\na.mp4,x,30,60,29.97\nb.mp4,y,25,50,25\nc.mp4,y,,,\n")]).segments
    assert [(s.start, s.stop) for s in found] == [(30 / 29.97, 60 / 29.97), (1, 2), (0, None)]


def test_several_tables_are_splits_by_their_names(table):
    paths = [table("file,label\na.mp4,x\n", "train.csv"), table("file\tlabel\nb.mp4\ty\n", "my_val.csv")]
    assert [segment.splits for segment in tables.read(paths).segments] == [("train",), ("validation",)]
    assert tables.read(paths[:1]).segments[0].splits == ()


HOSTILE = [
    ("file,label\na.mp4,x\nb.mp4\n", "line 3: 1 cells where there are 2"),
    ("file,label\na.mp4,x,y\n", "line 2: 3 cells"),
    ("file,label\na.mp4,\n", "line 2, column 'label': is empty"),
    ("file,label\n,x\n", "line 2, column 'file': is empty"),
    ("file,label\n\n\n../a.mp4,x\n", "line 4, column 'file'.*without '..'"),
    ("file,label\n/etc/passwd,x\n", "line 2, column 'file'"),
    ("file,label\nC:\\a.mp4,x\n", "line 2, column 'file'"),
    ("file,label,start\na.mp4,x,-1\n", "line 2, column 'start': '-1' is not a time"),
    ('file,label,start\na.mp4,x,"1,5"\n', "with a point"),
    ("file,label,start,stop\na.mp4,x,5,5\n", "line 2, column 'stop'.*not after"),
    ("file,label,stop\na.mp4,x,0\n", "line 2, column 'stop'"),
    ("file,label,stop,fps\na.mp4,x,10,\n", "line 2, column 'fps': is empty"),
    ("file,label,stop,fps\na.mp4,x,10,0\n", "line 2, column 'fps'"),
    ("file,label,stop,fps\na.mp4,x,1.5,25\n", "line 2, column 'stop': '1.5' is not a whole"),
    ("file,label,split\na.mp4,x,trian\n", "line 2, column 'split': 'trian'"),
    ("file,label,source\na.mp4,x,\n", "line 2, column 'source': is empty"),
    ("file,label\na.mp4,x\na.mp4,y\n", "line 3, column 'file': a.mp4 is in .*line 2"),
    ("file,label,label\na.mp4,x,y\n", "line 1: column 'label' must be there once"),
    ("file,label,action\na.mp4,x,y\n", "mean the same"),
    ("name,label\na.mp4,x\n", "line 1: column 'file' must be there once; found name, label"),
    ("file,label,end\na.mp4,x,3\n", "'end' is unknown; if it is 'stop'"),
    ("file,label,spilt\na.mp4,x,train\n", "'spilt' is unknown; if it is 'split'"),
    ("file,start\na.mp4,1\n", "line 2, column 'label'.*add one"),
    ('file,label\na.mp4,"x\n', "line 2: .*check the quotes"),
    ('file,label\n"a\nb.mp4",x\n', "line 2, column 'file'"),
    (b"file,label\na.mp4,K\xfcche\n", "line 2: byte 0xfc is not UTF-8"),
    ("file,label\na.mp4,x\n".encode("utf-16"), "line 1: byte 0xff is not UTF-8"),
    (b"file,label\na.mp4,x\0\n", "line 2: a zero byte"),
    ("", "line 1: column 'file' must be there once; found no columns"),
]


@pytest.mark.parametrize(("content", "words"), HOSTILE)
def test_a_wrong_row_is_named_with_its_place(table, content, words):
    path = table(content)
    with pytest.raises(InputError, match=words) as error:
        tables.read([path])
    assert str(path) in str(error.value) and "\n" not in str(error.value).replace("\\n", "")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no.csv cannot be read"):
        tables.rows(tmp_path / "no.csv")


@given(
    content=st.binary(max_size=80)
    | st.text(',;\t\n\r"filelabstor0:1.\0', max_size=80).map(lambda text: ("file,label,stop\n" + text).encode())
)
def test_whatever_the_bytes_only_input_errors_come_out(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("table") / "clips.csv"
    path.write_bytes(content)
    try:
        found = tables.read([path]).segments
    except InputError as error:
        assert str(path) in str(error)
    else:
        assert all(segments.is_inside(segment.video) and segment.labels for segment in found)


def test_rows_after_a_cell_of_two_lines_keep_their_number(table):
    path = table('file,label,note\na.mp4,x,"two\nlines"\nb.mp4,,\n')
    with pytest.raises(InputError, match="line 4, column 'label'"):
        tables.read([path])


def test_lists_of_words(table):
    rows = tables.words(table("a/b.avi 1 x\r\n\r\n c 2\n"), ("path", "id"))
    assert [(row.line, row.text("path"), row.whole("id")) for row in rows] == [(1, "a/b.avi", 1), (3, "c", 2)]
    with pytest.raises(InputError, match="line 2: 'c' is not 'path id'"):
        tables.words(table("a 1\nc\n"), ("path", "id"))


def test_class_ids_out_of_range(table):
    row = tables.rows(table("id\n3\n"))[0]
    assert row.choice("id", "abc", "names.csv", first=1) == "c"
    with pytest.raises(InputError, match=r"class 3 is not among the 3 of names.csv"):
        row.choice("id", "abc", "names.csv")
    with pytest.raises(InputError, match="class 3"):
        row.choice("id", "abc", "names.csv", first=4)


def test_real_table(shared_data):
    found = segments.check(tables.read([shared_data / "fight_surv" / "clips.csv"]))
    assert len(found.segments) == 144 and found.classes == {"action": ("fight", "noFight")} and found.exclusive == "group"
    assert {split for segment in found.segments for split in segment.splits} == {"train", "validation"}
