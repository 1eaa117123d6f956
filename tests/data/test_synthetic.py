"""The small world: what it promises about its files, its annotations and the direction of time."""

import csv
import dataclasses
import fractions
import itertools
import os
import pathlib
import subprocess
import sys
import time

import av
import numpy as np
import pytest

from egokeras.data import synthetic, synthetic_scene
from egokeras.data.epic_kitchens import read_epic100
from egokeras.data.segments import check
from egokeras.data.synthetic import Action, Video, World
from egokeras.data.synthetic_motion import AT_SINK, REVERSED, ease, perform
from egokeras.errors import InputError

SMALL = World(participants=2, held_out=1, videos_per_participant=2, seconds=(6.0, 7.0), size=(64, 48), seed=3)
PAIRS = [
    *(("open", "close", noun) for noun in ("fridge", "cupboard", "drawer", "jar")),
    *(("take", "put", noun) for noun in ("cup", "knife", "bread")),
    *(("pour-out", "fill", noun) for noun in ("bowl", "pan", "bottle")),
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The world for tests, rendered."""
    return World.tiny().render(tmp_path_factory.mktemp("world") / "tiny")


@pytest.fixture(scope="module")
def demo():
    """The plan of the demo's videos."""
    return World.demo().videos()


def test_a_world_without_held_out_people_has_no_validation_file(tmp_path):
    out = dataclasses.replace(SMALL, participants=1, held_out=0, videos_per_participant=1).render(tmp_path / "world", workers=1)
    assert not (out / "EPIC_100_validation.csv").exists()
    assert len(read_epic100([out / "EPIC_100_train.csv"]).segments) > 0


def _contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _still(*steps, fps=25, away=frozenset(), amounts=None):
    """A video without ego-motion of actions of 2 s at 1, 4, 7 ... seconds."""
    amounts = dict.fromkeys(synthetic.NOUNS, 0.0) | (amounts or {})
    actions = [Action(start=1 + 3 * i, stop=3 + 3 * i, verb=v, noun=n, amounts=amounts, away=away) for i, (v, n) in enumerate(steps)]
    rate = fractions.Fraction(fps)
    seconds = 3.0 * len(steps) + 1
    return Video(
        name="P01_01", participant="P01", split="train", fps=rate, seconds=seconds, size=(96, 72), seed=(0, 0, 0), actions=tuple(actions)
    )


def test_equal_worlds_give_equal_bytes_whatever_the_number_of_processes(tmp_path):
    one = _contents(SMALL.render(tmp_path / "one", workers=1))
    two = _contents(SMALL.render(tmp_path / "two", workers=2))
    assert one == two
    other = _contents(dataclasses.replace(SMALL, seed=4).render(tmp_path / "other", workers=1))
    assert all(one[path] != other[path] for path in one if path.suffix == ".mp4")


@pytest.mark.skipif(not pathlib.Path("/proc/self").exists(), reason="children are found in /proc")
def test_no_process_outlives_a_killed_rendering(tmp_path, root):
    script = f"from egokeras.data.synthetic import World\nif __name__ == '__main__':\n World().render({str(tmp_path / 'w')!r}, workers=2)"
    (tmp_path / "render.py").write_text(script)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "render.py"], env={**os.environ, "PYTHONPATH": str(root)}, stderr=subprocess.PIPE
    )
    children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + 60
    while len(list(tmp_path.rglob("*.mp4"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    alive = children.read_text().split()
    assert len(alive) >= 2
    process.kill()
    process.wait()
    while any(pathlib.Path(f"/proc/{child}").exists() for child in alive) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(pathlib.Path(f"/proc/{child}").exists() for child in alive)


def test_complete_world_is_kept_and_another_one_replaced(tmp_path, monkeypatch):
    out = SMALL.render(tmp_path / "world", workers=1)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    SMALL.render(out, workers=1)
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*")}

    def fail(path, video):
        raise OSError("disk full")

    smaller = dataclasses.replace(SMALL, videos_per_participant=1)
    with monkeypatch.context() as patch:
        patch.setattr(synthetic, "write_video", fail)
        with pytest.raises(OSError, match="disk full"):
            smaller.render(out, workers=1)
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert [path.name for path in tmp_path.iterdir()] == ["world"]
    smaller.render(out, workers=1)
    assert [path.name for path in sorted((out / "videos").iterdir())] == ["P01_01.mp4", "P02_01.mp4"]


def test_refuses_a_folder_of_something_else(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="not a rendered world"):
        SMALL.render(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("wrong", [{"size": (65, 48)}, {"held_out": 2}, {"seconds": (1.0, 9.0)}])
def test_impossible_worlds_are_refused_by_name(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        dataclasses.replace(SMALL, **wrong)


def test_videos_decode_to_the_promised_frames(tmp_path):
    out = dataclasses.replace(SMALL, participants=4, videos_per_participant=1).render(tmp_path / "world", workers=1)
    for number, path in enumerate(sorted((out / "videos").iterdir())):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == "h264"
            assert stream.average_rate == synthetic.FPS[number % 4]
            times = [frame.time for frame in container.decode(stream)]
            assert len(times) == stream.frames
            assert np.allclose(times, np.arange(len(times)) / float(stream.average_rate), atol=1e-3)
            assert 6 - 0.05 < len(times) / stream.average_rate < 7 + 0.05


def test_annotations_are_those_of_the_plan_and_of_the_dataset_imitated(tiny):
    annotations = check(read_epic100([tiny / "EPIC_100_train.csv", tiny / "EPIC_100_validation.csv"]))
    planned = [(video, action) for video in World.tiny().videos() for action in video.actions]
    assert len(annotations.segments) == len(planned) > 8
    for segment, (video, action) in zip(annotations.segments, planned, strict=True):
        assert (segment.video.split("/")[-1], segment.splits, segment.group) == (video.name, (video.split,), video.participant)
        assert (segment.start, segment.stop) == pytest.approx((action.start, action.stop), abs=0.005)
        assert (segment.labels["verb"], segment.labels["noun"]) == (action.verb, action.noun)
    assert annotations.classes["verb"] == tuple(synthetic.VERBS)
    assert annotations.classes["noun"] == tuple(synthetic.NOUNS)


def test_csv_has_the_official_columns_and_frames_of_the_file(tiny):
    with open(tiny / "EPIC_100_validation.csv") as file:
        rows = list(csv.DictReader(file))
    official = "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,stop_frame,"
    official += "narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes"
    assert ",".join(rows[0]) == official
    (video,) = {row["video_id"] for row in rows}
    with open(tiny / "EPIC_100_video_info.csv") as file:
        fps = {row["video_id"]: float(row["fps"]) for row in csv.DictReader(file)}[video]
    for row, action in zip(rows, World.tiny().videos()[-1].actions, strict=True):
        assert row["stop_timestamp"] == f"00:00:{action.stop:05.2f}"
        assert int(row["start_frame"]) - 1 == int(action.start * fps)
        assert row["all_nouns"] == f"['{action.noun}']"


def test_times_past_a_minute_carry_over():
    assert synthetic._clock(3725.5, 2) == "01:02:05.50"
    assert synthetic._clock(59.999, 2) == "00:01:00.00"


def test_demo_is_large_varied_and_held_out_by_participant(demo):
    count = {split: sum(len(video.actions) for video in demo if video.split == split) for split in ("train", "validation")}
    assert count["train"] > 380
    assert count["validation"] > 120
    train, held_out = ({video.participant for video in demo if video.split == split} for split in count)
    assert not train & held_out
    for split in count:
        actions = [action for video in demo if video.split == split for action in video.actions]
        assert {action.verb for action in actions} == set(synthetic.VERBS)
        assert {action.noun for action in actions} == set(synthetic.NOUNS)
        verbs = {noun: {action.verb for action in actions if action.noun == noun} for noun in synthetic.NOUNS}
        assert min(map(len, verbs.values())) >= 3, verbs
        assert max(sum(action.verb == verb for action in actions) for verb in synthetic.VERBS) < 0.3 * len(actions)


def test_actions_have_idle_time_between_them_and_lie_inside_the_video(demo):
    for video in demo:
        edges = [0.0] + [moment for action in video.actions for moment in (action.start, action.stop)]
        spans = np.diff(edges)
        assert np.all((spans[0::2] >= 0.49) & (spans[0::2] <= 2.01))
        assert np.all((spans[1::2] >= 0.99) & (spans[1::2] <= 3.01))
        assert edges[-1] <= video.seconds - 0.49


def test_nothing_is_done_that_the_state_of_things_does_not_allow(demo):
    for video in demo:
        amount, away = dict.fromkeys(synthetic.NOUNS, 0.0), set()
        for action in video.actions:
            verb, noun = action.verb, action.noun
            assert action.amounts == amount
            assert action.away == away
            assert (noun in away) == (verb in ("put", *AT_SINK)), (video.name, action)
            if verb in ("open", "close", "fill", "pour-out"):
                assert amount[noun] == (verb in ("close", "pour-out")), (video.name, action)
                amount[noun] = float(verb in ("open", "fill"))
            away ^= {noun} if verb in ("take", "put") else set()


@pytest.mark.parametrize(("forward", "backward", "noun"), PAIRS)
def test_a_reversed_verb_shows_the_same_frames_backwards(forward, backward, noun):
    assert REVERSED[backward] == forward
    video = _still((forward, noun), (backward, noun), away={noun} if forward == "pour-out" else frozenset())
    shown = np.stack(list(synthetic_scene.frames(video, still=True))).astype(int)
    first, second = shown[25:76], shown[100:151]
    difference = np.abs(first - second[::-1])
    assert difference.mean() < 0.02
    assert difference.max() < 40
    # The test could not fail if nothing moved, or if the motion were its own reverse.
    assert np.abs(first - second).mean((1, 2, 3)).max() > 2


def test_an_action_ends_in_the_state_that_the_next_one_finds(demo):
    for video in demo[:4]:
        for before, after in zip(video.actions, video.actions[1:], strict=False):
            pose = perform(before.verb, before.noun, 1.0, before.amounts[before.noun])
            assert pose.amount == after.amounts[before.noun]
            assert pose.hand[1] > 0.9
            assert (pose.at[1] > 0.9) == (before.noun in after.away)


def test_easing_is_symmetric_in_time():
    moments = np.linspace(0, 1, 41)
    assert np.allclose(ease(moments) + ease(1 - moments), 1)
    assert np.allclose(ease(moments, 0.25, 0.75) + ease(1 - moments, 0.25, 0.75), 1)


def test_hands_are_out_of_sight_between_actions():
    idle = list(synthetic_scene.frames(_still(("stir", "cup"), ("stir", "cup")), still=True))
    skin = synthetic_scene.Kitchen((0, 0)).skin
    near = [int((np.abs(image.astype(int) - skin).sum(-1) < 20).sum()) for image in idle]
    assert max(near[:25]) == min(near) < near[50]


def test_idle_time_lies_between_actions():
    plain, idle = (dataclasses.replace(World.demo(), idle=seconds, seconds=(120.0, 120.0)).videos() for seconds in (0.0, 3.0))
    pauses = [
        [later.start - action.stop for video in videos for action, later in itertools.pairwise(video.actions)] for videos in (plain, idle)
    ]
    assert max(pauses[0]) <= 2.01 and min(pauses[1]) >= 0.5 and max(pauses[1]) <= 14.01
    # an exponential that ends at four times its mean has 1 - exp(-4) of it
    assert np.mean(pauses[1]) - np.mean(pauses[0]) == pytest.approx(3 * (1 - np.exp(-4)), rel=0.15)
    with pytest.raises(InputError, match="idle is -1 s; give 0 to 60 s"):
        World(idle=-1)
