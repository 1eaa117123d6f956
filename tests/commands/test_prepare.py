"""`egokeras prepare` as typed: exit codes, messages, summary."""

import csv
import hashlib
import json
import shutil

import av
import numpy as np
import pytest

from egokeras import cli
from egokeras.data import video
from egokeras.data.joined import open_sets
from egokeras.data.shards import Shards
from egokeras.errors import InputError


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A folder with two class folders of three one-second videos."""
    folder = tmp_path_factory.mktemp("clips")
    for number in range(6):
        path = folder / ("wave", "clap")[number % 2] / f"s{number // 2}_{number}.mp4"
        path.parent.mkdir(exist_ok=True)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.width = stream.height = 32
            for shade in range(25):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((32, 32, 3), shade * 10, np.uint8), format="rgb24")))
            container.mux(stream.encode())
    return folder


SMALL = ["--frames", "4", "--size", "16", "--windows", "5", "--workers", "1"]


def test_folders_with_groups(tmp_path, clips, capsys):
    out = tmp_path / "out"
    assert cli.main(["prepare", "folders", str(clips), str(clips), str(out), "--group", "s[0-9]", "--json", *SMALL]) == 0
    captured = capsys.readouterr()
    summary = json.loads(captured.out)
    assert summary["clips"] == 11 and summary["quarantined"] == 0 and summary["splits"]["windows"] == 5
    assert "11 clips to cut, about" in captured.err and "free)" in captured.err
    data = Shards(out)
    train, held = (set(data.clips["group"][data.rows(split)]) for split in ("train", "validation"))
    assert train and held and not train & held and data.index["exclusive"] == "group"


@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_a_video_of_another_checksum_goes_to_quarantine(kind, tmp_path, clips, capsys):
    files = sorted(clips.rglob("*.mp4"))
    sums = {file: hashlib.new(kind, file.read_bytes()).hexdigest() for file in files}
    table, listing = tmp_path / "clips.csv", tmp_path / "SUMS"
    names = [path.relative_to(clips).as_posix() for path in files]
    table.write_text("file,label,split\n" + "".join(f"{name},{name[:4]},train\n" for name in names))
    listing.write_text("".join(f"{sums[file]} *./{clips.name}/{file.relative_to(clips).as_posix()}\n" for file in files))
    arguments = ["prepare", "table", str(table), str(clips), str(tmp_path / kind), "--checksums", str(listing), *SMALL]
    assert cli.main(arguments) == 0
    first, *others = listing.read_text().splitlines(keepends=True)
    listing.write_text(first.replace(sums[files[0]], hashlib.new(kind, b"another file").hexdigest()) + "".join(others))
    arguments[4] = str(tmp_path / f"{kind}-swapped")
    assert cli.main(arguments) == 3
    with open(tmp_path / f"{kind}-swapped" / "quarantine.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["video"] == names[0] and "its checksum is not the one that was given" in row["reason"]
    capsys.readouterr()
    for text, message in ((listing.read_text().splitlines()[0], "has none in"), ("12 a.mp4", "is not a checksum and a path")):
        listing.write_text(text)
        arguments[4] = str(tmp_path / "refused")
        assert cli.main(arguments) == 1
        assert message in capsys.readouterr().err and not (tmp_path / "refused").exists()


def test_quarantine_exits_3(tmp_path, clips, capsys):
    table = tmp_path / "clips.csv"
    names = [path.relative_to(clips).as_posix() for path in sorted(clips.rglob("*.mp4"))]
    table.write_text("file,label,split\n" + "".join(f"{name},{name[:4]},train\n" for name in [*names, "wave/absent.mp4"]))
    arguments = ["prepare", "table", str(table), str(clips), str(tmp_path / "out"), *SMALL]
    assert cli.main(arguments) == 3
    captured = capsys.readouterr()
    assert "1 videos are not in" in captured.err and "wave/absent.mp4" in captured.err
    assert "6 clips (6 train)" in captured.out and "1 clips of 1 videos could not be made" in captured.out
    with open(tmp_path / "out" / "quarantine.csv", newline="") as file:
        assert list(csv.DictReader(file)) == [{"uid": "wave/absent.mp4", "video": "wave/absent.mp4", "reason": "video not found"}]
    assert cli.main(arguments) == 3
    assert "complete already" in capsys.readouterr().err


def test_errors_exit_1_and_2(tmp_path, clips, capsys):
    assert cli.main(["prepare", "folders", str(clips), str(tmp_path), str(tmp_path / "out")]) == 1
    assert "none of the 6 videos" in capsys.readouterr().err
    assert cli.main(["prepare", "folders", str(clips), str(clips), str(tmp_path / "out"), "--frames", "0"]) == 1
    with pytest.raises(SystemExit) as stop:
        cli.main(["prepare", "folders", str(clips), str(tmp_path / "out")])
    assert stop.value.code == 2
    shutil.rmtree(tmp_path / "out", ignore_errors=True)


def test_help_shows_an_example(capsys):
    with pytest.raises(SystemExit):
        cli.main(["prepare", "--help"])
    assert "egokeras prepare epic100" in capsys.readouterr().out


def damaged_copies(folder, good):
    """Copies of a video that are damaged in known ways, by name."""
    content = good.read_bytes()
    flipped = bytearray(content)
    for place in range(len(content) // 10, len(content) * 9 // 10, 97):
        flipped[place] ^= 0xFF
    made = {
        "truncated.mp4": content[: len(content) // 2],
        "flipped.mp4": bytes(flipped),
        "empty.mp4": b"",
        "text.mp4": b"not a video\n" * 99,
    }
    for name, payload in made.items():
        (folder / name).write_bytes(payload)
    with av.open(str(folder / "audio_only.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), "float32"), format="fltp", layout="mono")
        silence.sample_rate = 16000
        for _ in range(20):
            container.mux(stream.encode(silence))
        container.mux(stream.encode())
    return {*made, "audio_only.mp4"}


def test_odd_real_videos_decode_and_damaged_ones_are_quarantined(tmp_path, shared_data, capsys):
    videos, real = tmp_path / "videos", shared_data / "codec_edge"
    intact = [
        "decord/video_0.mov",
        "decord/video_90.mov",
        "torchcodec/test__resources__h265_video.mp4",
        "torchcodec/test__resources__nasa_13013.mp4",
    ]
    for name in ("fine", "broken"):
        (videos / name).mkdir(parents=True)
    for name in intact:
        shutil.copy(real / name, videos / "fine")
    shutil.copy(real / "decord" / "corrupted.mp4", videos / "broken")
    broken = {"corrupted.mp4", *damaged_copies(videos / "broken", real / intact[3])}
    shutil.copy(real / intact[0], videos / "broken" / "as_good_as_new.mov")
    arguments = ["prepare", "folders", str(videos), str(videos), str(tmp_path / "out"), "--frames", "4", "--size", "64", "--windows", "0"]
    assert cli.main(arguments) == 3
    with open(tmp_path / "out" / "quarantine.csv", newline="") as file:
        reasons = {row["video"].rpartition("/")[2]: row["reason"] for row in csv.DictReader(file)}
    assert set(reasons) == broken and all(reasons.values())
    data = Shards(tmp_path / "out")
    assert {video.rpartition("/")[2] for video in data.clips["video"]} == {name.rpartition("/")[2] for name in intact} | {
        "as_good_as_new.mov"
    }
    pictures = dict(zip(data.clips["video"], data.read(range(len(data))), strict=True))
    upright, turned = pictures["fine/video_0.mov"], pictures["fine/video_90.mov"]
    assert np.abs(upright.astype(int) - turned).mean() < np.abs(upright.astype(int) - np.rot90(turned, axes=(1, 2))).mean()


@pytest.fixture(scope="module")
def sliding(tmp_path_factory):
    """Two class folders of videos in which a soft pattern slides to the right or to the left, 2 pixels in each of 20 frames a second."""
    import cv2

    folder, random = tmp_path_factory.mktemp("sliding"), np.random.default_rng(0)
    pattern = cv2.GaussianBlur(random.integers(0, 256, (64, 200, 3)).astype(np.uint8), (0, 0), 3)
    pattern = cv2.normalize(pattern, None, 0, 255, cv2.NORM_MINMAX)
    for number in range(4):
        path = folder / ("left", "right")[number % 2] / f"{number}.mp4"
        path.parent.mkdir(exist_ok=True)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=20, options={"crf": "10"})
            stream.width = stream.height = 64
            for step in range(30):
                start = 100 - 2 * step if number % 2 else 2 * step
                picture = np.ascontiguousarray(pattern[:, start : start + 64])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
    return folder


def test_flow_shows_the_motion(tmp_path, sliding):
    """4 pixels in 0.1 s, at half the size 2 of them; the first frame of a video has none."""
    arguments = ["folders", str(sliding), str(sliding), str(tmp_path / "out"), "--modality", "flow", "--flow-bound", "8"]
    assert cli.main(["prepare", *arguments, "--frames", "6", "--size", "32", "--windows", "0", "--workers", "1"]) == 0
    data = Shards(tmp_path / "out")
    assert (data.modality, data.index["channels"], data.shape) == ("rgb", "flow", (6, 32, 32, 3))
    assert data.index["flow"] == {"method": "dis", "bound": 8.0, "seconds": 0.1, "stack": None}
    for clip, label in zip(data.read(np.arange(4)), data.labels("action", np.arange(4)), strict=True):
        pixels = np.median(clip[1:, 8:-8, 8:-8].reshape(-1, 3), axis=0) * (8 / 127) - 128 * (8 / 127)
        way = 1 if data.classes["action"][label] == "right" else -1
        assert np.abs(pixels - [2 * way, 0, 2]).max() < 0.2


def test_modalities_of_the_same_frames(tmp_path, sliding):
    """RGB, its changes and a stack of flow of the same clips: joined, and each what its definition makes of the frames."""
    sets = {"rgb": [], "rgb_difference": ["--difference-stack", "2"], "flow": ["--flow-stack", "5", "--flow-bound", "8"]}
    common = ["--frames", "3", "--size", "32", "--windows", "0", "--workers", "1"]
    for modality, options in sets.items():
        arguments = ["folders", str(sliding), str(sliding), str(tmp_path / modality), "--modality", modality]
        assert cli.main(["prepare", *arguments, *common, *options]) == 0
    data = open_sets(",".join(str(tmp_path / modality) for modality in sets))
    assert data.modalities == {"rgb": (3, 32, 32, 3), "rgb_difference": (3, 32, 32, 6), "flow": (3, 32, 32, 10)}
    assert [one.index["channels"] for one in data.sets.values()] == ["RGB", "rgb_difference", "flow"]
    assert data.sets["rgb_difference"].index["difference"] == {"stack": 2, "seconds": 0.04}
    for row in range(4):
        clips = {modality: values[0] for modality, values in data.inputs([row]).items()}
        decoded = video.decode(video.index(sliding / data.clips["video"][row]), range(30), (32, 32), "squash")
        frames = [frame.copy() for frame in decoded]
        for place, number in enumerate((5, 15, 25)):
            np.testing.assert_array_equal(clips["rgb"][place], frames[number])
            for change in (0, 1):
                expected = 128 + (frames[number - 1 + change].astype(float) - frames[number - 2 + change]) / 2
                assert np.abs(clips["rgb_difference"][place][..., 3 * change : 3 * change + 3] - expected).max() <= 0.5
        way = 1 if data.classes["action"][data.labels("action", row)] == "right" else -1
        found = np.median(clips["flow"][-1, 8:-8, 8:-8].reshape(-1, 10), axis=0) * (8 / 127) - 128 * (8 / 127)
        assert np.abs(found - np.tile([2 * way, 0], 5)).max() < 0.2


def test_sets_of_other_frames_are_not_joined(tmp_path, sliding):
    for name, options in (("rgb", []), ("rgb_difference", ["--rule", "dense"])):
        arguments = ["folders", str(sliding), str(sliding), str(tmp_path / name), "--modality", name, *options]
        assert cli.main(["prepare", *arguments, "--frames", "3", "--size", "16", "--windows", "0", "--workers", "1"]) == 0
    with pytest.raises(InputError, match="rgb_difference has the frames .*'dense'.* of a segment, .*'uniform'.*; prepare both alike"):
        open_sets(f"{tmp_path / 'rgb'},{tmp_path / 'rgb_difference'}")


def test_flow_options_need_flow(tmp_path, clips, capsys):
    arguments = ["prepare", "folders", str(clips), str(clips), str(tmp_path / "out")]
    assert cli.main([*arguments, "--flow-bound", "8"]) == 1
    assert "--flow-bound goes with --modality flow" in capsys.readouterr().err
    assert cli.main([*arguments, "--modality", "flow", "--difference-stack", "2"]) == 1
    assert "--difference-stack goes with --modality rgb_difference" in capsys.readouterr().err
    assert cli.main([*arguments, "--modality", "flow", "--flow-bound", "0"]) == 1
    assert "flow bound is 0; give more than 0" in capsys.readouterr().err and not (tmp_path / "out").exists()
