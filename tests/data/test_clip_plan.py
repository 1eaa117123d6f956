"""The plan: clips that were trimmed beforehand, and how many clips are cut in one pass."""

import pytest

from egokeras.data import clip_plan, prepare
from egokeras.data.preparation import Preparation
from egokeras.data.segments import Annotations, Segment
from egokeras.data.shards import Shards
from egokeras.errors import InputError

SMALL = Preparation(frames=4, size=16, workers=1, windows=0)


def annotated(uids, video="P01_01"):
    """Spans of one second of one video, for training; a second video has one for validation."""
    found = [
        Segment(uid=uid, video=video, start=float(n), stop=n + 1.0, labels={"verb": "ab"[n % 2]}, splits=("train",))
        for n, uid in enumerate(uids)
    ]
    found.append(Segment(uid="P02_01_0", video="P02_01", start=0.2, stop=1.0, labels={"verb": "a"}, splits=("validation",)))
    return Annotations(segments=tuple(found), classes={"verb": ("a", "b")})


@pytest.fixture
def videos(tmp_path, make_video):
    """A folder with the second video."""
    (tmp_path / "videos").mkdir()
    make_video(tmp_path / "videos" / "P02_01.mp4", count=30)
    return tmp_path / "videos"


def test_trimmed_clips_stand_for_a_video_that_is_not_there(tmp_path, videos, make_video, number_of):
    (videos / "clips").mkdir()
    make_video(videos / "clips" / "p01_01_0.MP4", count=20)
    make_video(videos / "clips" / "P01_01_1.avi", count=10, codec="mpeg4")
    summary = prepare.prepare(annotated(["P01_01_0", "P01_01_1", "P01_01_2"]), videos, tmp_path / "out", SMALL)
    assert summary["clips"] == 3 and summary["quarantined"] == 1
    data = Shards(tmp_path / "out")
    assert data.clips["video"].tolist() == ["P01_01/P01_01_0", "P01_01/P01_01_1", "P02_01"]
    assert data.clips["group"].tolist() == ["P01_01", "P01_01", ""]
    assert [number_of(picture) for picture in data.read([0])[0]] == [2, 7, 12, 17]  # of the whole file
    assert [number_of(picture) for picture in data.read([2])[0]] == [7, 12, 18, 23]  # of 0.2 to 1 s: 5 to 25
    assert "P01_01_2,P01_01/P01_01_2,video not found" in (tmp_path / "out" / "quarantine.csv").read_text()


def test_the_whole_video_goes_before_trimmed_clips(videos, make_video):
    for name in ("P01_01.mp4", "P01_01_0.mp4"):
        make_video(videos / name, count=60)
    plan = clip_plan.make_plan(annotated(["P01_01_0", "P01_01_1"]), videos, SMALL)
    assert [clip.segment.video for clip in plan.clips] == ["P01_01", "P01_01", "P02_01"] and plan.missing == ()
    assert [file.name for file, _ in plan.units] == ["P01_01.mp4", "P02_01.mp4"]


@pytest.mark.parametrize("uid", ["7", "P01", "a/P01_01_0", "../P01_01_0", "x"])
def test_other_names_are_no_clips_of_the_video(videos, make_video, uid):
    make_video(videos / f"{uid.rpartition('/')[2]}.mp4", count=30)
    plan = clip_plan.make_plan(annotated([uid]), videos, SMALL)
    assert plan.missing == ("P01_01",) and plan.annotations.segments[0].video == "P01_01"


def test_a_trimmed_clip_that_may_be_several_files_is_refused(videos):
    for folder in ("a", "b"):
        (videos / folder).mkdir()
        (videos / folder / "P01_01_0.mp4").touch()
    with pytest.raises(InputError, match=r"'P01_01/P01_01_0' may be any of 2 files"):
        clip_plan.make_plan(annotated(["P01_01_0"]), videos, SMALL)


@pytest.mark.parametrize(("suffix", "units"), [("mp4", 25), ("mkv", 25), ("AVI", 6), ("gif", 6), ("tar", 6)])
def test_what_is_read_from_the_start_each_time_is_read_seldom(videos, suffix, units):
    """400 clips of 20 frames of 256 pixels: 68 of them are 256 MB."""
    (videos / f"P01_01.{suffix}").touch()
    plan = clip_plan.make_plan(annotated([f"P01_01_{n:03d}" for n in range(400)]), videos, Preparation(windows=0, frame_rate=_rate(suffix)))
    ours = [clips for file, clips in plan.units if file.stem == "P01_01"]
    assert len(ours) == units and [clip for clips in ours for clip in clips] == list(range(400))


def _rate(suffix):
    return 30.0 if suffix == "tar" else None


def test_units_are_no_smaller_for_large_clips(videos):
    (videos / "P01_01.avi").touch()
    plan = clip_plan.make_plan(annotated([f"P01_01_{n}" for n in range(40)]), videos, Preparation(frames=100, size=512, windows=0))
    assert [len(clips) for _, clips in plan.units] == [16, 16, 8, 1]
