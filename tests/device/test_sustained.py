"""One stream: which frames miss their time, percentiles and drift against values by hand, stages, energy, machines that say nothing."""

import types

import av
import numpy as np
import pytest

from egokeras.device import sustained
from egokeras.device.sustained import Pictures, pace, sustain


class Clock:
    """Time that goes on only when somebody works or sleeps."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def paced(durations, fps, seconds):
    """(numbers of the frames that were looked at, frames, missed, seconds) of work that takes so long each time, then no time."""
    clock, seen, left = Clock(), [], iter(durations)

    def work(number):
        seen.append(number)
        clock.now += next(left, 0.0)

    frames, missed = pace(work, seconds, fps, clock, clock.sleep)
    return seen, frames, missed, clock.now - 100


def test_a_fast_machine_sees_every_frame_when_it_comes():
    assert paced([0.05] * 10, 10, 1.0) == ([*range(10)], 10, 0, pytest.approx(1.0))


def test_a_late_frame_misses_its_time_and_those_that_pass_meanwhile_too():
    """0.35 s of work on frame 0: frames 1 and 2 pass unseen, frame 3 is begun 0.05 s late and still done in time."""
    seen, frames, missed, seconds = paced([0.35, 0.04], 10, 1.0)
    assert (seen, frames, missed, seconds) == ([0, *range(3, 10)], 10, 3, pytest.approx(1.0))


def test_work_a_little_too_slow_misses_every_frame():
    seen, frames, missed, _ = paced([0.15] * 100, 10, 2.0)
    assert missed == frames == 20 and len(seen) < 15


def test_work_past_the_end_counts_what_was_to_come():
    assert paced([9.0], 10, 1.0)[1:3] == (10, 10)


def test_without_a_rate_the_next_begins_at_once():
    clock = Clock()
    assert pace(lambda _: clock.sleep(0.3), 1.0, None, clock, clock.sleep) == (4, None)


def test_percentiles_and_drift_by_hand():
    assert sustained.percentiles(list(range(101))) == {"p50_ms": 50, "p90_ms": 90, "p95_ms": 95, "p99_ms": 99}
    throttled = [10.0] * 50 + [15.0] * 50
    assert sustained._drift(throttled) == 1.5
    assert sustained._drift(throttled[:19]) is None


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(sustained, "time", types.SimpleNamespace(perf_counter=clock, sleep=clock.sleep))
    monkeypatch.setattr(pace, "__defaults__", (None, clock, clock.sleep))
    return clock


def test_an_inference_every_stride(clock, tmp_path):
    """30 frames a second for 2 s and an inference of 10 ms every 0.5 s: 4 answers, none late."""
    found = sustain(lambda: clock.sleep(0.01), 2.0, 30, 0.5, root=tmp_path)
    assert (found["frames"], found["answers"], found["missed"]) == (60, 4, 0)
    assert found["p50_ms"] == found["p99_ms"] == pytest.approx(10)
    assert found["stages"] == {"model": {"p50_ms": pytest.approx(10), "p95_ms": pytest.approx(10)}}
    assert found["energy"] == {} and found["before"] == {"governor": None, "mhz": [], "temperature_c": {}}


def test_a_slow_inference_costs_the_frames_it_holds_up(clock, tmp_path):
    """99 ms at 30 frames a second: of every 15 frames two miss their time, the third is late but done, and the stride is kept."""
    found = sustain(lambda: clock.sleep(0.099), 2.0, 30, 0.5, root=tmp_path)
    assert (found["answers"], found["missed"]) == (4, round(2 * 4 / 60, 4))


def test_after_a_late_inference_the_stride_goes_on_as_before(clock, tmp_path):
    """The first takes 1.2 s of a stride of 0.5 s: the next are at 1.2, 1.5, 2.0 and 2.5 s; none is made up for."""
    durations = iter([0.0, 1.2])  # one makes ready
    assert sustain(lambda: clock.sleep(next(durations, 0.0)), 3.0, 10, 0.5, root=tmp_path)["answers"] == 5


def test_pictures_are_decoded_and_resized_in_every_frame(clock, tmp_path, monkeypatch):
    shapes = []

    def resize(picture, height, width, mode):
        clock.sleep(0.002)
        shapes.append((picture.shape, height, width, mode))

    monkeypatch.setattr(sustained, "resize", resize)
    found = sustain(lambda: clock.sleep(0.01), 1.0, 10, None, Pictures(size=(48, 64)), (12, 16), "crop", root=tmp_path)
    assert set(shapes) == {((48, 64, 3), 12, 16, "crop")}
    assert len(shapes) == 1 + 10  # the first makes ready
    assert found["stages"] == {"resize": {"p50_ms": 2, "p95_ms": 2}, "model": {"p50_ms": 10, "p95_ms": 10}}
    assert found["p50_ms"] == pytest.approx(12)


def test_energy_is_per_inference(clock, tmp_path, monkeypatch):
    """3 J at rest in the 2 s before, 20 J in the stream of 4 s and 8 answers."""

    class Meter:
        used = iter([(3.0, 2.0), (20.0, 4.0)])

        def __init__(self, root):
            joules, self.seconds = next(self.used)
            self.joules = {"VDD_IN": joules}

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(sustained, "Meter", Meter)
    found = sustain(lambda: None, 4.0, 2, root=tmp_path)
    assert found["energy"] == {"VDD_IN": {"joules": 20, "watts": 5, "idle_watts": 1.5, "mj_per_inference": 2500}}


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "three.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=10)
        stream.height, stream.width, stream.pix_fmt = 24, 32, "bgr0"
        for level in (10, 20, 30):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((24, 32, 3), (level, 0, 0), np.uint8), format="rgb24")))
        output.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("absent", "name"), [((), "PyAV"), (("av",), "OpenCV"), (("av", "cv2"), None)])
def test_a_video_is_decoded_again_and_again_by_what_there_is(video, absent, name, monkeypatch):
    for module in absent:
        monkeypatch.setitem(__import__("sys").modules, module, None)
    pictures = Pictures(video, size=(2, 2))
    assert pictures.decoder == name and pictures
    found = [pictures.read() for _ in range(4)]
    found = [picture.to_ndarray(format="rgb24") if name == "PyAV" else picture for picture in found]
    reds = [int(picture[0, 0, 0]) for picture in found]
    assert reds == [10, 20, 30, 10] if name else found[0].shape == (2, 2, 3)


def test_without_a_video_or_a_size_there_are_no_pictures():
    assert not Pictures()
