"""A folder per class, UCF-101 and HMDB-51: small ones made here, and the counts of the real lists."""

import collections

import pytest

from egokeras.data import readers
from egokeras.errors import InputError


@pytest.fixture
def tree(tmp_path):
    """Create files below a folder; a name that ends in / is an empty folder."""

    def create(*names, **contents):
        root = tmp_path / "videos"
        for name in [*names, *contents]:
            path = root / name
            (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
            if not name.endswith("/"):
                path.write_text(contents.get(name, ""))
        return root

    return create


def test_a_folder_per_class(tree):
    root = tree("sit/b.mp4", "sit/a.MOV", "sit/notes.txt", "sit/.hidden.mp4", "run/c.avi", ".git/x/d.mp4", "readme.md")
    found = readers.read("folders", [root])
    assert [(s.uid, s.labels["action"], s.splits) for s in found.segments] == [
        ("run/c.avi", "run", ()),
        ("sit/a.MOV", "sit", ()),
        ("sit/b.mp4", "sit", ()),
    ]
    assert found.classes == {"action": ("run", "sit")} and all(segment.uid == segment.video for segment in found.segments)


def test_folders_of_splits(tree):
    root = tree("train/run/1.mp4", "train/sit/2.mp4", "Val/run/3.mp4", "Val/sit/4.mp4", "test/run/5.mp4", "test/sit/6.mp4")
    found = readers.read("folders", [root])
    assert {(s.video, s.splits[0]) for s in found.segments} >= {
        ("train/run/1.mp4", "train"),
        ("Val/sit/4.mp4", "validation"),
        ("test/sit/6.mp4", "test"),
    }


def test_a_class_may_be_called_like_a_split(tree):
    assert readers.read("folders", [tree("train/1.mp4", "bus/2.mp4")]).classes == {"action": ("bus", "train")}


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["run/1.mp4", "sit/"], "sit: no video in this class folder, only nothing"),
        (["run/1.mp4", "sit/a.txt", "sit/b.jpg"], "only a.txt, b.jpg"),
        (["run/1.mp4", "sit/day/a.mp4"], "day is a folder in a class folder"),
        (["run/1.mp4"], r"1 class folders \(run\); at least two"),
        (["1.mp4"], r"0 class folders \(none\)"),
        (["train/run/1.mp4", "train/sit/2.mp4", "val/run/3.mp4", "val/sitt/4.mp4"], "'sitt' has no counterpart in the training split"),
        (["train/run/1.mp4", "train/sit/2.mp4", "val/run/3.mp4"], r"val: 1 class folders"),
    ],
)
def test_folders_that_cannot_be_used_are_named(tree, names, words):
    with pytest.raises(InputError, match=words):
        readers.read("folders", [tree(*names)])


def test_links_do_not_lead_outside(tree, tmp_path):
    root = tree("run/1.mp4", "sit/2.mp4")
    (tmp_path / "secret.mp4").write_text("")
    (root / "sit" / "3.mp4").symlink_to(tmp_path / "secret.mp4")
    with pytest.raises(InputError, match=r"3.mp4 is a link to .*secret.mp4, outside"):
        readers.read("folders", [root])


@pytest.mark.parametrize("target", ["gone.mp4", "3.mp4"])
def test_links_to_nothing_and_to_themselves_are_named(tree, target):
    root = tree("run/1.mp4", "sit/2.mp4")
    (root / "sit" / "3.mp4").symlink_to(target)
    with pytest.raises(InputError, match=r"3.mp4 is a link to nothing"):
        readers.read("folders", [root])


def test_a_class_folder_that_is_a_link_does_not_lead_outside(tree, tmp_path):
    root = tree("run/1.mp4", "sit/2.mp4")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x.mp4").write_text("")
    (root / "walk").symlink_to(tmp_path / "other")
    with pytest.raises(InputError, match="outside"):
        readers.read("folders", [root])


def test_a_video_linked_into_two_splits_is_found_out(tree):
    root = tree("train/run/1.mp4", "train/sit/2.mp4", "val/run/3.mp4", "val/sit/4.mp4")
    (root / "val" / "run" / "5.mp4").symlink_to(root / "train" / "run" / "1.mp4")
    with pytest.raises(InputError, match=r"'train/run/1.mp4' is in train and validation"):
        readers.read("folders", [root])


def test_the_folder_itself_may_be_a_link(tree, tmp_path):
    (tmp_path / "link").symlink_to(tree("run/1.mp4", "sit/2.mp4"))
    assert len(readers.read("folders", [tmp_path / "link"]).segments) == 2


UCF = {
    "classInd.txt": "1 Archery\r\n2 HandstandPushups\r\n",
    "trainlist01.txt": "Archery/v_Archery_g08_c01.avi 1\r\nHandstandPushups/v_HandStandPushups_g01_c02.avi 2\r\n",
    "testlist01.txt": "Archery/v_Archery_g01_c01.avi\nHandStandPushups/v_HandStandPushups_g02_c01.avi\n",
    "testlist02.txt": "Archery/v_Archery_g08_c01.avi\n",
}


def test_ucf101(tree):
    found = readers.read("ucf101", [tree(**UCF)])
    by_uid = {segment.uid: segment for segment in found.segments}
    assert by_uid["v_Archery_g08_c01"].splits == ("test2", "train1") and by_uid["v_Archery_g08_c01"].group == "Archery_g08"
    pushups = by_uid["v_HandStandPushups_g01_c02"]
    assert (pushups.video, pushups.labels["action"]) == ("HandstandPushups/v_HandStandPushups_g01_c02.avi", "HandstandPushups")
    assert by_uid["v_HandStandPushups_g02_c01"].labels["action"] == "HandstandPushups"
    assert found.classes == {"action": ("Archery", "HandstandPushups")} and len(found.sources) == 4


def test_ucf101_finds_its_classes_beside_a_list(tree):
    assert len(readers.read("ucf101", [tree(**UCF) / "trainlist01.txt"]).segments) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"testlist01.txt": "Archery/v_Archery_g08_c03.avi\n"}, "group 'Archery_g08' is in test1 and train1"),
        ({"testlist01.txt": "Archery/v_Archery_c03.avi\n"}, "testlist01.txt, line 1, column 'path'"),
        ({"testlist01.txt": "Dance/v_Dance_g01_c03.avi\n"}, "line 1, column 'path'"),
        (
            {"trainlist01.txt": "Archery/v_Archery_g08_c01.avi 2\n"},
            "line 1, column 'id': 2 is HandstandPushups, but the video lies in Archery",
        ),
        ({"trainlist01.txt": "Archery/v_Archery_g08_c01.avi 3\n"}, "class 3 is not among the 2"),
        ({"classInd.txt": "0 Archery\n1 Pushups\n"}, "classInd.txt, line 1, column 'id'"),
    ],
)
def test_wrong_ucf_rows_are_named(tree, change, words):
    with pytest.raises(InputError, match=words):
        readers.read("ucf101", [tree(**(UCF | change))])


def test_a_missing_ucf_class_list_is_named(tree):
    with pytest.raises(InputError, match=r"classInd.txt is missing"):
        readers.read("ucf101", [tree(**{"trainlist01.txt": UCF["trainlist01.txt"]})])


OFFICIAL = {
    "kick_test_split1.txt": "Film_1_kick_f_cm_np1_fr_med_0.avi 1 \nB_kick_f_cm_np1_fr_med_2.avi 2 \nC_kick_f_cm_np1_fr_med_2.avi 0 \n",
    "kick_test_split2.txt": "Film_1_kick_f_cm_np1_fr_med_0.avi 2 \n",
    "kick_ball_test_split1.txt": "Film_1_kick_ball_f_cm_np1_fr_med_1.avi 1\n",
}


def test_official_hmdb51(tree):
    found = readers.read("hmdb51", [tree(**OFFICIAL)])
    by_uid = {segment.uid: segment for segment in found.segments}
    first = by_uid["kick/Film_1_kick_f_cm_np1_fr_med_0"]
    assert (first.video, first.splits, first.group) == ("kick/Film_1_kick_f_cm_np1_fr_med_0.avi", ("train1", "test2"), "Film_1")
    assert by_uid["kick_ball/Film_1_kick_ball_f_cm_np1_fr_med_1"].group == "Film_1"
    assert len(found.segments) == 3 and found.classes == {"action": ("kick", "kick_ball")}


LISTED = {
    "train_split_1.txt": "data/A_kick_ball_f_cm_np1_fr_med_1 0 0\ndata/B_kick_f_cm_np1_fr_med_1 12 1\n",
    "val_split_1.txt": "data/C_kick_ball_f_cm_np1_fr_med_1 0 0\ndata/D_2_kick_f_cm_np1_fr_med_1 7 1\n",
}


@pytest.mark.parametrize("known", [{}, {"label_map.txt": "kick\nkick_ball\nball\nrun\n"}])
def test_hmdb51_names_come_from_the_clips_not_from_the_order_of_the_ids(tree, known):
    found = readers.read("hmdb51", [tree(**LISTED, **known)])
    assert [(s.uid, s.splits) for s in found.segments][:2] == [
        ("kick_ball/A_kick_ball_f_cm_np1_fr_med_1", ("train1",)),
        ("kick/B_kick_f_cm_np1_fr_med_1", ("train1",)),
    ]
    assert found.classes == {"action": ("kick", "kick_ball")} and found.segments[3].splits == ("validation1",)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"train_split_1.txt": LISTED["train_split_1.txt"]}, r"class 0: its clips do not tell the name \(A_kick_ball"),
        (LISTED | {"label_map.txt": "run\nsit\n"}, "class 0: its clips do not tell"),
        ({"train_split_1.txt": "a/b 0 0\n"}, "line 1, column 'path'"),
        ({"train_split_1.txt": "data/A_kick_f_cm_np1_fr_med_1 0 x\n"}, "line 1, column 'id': 'x' is not a whole"),
        ({"some_1.txt": LISTED["val_split_1.txt"]}, "some_1.txt names no split"),
        ({"kick_test_split1.txt": "a.avi 3\n"}, "line 1, column 'flag': class 3"),
        ({"kick_test_split1.txt": "../a.avi 1\n"}, "line 1, column 'name'"),
        ({"kick.txt": "a.avi 1\n"}, "kick.txt must be called like"),
        ({"label_map.txt": "run\nsit\n"}, "no clips in lists"),
    ],
)
def test_wrong_hmdb_lists_are_named(tree, files, words):
    with pytest.raises(InputError, match=words):
        readers.read("hmdb51", [tree(**files)])


def test_real_ucf101_and_hmdb51(shared_data):
    ucf = readers.read("ucf101", [shared_data / "splits" / "ucfTrainTestlist"])
    assert collections.Counter(segment.splits for segment in ucf.segments) == {("train1",): 9537, ("test1",): 3783}
    assert len(ucf.classes["action"]) == 101
    hmdb = readers.read("hmdb51", [shared_data / "splits" / "hmdb"])
    assert collections.Counter(segment.splits for segment in hmdb.segments) == {("train1",): 3570, ("validation1",): 1530}
    names = (shared_data / "classlists" / "mmaction2" / "hmdb51__label_map.txt").read_text().split()
    assert hmdb.classes["action"] == tuple(sorted(names))
    assert all(f"_{segment.labels['action']}_" in segment.video for segment in hmdb.segments)
    assert len({segment.group for segment in hmdb.segments}) < 2000
