"""Folders and tars of frames: the pixels of the video they come from, any frame alone; damage is an error; nothing leads outside."""

import contextlib
import io
import json
import tarfile

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egokeras.data import frame_files, prepare, readers, video
from egokeras.data.frame_rates import FrameRate
from egokeras.data.preparation import Preparation
from egokeras.data.shards import Shards
from egokeras.data.video import VideoError
from egokeras.errors import InputError

RATE = FrameRate((25.0,))
END = b"\xff\xd9"


def dump(path, folder, suffix=".jpg", first=1):
    """Write the frames of a video as ffmpeg would; PNG keeps every pixel."""
    folder.mkdir(parents=True, exist_ok=True)
    found = video.index(path)
    for number, picture in enumerate(video.decode(found, range(len(found.ticks))), first):
        assert cv2.imwrite(str(folder / f"frame_{number:010d}{suffix}"), picture[..., ::-1])
    return folder


def pack(folder, path, prefix=""):
    """A tar of a folder's files, their names behind `prefix`."""
    with tarfile.open(path, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.add(file, f"{prefix}{file.name}")
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory, make_video):
    """A video of 40 frames at 25 a second."""
    return make_video(tmp_path_factory.mktemp("clip") / "a.mp4", count=40)


@pytest.fixture(scope="module")
def originals(tmp_path_factory, clip):
    """Its frames as JPEG; not to be changed."""
    return dump(clip, tmp_path_factory.mktemp("originals") / "frames")


@pytest.fixture
def frames(tmp_path, originals):
    """A copy of them."""
    (tmp_path / "frames").mkdir()
    for path in originals.iterdir():
        (tmp_path / "frames" / path.name).write_bytes(path.read_bytes())
    return tmp_path / "frames"


def read(path, numbers=None):
    found = frame_files.index(path, RATE)
    return list(frame_files.decode(found, range(len(found.ticks)) if numbers is None else numbers))


@pytest.mark.parametrize("where", ["folder", "tar"])
def test_lossless_frames_are_the_video(tmp_path, clip, where):
    path = dump(clip, tmp_path / "frames", ".png", first=0)
    path = pack(path, tmp_path / "a.tar", "./a/") if where == "tar" else path
    original, found = video.index(clip), frame_files.index(path, RATE)
    assert (found.width, found.height, len(found.ticks)) == (original.width, original.height, 40)
    assert found.duration == pytest.approx(original.duration) and found.fps == pytest.approx(original.fps)
    for start, stop in ((0, None), (0.4, 0.8), (0.41, 0.42), (1.2, 1.9)):
        assert found.span(start, stop) == original.span(start, stop)
    with pytest.raises(VideoError, match="the video only to 1.600 s"):
        found.span(1.0, 2.7)
    numbers = np.random.default_rng(0).permutation(40).tolist() + [7, 7, 39, 0]
    for one, other in zip(frame_files.decode(found, numbers), video.decode(original, numbers), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("prefix", ["", "./", "P01_01/", "a/b/"])
def test_any_order_out_of_a_tar(tmp_path, originals, number_of, prefix):
    path = pack(originals, tmp_path / "P01_01.tar", prefix)
    before = path.read_bytes()
    assert [number_of(picture) for picture in read(path, [39, 0, 17, 17, 3])] == [39, 0, 17, 17, 3]
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == before


def test_names_of_frames(tmp_path, originals, number_of):
    for number, path in enumerate(sorted(originals.iterdir())):
        (tmp_path / f"{number}.JPG").write_bytes(path.read_bytes())  # 10 comes after 9, not after 1
    for other in ("Thumbs.db", "._5.JPG", "cover.jpg"):
        (tmp_path / other).write_text("x")
    assert [number_of(picture) for picture in read(tmp_path)] == list(range(40))


@pytest.mark.parametrize("mode", ["squash", "crop", "pad"])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_sizes_and_modes_are_those_of_video(tmp_path, suffix, mode):
    picture = np.full((48, 80, 3), (10, 200, 90), np.uint8)  # even areas, the borders of which no way of scaling moves by a pixel
    picture[:, 20:60] = (200, 40, 160)
    kinds = [picture, picture[..., 0], picture[..., 1], picture] if suffix == ".jpg" else [picture, np.dstack([picture, picture[..., :1]])]
    kinds += [] if suffix == ".jpg" else [picture[..., 0], picture.astype(np.uint16) * 257]
    for number, one in enumerate(kinds):
        cv2.imwrite(str(tmp_path / f"{number}{suffix}"), one, [cv2.IMWRITE_JPEG_QUALITY, 100])
    found = frame_files.index(tmp_path, RATE)
    pairs = zip(frame_files.decode(found, range(4)), frame_files.decode(found, range(4), 24, mode), strict=True)
    for (plain, small), one in zip(pairs, kinds, strict=True):
        assert np.abs(video.resize(plain, 24, mode).astype(int) - small).max() <= 4
        colour = one[24, 40] if one.dtype == np.uint8 else one[24, 40] // 257
        assert np.abs(plain[24, 40].astype(int) - colour.reshape(-1)[2::-1]).max() <= 2


def test_pictures_that_lie_on_their_side_come_out_upright(frames):
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    plain = read(frames, [3])[0]
    for path in frames.iterdir():
        data = path.read_bytes()
        path.write_bytes(data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:])
    found = frame_files.index(frames, RATE)
    assert (found.width, found.height) == (48, 80)
    np.testing.assert_array_equal(next(frame_files.decode(found, [3])), np.rot90(plain, -1))


def name(number):
    return f"frame_{number:010d}.jpg"


def smaller(path):
    cv2.imwrite(str(path), np.zeros((24, 40, 3), np.uint8))


SPOILT = {
    "a gap": (lambda f: (f / name(7)).unlink(), "frame 7 is missing"),
    "no start": (lambda f: [(f / name(n)).unlink() for n in (1, 2)], "frame 1 is missing"),
    "twice": (lambda f: (f / "frame_7.jpg").write_bytes((f / name(7)).read_bytes()), "frame 7 is there twice"),
    "flow among them": (lambda f: (f / "flow_x_1.jpg").write_bytes(b""), r"frames of 2 kinds in it: flow_x_\*, frame_\*"),
    "nothing": (lambda f: [path.unlink() for path in f.iterdir()], "no frame in it"),
    "a link": (lambda f: ((f / name(7)).unlink(), (f / name(7)).symlink_to(f / name(6))), f"{name(7)} is a link"),
    "first frame empty": (lambda f: (f / name(1)).write_bytes(b""), rf"{name(1)} cannot be decoded \(it is empty\)"),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_what_is_wrong_with_a_folder_is_named(frames, kind):
    spoil, reason = SPOILT[kind]
    spoil(frames)
    with pytest.raises(VideoError, match=reason) as error:
        frame_files.index(frames, RATE)
    assert str(frames) not in error.value.reason


DAMAGED = {
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:-40]), "end mark"),
    "cut off with an end": (lambda path: path.write_bytes(path.read_bytes()[:-300] + END), "cannot be decoded"),
    "zeros": (lambda path: path.write_bytes(path.read_bytes()[:-300] + bytes(300)), "end mark"),
    "a hole": (lambda path: path.write_bytes(path.read_bytes()[:700] + path.read_bytes()[-60:]), "cannot be decoded"),
    "no picture": (lambda path: path.write_text("<html>404</html>" + "\xff\xd9"), "cannot be decoded"),
    "empty": (lambda path: path.write_bytes(b""), "it is empty"),
    "another size": (smaller, "is 40 x 24, the first frame 80 x 48"),
    "gone": (lambda path: path.unlink(), "No such file"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_frame_costs_those_who_want_it(frames, number_of, kind):
    spoil, reason = DAMAGED[kind]
    found = frame_files.index(frames, RATE)
    spoil(frames / name(11))
    with pytest.raises(VideoError, match=f"{name(11)}.*{reason}"):
        list(frame_files.decode(found, [9, 10, 11]))
    assert [number_of(picture) for picture in frame_files.decode(found, [9, 11, 12, 39])] == [9, 11, 12, 39]


@pytest.mark.parametrize("how", [[], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 4]])
def test_no_part_of_a_cut_picture_is_taken_for_the_whole(tmp_path, how):
    noise = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8), (5, 5), 1)
    data = cv2.imencode(".jpg", noise, how)[1].tobytes()
    path = tmp_path / name(1)
    path.write_bytes(data)
    whole = read(tmp_path)[0]
    for trailer in (b"", b"\0\0", b"written by a camera"):
        path.write_bytes(data + trailer)
        np.testing.assert_array_equal(read(tmp_path)[0], whole)
    for at in range(1, len(data) - 1, 37):
        for rest in (b"", bytes(len(data) - at), END):
            path.write_bytes(data[:at] + rest)
            if rest == END and (at > len(data) // 2 or cv2.IMWRITE_JPEG_PROGRESSIVE in how):
                continue  # somebody has put an end where it was cut: what is missing in the last blocks, FFmpeg may not notice
            with pytest.raises(VideoError):
                read(tmp_path)


def members(path, *added):
    """A tar of three frames and what is added: (name, type, link target)."""
    picture = cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].tobytes()
    with tarfile.open(path, "w") as archive:
        for number in (1, 2, 3):
            one = tarfile.TarInfo(f"P01_01/{name(number)}")
            one.size = len(picture)
            archive.addfile(one, io.BytesIO(picture))
        for title, kind, target in added:
            one = tarfile.TarInfo(title)
            one.type, one.linkname = kind, target
            archive.addfile(one)
    return path


HOSTILE = {
    "symlink": (("P01_01/frame_0000000004.jpg", tarfile.SYMTYPE, "/etc/hostname"), "is a link or no file"),
    "hard link": (("P01_01/frame_0000000004.jpg", tarfile.LNKTYPE, "../../canary"), "is a link or no file"),
    "device": (("P01_01/zero", tarfile.CHRTYPE, ""), "is a link or no file"),
    "pipe": (("P01_01/pipe", tarfile.FIFOTYPE, ""), "is a link or no file"),
    "above": (("../frame_0000000004.jpg", tarfile.REGTYPE, ""), "leads outside"),
    "above, further on": (("P01_01/../../x", tarfile.DIRTYPE, ""), "leads outside"),
    "absolute": (("/tmp/frame_0000000004.jpg", tarfile.REGTYPE, ""), "leads outside"),
    "backslashes": (("..\\..\\frame_0000000004.jpg", tarfile.REGTYPE, ""), "leads outside"),
    "two folders": (("P01_02/frame_0000000004.jpg", tarfile.REGTYPE, ""), "frames in 2 folders"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_members_that_lead_elsewhere_are_refused(tmp_path, kind):
    member, reason = HOSTILE[kind]
    members(tmp_path / "good.tar", ("P01_01", tarfile.DIRTYPE, ""), ("P01_01/readme.txt", tarfile.REGTYPE, ""))
    assert len(frame_files.index(tmp_path / "good.tar", RATE).ticks) == 3
    with pytest.raises(VideoError, match=reason):
        frame_files.index(members(tmp_path / "a.tar", member), RATE)
    assert {path.name for path in tmp_path.iterdir()} == {"good.tar", "a.tar"}


def test_tars_that_are_not_what_they_seem(tmp_path, originals):
    path = tmp_path / "a.tar"
    for content in (b"", b"not a tar", bytes(20480)):
        path.write_bytes(content)
        with pytest.raises(VideoError):
            frame_files.index(path, RATE)
    with tarfile.open(path, "w:gz") as archive:
        archive.add(originals, "a")
    with pytest.raises(VideoError, match="no plain tar"):
        frame_files.index(path, RATE)
    pack(originals, path)
    path.write_bytes(path.read_bytes() * 2)  # two, one behind the other: the second would be left out
    with pytest.raises(VideoError, match="damaged or cut off"):
        frame_files.index(path, RATE)
    data = bytearray(members(path).read_bytes())
    data[124:136] = b"\xff" * 8 + (-1024 & 0xFFFFFFFF).to_bytes(4, "big")  # a negative size: back to an earlier header
    data[148:156] = b"%06o\0 " % (sum(data[:148]) + 8 * 32 + sum(data[156:512]))
    path.write_bytes(data)
    with pytest.raises(VideoError):
        frame_files.index(path, RATE)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_cut_or_altered_tar_never_gives_fewer_frames(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("tar") / "a.tar"
    whole = members(path).read_bytes()
    content = bytearray(whole[: data.draw(st.integers(0, len(whole) - 1))] if data.draw(st.booleans()) else whole)
    for at in data.draw(st.lists(st.integers(0, 4095), max_size=3)) if content == whole else ():
        content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with contextlib.suppress(VideoError):
        pictures = read(path)
        assert len(pictures) == 3 and all(picture.shape == (16, 16, 3) for picture in pictures)


def test_the_weight_tells_sets_of_frames_apart(tmp_path, frames):
    before = frame_files.weight(frames)
    assert before[0] == 40 and before == frame_files.weight(frames) and len(before) < 30
    smaller(frames / name(1))
    assert frame_files.weight(frames) != before
    (frames / name(40)).unlink()
    assert frame_files.weight(frames)[0] == 39
    path = pack(frames, tmp_path / "a.tar")
    assert frame_files.weight(path) == [path.stat().st_size]


TRAIN = "narration_id,participant_id,video_id,start_timestamp,stop_timestamp,verb_class,noun_class\n"


def kitchen(root, make_video):
    """Annotations in the form of EPIC-KITCHENS-100, and two videos of 10 s, at 50 and 59.94 frames per second."""
    lists = root / "lists"
    lists.mkdir()
    (lists / "EPIC_100_verb_classes.csv").write_text("id,key,category\n0,take,retrieve\n1,open,access\n")
    (lists / "EPIC_100_noun_classes.csv").write_text("id,key,category\n0,tap,appliances\n1,door,furniture\n")
    for split, video_id in (("train", "P01_101"), ("validation", "P02_01")):
        spans = "".join(f"{video_id}_{n},P01,{video_id},0:00:0{n}.25,0:00:0{n + 1}.15,{n % 2},{n % 2}\n" for n in range(8))
        (lists / f"EPIC_100_{split}.csv").write_text(TRAIN + spans)
    (lists / "EPIC_100_video_info.csv").write_text("video_id,duration,fps,resolution\nP01_101,10.0,50,1x1\nP02_01,10.01,59.9400599,1x1\n")
    (root / "videos").mkdir()
    for video_id, rate in (("P01_101", 50), ("P02_01", 60000 / 1001)):
        make_video(root / "videos" / f"{video_id}.mp4", count=round(rate * 10), rate=rate, size=(40, 24))
    return lists


SMALL = Preparation(frames=4, size=24, workers=2, windows=4, resize="crop")


def test_epic_as_videos_folders_and_tars_is_one_dataset(tmp_path, make_video, number_of):
    lists = kitchen(tmp_path, make_video)
    dump(tmp_path / "videos" / "P01_101.mp4", tmp_path / "folders" / "P01" / "rgb_frames" / "p01_101", ".png")
    dump(tmp_path / "videos" / "P02_01.mp4", tmp_path / "folders" / "rgb_frames" / "P02" / "P02_01", ".png")
    (tmp_path / "tars" / "P01").mkdir(parents=True)
    pack(tmp_path / "folders" / "P01" / "rgb_frames" / "p01_101", tmp_path / "tars" / "P01" / "P01_101.tar", "./")
    pack(tmp_path / "folders" / "rgb_frames" / "P02" / "P02_01", tmp_path / "tars" / "p02_01.TAR", "P02_01/")
    annotations = readers.read("epic100", [lists])
    made = {}
    for kind in ("videos", "folders", "tars"):
        summary = prepare.prepare(annotations, tmp_path / kind, tmp_path / f"out-{kind}", SMALL)
        assert summary["clips"] == 20 and summary["quarantined"] == 0
        made[kind] = {path.name: path.read_bytes() for path in (tmp_path / f"out-{kind}").iterdir()}
    indexes = [json.loads(made[kind].pop("index.json")) for kind in ("folders", "tars")]
    assert all(indexes[0].pop(key) != indexes[1].pop(key) for key in ("plan", "seal")) and indexes[0] == indexes[1]
    assert made["folders"] == made["tars"] and len(made["tars"]) >= 3
    assert "EPIC_100_video_info.csv" in {source["file"] for source in indexes[0]["sources"]}
    videos, tars = Shards(tmp_path / "out-videos"), Shards(tmp_path / "out-tars")
    rows = np.arange(len(videos))
    for field in ("uid", "video", "group", "splits"):
        assert (videos.clips[field] == tars.clips[field]).all()
    np.testing.assert_allclose(videos.clips["stop"], tars.clips["stop"], atol=1e-6)
    difference = np.abs(videos.read(rows).astype(int) - tars.read(rows))  # the way from YUV to a smaller RGB picture is another one
    assert difference.mean() < 1.5 and difference.mean((1, 2, 3, 4)).max() < 4


def test_frames_of_another_rate_than_the_video_are_not_mistaken(tmp_path, make_video):
    """RU-LSTM's 30 and EPIC-KITCHENS-55's 60 frames per second are recognised by the length of the video; 24 is not."""
    lists = kitchen(tmp_path, make_video)
    annotations = readers.read("epic100", [lists / "EPIC_100_train.csv", lists / "EPIC_100_video_info.csv"])
    for count, right in ((300, True), (599, True), (240, False), (420, False)):
        folder = tmp_path / str(count) / "P01_101"
        folder.mkdir(parents=True)
        for number in range(count):
            picture = np.full((16, 16, 3), number * 255 // count, np.uint8)
            assert cv2.imwrite(str(folder / name(number + 1)), picture)
        out = tmp_path / f"out{count}"
        if not right:
            with pytest.raises(
                InputError, match=rf"{count} frames last .* the video 10.0 s; some are missing, or they need .*--frame-rate"
            ):
                prepare.prepare(annotations, folder.parent, out, SMALL)
            continue
        assert prepare.prepare(annotations, folder.parent, out, SMALL)["quarantined"] == 0
        data = Shards(out)
        for clip, uid in zip(data.read(np.arange(8)).mean((2, 3, 4)), data.clips["uid"][:8].tolist(), strict=True):
            middle = int(uid.rpartition("_")[2]) + 0.25 + 0.45
            assert clip.mean() == pytest.approx(middle / 10 * 255, abs=2)


def test_a_frame_rate_must_be_known_and_of_use(tmp_path, make_video):
    lists = kitchen(tmp_path, make_video)
    (lists / "EPIC_100_video_info.csv").unlink()
    annotations = readers.read("epic100", [lists])
    with pytest.raises(InputError, match="a frame rate of 50 is given, but no video is there as frames"):
        prepare.prepare(annotations, tmp_path / "videos", tmp_path / "out", Preparation(frame_rate=50))
    dump(tmp_path / "videos" / "P02_01.mp4", tmp_path / "frames" / "P02_01")
    with pytest.raises(InputError, match=r"'P02_01' is there as frames in .*--frame-rate 60.*EPIC_100_video_info.csv"):
        prepare.prepare(annotations, tmp_path / "frames", tmp_path / "out", SMALL)
    assert not (tmp_path / "out").exists()
    settings = Preparation(frames=2, size=16, workers=1, windows=0, frame_rate=60000 / 1001)
    summary = prepare.prepare(annotations, tmp_path / "frames", tmp_path / "out", settings)
    assert (summary["clips"], summary["quarantined"]) == (8, 8)
    for rate in (0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="give the number of frames in a second"):
            Preparation(frame_rate=rate)
