"""Frame rates of frames: given, or the one at which they last as long as the video."""

import pathlib

import pytest

from egokeras.data import frame_rates
from egokeras.data.frame_rates import FrameRate
from egokeras.data.video import VideoError
from egokeras.errors import InputError

KNOWN = (59.9400599, 60.0, 50.0, 30.0)


@pytest.mark.parametrize(
    ("native", "duration", "count", "rate"),
    [
        (
            29.97002997,
            126.459667,
            7599,
            60,
        ),  # P09_08 as published, https://github.com/epic-kitchens/epic-kitchens-100-annotations/issues/34
        (47.95204795, 545.77, 32754, 60),  # P17_02, likewise
        (90.0, 276.811111, 16622, 60),  # https://github.com/epic-kitchens/C2-Action-Detection/issues/8
        (50.0, 1083.46, 54177, 50),  # P02_130 as published
        (50.0, 1083.46, 54173, 50),  # its video's own frames
        (59.9400599, 1652.152817, 99030, 59.9400599),  # P01_01: the video's own frames
        (59.9400599, 1652.152817, 99130, 60),
        (59.9400599, 1652.152817, 49565, 30),
    ],
)
def test_the_rate_at_which_frames_last_as_long_as_the_video(native, duration, count, rate):
    assert FrameRate((native, *frame_rates.USUAL), duration).of("x", count) == rate


@pytest.mark.parametrize("count", [1, 99030 // 2 - 200, 97000, 99030 * 2, 24 * 1652])
def test_a_count_that_fits_no_rate_is_refused(count):
    with pytest.raises(VideoError, match=f"{count} frames last .* the video 1652.2 s; some are missing"):
        FrameRate(KNOWN, 1652.152817).of("x", count)


def test_slow_frames_may_be_off_by_two():
    assert FrameRate((0.5,), 20.0).of("x", 8) == 0.5
    with pytest.raises(VideoError):
        FrameRate((0.5,), 20.0).of("x", 7)


def write(folder, name, text):
    (folder / name).write_text(text)
    return folder / "list.csv"


def test_tables_beside_the_lists(tmp_path):
    files = {"P01_01": pathlib.Path("P01_01"), "b/P02_1.MP4": pathlib.Path("b")}
    write(tmp_path, "EPIC_100_video_info.csv", "video_id,duration,fps,resolution\nP01_01,10.5,50,1x1\nP02_1,,24,1x1\n")
    source = write(tmp_path, "EPIC_video_info.csv", "video,resolution,duration,fps\np01_01,1x1,99,99\n")
    rates, tables = frame_rates.find(files, [source])
    assert rates == {"P01_01": FrameRate((50.0, 60.0, 50.0, 30.0), 10.5), "b/P02_1.MP4": FrameRate((24.0,))}
    assert [table.name for table in tables] == ["EPIC_100_video_info.csv", "EPIC_video_info.csv"]
    assert frame_rates.find(files, [source], 30.0)[0] == {"P01_01": FrameRate((30.0,), 10.5), "b/P02_1.MP4": FrameRate((30.0,))}
    assert frame_rates.find({"x": pathlib.Path("x")}, [source], 30.0)[0] == {"x": FrameRate((30.0,))}
    with pytest.raises(InputError, match="'x' is there as frames in y, which have no times; give"):
        frame_rates.find({"x": pathlib.Path("y")}, [source])
    assert frame_rates.find({}, [source]) == ({}, ())


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("P01_01,10,0", "line 2, column 'fps': '0' is not a number of frames"),
        ("P01_01,10,fast", "line 2, column 'fps'"),
        ("P01_01,-1,25", "line 2, column 'duration'"),
        (",1,25", "line 2, column 'video_id'"),
    ],
)
def test_a_table_that_cannot_be_used_is_named(tmp_path, row, words):
    source = write(tmp_path, "video_info.csv", f"video_id,duration,fps\n{row}\n")
    with pytest.raises(InputError, match=words):
        frame_rates.find({"P01_01": pathlib.Path("x")}, [source])
