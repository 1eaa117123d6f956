"""Kinetics lists, written here in the form of the published ones."""

import pytest

from egokeras.data import readers
from egokeras.errors import InputError

TRAIN = 'label,youtube_id,time_start,time_end,split,is_cc\n"riding, fast",---QUuC4vJs,84,94,train,0\nabseiling,_Ab1,0.0,10,train,1\n'
VALIDATION = "label,youtube_id,time_start,time_end,split\nabseiling,xyz,1234567,1234577,val\n"
TEST = "youtube_id,time_start,time_end,split\nqqq,5,15,test\n"


@pytest.fixture
def lists(tmp_path):
    def write(**files):
        for name, content in files.items():
            (tmp_path / f"{name}.csv").write_text(content)
        return [tmp_path / f"{name}.csv" for name in files]

    return write


def test_a_clip_is_a_whole_file_with_its_times_in_the_name(lists):
    found = readers.read("kinetics", lists(train=TRAIN, validate=VALIDATION, test=TEST))
    assert [(s.video, s.labels.get("action"), s.splits, s.group) for s in found.segments] == [
        ("---QUuC4vJs_000084_000094", "riding, fast", ("train",), "---QUuC4vJs"),
        ("_Ab1_000000_000010", "abseiling", ("train",), "_Ab1"),
        ("xyz_1234567_1234577", "abseiling", ("validation",), "xyz"),
        ("qqq_000005_000015", None, ("test",), "qqq"),
    ]
    assert found.classes == {"action": ("abseiling", "riding, fast")} and {(s.start, s.stop) for s in found.segments} == {(0.0, None)}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (TRAIN.replace("---QUuC4vJs", "../../x"), "line 2, column 'youtube_id'"),
        (TRAIN.replace(",84,", ",,"), "line 2, column 'time_start': is empty"),
        (TRAIN.replace("10,train", "10,other"), "line 3, column 'split': 'other'"),
        (TRAIN.replace("abseiling", ""), "line 3, column 'label': is empty"),
        (TEST.replace("test\n", "train\n"), "line 2, column 'label': is empty"),
        (TRAIN.replace("youtube_id", "id"), "line 1: column 'youtube_id'"),
        (TRAIN + "abseiling,_Ab1,20,30,val,1\n", "'_Ab1' is in train and validation"),
        (TRAIN + "flying,new,20,30,val,1\n", "'flying' is not among the 2"),
    ],
)
def test_what_cannot_be_used_is_named(lists, content, words):
    with pytest.raises(InputError, match=words):
        readers.read("kinetics", lists(train=content))
