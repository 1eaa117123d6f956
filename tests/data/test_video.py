"""Decoding: the wanted frames and no others, by timestamps, upright; damage is an error."""

import dataclasses
import itertools
import subprocess
import sys

import av
import cv2
import numpy as np
import pytest

from egokeras.data import video
from egokeras.data.video import VideoError
from egokeras.device import stream

KEYS = {"x264-params": "keyint=12:min-keyint=12:scenecut=0:bframes=3"}
OPEN = {"x264-params": "keyint=12:min-keyint=12:scenecut=0:bframes=3:open-gop=1"}
KINDS = {
    "mp4 with B-frames": ("a.mp4", {"options": KEYS}),
    "open groups of pictures": ("a.mp4", {"options": OPEN, "count": 90}),
    "open groups of HEVC": ("a.mp4", {"codec": "libx265", "options": {"x265-params": "keyint=12:min-keyint=12:open-gop=1:log-level=0"}}),
    "59.94 fps": ("a.mp4", {"rate": 60000 / 1001, "options": KEYS}),
    "matroska": ("a.mkv", {"options": KEYS}),
    "webm": ("a.webm", {"codec": "libvpx-vp9", "options": {"g": "12"}}),
    "transport stream": ("a.ts", {"options": KEYS}),
    "program stream": ("a.mpg", {"codec": "mpeg2video"}),
    "mpeg4 avi": ("a.avi", {"codec": "mpeg4", "options": {"g": "12"}}),
    "mpeg4 avi with B-frames": ("a.avi", {"codec": "mpeg4", "options": {"g": "12", "bf": "2"}}),
    "variable frame rate": ("a.mp4", {"options": KEYS, "times": np.cumsum([0.02 + 0.06 * (n % 7 == 0) for n in range(50)])}),
    "flash": ("a.flv", {"options": KEYS}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_alone_and_any_order(tmp_path, make_video, number_of, kind):
    name, how = KINDS[kind]
    found = video.index(make_video(tmp_path / name, **how))
    count = how.get("count", 50)
    assert len(found.ticks) == count
    times = how.get("times")
    expected = np.arange(count) / how.get("rate", 25) if times is None else times - times[0]
    assert np.abs(found.seconds - expected).max() < 1e-3 + (0.001 if name.endswith((".mkv", ".webm", ".flv")) else 0)
    if name.endswith(("mp4", "mkv", "webm", "ts")):
        assert len(found.keys) >= count // 12
    assert found.by_order == name.endswith(".avi")
    numbers = np.random.default_rng(0).permutation(count).tolist() + [7, 7, 8, 30, 31, 49, *range(13, count), *range(25, count, 9)]
    assert [number_of(picture) for picture in video.decode(found, numbers)] == numbers


@pytest.mark.parametrize(
    ("name", "params", "skips"),
    [
        ("a.mp4", "bframes=3", True),
        ("a.mp4", "bframes=5:b-pyramid=strict:ref=4:weightb=1", True),
        ("a.mp4", "bframes=3:open-gop=1:slices=3", True),
        ("a.mp4", "bframes=3:interlaced=1", True),
        ("a.mkv", "bframes=16:b-adapt=0:b-pyramid=none:aud=1", True),
        ("a.mp4", "bframes=0", False),
        ("a.ts", "bframes=3", False),
    ],
)
def test_skipped_frames_change_no_pixel(tmp_path, name, params, skips):
    """Of H.264 some frames are never decoded; the wanted ones equal those of a decoder that sees all, and so do those after a seek."""
    path, count = tmp_path / name, 120
    noise = np.random.default_rng(0).integers(0, 255, (64, 200, 3), np.uint8)
    with av.open(str(path), "w") as container:
        track = container.add_stream("libx264", rate=25, options={"x264-params": f"keyint=40:min-keyint=40:scenecut=0:{params}"})
        track.width, track.height = 80, 64
        for number in range(count):
            container.mux(track.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(noise[:, number : number + 80]), format="rgb24")))
        container.mux(track.encode())
    with av.open(str(path)) as container:
        whole = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    found, random = video.index(path), np.random.default_rng(1)
    for wanted in ([59], [0, 119], range(0, count, 7), *(np.sort(random.choice(count, 9, replace=False)).tolist() for _ in range(6))):
        for number, picture in zip(wanted, video.decode(found, wanted), strict=True):
            np.testing.assert_array_equal(picture, whole[number])
    with video._Decoder(found, {59}) as decoder:
        decoder.frame(59)
        assert (len(decoder.skipped) > 4) == skips and 59 not in decoder.skipped


def test_only_a_sound_packet_is_skipped():
    """Two units of 3 and 2 bytes behind lengths of 4; a slice that others refer to, or a length that does not fit, is decoded."""
    information, slice_ = b"\0\0\0\3\6ab", b"\0\0\0\2\1c"
    assert video._is_disposable(information + slice_, 4) and video._is_disposable(slice_ + slice_, 4)
    for head in (0x21, 0x41, 0x61, 0x65, 0x07, 0x02, 0x81, 0x14):
        assert not video._is_disposable(information + b"\0\0\0\2" + bytes([head]) + b"c", 4)
    for broken in (b"", information, slice_[:-1], slice_ + b"\0", b"\0\0\0\3\1c", b"\0\0\0\0\1c"):
        assert not video._is_disposable(broken, 4)


def test_span_by_timestamps(tmp_path, make_video):
    found = video.index(make_video(tmp_path / "a.mp4", rate=25))
    assert found.duration == pytest.approx(2.0) and found.fps == pytest.approx(25)
    assert found.span(0, None) == range(50)
    assert found.span(0.4, 0.8) == range(10, 21)
    assert found.span(0.41, 0.79) == range(11, 20)
    assert found.span(0.41, 0.42) == range(10, 11)
    assert found.span(1.0, 2.3) == range(25, 50)
    for start, stop in ((1.0, 2.6), (2.0, 2.1), (5, None)):
        with pytest.raises(VideoError, match=rf"lasts from {start:.3f} s to .*the video only to 2.000 s"):
            found.span(start, stop)


def test_span_under_a_variable_rate(tmp_path, make_video, number_of):
    times = np.concatenate([np.arange(30) * 0.01, 0.3 + np.arange(20) * 0.1])
    found = video.index(make_video(tmp_path / "a.mp4", times=times))
    span = found.span(0.3, 1.2)
    assert [number_of(picture) for picture in video.decode(found, span)] == list(range(30, 40))


def turn(path, matrix):
    """Write a display matrix into the track header."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 20] = b"".join(value.to_bytes(4, "big", signed=True) for value in (matrix[0], matrix[1], 0, matrix[2], matrix[3]))
    path.write_bytes(data)


@pytest.mark.parametrize(("matrix", "turns"), [((0, 1, -1, 0), 3), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)])
def test_upright(tmp_path, make_video, number_of, matrix, turns):
    path = make_video(tmp_path / "a.mp4", size=(80, 40))
    plain = next(video.decode(video.index(path), [21]))
    turn(path, [value << 16 for value in matrix])
    found = video.index(path)
    picture = next(video.decode(found, [21]))
    assert found.turns == turns and picture.shape == (found.height, found.width, 3)
    np.testing.assert_array_equal(picture, np.rot90(plain, turns))


def test_real_phone_video_is_upright(shared_data):
    found = video.index(shared_data / "codec_edge" / "decord" / "video_90.mov")
    assert (found.width, found.height) == (320, 568)
    with av.open(str(found.path)) as container:
        raw = next(container.decode(video=0)).to_ndarray(format="rgb24")
    np.testing.assert_array_equal(next(video.decode(found, [0])), cv2.rotate(raw, cv2.ROTATE_90_CLOCKWISE))


def test_real_avi_with_wrong_timestamps(shared_data):
    found = video.index(shared_data / "clips" / "mmaction2" / "tests__data__test.avi")
    with av.open(str(found.path)) as container:
        reference = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(reference) == len(found.ticks) == 164
    for number, picture in zip((3, 4, 99, 20), video.decode(found, (3, 4, 99, 20)), strict=True):
        np.testing.assert_array_equal(picture, reference[number])


def cut(data):
    return data[: len(data) * 6 // 10]


@pytest.mark.parametrize(
    ("name", "how", "spoil", "reason"),
    [
        ("a.mp4", {}, lambda data: b"", "empty"),
        ("a.mp4", {}, lambda data: b"uid,video\n1,2\n" * 50, "cannot be decoded"),
        ("a.mp4", {}, cut, "cannot be decoded|no video stream"),
        ("a.mkv", {}, cut, "cut off after"),
        ("a.flv", {}, cut, "damaged after"),
        ("a.avi", {"codec": "mpeg4"}, cut, "damaged after|cut off|cannot be decoded"),
    ],
)
def test_damaged_files_are_refused(tmp_path, make_video, name, how, spoil, reason):
    path = make_video(tmp_path / name, **how)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(VideoError, match=reason) as error:
        video.index(path)
    assert str(path) in str(error.value) and str(path) not in error.value.reason


def test_cut_with_the_header_in_front(tmp_path):
    """A download that stopped: the header promises frames that the file does not have."""
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        for number in range(40):
            noise = np.random.default_rng(number).integers(0, 255, (64, 64, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
        container.mux(stream.encode())
    path.write_bytes(cut(path.read_bytes()))
    with pytest.raises(VideoError, match=r"damaged after|cut off: it holds .* of 40 frames"):
        video.index(path)


def test_real_gif_cut_off(tmp_path, shared_data):
    source = next((shared_data / "ego_clips" / "lavila").glob("*.gif"))
    assert len(video.index(source).ticks) > 30
    path = tmp_path / "cut.gif"
    path.write_bytes(cut(source.read_bytes()))
    with pytest.raises(VideoError, match="end mark"):
        video.index(path)


def test_sound_only_and_absent(tmp_path, make_sound):
    with pytest.raises(VideoError, match="no video stream"):
        video.index(make_sound(tmp_path / "a.mp4"))
    with pytest.raises(VideoError, match="No such file"):
        video.index(tmp_path / "absent.mp4")


def test_real_corrupted_video_is_refused(shared_data):
    found = video.index(shared_data / "codec_edge" / "decord" / "corrupted.mp4")
    with pytest.raises(VideoError, match="cannot be decoded"):
        list(video.decode(found, range(len(found.ticks))))


def test_flipped_bytes_cost_only_the_frames_they_touch(tmp_path, make_video, number_of):
    path = make_video(tmp_path / "a.mp4", count=60, options=KEYS)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        positions = [packet.pos for packet in container.demux(video=0) if packet.is_keyframe]
    data[positions[2] + 4 : positions[2] + 40] = b"\x55" * 36
    path.write_bytes(data)
    found = video.index(path)
    with pytest.raises(VideoError, match=r"cannot be decoded|damaged|missing"):
        list(video.decode(found, [30]))
    assert [number_of(picture) for picture in video.decode(found, [5, 40, 50])] == [5, 40, 50]


def test_a_frame_that_the_decoder_leaves_out_is_missed(tmp_path, make_video, number_of):
    path = make_video(tmp_path / "a.mp4", options={"x264-params": f"{KEYS['x264-params']}:b-pyramid=none"})
    gappy = tmp_path / "b.mp4"
    with av.open(str(path)) as source, av.open(str(gappy), "w") as target:
        track = target.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size]
        left_out = next(late for early, late in itertools.pairwise(packets[12:]) if late.pts < early.pts)  # no other needs it
        for packet in packets:
            if packet is not left_out:
                packet.stream = track
                target.mux(packet)
    found = video.index(path)
    gap = found.number_at(left_out.pts)
    found = dataclasses.replace(found, path=gappy)
    assert [number_of(picture) for picture in video.decode(found, [gap - 1, 30])] == [gap - 1, 30]
    with pytest.raises(VideoError, match="is missing"):
        list(video.decode(found, [gap + 1]))


def test_playlists_cannot_reach_other_files(tmp_path, make_video):
    canary = make_video(tmp_path / "canary.mp4")
    texts = {
        "a.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{canary}\n#EXT-X-ENDLIST\n",
        "a.ffconcat": f"ffconcat version 1.0\nfile '{canary.name}'\n",
        "a.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=a\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    }
    for name, text in texts.items():
        for path in (tmp_path / name, tmp_path / f"{name}.mp4"):
            path.write_text(text)
            with pytest.raises(VideoError, match="cannot be decoded"):
                video.index(path)
    with pytest.raises(VideoError, match="No such file"):
        video.index("http://127.0.0.1/a.mp4")


def test_leaving_early_closes_the_file(tmp_path, make_video):
    path = make_video(tmp_path / "a.mp4")
    code = (
        "import os, sys; from egokeras.data import video; found = video.index(sys.argv[1])\n"
        "for _ in range(50): next(video.decode(found, [3]))\n"
        "print(sum(os.path.realpath(f'/proc/self/fd/{n}') == sys.argv[1] for n in os.listdir('/proc/self/fd')))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path.resolve())], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"


def mean_of_areas(path, number, size):
    """Slow reference: the planes of a BT.601 video in float, chroma in between linear, then means of areas: (size, size, 3)."""
    with av.open(str(path)) as container:
        frame = next(frame for place, frame in enumerate(container.decode(video=0)) if place == number)
    y, u, v = (np.frombuffer(plane, np.uint8).reshape(plane.height, -1)[:, : plane.width].astype(float) for plane in frame.planes)
    at = [np.clip(np.arange(count) / 2 + shift, 0, count // 2 - 1) for count, shift in zip(y.shape, (-0.25, 0), strict=True)]
    linear = [np.clip(1 - np.abs(place[:, None] - np.arange(len(place) // 2)), 0, None) for place in at]
    u, v = (linear[0] @ (plane - 128) @ linear[1].T * 255 / 224 for plane in (u, v))
    y = (y - 16) * 255 / 219
    rgb = np.clip(np.stack([y + 1.402 * v, y - 0.344136 * u - 0.714136 * v, y + 1.772 * u]), 0, 255)
    rows, columns = (stream._area(count, size) for count in y.shape)
    return np.einsum("sh,chw,tw->stc", rows, rgb, columns)


@pytest.mark.parametrize("mode", ["squash", "crop", "pad"])
def test_one_step_resizes_as_two_do(tmp_path, mode):
    """Conversion and resizing at once against one after the other, upright and turned, smaller and larger."""
    path = tmp_path / "a.mp4"
    waves = np.sin(np.arange(160) / 9)[None, :, None] + np.cos(np.arange(96) / 7)[:, None, None] * np.array([1, 0.6, -0.8])
    picture = (127 + 60 * waves).clip(0, 255).astype(np.uint8)
    with av.open(str(path), "w") as container:
        track = container.add_stream("libx264", rate=25, options={"crf": "4"})
        track.width, track.height, track.pix_fmt = 160, 96, "yuv420p"
        for shift in range(4):
            container.mux(track.encode(av.VideoFrame.from_ndarray(np.roll(picture, 9 * shift, 1), format="rgb24")))
        container.mux(track.encode())
    if mode == "squash":
        small = [picture.copy() for picture in video.decode(video.index(path), [1, 3], 48)]
        for number, found in zip((1, 3), small, strict=True):
            difference = np.abs(found - mean_of_areas(path, number, 48))
            assert difference.mean() < 0.5 and difference.max() < 3
    for _ in range(2):
        index = video.index(path)
        for size in (24, 72, 130):
            (whole,) = video.decode(index, [2])
            (found,) = video.decode(index, [2], size, mode)
            difference = found.astype(int) - video.resize(whole, size, mode)
            assert found.shape == (size, size, 3) and np.abs(difference).mean() < 2 and np.abs(np.median(difference)) <= 2
            container = av.open(str(path))
            with container:
                frame = next(frame for place, frame in enumerate(container.decode(video=0)) if place == 2)
                np.testing.assert_array_equal(stream.resize(frame, size, size, mode), found)
        turn(path, (0, 1 << 16, -1 << 16, 0))


def test_pictures_that_are_not_square_turn_with_their_video(tmp_path, make_video):
    """Upright 40 x 80 pictures of a video that lies on its side, and of one that does not."""
    path = make_video(tmp_path / "a.mp4", size=(160, 96))
    for turned in (False, True):
        index = video.index(path)
        (whole,) = (picture.copy() for picture in video.decode(index, [2]))
        assert whole.shape == ((160, 96, 3) if turned else (96, 160, 3))
        for mode in ("squash", "crop", "pad"):
            (found,) = video.decode(index, [2], (40, 80), mode)
            expected = video.resize(whole, (40, 80), mode)
            assert found.shape == expected.shape == (40, 80, 3)
            assert np.abs(found.astype(int) - expected).mean() < 3
            np.testing.assert_array_equal(stream.resize(whole, 40, 80, mode), expected)
        turn(path, (0, 1 << 16, -1 << 16, 0))


def test_resize_modes():
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[:, 20:60] = 200
    squash, crop, pad = (video.resize(picture, 20, mode) for mode in ("squash", "crop", "pad"))
    assert squash.shape == crop.shape == pad.shape == (20, 20, 3)
    assert squash[10].mean(-1).tolist() == [0] * 5 + [200] * 10 + [0] * 5
    assert (crop == 200).all()
    assert (pad[5:15, 5:15] == 200).all() and (pad[:5] == 0).all() and (pad[15:] == 0).all() and (pad[:, :5] == 0).all()
    for mode in ("squash", "crop", "pad"):
        assert video.resize(picture[:7, :5], 32, mode).shape == (32, 32, 3)
