"""Windows along a video: causal, like the device's, and each frame decoded once."""

import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egokeras.data import sliding_windows, staging, video
from egokeras.data.optical_flow import Flow
from egokeras.data.preparation import Preparation
from egokeras.device import stream
from egokeras.errors import InputError


def slow(seconds, duration, step, clip_seconds, frames):
    """Row by row: the frames from `clip_seconds` before the end up to it, the first one repeated for what lies before the video."""
    rate, rows = len(seconds) / duration, []
    for row in range(1, 10**6):
        end = row * step
        if end > duration + 1e-9:
            return rows
        shown = [number for number, time in enumerate(seconds) if end - clip_seconds - 0.001 <= time <= end + 1e-6]
        shown = [0] * round(max(0.0, clip_seconds - end) * rate) + shown
        shown = shown or [max(number for number, time in enumerate(seconds) if time <= end)]
        rows.append([shown[(2 * part + 1) * len(shown) // (2 * frames)] for part in range(frames)])


@settings(max_examples=60, deadline=None)
@given(fps=st.sampled_from([3, 10, 25, 30, 60000 / 1001]), count=st.integers(1, 120), step=st.sampled_from([0.1, 0.25, 0.4]),
       clip=st.sampled_from([0.05, 0.5, 1.45, 3.0]), frames=st.integers(1, 12))  # fmt: skip
def test_numbers_equal_the_slow_loop(fps, count, step, clip, frames):
    seconds, duration = np.arange(count) / fps, count / fps
    found = sliding_windows.frame_numbers(seconds, duration, step=step, clip_seconds=clip, frames=frames)
    assert found.shape == (int(duration / step + 1e-6), frames) and found.tolist() == slow(seconds, duration, step, clip, frames)
    assert (np.diff(found, axis=0) >= 0).all() and (np.diff(found, axis=1) >= 0).all()
    ends = step * np.arange(1, len(found) + 1)
    assert (seconds[found] <= ends[:, None] + 1e-6).all()  # nothing later is seen


def test_windows_are_those_of_the_device():
    """A stream that predicts every quarter of a second shows the model the same frames, once its first window is full.

    At 40 frames a second, where a frame comes at the very end of each; elsewhere the device waits for the next.
    """
    seconds, shown = np.arange(200) / 40, []
    model = types.SimpleNamespace(
        shape=(5, 1, 1, 3),
        stored=(1, 1),
        clip_seconds=1.25,
        resize="squash",
        predict=lambda clip: shown.append(clip[:, 0, 0, 0].tolist()) or {},
    )
    device = stream.Stream(model, 0.25)
    for number, second in enumerate(seconds):
        device.add(second, np.full((1, 1, 3), number, np.uint8))
    found = sliding_windows.frame_numbers(seconds, 5.0, step=0.25, clip_seconds=1.25, frames=5)
    assert found[4:19].tolist() == shown and len(shown) == 15


def test_before_the_video_stands_its_first_frame():
    found = sliding_windows.frame_numbers(np.arange(50) / 25, 2.0, step=0.25, clip_seconds=1.0, frames=4)
    assert found[0].tolist() == [0, 0, 0, 3] and found[1, :2].tolist() == [0, 0] and found[4].tolist() == [10, 16, 22, 28]


def test_videos_are_found_by_name(tmp_path):
    for name in ("P01/P01_01.MP4", "b.c.mkv", ".hidden.mp4", ".cache/a.mp4", "notes.txt", "frames/P02/frame_0000000001.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = sliding_windows.find(tmp_path, frame_rate=50.0)
    assert {name: path.relative_to(tmp_path).as_posix() for name, (path, _) in found.items()} == {
        "P01/P01_01": "P01/P01_01.MP4", "b.c": "b.c.mkv", "frames/P02": "frames/P02",
    }  # fmt: skip
    assert found["frames/P02"][1].rates == (50.0,) and found["b.c"][1] is None
    assert list(sliding_windows.find(tmp_path / "frames" / "P02", 50.0)) == ["P02"]


@pytest.mark.parametrize(
    ("files", "said"),
    [(["notes.txt"], "no video in it"), (["a.mp4", "a.avi"], "of one name"), (["v/frame_0000000001.jpg"], "which have no times")],
)
def test_folders_that_cannot_be_used(files, said, tmp_path):
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=said):
        sliding_windows.find(tmp_path)
    with pytest.raises(InputError, match="is not a folder"):
        sliding_windows.find(tmp_path / "nowhere")


def test_frames_and_their_flow(tmp_path, make_video, number_of):
    index = sliding_windows.probe(make_video(tmp_path / "a.mp4", count=40), None)
    numbers = np.array([0, 7, 21, 39])
    pictures = sliding_windows.decode(index, numbers, Preparation(frames=2, size=40))
    assert [number_of(picture) for picture in pictures] == numbers.tolist()
    settings = Preparation(frames=2, size=40, flow=Flow(bound=5.0))
    grey = [staging.cv2.cvtColor(picture.copy(), staging.cv2.COLOR_RGB2GRAY) for picture in video.decode(index, range(40), 40)]
    staging.cv2.setNumThreads(1)
    times = index.seconds
    before = [max(number - 3, 0) for number in numbers]  # 0.12 s, as near to 0.1 s as 0.08 s is
    expected = [settings.flow.picture(grey[a], grey[b], times[b] - times[a]) for a, b in zip(before, numbers, strict=True)]
    found = sliding_windows.decode(index, numbers, settings)
    assert (found == np.stack(expected)).all() and len(np.unique(found)) > 10


def test_damage_is_a_reason(tmp_path, make_video):
    path = make_video(tmp_path / "a.mp4", count=40)
    index = sliding_windows.probe(path, None)
    path.unlink()
    assert "No such file" in sliding_windows.decode(index, [3], Preparation(frames=1, size=8))
    (tmp_path / "b.mp4").write_text("not a video")
    assert "cannot be decoded" in sliding_windows.probe(tmp_path / "b.mp4", None)
