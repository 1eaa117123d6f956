"""Names to files, folders of frames and tars, in every layout; nothing outside the folder, nothing but files."""

import contextlib
import functools
import os
import socket
import threading

import pytest

from egokeras.data import video, video_files
from egokeras.data.video import VideoError
from egokeras.errors import InputError

FRAMES = ("frame_0000000001.jpg", "frame_0000000002.jpg")


def lay(root, *paths):
    """Empty files; a path that ends in `/` becomes a folder of frames."""
    for path in paths:
        for file in [path + name for name in FRAMES] if path.endswith("/") else [path]:
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).touch()
    return functools.partial(video_files.find, folder=root)


def only(find, name):
    return find([name])[name]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("rgb_frames/P01/P01_01/", "P01_01"),
        ("P01/rgb_frames/P01_101/", "P01_101"),
        ("P01/RGB_FRAMES/p01_101/", "P01_101.MP4"),
        ("P01_01/", "p01_01"),
        ("P01/rgb_frames/P01_101.tar", "P01_101"),
        ("frames_rgb_flow/rgb/train/P01/P01_01.TAR", "P01_01"),
        ("a.b/", "a.b"),
        ("a.b/", "a.b.mp4"),
        ("cropped_clips/OP01-R01-PastaSalad/OP01-R01-PastaSalad-1-2-F1-F2.mp4", "OP01-R01-PastaSalad/OP01-R01-PastaSalad-1-2-F1-F2"),
        ("op01-r01-pastasalad-1-2-f1-f2.AVI", "OP01-R01-PastaSalad/OP01-R01-PastaSalad-1-2-F1-F2"),
        ("frames/OP01-R01-PastaSalad/OP01-R01-PastaSalad-1-2-F1-F2/", "OP01-R01-PastaSalad/OP01-R01-PastaSalad-1-2-F1-F2"),
    ],
)
def test_layouts(tmp_path, path, name):
    find = lay(tmp_path, path, "P02/rgb_frames/P02_01/", "P02/P02_02.mp4", "notes/P01_01.txt", "cover.jpg")
    assert only(find, name) == tmp_path / path.rstrip("/")


def test_flow_is_not_taken_for_the_picture(tmp_path):
    find = lay(tmp_path, "flow/P01/P01_01.tar", "rgb/P01/P01_01.tar", "P02/flow_frames/P02_101/", "flow/a.mp4", "P03/flow_frames/P03_1/u/")
    assert only(find, "P01_01") == tmp_path / "rgb/P01/P01_01.tar"
    assert only(find, "P02_101") is None and only(find, "P03_1") is None
    assert only(find, "a") == tmp_path / "flow/a.mp4"


def test_a_video_goes_before_its_frames(tmp_path):
    paths = ["P01/P01_01.tar", "P01/P01_01/", "P01/P01_01.mp4"]
    for number, path in enumerate(paths, 1):
        assert only(lay(tmp_path, *paths[:number]), "P01_01") == tmp_path / path.rstrip("/")


def test_what_may_be_several_is_named_by_its_path(tmp_path):
    find = lay(tmp_path, "a/x/", "b/x/", "x/")
    with pytest.raises(InputError, match="'X' may be any of 3 files: "):
        find(["X"])
    assert only(find, "b/x") == tmp_path / "b" / "x" and only(find, "x") == tmp_path / "x"


@pytest.mark.skipif(os.name != "posix", reason="makes links")
def test_links_out_of_the_folder_are_refused(tmp_path):
    find = lay(tmp_path / "inside", "real/P01_01/")
    lay(tmp_path, "outside/P01_02/", "outside/P01_03.tar")
    (tmp_path / "inside" / "P01_02").symlink_to(tmp_path / "outside" / "P01_02")
    (tmp_path / "inside" / "P01_03.tar").symlink_to(tmp_path / "outside" / "P01_03.tar")
    (tmp_path / "inside" / "P01_04").symlink_to(tmp_path / "inside" / "real" / "P01_01")
    for name in ("P01_02", "p01_02.mp4", "P01_03", "P01_03.tar", "../outside/P01_02", str(tmp_path / "outside" / "P01_02")):
        with pytest.raises(InputError, match="outside"):
            find([name])
    assert only(find, "P01_04") == tmp_path / "inside" / "P01_04"


def test_the_folder_is_searched_once(tmp_path, monkeypatch):
    lay(tmp_path, "a/P01_01/", "a/b.mp4")
    walks, walk = [], os.walk
    monkeypatch.setattr(os, "walk", lambda path: walks.append(path) or walk(path))
    videos = video_files.VideoFolder(tmp_path)
    assert [bool(videos.find(name)) for name in ("a/b.mp4", "P01_01", "b", "c", "d")] == [True, True, True, False, False] and len(
        walks
    ) == 1


REMOTE = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp://{at}/a.ts\n#EXT-X-ENDLIST\n",
    "hls of a tcp": "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:2,\ntcp://{at}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile 'http://{at}/a.mp4'\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT2S"><Period>'
    '<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="9"><BaseURL>http://{at}/a.mp4</BaseURL></Representation>'
    "</AdaptationSet></Period></MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=a\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "asf reference": "[Reference]\nRef1=http://{at}/a.asf\n",
    "real": "rtsp://{at}/a.rm\n",
}


@pytest.fixture
def canary():
    """Address that listens, and the list of calls to it."""
    calls = []

    def listen():
        with contextlib.suppress(OSError):
            while True:
                connection, caller = server.accept()
                calls.append(caller)
                connection.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=listen, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}", calls
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("kind", REMOTE)
@pytest.mark.parametrize("suffix", [".mp4", ".ts", ".mpg", ".m3u8"])
def test_no_video_makes_us_call_somebody(tmp_path, canary, kind, suffix):
    address, calls = canary
    path = tmp_path / f"a{suffix}"
    path.write_text(REMOTE[kind].format(at=address))
    with pytest.raises(VideoError):
        video.index(path)
    assert calls == []


def test_names_are_never_protocols(tmp_path, make_video):
    """Of a protocol in a name only the file of that very name is meant, if there is one."""
    make_video(tmp_path / "canary.mp4", count=3)
    find = lay(tmp_path)
    for name in ("concat:canary.mp4", "file:canary.mp4", "subfile,,start,0,end,0,,:canary.mp4", "http://127.0.0.1/canary.avi", "%03d.mp4"):
        assert only(find, name) in (None, tmp_path / "canary.mp4")  # by its last part, as any path
        with pytest.raises(VideoError, match="No such file"):
            video.index(tmp_path / name)
