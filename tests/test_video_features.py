"""Features along time: right rows, nothing of the future, equal bytes after an interruption, damage in quarantine."""

import csv
import json

import av
import numpy as np
import pytest
from zlib_ng.zlib_ng import crc32

from egokeras import video_features
from egokeras.data import feature_files, sliding_windows, video
from egokeras.data.preparation import Preparation
from egokeras.errors import InputError
from egokeras.video_features import extract


def write_video(path, count, rate=20, seed=0):
    """A video whose brightness changes at random from frame to frame."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"g": "10"})
        stream.width = stream.height = 32
        for _ in range(count):
            picture = np.full((32, 32, 3), random.integers(30, 220), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Four videos of 0.2 to 6 s, at two rates, one in a folder of its own."""
    folder = tmp_path_factory.mktemp("videos")
    for number, (name, count, rate) in enumerate([("a.mp4", 90, 20), ("deep/b.mp4", 150, 25), ("c.mp4", 60, 20), ("short.mp4", 4, 20)]):
        write_video(folder / name, count, rate, number)
    return folder


@pytest.fixture(autouse=True)
def in_this_process(request, monkeypatch):
    """Tasks of the workers one after another, the last of two first; `tests/commands/test_features.py` has real workers."""

    def results(tasks, **_):
        for number in sorted(range(len(tasks)), key=lambda number: number ^ 1):
            if number < len(tasks):
                yield number, tasks[number]()

    monkeypatch.setattr(video_features.worker_pool, "results", results)


class Brightness:
    """A recogniser whose features are the mean brightness of each frame of a window, and of the frames before and after the first."""

    settings, clip_seconds, sha256, artifact, width = Preparation(frames=5, size=8), 1.0, "0" * 64, None, 5

    def __init__(self, fails_at=None):
        self.seen, self.windows, self.fails_at = 0, 0, fails_at

    def of_frames(self, pictures):
        self.seen += len(pictures)
        return pictures.mean((1, 2, 3))

    def of_windows(self, windows):
        self.windows += len(windows)
        if self.fails_at is not None and self.windows > self.fails_at:
            raise KeyboardInterrupt
        return windows


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_rows_are_the_windows_that_end_there(tmp_path, videos, monkeypatch):
    """Against each frame decoded by itself; the parts that workers decode end in the middle of windows."""
    monkeypatch.setattr(video_features, "BATCH", 2)
    monkeypatch.setattr(video_features, "CHUNK_BYTES", 12 * 8 * 8 * 3)
    recogniser = Brightness()
    summary = extract(recogniser, videos, tmp_path / "out")
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    assert (index["format"], index["modality"], index["step"], index["features"], index["channels"]) == (1, "rgb_features", 0.25, 5, "RGB")
    assert {name: found["rows"] for name, found in index["videos"].items()} == {"a": 18, "c": 12, "deep/b": 24, "short": 0}
    needed = 0
    for name, described in index["videos"].items():
        features = np.load(tmp_path / "out" / f"{name}.npy")
        assert features.shape == (described["rows"], 5) and features.dtype == np.float16
        assert described["crc32"] == crc32(features)
        found = video.index(videos / f"{name}.mp4")
        frames = [picture.mean() for picture in video.decode(found, range(len(found.ticks)), 8)]
        plan = sliding_windows.frame_numbers(found.seconds, found.duration, step=0.25, clip_seconds=1.0, frames=5)
        assert np.abs(features - np.array(frames)[plan]).max(initial=0) < 0.1
        needed += len(np.unique(plan))
    assert recogniser.seen == needed and recogniser.windows == 54  # every frame once
    assert (summary["videos"], summary["rows"], summary["quarantined"]) == (4, 54, 0)
    assert csv_of(tmp_path / "out") == [["video", "reason"]]


def csv_of(folder):
    with open(folder / "quarantine.csv", newline="") as file:
        return list(csv.reader(file))


def test_the_future_does_not_matter(tmp_path, videos):
    """Rows up to 2 s are the same in a video that ends there."""
    write_video(tmp_path / "cut" / "a.mp4", 41, 20, 0)
    whole, cut = (extract(Brightness(), folder, tmp_path / f"out-{n}") for n, folder in enumerate((videos, tmp_path / "cut")))
    features = [np.load(f"{found['path']}/a.npy") for found in (whole, cut)]
    assert len(features[1]) == 8 and np.abs(features[0][:8] - features[1]).max() < 4  # pixels differ: another encoding


def test_observe_takes_them(tmp_path, videos):
    """Row i is known at (i + 1) step: frame i + 1 of the source, at 4 per second."""
    extract(Brightness(), videos, tmp_path / "out")
    source = feature_files.open_features(tmp_path / "out")
    assert source.rate == 4 and source.modality == "rgb_features" and source.width("a") == 5 and source.width("nothing") is None
    found, there = source.read("a.mp4", np.array([1, 18, 19]))
    assert there.tolist() == [True, True, False]
    assert (found == np.load(tmp_path / "out" / "a.npy")[[0, 17]]).all()


@pytest.mark.parametrize("after", [0, 20, 40, 53])
def test_an_interruption_changes_nothing(after, tmp_path, videos, capsys):
    extract(Brightness(), videos, tmp_path / "at-once")
    with pytest.raises(KeyboardInterrupt):
        extract(Brightness(fails_at=after), videos, tmp_path / "out")
    done = sorted(path.stem for path in (tmp_path / "out").rglob("*.npy"))
    assert not (tmp_path / "out" / "index.json").exists() and len(done) == (1 if after == 0 else 2 if after == 20 else 3)
    (tmp_path / "out" / ".a.npy.abcd1234").touch()  # as a kill leaves it
    again = Brightness()
    extract(again, videos, tmp_path / "out")
    assert content(tmp_path / "out") == content(tmp_path / "at-once")
    assert again.windows == {0: 54, 20: 36, 40: 24, 53: 24}[after]
    assert f"going on: {len(done)} of 4 videos are done" in capsys.readouterr().err


def test_damaged_videos_cost_only_themselves(tmp_path, videos):
    folder = tmp_path / "videos"
    for name in ("a", "c"):
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.mp4").write_bytes((videos / f"{name}.mp4").read_bytes())
    (folder / "b.mp4").write_text("not a video")
    damaged = bytearray((folder / "a.mp4").read_bytes())
    packet = video_packet(folder / "a.mp4", 50)
    damaged[packet : packet + 40] = b"\xff" * 40
    (folder / "a.mp4").write_bytes(damaged)
    summary = extract(Brightness(), folder, tmp_path / "out")
    assert (summary["videos"], summary["quarantined"]) == (1, 2)
    (_, (first, reason), (second, _)) = csv_of(tmp_path / "out")
    assert (first, second) == ("a", "b") and reason and not (tmp_path / "out" / "a.npy").exists()
    assert list(json.loads((tmp_path / "out" / "index.json").read_text())["videos"]) == ["c"]


def video_packet(path, number):
    """Place in the file of the packet of a frame."""
    with av.open(str(path)) as container:
        return [packet.pos for packet in container.demux(video=0) if packet.size][number] + 8


def test_a_lost_worker_is_told(tmp_path, videos, monkeypatch):
    """The second try of a task that its worker did not survive counts, whether it went well or not."""
    lost = video_features.worker_pool.Lost("ended the worker process (SIGSEGV)")

    def results(tasks, split, **_):
        for number, task in enumerate(tasks):
            kind = task.func.__name__
            yield number, [lost] if kind == "decode" and task.args[0].path.stem == "a" else [part() for part in split(number)]

    monkeypatch.setattr(video_features.worker_pool, "results", results)
    summary = extract(Brightness(), videos, tmp_path / "out")
    assert summary["videos"] == 3 and csv_of(tmp_path / "out")[1] == ["a", "ended the worker process (SIGSEGV)"]


def test_folders_of_something_else(tmp_path, videos, capsys):
    out = tmp_path / "out"
    before = extract(Brightness(), videos, out)
    assert extract(Brightness(), videos, out) == before and "complete already" in capsys.readouterr().err
    with pytest.raises(InputError, match="made with another step; choose another folder"):
        extract(Brightness(), videos, out, step=0.5)
    other = Brightness()
    other.sha256 = "1" * 64
    with pytest.raises(InputError, match="made with another model;"):
        extract(other, videos, out)
    with pytest.raises(InputError, match="is not empty and not an unfinished"):
        extract(Brightness(), videos, videos)
    with pytest.raises(InputError, match="step is nan"):
        extract(Brightness(), videos, out, step=float("nan"))


def test_videos_none_of_which_can_be_used(tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_text("not a video")
    with pytest.raises(InputError, match="none of 1 videos could be used; the first, 'a': cannot be decoded"):
        extract(Brightness(), tmp_path / "videos", tmp_path / "out")


def test_features_beyond_float16(tmp_path, videos):
    loud = Brightness()
    loud.of_windows = lambda windows: windows * 1e6
    with pytest.raises(InputError, match="float16 cannot hold the feature"):
        extract(loud, videos, tmp_path / "out")
