"""Sliding windows: which frames, when; and resizing that equals what the training data went through."""

import sys
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egokeras.data import clip_sampling, video
from egokeras.device import stream
from egokeras.errors import InputError


class Recorder(types.SimpleNamespace):
    """Stands for an artifact; a picture's first pixel is its number, and the prediction is the numbers of the clip's frames."""

    shape, stored = (4, 2, 2, 3), (2, 2)
    resize = "squash"
    clip_seconds = 1.0

    def predict(self, clip):
        return clip[:, 0, 0, 0].tolist()


def picture(number):
    return np.full((2, 2, 3), number, np.uint8)


def play(times, stride=0.5):
    """[(time, numbers of the frames)] of the predictions, and the stream."""
    window = stream.Stream(Recorder(), stride)
    found = [(time, window.add(time, picture(number))) for number, time in enumerate(times)]
    return [(time, numbers) for time, numbers in found if numbers is not None], window


def test_the_middle_of_what_was_stored_is_seen():
    class Cut(Recorder):
        shape, stored, resize = (2, 2, 2, 3), (4, 6), "crop"

        def predict(self, clip):
            return clip[:, :, :, 0].tolist()

    window = stream.Stream(Cut(), 1.0)
    whole = np.arange(24, dtype=np.uint8).reshape(4, 6, 1).repeat(3, 2)
    for number in range(2):
        window.add(0.9 * number, whole)
    assert window.finish() == [[[8, 9], [14, 15]]] * 2


def test_predicts_when_due_on_the_last_second():
    found, window = play([number / 10 for number in range(25)])
    # 11 frames from 0 to 1 s, both included: the middles of four equal parts
    assert found == [(1.0, [1, 4, 6, 9]), (1.5, [6, 9, 11, 14]), (2.0, [11, 14, 16, 19])]
    assert window.span == (1.4, 2.4)
    assert window.finish() is None


def test_a_short_stream_is_predicted_at_its_end():
    found, window = play([0.0, 0.1])
    assert found == []
    assert window.finish() == [0, 0, 1, 1]
    assert stream.Stream(Recorder(), 1).finish() is None


def test_a_slow_device_skips_what_it_missed():
    found, _ = play([0, 0.4, 0.8, 3.3, 3.4, 3.5])
    assert [time for time, _ in found] == [3.3, 3.5]


def test_memory_is_one_window():
    _, window = play([number / 100 for number in range(250)])
    assert len(window.frames) == 101


@given(fps=st.sampled_from([25, 29.97, 50, 59.94]), seconds=st.sampled_from([0.5, 1.0, 2.1]), frames=st.integers(1, 12))
def test_a_window_samples_as_a_training_segment_does(fps, seconds, frames):
    artifact = Recorder(shape=(frames, 2, 2, 3), clip_seconds=seconds)
    window = stream.Stream(artifact, 1.0)
    times = np.arange(200) / fps
    time, found = next((t, n) for t, n in ((t, window.add(t, picture(i))) for i, t in enumerate(times)) if n is not None)
    inside = np.flatnonzero((times >= time - seconds - stream.ROUNDING) & (times <= time))
    assert found == inside[clip_sampling.uniform(len(inside), frames)].tolist()
    assert seconds - stream.ROUNDING <= time < seconds + 1 / fps


@given(count=st.integers(1, 200), frames=st.integers(1, 40))
def test_uniform_is_ascending_even_and_inside(count, frames):
    numbers = stream.uniform(count, frames)
    assert len(numbers) == frames
    assert numbers[0] >= 0
    assert numbers[-1] < count
    assert set(np.diff(numbers)) <= {count // frames, count // frames + 1}
    if count >= frames:
        np.testing.assert_array_equal(numbers, clip_sampling.uniform(count, frames))


@pytest.mark.parametrize("stride", [0, -1, float("nan"), float("inf")])
def test_refuses_a_stride_that_goes_nowhere(stride):
    with pytest.raises(InputError, match="stride"):
        stream.Stream(Recorder(), stride)


SIZES = [(48, 64), (64, 48), (37, 53), (24, 24), (24, 100), (10, 7), (100, 11), (20, 40)]


@pytest.mark.parametrize("mode", ["squash", "crop", "pad"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("without_cv2", [False, True])
def test_resizes_as_the_training_data_was(mode, size, without_cv2, monkeypatch):
    source = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    expected = video.resize(source, 24, mode)
    if without_cv2:
        monkeypatch.setitem(sys.modules, "cv2", None)
    found = stream.resize(source, 24, 24, mode)
    assert (found.shape, found.dtype) == ((24, 24, 3), np.uint8)
    difference = found.astype(int) - expected
    assert np.abs(difference).max() <= without_cv2
    assert np.abs(difference.mean()) < 0.2


def test_resizes_to_oblongs(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    source = np.zeros((4, 4, 3), np.uint8)
    source[:, 2:] = 200
    assert stream.resize(source, 2, 4)[:, :, 0].tolist() == [[0, 0, 200, 200]] * 2
    assert stream.resize(source, 2, 4, "pad")[0, :, 0].tolist() == [0, 0, 200, 0]
    assert stream.resize(source, 2, 4, "crop")[:, :, 0].tolist() == [[0, 0, 200, 200]] * 2
