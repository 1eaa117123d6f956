"""EPIC-KITCHENS: small files in the official forms written here, and the real ones' counts."""

import collections

import pytest

from egokeras.data import readers, segments
from egokeras.errors import InputError

HEADER = "participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,stop_frame"
EPIC100 = {
    "EPIC_100_verb_classes.csv": "id,key,instances,category\n0,take,\"['take', 'get']\",retrieve\n1,open,['open'],access\n",
    "EPIC_100_noun_classes.csv": "id,key,instances,category\n0,tap,['tap'],appliances\n1,door,['door'],furniture\n",
    "EPIC_100_train.csv": f"narration_id,{HEADER},narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes\n"
    "P01_01_0,P01,P01_01,00:00:01.089,00:00:00.14,00:01:03.37,8,202,open door,open,1,door,1,\"['door', 'tap']\",\"[1, 0]\"\n"
    "P02_101_7,P02,P02_101,00:00:01.089,01:00:00.00,01:00:00.5,8,202,get tap,get,0,tap,0,['tap'],[0]\n",
    "EPIC_100_test_timestamps.csv": f"uid,narration_id,{HEADER}\n3,P09_01_0,P09,P09_01,00:00:01.089,00:00:00.14,00:00:03.37,8,202\n",
    "EPIC_100_video_info.csv": "video_id,duration,fps,resolution\nP01_01,1652.1,59.94,1920x1080\n",
    "EPIC_100_uda_source_train.csv": "broken",
}
EPIC55 = {
    "EPIC_verb_classes.csv": "verb_id,class_key,verbs\n0,take,['take']\n1,put,['put']\n",
    "EPIC_noun_classes.csv": "noun_id,class_key,nouns\n0,pan,['pan']\n1,cup,['cup']\n",
    "EPIC_train_action_labels.csv": "uid,participant_id,video_id,narration,start_timestamp,stop_timestamp,verb,verb_class,noun,noun_class\n"
    "12,P01,P01_01,take cup,00:00:01,00:00:02.25,grab,0,mug,1\n",
    "EPIC_test_s1_timestamps.csv": "uid,participant_id,video_id,start_timestamp,stop_timestamp\n13,P01,P01_11,00:00:01,00:00:02\n",
    "EPIC_test_s2_timestamps.csv": "uid,participant_id,video_id,start_timestamp,stop_timestamp\n14,P09,P09_01,00:00:01,00:00:02\n",
}
RULSTM = {
    "actions.csv": "id,action,verb,noun\n0, take_pan,0,0\n1, take_cup,0,1\n2, grab_pan,0,0\n",
    "training.csv": "00330, P01_02, 0000000015, 0000000030, 000, 001, 0001\n",
    "validation.csv": "00331, P01_03, 15, 30, 1, 0, 2\n",
    "test_unseen.csv": "00400, P09_02, 15, 45\n",
}


@pytest.fixture
def folder(tmp_path):
    def write(files):
        for name, content in files.items():
            (tmp_path / name).write_text(content)
        return tmp_path

    return write


def test_epic100_from_its_folder(folder):
    found = readers.read("epic100", [folder(EPIC100)])
    test, first, second = found.segments
    assert (first.uid, first.video, first.group, first.splits) == ("P01_01_0", "P01_01", "P01", ("train",))
    assert (first.start, first.stop, second.start, second.stop) == pytest.approx((0.14, 63.37, 3600.0, 3600.5))
    assert first.labels == {"verb": "open", "noun": "door", "verb_category": "access", "noun_category": "furniture"}
    assert second.labels["verb"] == "take" and second.labels["noun_category"] == "appliances"
    assert (test.uid, test.labels, test.splits) == ("P09_01_0", {}, ("test",))
    assert found.classes["verb"] == ("take", "open") and found.classes["verb_category"] == ("access", "retrieve")
    assert {path.name for path in found.sources} == set(EPIC100) - {"EPIC_100_video_info.csv", "EPIC_100_uda_source_train.csv"}


def test_the_noun_file_that_is_named_goes_before_the_one_that_is_found(folder):
    second = 'id,key,instances,category\n"0","tap","[]","x"\n"1","gate","[]","x"\n"2","hand:left","[]","hand"\n'
    place = folder(EPIC100 | {"EPIC_100_noun_classes_v2.csv": second})
    assert readers.read("epic100", [place]).classes["noun"] == ("tap", "door")
    found = readers.read("epic100", [place / "EPIC_100_train.csv", place / "EPIC_100_noun_classes_v2.csv"])
    assert found.classes["noun"] == ("tap", "gate", "hand:left") and found.classes["noun_category"] == ("hand", "x")


def test_the_table_of_lengths_that_is_named_is_a_source(folder):
    place = folder(EPIC100)
    found = readers.read("epic100", [place / "EPIC_100_train.csv", place / "EPIC_100_video_info.csv"])
    assert {path.name for path in found.sources} == {name for name in EPIC100 if "uda" not in name and "test" not in name}


def test_epic55_has_two_test_sets(folder):
    found = readers.read("epic55", [folder(EPIC55)])
    assert [(s.uid, s.splits, dict(s.labels), s.group) for s in found.segments] == [
        ("13", ("test1",), {}, "P01"),
        ("14", ("test2",), {}, "P09"),
        ("12", ("train",), {"verb": "take", "noun": "cup"}, "P01"),
    ]
    assert (found.segments[2].start, found.segments[2].stop) == (1.0, 2.25)


def test_rulstm_lists_with_the_official_classes(folder):
    found = readers.read("epic55", [folder(RULSTM | {name: EPIC55[name] for name in ("EPIC_verb_classes.csv", "EPIC_noun_classes.csv")})])
    by_uid = {segment.uid: segment for segment in found.segments}
    assert by_uid["330"].labels == {"verb": "take", "noun": "cup", "action": "take_cup"} and by_uid["330"].splits == ("train",)
    assert (by_uid["330"].start, by_uid["330"].stop, by_uid["330"].group) == (0.5, 1.0, "P01")
    assert by_uid["331"].splits == ("validation",) and by_uid["331"].labels["verb"] == "put"
    assert by_uid["400"].splits == ("test2",) and by_uid["400"].labels == {}
    assert found.actions == ((0, 0), (0, 1), (0, 0))


def test_rulstm_names_do_for_classes_where_they_are_unambiguous(folder):
    actions = "id,verb,noun,action\n0,0,0,take tap\n1,2,1,open door\n"
    found = readers.read("epic100", [folder({"actions.csv": actions, "training.csv": "P01_01_0,P01_01,4,101,2,1,1\n"})])
    assert found.classes["verb"] == ("take", "verb 1", "open") and found.segments[0].labels["verb"] == "open"
    assert found.actions == ((0, 0), (2, 1))


def test_official_lists_have_no_actions(folder):
    assert readers.read("epic100", [folder(EPIC100)]).actions == ()


@pytest.mark.parametrize(
    ("name", "files", "words"),
    [
        ("epic55", EPIC100, "is of EPIC-KITCHENS-100; read it as epic100"),
        ("epic100", EPIC55, "is of EPIC-KITCHENS-55; read it as epic55"),
        (
            "epic100",
            {k: v for k, v in EPIC100.items() if "verb" not in k},
            "EPIC_100_verb_classes.csv is missing.*github.com/epic-kitchens",
        ),
        ("epic55", {k: v for k, v in EPIC55.items() if "noun" not in k}, "EPIC_noun_classes.csv is missing"),
        ("epic55", RULSTM, "actions.csv: verb 0 is called grab, take"),
        ("epic55", {k: v for k, v in RULSTM.items() if k != "actions.csv"}, "actions.csv is missing"),
        ("epic100", {"notes.csv": "a,b\n"}, "no csv file with a list of segments"),
    ],
)
def test_what_is_missing_is_named(folder, name, files, words):
    with pytest.raises(InputError, match=words):
        readers.read(name, [folder(files)])


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("00:01:03.37", "00:00:00.14", "line 2, column 'stop_timestamp'.*not after the start"),
        ("00:00:00.14", "8 frames", "line 2, column 'start_timestamp': '8 frames' is not a time"),
        ("get,0,", "get,2,", "line 3, column 'verb_class': class 2 is not among the 2"),
        ("tap,0,", "tap,-1,", "line 3, column 'noun_class': '-1' is not a whole"),
        ("P01,P01_01,", "P01,../P01_01,", "line 2, column 'video_id'"),
        ("P02_101_7", "P01_01_0", "'P01_01_0' appears twice"),
        ("P02_101_7", "", "line 3, column 'narration_id': is empty"),
        ("verb_class", "verb_klass", "line 1: column 'verb_class' must be there"),
    ],
)
def test_a_wrong_row_is_named_with_its_place(folder, old, new, words):
    with pytest.raises(InputError, match=words):
        readers.read("epic100", [folder(EPIC100 | {"EPIC_100_train.csv": EPIC100["EPIC_100_train.csv"].replace(old, new)})])


def test_files_that_say_nothing_of_use_are_refused_when_named(folder):
    place = folder(
        EPIC100 | {"clips.csv": EPIC100["EPIC_100_train.csv"], "table.csv": "file,label\n", "EPIC_100_verb_classes.csv": "id,key\n1,x\n"}
    )
    for names, words in [
        (["clips.csv"], "clips.csv names no split|EPIC_100_verb_classes.csv, line 2"),
        (["EPIC_100_train.csv", "table.csv"], "table.csv: its first row"),
        (["EPIC_100_train.csv"], "EPIC_100_verb_classes.csv, line 2, column 'id': '1' where 0 is due"),
    ]:
        with pytest.raises(InputError, match=words):
            readers.read("epic100", [place / name for name in names])


def test_real_epic100(shared_data):
    found = readers.read("epic100", [shared_data / "ek100"])
    assert len(found.segments) == 67217 and len({segment.video for segment in found.segments}) == 495
    assert {space: len(names) for space, names in found.classes.items()} == {
        "verb": 97,
        "noun": 300,
        "verb_category": 13,
        "noun_category": 21,
    }
    counts = collections.Counter(segment.labels["verb_category"] for segment in found.segments)
    published = "retrieve 16501 leave 16215 clean 8282 access 7356 block 5568 merge 3570 split 3033 manipulate 2806 transition 1702"
    published = f"{published} monitor 1049 sense 432 distribute 392 order 311".split()
    assert counts == dict(zip(published[::2], map(int, published[1::2]), strict=True))
    assert found.classes["verb_category"][:3] == ("access", "block", "clean") and found.classes["noun"][:2] == ("tap", "spoon")


def test_real_epic55(shared_data):
    found = readers.read("epic55", [shared_data / "ek55"])
    assert len(found.segments) == 28472 and len({segment.video for segment in found.segments}) == 272
    assert (len(found.classes["verb"]), len(found.classes["noun"])) == (125, 352)


def test_real_rulstm_split_of_epic55_says_the_same(shared_data):
    classes = [shared_data / "ek55" / f"EPIC_{space}_classes.csv" for space in ("verb", "noun")]
    found = readers.read("epic55", [shared_data / "rulstm" / "ek55", *classes])
    assert collections.Counter(segment.splits for segment in found.segments) == {("train",): 23493, ("validation",): 4979}
    assert found.actions == segments.pairs_of_actions(found.segments, found.classes) and len(found.actions) == 2513
    official = {segment.uid: segment for segment in readers.read("epic55", [shared_data / "ek55"]).segments}
    for segment in found.segments:
        same = official[segment.uid]
        assert (segment.video, segment.labels["verb"], segment.labels["noun"]) == (same.video, same.labels["verb"], same.labels["noun"])
        assert abs(segment.start - same.start) < 0.05 and abs(segment.stop - same.stop) < 0.05
