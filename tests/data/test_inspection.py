"""What is found of a file and its frames, against motion that was put into it and against what `prepare` stores."""

import contextlib
import pickle

import av
import numpy as np
import pytest

from egokeras.data import compressed_video, frame_types, inspection, optical_flow, video
from egokeras.data.inspection import Wanted
from egokeras.data.video import VideoError
from egokeras.errors import InputError

INNER = np.s_[40:180, 40:180]  # of a panel, away from the borders where new things come in


def examine(path, folder, **wanted):
    return inspection.examine(path, Wanted(**wanted), folder)


def test_a_file_and_the_types_of_its_frames(pan, tmp_path):
    found = examine(pan, tmp_path)
    file = found.file
    assert (file.container, file.codec, file.width, file.height, file.turns, file.frames, file.untold) == (
        "mov",
        "mpeg4",
        128,
        96,
        0,
        30,
        "",
    )
    assert (file.fps, *file.steps, file.seconds) == pytest.approx((25, 0.04, 0.04, 1.2))
    assert found.kinds == "IPPPPPPPPPPP" * 2 + "IPPPPP" and found.gops == [12, 12] and found.broken == []
    assert found.types == {"I": 3, "P": 27} and found.first == 0
    np.testing.assert_allclose(found.seconds, np.arange(30) / 25)
    assert [view.number for view in found.views] == [3, 9, 15, 21, 27]
    assert [view.number for view in examine(pan, tmp_path, frames=1, stretch=(0.48, 0.5)).views] == [
        12
    ]  # a whole picture, for want of others
    assert [view.number for view in examine(pan, tmp_path, frames=1, stretch=(0.48, 0.54)).views] == [13]


def test_views_are_of_the_motion_that_was_put_in(pan, tmp_path):
    found = examine(pan, tmp_path, at=(0.0, 0.17, 0.56))
    whole, *others = found.views
    assert (whole.number, whole.kind, whole.whole) == (
        0,
        "I",
        0,
    ) and whole.motion is whole.residual is whole.traced_motion is whole.flow is None
    pictures = list(video.decode(video.index(pan), range(30)))
    for view, number in zip(others, (4, 14), strict=True):
        steps = number % 12
        assert (view.number, view.kind, view.whole, view.shape) == (number, "P", number - steps, (96, 128))
        assert (
            view.picture.shape == (240, 320, 3) and np.abs(view.picture - video.resize(pictures[number], (240, 320)).astype(int)).max() == 0
        )
        cells = view.motion.cells[2:-3, 2:-3][view.motion.inter[2:-3, 2:-3]]
        assert np.median(cells, axis=0).tolist() == [8, 4] and view.motion.scale == 2
        assert np.median(view.traced_motion[INNER], axis=(0, 1)).tolist() == [-4 * steps, -2 * steps]
        assert np.abs(np.median(view.flow[INNER], axis=(0, 1)) - (-4, -2)).max() < 0.3
        for left in (view.residual, view.traced_residual):
            assert left.dtype == np.int16 and np.abs(left[INNER]).mean() < 4


def test_what_a_file_does_not_tell_is_that_of_the_copy_that_prepare_makes(panning, tmp_path):
    path = tmp_path / "b.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "2", "g": "15", "x264-params": "threads=1"})
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuv420p"
        for picture in panning(30):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    found = examine(path, tmp_path, at=(0.48, 0.66, 1.0))
    assert "B-frames" in found.file.untold and set(found.kinds) == {"I", "P", "B"} and found.gops == [15]
    assert [view.kind for view in found.views] == [found.kinds[number] for number in (12, 16, 25)]
    compressed_video.encode_anew(path, tmp_path / "copy.mkv")
    copy = video.index(tmp_path / "copy.mkv")
    assert found.views[0].whole == 12 and found.views[0].motion is None and found.views[0].flow is not None  # whole in the copy alone
    for view in found.views[1:]:
        expected = compressed_video.traced(copy, view.number)
        assert view.whole == expected.whole.number == view.number // 12 * 12
        np.testing.assert_array_equal(view.motion.cells, expected.coded.motion.cells)
        np.testing.assert_array_equal(view.traced_residual, video.resize(expected.traced_residual, (240, 320)))
        before, after = (np.ascontiguousarray(picture) for picture in video.decode(video.index(path), (view.number - 1, view.number)))
        flow = optical_flow.displacement("dis", optical_flow.grey(before), optical_flow.grey(after))
        np.testing.assert_array_equal(view.flow, video.resize(flow, (240, 320)))


@pytest.mark.parametrize(("options", "damaged"), [({"g": "10", "bf": "0"}, (14, 33)), ({"g": "10", "bf": "2"}, (12, 14, 30))])
def test_broken_frames_are_those_that_nobody_can_have(options, damaged, make_video, tmp_path):
    path = make_video(tmp_path / "v.mp4", count=40, options={**options, "sc_threshold": "0"})
    with av.open(str(path)) as container:
        packets = sorted((packet for packet in container.demux(video=0) if packet.size), key=lambda packet: packet.pts)
        places = [(packets[number].pos, packets[number].size) for number in damaged]
    content = bytearray(path.read_bytes())
    for at, size in places:
        content[at + 5 : at + size] = bytes(size - 5)
    path.write_bytes(content)
    index, had = video.index(path), set()
    for number in range(40):
        for others in ([], [number + 1, number + 2]):  # the decoder may give it only when it knows those that come after
            with contextlib.suppress(VideoError, IndexError):
                next(video.decode(index, [number, *others]))
                had.add(number)
    assert 10 < len(had) < 38
    found = examine(path, tmp_path)
    assert [number for number, kind in enumerate(found.kinds) if kind != frame_types.BROKEN] == sorted(had)
    assert sum(round((stop - start) * 25) + 1 for start, stop in found.broken) == 40 - len(had) == found.types["broken"]
    assert {view.number for view in found.views} <= had
    lost = next(number for number in range(40) if number not in had)
    with pytest.raises(VideoError, match="is damaged|is missing|cannot be decoded"):
        examine(path, tmp_path, at=(lost / 25,))
    with pytest.raises(VideoError, match="none of the frames from"):
        examine(path, tmp_path, stretch=(found.broken[-1][0], found.broken[-1][1]))


@pytest.mark.parametrize(
    ("duration", "wanted", "stretch"),
    [
        (40.0, {}, (0.0, None)),
        (600.0, {}, (0.0, 60.0)),
        (600.0, {"at": (70.0,)}, (70.0, 130.0)),
        (600.0, {"at": (580.0,)}, (540.0, None)),
        (600.0, {"at": (100.0, 200.0)}, (100.0, 200.0)),
        (600.0, {"stretch": (5.0, 7.0)}, (5.0, 7.0)),
        (600.0, {"stretch": (5.0, 700.0)}, (5.0, None)),
    ],
)
def test_the_stretch_that_is_decoded(duration, wanted, stretch):
    assert inspection._stretch(duration, Wanted(**wanted)) == stretch


def test_a_part_in_the_middle(pan, tmp_path):
    found = examine(pan, tmp_path, stretch=(0.4, 0.8), frames=2)
    assert (found.first, found.kinds) == (10, "PPIPPPPPPPP") and [view.number for view in found.views] == [13, 18]
    assert found.seconds[[0, -1]].tolist() == pytest.approx([0.4, 0.8])
    assert examine(pan, tmp_path, stretch=(0.4, 9.0)).seconds[-1] == pytest.approx(29 / 25)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"frames": 0}, "0 frames are asked for; a sheet has room for 1 to 16"),
        ({"at": tuple(range(17))}, "17 frames are asked for"),
        ({"at": (-1.0,)}, "a frame at -1 s is asked for; give a time from 0 s on"),
        ({"at": (float("nan"),)}, "a frame at nan s"),
        ({"stretch": (3.0, 2.0)}, "from 3 to 2 s; give two times, the earlier one first"),
        ({"stretch": (0.0, 1.0), "at": (1.1,)}, "at 1.1 s is asked for; give a time from 0 to 1 s"),
        ({"at": (1.3,)}, "there is no frame at 1.3 s; it lasts 1.200 s"),
        ({"stretch": (2.0, 3.0)}, "there is no frame at 2 s; it lasts 1.200 s"),
    ],
)
def test_what_cannot_be_asked_for(pan, tmp_path, wanted, message):
    with pytest.raises(InputError, match=message):
        examine(pan, tmp_path, **wanted)


def test_files_that_are_no_videos(tmp_path, make_sound):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("hello")
    for path, message in (
        (tmp_path / "empty.mp4", "the file is empty"),
        (tmp_path / "text.mp4", "cannot be decoded"),
        (make_sound(tmp_path / "sound.mp4"), "no video stream in it"),
    ):
        found = inspection._look(path, Wanted(), tmp_path)
        assert message in str(pickle.loads(pickle.dumps(found))) and isinstance(found, VideoError)
    for path, message in ((tmp_path, "is a folder"), (tmp_path / "nowhere.mp4", "does not exist")):
        with pytest.raises(InputError, match=message):
            inspection.inspect(path)


def test_a_worker_that_is_lost_is_one_sentence(pan, monkeypatch):
    monkeypatch.setattr(inspection, "TIMEOUT", 0.0)
    with pytest.raises(VideoError, match="took more than the time limit in a worker process"):
        inspection.inspect(pan)
