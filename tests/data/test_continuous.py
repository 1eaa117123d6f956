"""Windows that slide into and out of actions and over unlabelled time: where they lie, what they are called, what is refused."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egokeras import cli
from egokeras.data.continuous import BACKGROUND, Continuous, cut
from egokeras.data.preparation import Preparation
from egokeras.data.segments import Annotations, Segment
from egokeras.data.shards import Shards
from egokeras.errors import InputError


def annotated(spans, video="v", split="train", **fields):
    """Segments of one video whose verbs take turns."""
    segments = [
        Segment(uid=f"{video}-{n}", video=video, start=start, stop=stop, labels={"verb": "ab"[n % 2]}, splits=(split,), group="g")
        for n, (start, stop) in enumerate(spans)
    ]
    return Annotations(segments=tuple(segments), classes={"verb": ("a", "b")}, **fields)


def parts(found):
    """(windows of actions, windows of unlabelled time)."""
    idle = [segment for segment in found.segments if segment.labels["verb"] == BACKGROUND]
    return [segment for segment in found.segments if segment not in idle], idle


def shared(window, segment):
    return max(0.0, min(window.stop, segment.stop) - max(window.start, segment.start))


@given(
    lengths=st.lists(st.tuples(st.floats(0, 9), st.floats(0.2, 6)), min_size=1, max_size=8),
    settings=st.builds(
        Continuous, seconds=st.sampled_from([0.5, 1.0, 2.5]), background=st.just(0.0), overlap=st.sampled_from([0.3, 0.5, 1.0])
    ),
    seed=st.integers(0, 5),
)
def test_a_window_shows_enough_of_its_action_and_most_of_it(lengths, settings, seed):
    clock, spans = 0.0, []
    for pause, length in lengths:
        spans.append((clock + pause, clock + pause + length))
        clock = spans[-1][1]
    annotations = annotated(spans)
    found = cut(annotations, settings, seed)
    assert found == cut(annotations, settings, seed) and found.classes == annotations.classes
    for window, segment in zip(found.segments, annotations.segments, strict=True):
        assert (window.uid, window.labels, window.splits) == (segment.uid, segment.labels, segment.splits)
        assert window.start >= 0 and window.stop <= clock + 0.002
        assert window.stop - window.start == pytest.approx(min(settings.seconds, clock), abs=0.002)
        enough = settings.overlap * min(settings.seconds, segment.stop - segment.start)
        assert shared(window, segment) >= enough - 0.005


def test_windows_slide_over_both_ends_and_not_into_a_neighbour():
    spans = [(2.0, 4.0), (4.0, 9.0)]
    found = [cut(annotated(spans), Continuous(seconds=2, background=0), seed).segments for seed in range(200)]
    starts = np.array([[window.start for window in windows] for windows in found])
    assert 1.0 <= starts[:, 0].min() < 1.1 and 2.9 < starts[:, 0].max() <= 3.0  # later, the neighbour would show for longer
    assert 3.0 <= starts[:, 1].min() < 3.2 and 6.8 < starts[:, 1].max() <= 7.0  # nothing is known after 9 s


def test_an_action_within_a_longer_one_is_in_the_middle():
    found = cut(annotated([(0.0, 20.0), (9.0, 10.0)]), Continuous(seconds=2, background=0)).segments
    assert (found[1].start, found[1].stop) == (8.5, 10.5)


def test_unlabelled_time_is_background():
    """Free are 0 to 5, 7 to 7.5 and 10 to 12 s; with margins and for 2 s, 0 to 4.5 alone: three windows that differ."""
    settings = Continuous(seconds=2.0, background=1.0, margin=0.5)
    annotations = annotated([(5, 7), (7.5, 9), (8, 10), (12, 14)])
    for seed in range(20):
        actions, idle = parts(cut(annotations, settings, seed))
        assert len(actions) == 4 and [window.uid for window in idle] == [f"background-v-{n}" for n in range(3)]
        assert all(0 <= window.start < window.stop <= 4.501 for window in idle)
        assert {(round(window.stop - window.start, 6), window.splits, window.group) for window in idle} == {(2.0, ("train",), "g")}
    assert len(parts(cut(annotations, Continuous(seconds=2, background=0.5)))[1]) == 2  # of four actions
    for seed in range(20):
        idle = parts(cut(annotations, Continuous(seconds=2, margin=0, background=9), seed))[1]
        assert [window.start >= 10 for window in idle] == [False, False, False, True]  # 10 to 12 s holds one
    found = cut(annotations, settings)
    assert found.classes == {"verb": ("a", "b", BACKGROUND)}


def test_videos_are_drawn_apart_and_keep_their_splits():
    first, second = annotated([(5, 7)], video="v"), annotated([(9, 11)], video="w", split="validation")
    both = Annotations(segments=first.segments + second.segments, classes=first.classes)
    found = cut(both, Continuous(seconds=1))
    assert all(window in found.segments for window in cut(first, Continuous(seconds=1)).segments)
    assert {window.splits for window in found.segments if window.video == "w"} == {("validation",)}
    alike = [cut(annotated([(5, 7)], video=video), Continuous(seconds=1)).segments[0].start for video in "vw"]
    assert alike[0] != alike[1]
    assert {window.video for window in parts(cut(both, Continuous(seconds=1), videos={"w"}))[1]} == {"w"}


def test_unlabelled_segments_have_windows_and_no_background():
    test = [Segment(uid="t", video="t", start=9.0, stop=11.0, splits=("test",))]
    both = Annotations(segments=(*annotated([(5, 7)]).segments, *test), classes={"verb": ("a", "b")})
    found = cut(both, Continuous(seconds=1)).segments
    assert [(window.uid, window.labels) for window in found if window.video == "t"] == [("t", {})]


def test_actions_get_the_pair_of_background():
    classes = {"verb": ("cut", "take"), "noun": ("cup", "jar", "pan"), "action": ("take cup", "cut pan")}
    labels = {"verb": "take", "noun": "cup", "action": "take cup"}
    segments = (Segment(uid="0", video="v", start=4.0, stop=5.0, labels=labels, splits=("train",)),)
    found = cut(Annotations(segments=segments, classes=classes, actions=((1, 0), (0, 2))), Continuous(seconds=1))
    assert found.actions == ((1, 0), (0, 2), (2, 3)) and found.classes["action"][2] == BACKGROUND
    assert found.segments[1].labels == dict.fromkeys(classes, BACKGROUND)


@pytest.mark.parametrize(
    ("spans", "settings", "message"),
    [
        ([(5, 7)], {"seconds": 0}, "continuous.seconds is 0; give the seconds"),
        ([(5, 7)], {"seconds": 1, "background": -1}, "continuous.background is -1; it must be at least 0"),
        ([(5, 7)], {"seconds": 1, "overlap": 0}, "continuous.overlap is 0; give a share"),
        ([(1, 2), (2.5, 3)], {"seconds": 2}, "no video has 3 s without an action"),
        ([(1, None)], {"seconds": 1}, "video 'v' is a trimmed clip"),
    ],
)
def test_what_cannot_be_is_refused(spans, settings, message):
    with pytest.raises(InputError, match=message):
        cut(annotated(spans), Continuous(**settings))


def test_a_video_in_two_splits_is_refused():
    first, second = annotated([(0, 1)], exclusive="segment"), annotated([(2, 3)], split="validation")
    with pytest.raises(InputError, match="video 'v' has segments in several splits"):
        cut(Annotations(segments=first.segments + second.segments, classes=first.classes, exclusive="segment"), Continuous(seconds=1))
    with pytest.raises(InputError, match="rule is 'dense', but windows"):
        Preparation(continuous=Continuous(seconds=1), rule="dense")


def test_prepare_cuts_them(tmp_path, make_video, number_of, capsys):
    """Two videos of 25 frames a second with a frame's number in the picture: what is shown is what the table says."""
    (tmp_path / "videos").mkdir()
    rows = ["file,verb,noun,start,stop,split"]
    for number, split in enumerate(("train", "validation")):
        make_video(tmp_path / "videos" / f"v{number}.mp4", count=250)
        rows += [f"v{number}.mp4,open,jar,4,5,{split}", f"v{number}.mp4,cut,pan,8,9.5,{split}"]
    (tmp_path / "clips.csv").write_text("\n".join(rows))
    command = ["prepare", "table", str(tmp_path / "clips.csv"), str(tmp_path / "videos"), str(tmp_path / "out")]
    options = ["--frames", "4", "--size", "16", "--windows", "2", "--workers", "1"]
    assert cli.main([*command, *options, "--continuous", "1.6", "--background", "2"]) == 0
    said = capsys.readouterr().out
    assert "14 clips (6 train, 6 validation, 2 windows)" in said and "of them without an action: 4 train, 4 validation" in said
    data = Shards(tmp_path / "out")
    assert data.classes == {"noun": ("jar", "pan", BACKGROUND), "verb": ("cut", "open", BACKGROUND)}
    assert data.index["clip_seconds"] == 1.6 and data.index["continuous"] == {
        "seconds": 1.6,
        "background": 2.0,
        "margin": 0.5,
        "overlap": 0.5,
    }
    for row, clip in enumerate(data.read(np.arange(len(data)))):
        numbers = np.array([number_of(picture) for picture in clip])
        expected = 25 * (data.clips["start"][row] + 1.6 * np.array([1, 3, 5, 7]) / 8)
        assert np.abs(numbers - expected).max() <= 1.01, data.clips[row]
    before = json.loads((tmp_path / "out" / "index.json").read_text())["plan"]
    assert cli.main([*command, *options, "--continuous", "1.6", "--background", "2"]) == 0  # complete
    assert json.loads((tmp_path / "out" / "index.json").read_text())["plan"] == before
    assert cli.main([*command, *options, "--margin", "1"]) == 1
    assert "--margin goes with --continuous SECONDS" in capsys.readouterr().err
