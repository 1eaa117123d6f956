"""What a worker does with one video; `test_prepare` covers the rest on the way."""

import errno
import pathlib

import numpy as np
import pytest

from egokeras.data import clip_sampling, staging, video
from egokeras.data.optical_flow import Flow
from egokeras.data.preparation import Preparation
from egokeras.data.staging import Item
from egokeras.errors import InputError


def targets(folder, count=16):
    return [str(folder / f"clip-{number}") for number in range(count)]


@pytest.fixture
def moving(tmp_path, make_video):
    return make_video(tmp_path / "a.mp4", count=100, options={"g": "12"})


def test_clips_that_overlap_are_the_frames_of_each(tmp_path, moving, number_of):
    settings = Preparation(frames=5, size=40)
    items = [Item(uid=str(number), start=start, stop=stop) for number, (start, stop) in enumerate([(0, 3), (0.4, 1), (0.5, 0.6), (2, 3.9)])]
    for _ in range(2):  # the second time in memory that held other clips
        results = staging.stage(str(moving), items, settings, targets(tmp_path))
    for item, result, target in zip(items, results, targets(tmp_path), strict=False):
        clip = np.fromfile(target, np.uint8).reshape(settings.shape)
        shown = video.index(moving).span(item.start, item.stop)
        rng = np.random.default_rng([0, staging.crc32(item.uid.encode())])
        expected = [shown[frame] for frame in clip_sampling.uniform(len(shown), 5, rng)]
        assert [number_of(picture) for picture in clip] == expected
        assert (result.start, result.stop, result.size) == (item.start, item.stop, clip.size)
        assert result.checksum == staging.crc32(clip.tobytes())


def test_dense_clips_are_frames_in_a_row(tmp_path, moving, number_of):
    settings = Preparation(frames=12, size=20, width=36, rule="dense", stride=3, resize="crop")
    spans = [(0, 3.9), (1, 1.4), (2.0, 3.0)]  # the second has 11 frames, the third 26
    items = [Item(uid=str(number), start=start, stop=stop) for number, (start, stop) in enumerate(spans)]
    results = staging.stage(str(moving), items, settings, targets(tmp_path))
    index = video.index(moving)
    for item, result, target in zip(items, results, targets(tmp_path), strict=False):
        clip = np.fromfile(target, np.uint8).reshape(settings.shape)
        assert settings.shape == (12, 20, 36, 3)
        shown = index.span(item.start, item.stop)
        frames = [shown[frame] for frame in clip_sampling.dense(len(shown), 12, 3)]
        expected = list(video.decode(index, sorted(set(frames))))
        for picture, frame in zip(clip, frames, strict=True):
            whole = expected[sorted(set(frames)).index(frame)]
            assert np.abs(picture.astype(int) - video.resize(whole, (20, 36), "crop")).mean() < 3
        assert result.start == pytest.approx(index.seconds[min(frames)]) and result.stop == pytest.approx(
            index.seconds[max(frames)] + 3 / 25
        )
    first = results[0]
    assert first.stop - first.start == pytest.approx(12 * 3 / 25)
    with pytest.raises(InputError, match="stride is 2, but rule 'uniform' takes frames from all of a segment"):
        Preparation(stride=2)


def test_clips_of_flow_are_that_of_their_frames(tmp_path, moving):
    """Also where the frame that motion is measured from is another clip's or lies before the clip; nothing is before the first frame."""
    settings = Preparation(frames=5, size=40, flow=Flow(bound=5.0, seconds=0.08))
    items = [Item(uid=str(number), start=start, stop=stop) for number, (start, stop) in enumerate([(0, 3), (0.4, 1), (2, 3.9)])]
    staging.cv2.setNumThreads(1)
    results = staging.stage(str(moving), items, settings, targets(tmp_path))
    index = video.index(moving)
    grey = [staging.cv2.cvtColor(picture.copy(), staging.cv2.COLOR_RGB2GRAY) for picture in video.decode(index, range(100), 40)]
    for item, result, target in zip(items, results, targets(tmp_path), strict=False):
        shown = index.span(item.start, item.stop)
        clip = np.fromfile(target, np.uint8).reshape(settings.shape)
        for picture, place in zip(clip, clip_sampling.uniform(len(shown), 5), strict=True):
            number, seconds = shown[place], index.seconds
            before = max(number - 2, 0)
            assert (picture == settings.flow.picture(grey[before], grey[number], seconds[number] - seconds[before])).all()
        assert result.checksum == staging.crc32(clip.tobytes()) and len(np.unique(clip)) > 10


def test_what_was_cut_before_the_damage_is_not_cut_again(tmp_path, moving, monkeypatch):
    """The pass meets damage at frame 60: the clip before it is done, the one with it is lost, the one behind is cut alone."""
    decode, passes = video.decode, []

    def damaged(index, numbers, *how):
        passes.append(len(numbers))
        for number, picture in zip(numbers, decode(index, numbers, *how), strict=True):
            if number == 60:
                raise video.VideoError(index.path, "damaged")
            yield picture

    monkeypatch.setattr(video, "decode", damaged)
    items = [Item(uid=str(start), start=start, stop=start + 0.5) for start in (0.0, 2.0, 3.0)]
    results = staging.stage(str(moving), items, Preparation(frames=13, size=8), targets(tmp_path))
    assert [isinstance(result, staging.Staged) for result in results] == [True, False, True] and results[1] == "damaged"
    assert passes == [39, 13, 13]
    assert [(tmp_path / f"clip-{number}").exists() for number in range(3)] == [True, False, True]


def test_a_full_disk_is_not_the_videos_fault(tmp_path, moving, monkeypatch):
    def full(path, data):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "write_bytes", full)
    with pytest.raises(InputError, match="No space left on device; free some space and run the same command again to go on"):
        staging.stage(str(moving), [Item(uid="a", stop=1.0)], Preparation(frames=2, size=8), targets(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_a_clip_too_large_for_the_memory_costs_itself(tmp_path, moving, monkeypatch):
    def hungry(*_):
        raise MemoryError

    monkeypatch.setattr(staging.shards, "encode_jpeg", hungry)
    results = staging.stage(str(moving), [Item(uid="a", stop=1.0)], Preparation(frames=2, size=8, encoding="jpeg"), targets(tmp_path))
    assert results == ["more memory needed than a worker process has"]


def test_a_file_that_is_no_video_is_looked_at_once(tmp_path, monkeypatch):
    (tmp_path / "broken.mp4").write_text("not a video")
    looks, look = [], video.index
    monkeypatch.setattr(video, "index", lambda path: looks.append(path) or look(path))
    items = [Item(uid=str(number), start=number, stop=number + 1) for number in range(16)]
    reasons = staging.stage(str(tmp_path / "broken.mp4"), items, Preparation(frames=2, size=8), targets(tmp_path))
    assert len(looks) == 1 and len(reasons) == 16 and all("cannot be decoded" in reason for reason in reasons)
