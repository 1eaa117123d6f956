"""EGTEA Gaze+: the official lists, written here in their form, and RU-LSTM's real ones."""

import collections

import pytest

from egokeras.data import clip_plan, readers, segments
from egokeras.data.preparation import Preparation
from egokeras.errors import InputError

ONE = "OP01-R01-PastaSalad-1002316-1004005-F024051-F024101"
TWO = "P02-R06-GreekSalad-66680-68130-F001597-F001639"
OFFICIAL = {
    "action_idx.txt": "Inspect/Read recipe 1\nOpen fridge 2\nTurn on faucet 3\n",
    "verb_idx.txt": "Inspect/Read 1\nOpen 2\nTurn on 3\n",
    "noun_idx.txt": "recipe 1\nfridge 2\nfaucet 3\n",
    "train_split1.txt": f"{ONE} 3 3 3 1 \n",
    "test_split1.txt": f"{TWO} 1 1 1\n",
    "train_split2.txt": f"{TWO} 1 1 1\n{ONE} 3 3 3 1\n",
}


@pytest.fixture
def folder(tmp_path):
    def write(files):
        for name, content in files.items():
            (tmp_path / name).write_text(content)
        return tmp_path

    return write


def test_official_lists_give_a_clip_once_with_all_its_splits(folder):
    found = readers.read("egtea", [folder(OFFICIAL)])
    two, one = found.segments
    assert (one.uid, one.video, one.group, one.start, one.stop) == (ONE, f"OP01-R01-PastaSalad/{ONE}", "OP01-R01-PastaSalad", 0.0, None)
    assert one.labels == {"action": "Turn on faucet", "verb": "Turn on", "noun": "faucet"} and one.splits == ("train1", "train2")
    assert two.splits == ("test1", "train2") and two.labels["action"] == "Inspect/Read recipe"
    assert found.classes["noun"] == ("recipe", "fridge", "faucet") and len(found.sources) == 6
    assert found.actions == ()  # no clip opens the fridge


def test_official_actions_have_the_verb_and_noun_of_their_clips(folder):
    opens = ONE.replace("1002316", "1002317")
    found = readers.read("egtea", [folder(OFFICIAL | {"train_split1.txt": f"{ONE} 3 3 3 1\n{opens} 2 2 2\n"})])
    assert found.actions == ((0, 0), (1, 1), (2, 2))


def test_lists_named_one_by_one_find_the_index_files_beside_them(folder):
    place = folder(OFFICIAL)
    assert len(readers.read("egtea", [place / "train_split1.txt", place / "test_split1.txt"]).segments) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train_split1.txt": f"{ONE} 0 3 3\n"}, "line 1, column 'action': class 0 is not among the 3 .*count from 1"),
        ({"train_split1.txt": f"{ONE} 3 3 4\n"}, "line 1, column 'noun': class 4"),
        ({"train_split1.txt": f"\n{ONE} 3 3\n"}, "train_split1.txt, line 2: .* is not 'clip action verb noun'"),
        ({"train_split1.txt": "../x 3 3 3\n"}, "line 1, column 'clip'"),
        ({"train_split1.txt": f"{ONE} 2 3 3\n"}, "listed twice"),
        ({"action_idx.txt": "Open fridge 2\n"}, "action_idx.txt, line 1: .* then the id 1"),
        ({"test_split1.txt": f"{ONE} 3 3 3\n"}, f"'OP01-R01-PastaSalad/{ONE}' is in test1 and train1"),
    ],
)
def test_what_cannot_be_used_is_named(folder, change, words):
    with pytest.raises(InputError, match=words):
        readers.read("egtea", [folder(OFFICIAL | change)])


def test_a_missing_index_file_is_named(folder):
    files = {name: content for name, content in OFFICIAL.items() if name != "noun_idx.txt"}
    with pytest.raises(InputError, match=r"noun_idx.txt is missing; put it beside .*cbs.ic.gatech.edu"):
        readers.read("egtea", [folder(files)])


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (f"cropped_clips/OP01-R01-PastaSalad/{ONE}.mp4", f"cropped_clips/P02-R06-GreekSalad/{TWO}.mp4"),
        (f"{ONE}.mp4", f"{TWO}.avi"),
        (f"a/{ONE.lower()}.AVI", f"b/c/{TWO.upper()}.Mkv"),
        (f"OP01-R01-PastaSalad/{ONE}.webm", f"{TWO}/img_00001.jpg"),
        (f"{ONE}.tar", f"frames/p02-r06-greeksalad/{TWO}/1.png"),
    ],
)
def test_trimmed_clips_are_found_in_any_layout(tmp_path, folder, one, two):
    for path in (one, two, "sessions/OP01-R01-PastaSalad.mp4"):
        (tmp_path / "videos" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "videos" / path).touch()
    frames = any(path.endswith((".tar", ".jpg", ".png")) for path in (one, two))
    settings = Preparation(windows=0, frame_rate=24 if frames else None)
    plan = clip_plan.make_plan(readers.read("egtea", [folder(OFFICIAL)]), tmp_path / "videos", settings)
    found = {plan.clips[clips[0]].segment.uid: path.relative_to(tmp_path / "videos").as_posix() for path, clips in plan.units}
    assert found == {ONE: one, TWO: two if two[-4:] not in (".jpg", ".png") else two.rpartition("/")[0]} and plan.missing == ()
    assert all((clip.item.start, clip.item.stop) == (0.0, None) for clip in plan.clips)


RULSTM = {
    "actions.csv": "0, 0_0, Inspect/Read_recipe\n1, 1_1, Open_fridge\n2, 2_0, Move Around_recipe\n",
    "training1.csv": "7,P07-R01-Pizza,15,30,1,1,1\n",
    "validation1.csv": "9,P07-R01-Pizza,31,45,2,0,2\n",
    "training2.csv": "9,P07-R01-Pizza,31,45,2,0,2\n",
}


def test_rulstm_lists_give_spans_of_the_session(folder):
    found = readers.read("egtea", [folder(RULSTM)])
    first, second = found.segments
    assert (first.uid, first.video, first.start, first.stop, first.splits) == ("7", "P07-R01-Pizza", 0.5, 1.0, ("train1",))
    assert second.labels == {"verb": "Move Around", "noun": "recipe", "action": "Move Around_recipe"}
    assert second.splits == ("train2", "validation1") and found.exclusive == "segment"
    assert found.classes["verb"] == ("Inspect/Read", "Open", "Move Around") and found.actions == ((0, 0), (1, 1), (2, 0))


def test_rulstm_spans_are_cut_from_sessions(tmp_path, folder):
    (tmp_path / "videos" / "raw").mkdir(parents=True)
    (tmp_path / "videos" / "raw" / "p07-r01-pizza.MP4").touch()
    plan = clip_plan.make_plan(readers.read("egtea", [folder(RULSTM)]), tmp_path / "videos", Preparation(windows=0))
    assert [(path.name, clips) for path, clips in plan.units] == [("p07-r01-pizza.MP4", (0, 1))]
    assert [(clip.item.start, clip.item.stop) for clip in plan.clips] == [(0.5, 1.0), (31 / 30, 1.5)]


def test_a_segment_on_both_sides_of_a_rulstm_split_is_refused(folder):
    with pytest.raises(InputError, match="'7' is in train1 and validation1"):
        readers.read("egtea", [folder(RULSTM | {"validation1.csv": RULSTM["training1.csv"]})])


def test_real_rulstm_counts(shared_data):
    found = readers.read("egtea", [shared_data / "rulstm" / "egtea"])
    counts = collections.Counter(split for segment in found.segments for split in segment.splits)
    assert counts == {"train1": 8299, "validation1": 2022, "train2": 8299, "validation2": 2022} and len(found.segments) == 10321
    assert {space: len(names) for space, names in found.classes.items()} == {"verb": 19, "noun": 51, "action": 106}
    assert len({segment.video for segment in found.segments}) == 86
    assert found.actions == segments.pairs_of_actions(found.segments, found.classes)
