"""`egokeras predict`: what is printed when, upright pictures, the annotated video, cameras, and what may be missing."""

import io
import json
import pathlib
import runpy
import sys
import types

import av
import cv2
import numpy as np
import pytest

from egokeras import cli
from egokeras.data.video import CONTAINERS
from egokeras.device import frame_sinks, frame_sources

FPS = 20


@pytest.fixture(scope="module")
def tiny(root, tmp_path_factory):
    return str(runpy.run_path(root / "tests" / "device" / "conftest.py")["build"](tmp_path_factory.mktemp("artifact")))


def write(path, pictures, codec="libx264", container=None):
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=FPS)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode(None))
    return str(path)


def plain(colour, count, height=48, width=64):
    return [np.full((height, width, 3), colour, np.uint8)] * count


def decode(path):
    with av.open(str(path)) as container:
        return [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """1.75 s of red, then 1.25 s of blue."""
    return write(tmp_path_factory.mktemp("video") / "video.mp4", plain((220, 0, 0), 35) + plain((0, 0, 220), 25))


def test_prints_a_line_per_stride(tiny, video, capsys):
    assert cli.main(["predict", tiny, video, "--stride", "0.5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" s  ")[0] for line in lines] == ["1.0", "1.5", "2.0", "2.5"]
    # red is the first verb, blue the third; the noun is a draw, which the first wins
    assert [line.split()[2] for line in lines] == ["open", "open", "open", "pour"]
    assert float(lines[0].split()[-1]) == pytest.approx(0.5, abs=0.02)


def test_json_lines_hold_span_and_top(tiny, video, capsys):
    assert cli.main(["predict", tiny, video, "--json", "--top", "2", "--stride", "9"]) == 0
    (record,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (record["start"], record["stop"]) == (0.0, 1.0)
    assert [item["name"] for item in record["top"]] == ["open fridge", "open cup"]


def test_events_begin_and_end_by_the_artifacts_thresholds(tiny, video, tmp_path, capsys):
    """The product with the noun's draw is about 0.5: above `on`, so an event lasts until the next one begins; its noun is a draw."""
    for file in pathlib.Path(tiny).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    about = json.loads((tmp_path / "artifact.json").read_text())
    about["events"] = {"kind": "mean", "seconds": 0.0, "on": 0.4, "off": 0.2, "lag": 0.0}
    (tmp_path / "artifact.json").write_text(json.dumps(about))
    assert cli.main(["predict", str(tmp_path), video, "--events", "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["start"], one["event"].split()[0]) for one in found][:: len(found) - 1] == [(1.0, "open"), (2.5, "pour")]
    assert [one["stop"] for one in found] == [*(one["start"] for one in found[1:]), 2.95]
    assert cli.main(["predict", str(tmp_path), video, "--events"]) == 0
    assert capsys.readouterr().out.startswith(f"1.0 to {found[0]['stop']:.1f} s  open fridge  0.")
    about["events"]["on"] = 0.1
    (tmp_path / "artifact.json").write_text(json.dumps(about))
    assert cli.main(["predict", str(tmp_path), video]) == 1
    assert "events.on is 0.1, events.off 0.2" in capsys.readouterr().err


def test_a_short_video_is_predicted_once(tiny, tmp_path, capsys):
    assert cli.main(["predict", tiny, write(tmp_path / "short.mp4", plain((0, 220, 0), 3))]) == 0
    assert capsys.readouterr().out.startswith("0.1 s  close fridge  0.")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_annotated_video_has_every_frame_and_its_labels(tiny, video, tmp_path, suffix):
    output = tmp_path / f"labelled{suffix}"
    assert cli.main(["predict", tiny, video, "--output", str(output)]) == 0
    before, after = decode(video), decode(output)
    assert [time for time, _ in after] == pytest.approx([time for time, _ in before], abs=0.002)
    changed = [np.abs(new.astype(int) - old).mean() for (_, old), (_, new) in zip(before, after, strict=True)]
    assert max(changed[:19]) < 3 < min(changed[21:])
    assert [file.name for file in tmp_path.iterdir()] == [output.name]


def test_labels_are_not_drawn_on_what_the_model_sees(tiny, tmp_path, capsys):
    source = write(tmp_path / "same_size.mkv", plain((99, 99, 99), 50, 12, 16), codec="ffv1")
    assert cli.main(["predict", tiny, source, "--json"]) == 0
    expected = capsys.readouterr().out
    assert cli.main(["predict", tiny, source, "--json", "--output", str(tmp_path / "out.mp4")]) == 0
    assert capsys.readouterr().out == expected


def test_odd_sizes_lose_a_line(tiny, tmp_path):
    source = write(tmp_path / "odd.mkv", [np.zeros((33, 45, 3), np.uint8)] * 4, codec="ffv1")
    assert cli.main(["predict", tiny, source, "--output", str(tmp_path / "even.mp4")]) == 0
    assert decode(tmp_path / "even.mp4")[0][1].shape == (32, 44, 3)


def test_falls_back_to_mpeg4(tiny, video, tmp_path, monkeypatch):
    monkeypatch.setattr(frame_sinks, "CODECS", ("no_such_encoder", "mpeg4"))
    assert cli.main(["predict", tiny, video, "--output", str(tmp_path / "out.mp4")]) == 0
    assert len(decode(tmp_path / "out.mp4")) == 60


def test_turned_videos_are_upright(shared_data):
    path = shared_data / "codec_edge" / "decord" / "video_90.mov"
    with frame_sources.video(path) as (frames, _):
        (_, picture), *_ = frames
    assert frame_sources.as_array(picture).shape == (568, 320, 3)


def test_avi_frames_are_counted(tmp_path):
    write(tmp_path / "a.avi", plain((9, 9, 9), 10), "mpeg4")
    with frame_sources.video(tmp_path / "a.avi") as (frames, rate):
        times = [time for time, _ in frames]
    assert times == pytest.approx(np.arange(10) / FPS)
    assert rate == FPS


def test_no_frame_of_a_file_without_usable_times_is_lost(shared_data):
    with frame_sources.video(shared_data / "clips" / "mmaction2" / "tests__data__test.avi") as (frames, _):
        assert len(list(frames)) == 164


def test_a_damaged_video_ends_in_a_sentence_and_no_output(tiny, shared_data, tmp_path, capsys):
    damaged = shared_data / "codec_edge" / "decord" / "corrupted.mp4"
    assert cli.main(["predict", tiny, str(damaged), "--output", str(tmp_path / "out.mp4")]) == 1
    captured = capsys.readouterr()
    assert "corrupted.mp4 is damaged after 2." in captured.err
    assert captured.out.startswith("1.0 s  ")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_video_is_said(tiny, tmp_path, capsys):
    (tmp_path / "text.mp4").write_text("no video")
    assert cli.main(["predict", tiny, str(tmp_path / "text.mp4")]) == 1
    assert "text.mp4 cannot be read as a video" in capsys.readouterr().err
    with av.open(str(tmp_path / "sound.mkv"), "w") as output:
        stream = output.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts = 8000, 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    assert cli.main(["predict", tiny, str(tmp_path / "sound.mkv")]) == 1
    assert "has no video stream" in capsys.readouterr().err


def test_playlists_are_not_followed(tiny, video, tmp_path, capsys):
    (tmp_path / "list.mp4").write_text(f"ffconcat version 1.0\nfile '{video}'\n")
    assert cli.main(["predict", tiny, str(tmp_path / "list.mp4")]) == 1
    assert frame_sources.CONTAINERS == CONTAINERS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "either a video file or --camera"),
        (["VIDEO", "--camera", "0"], "either a video file or --camera"),
        (["none.mp4"], "none.mp4 does not exist"),
        (["VIDEO", "--top", "0"], "--top is 0"),
        (["VIDEO", "--stride", "0"], "stride is 0"),
        (["VIDEO", "--output", "a.webp"], "must end in .mp4"),
        (["VIDEO", "--output", "none/a.mp4"], "the folder none does not exist"),
        (["VIDEO", "--output", "VIDEO"], "is the video itself"),
        (["--camera", "99"], "camera 99 does not open; check that it is plugged in"),
        (["--camera", "none.sdp"], "camera none.sdp does not open; check the path or the address"),
        (["-"], "give both with -"),
        (["-", "--size", "64x48"], "give both with -"),
        (["VIDEO", "--size", "64x48", "--fps", "20"], "give both with -"),
        (["-", "--size", "64x48", "--fps", "0"], "--fps is 0"),
    ],
)
def test_what_cannot_be_done_is_said(tiny, video, arguments, message, capsys):
    assert cli.main(["predict", tiny, *(video if argument == "VIDEO" else argument for argument in arguments)]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("module", "arguments", "package"), [("av", [], "egokeras[video]"), ("cv2", ["--output", "a.mp4"], "opencv-python-headless")]
)
def test_says_what_to_install(tiny, video, module, arguments, package, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, module, None)
    assert cli.main(["predict", tiny, video, *arguments]) == 1
    assert f"pip install {package}" in capsys.readouterr().err


class Camera:
    """Gives red pictures in BGR until somebody presses Ctrl-C."""

    opened: list = []

    def __init__(self, *source):
        self.opened.append(source)
        self.left = 40

    def isOpened(self):
        return True

    def get(self, _):
        return 0.0

    def read(self):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return True, np.full((48, 64, 3), (0, 0, 220), np.uint8)

    def release(self):
        pass


@pytest.fixture
def camera(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    ticks = iter(np.arange(0, 100, 0.05))
    monkeypatch.setattr(frame_sources, "time", types.SimpleNamespace(monotonic=lambda: next(ticks)))
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)


def test_a_camera_prints_until_interrupted_and_keeps_the_recording(tiny, camera, tmp_path, capsys):
    assert cli.main(["predict", tiny, "--camera", "0", "--output", str(tmp_path / "out.mp4")]) == 0
    assert [line.split()[2] for line in capsys.readouterr().out.splitlines()] == ["open"] * 2
    frames = decode(tmp_path / "out.mp4")
    assert len(frames) == 40
    assert frames[0][1][0, 0, 0] > 200


def test_a_camera_is_whatever_opencv_opens(tiny, camera, monkeypatch, capsys):
    monkeypatch.setattr(cv2.videoio_registry, "hasBackend", lambda _: True)
    Camera.opened.clear()
    for source in ("2", "rtsp://10.0.0.2/stream", "nvarguscamerasrc ! appsink"):
        assert cli.main(["predict", tiny, "--camera", source]) == 0
    assert Camera.opened == [(2,), ("rtsp://10.0.0.2/stream",), ("nvarguscamerasrc ! appsink", cv2.CAP_GSTREAMER)]
    monkeypatch.setattr(cv2.videoio_registry, "hasBackend", lambda _: False)
    assert cli.main(["predict", tiny, "--camera", "nvarguscamerasrc ! appsink"]) == 1
    assert "built without GStreamer" in capsys.readouterr().err


@pytest.fixture
def piped(monkeypatch):
    """Function that puts bytes on standard input."""
    return lambda content: monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(content)))


def test_raw_frames_from_a_pipe(tiny, piped, tmp_path, capsys):
    """1.75 s of red, then 1.25 s of blue, as from the file; what differs from it is H.264's rounding."""
    pictures = plain((220, 0, 0), 35) + plain((0, 0, 220), 25)
    piped(b"".join(picture.tobytes() for picture in pictures))
    command = ["predict", tiny, "-", "--size", "64x48", "--fps", str(FPS), "--json", "--output", str(tmp_path / "out.mp4")]
    assert cli.main(command) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(record["start"], record["stop"]) for record in records] == [(0.0, 1.0), (0.5, 1.5), (1.0, 2.0), (1.5, 2.5)]
    assert [record["top"][0]["name"].split()[0] for record in records] == ["open", "open", "open", "pour"]
    assert len(decode(tmp_path / "out.mp4")) == 60


def test_a_pipe_that_ends_within_a_frame(tiny, piped, capsys):
    piped(bytes(64 * 48 * 3 * 25 + 7))
    assert cli.main(["predict", tiny, "-", "--size", "64x48", "--fps", "20"]) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("1.0 s  ")
    assert "ends 7 bytes into frame 26, and one of 64x48 has 9216; check --size" in captured.err
    piped(b"")
    assert cli.main(["predict", tiny, "-", "--size", "64x48", "--fps", "20"]) == 1
    assert "ends 0 bytes into frame 1, and one of 64x48 has 9216" in capsys.readouterr().err


def test_a_window_shows_labels_and_ends_with_q(tiny, camera, monkeypatch, capsys):
    shown = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "namedWindow", lambda *_: None)
    monkeypatch.setattr(cv2, "imshow", lambda _, picture: shown.append(picture[0, 0].tolist()))
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: 1)
    monkeypatch.setattr(cv2, "waitKey", lambda _: ord("q") if len(shown) == 25 else -1)
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: None)
    assert cli.main(["predict", tiny, "--camera", "0"]) == 0
    assert shown == [[0, 0, 220]] * 25


def test_without_a_display_there_is_no_window(camera):
    with frame_sinks.window() as show:
        assert show is None
