"""prepare: equal bytes whatever happens on the way, and damaged videos cost only themselves."""

import csv
import errno
import functools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from egokeras.data import clip_plan, clip_sampling, prepare, staging, video, video_files
from egokeras.data.preparation import Preparation
from egokeras.data.segments import Annotations, Segment
from egokeras.data.shards import Shards
from egokeras.errors import InputError

SMALL = Preparation(frames=4, size=40, workers=1, windows=0, shard_bytes=100_000)
VIDEOS = 6


@pytest.fixture(scope="module")
def videos(tmp_path_factory, make_video):
    """Six videos of 4 s at different rates, with key frames every half second."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(VIDEOS):
        rate = (25, 30, 60000 / 1001)[number % 3]
        make_video(folder / f"P{number:02d}.mp4", count=round(4 * rate), rate=rate, options={"g": "12"})
    return folder


def annotated(per_video=10):
    """Segments of 0.7 s and one whole video, even videos for training; interleaved, so that the table's order is not the shards'."""
    found = []
    for place in range(per_video):
        for number in range(VIDEOS):
            start = 0.3 * place
            label = {"verb": ("take", "put", "cut")[(place + number) % 3]}
            split = ("validation",) if number % 2 else ("train",)
            group = f"kitchen{number}"
            stop = None if place == 0 and number == 2 else start + 0.7
            uid = f"{number}-{place}"
            found.append(Segment(uid=uid, video=f"P{number:02d}", start=start, stop=stop, labels=label, splits=split, group=group))
    return Annotations(segments=tuple(found), classes={"verb": ("cut", "put", "take")})


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_clips_are_the_frames_of_their_segments(tmp_path, videos, number_of):
    annotations = annotated()
    summary = prepare.prepare(annotations, videos, tmp_path / "out", SMALL)
    data = Shards(tmp_path / "out")
    assert summary["clips"] == len(data) == 60 and summary["quarantined"] == 0 and summary["shards"] == len(data.index["shards"]) > 3
    assert data.clips["uid"].tolist() == [segment.uid for segment in annotations.segments]
    assert data.shape == (4, 40, 40, 3) and data.splits == ("train", "validation") and data.rows("train").size == 30
    assert data.index["clip_seconds"] == pytest.approx(0.7)
    for row, segment in enumerate(annotations.segments):
        seconds = video.index(videos / f"{segment.video}.mp4").seconds
        shown = np.flatnonzero((seconds >= segment.start - 1e-3) & (seconds <= (segment.stop or 99) + 1e-3))
        expected = shown[clip_sampling.uniform(len(shown), 4)]
        assert [number_of(picture) for picture in data.read([row])[0]] == expected.tolist()
        assert data.classes["verb"][data.labels("verb", [row])[0]] == segment.labels["verb"]
        assert data.clips["group"][row] == segment.group and data.clips["video"][row] == segment.video
    whole = data.clips[data.clips["uid"] == "2-0"][0]
    assert (whole["start"], whole["stop"]) == (0, pytest.approx(4.0, abs=0.01))


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_workers_do_not_change_a_byte(tmp_path, videos, encoding):
    made = []
    for workers in (1, 3):
        settings = Preparation(frames=30, size=32, workers=workers, windows=20, shard_bytes=300_000, encoding=encoding, rule="report")
        prepare.prepare(annotated(3), videos, tmp_path / str(workers), settings)
        made.append(content(tmp_path / str(workers)))
    assert made[0] == made[1]
    assert Shards(tmp_path / "3").rows("windows").size == 20


def test_windows_lie_in_held_out_videos(tmp_path, videos):
    prepare.prepare(annotated(2), videos, tmp_path / "out", Preparation(frames=2, size=16, workers=2, windows=31))
    data = Shards(tmp_path / "out")
    windows = data.clips[data.rows("windows")]
    assert len(windows) == 31 and len(set(windows["uid"])) == 31
    assert set(windows["video"]) == {"P01", "P03", "P05"} and set(windows["group"]) == {"kitchen1", "kitchen3", "kitchen5"}
    assert (data.labels("verb", data.rows("windows")) == -1).all()
    lengths = windows["stop"] - windows["start"]
    assert (windows["start"] >= 0).all() and (windows["stop"] <= 4.01).all() and (lengths <= 0.7 + 1e-6).all()
    assert len(set(windows["start"].round(3))) > 20
    plan = clip_plan.make_plan(annotated(2), videos, Preparation())
    assert sum(clip.segment.splits == ("windows",) for clip in plan.clips) == 3 * 10  # more would show the same pictures again


def test_short_videos_give_parts_of_themselves():
    for _, item in staging.place_windows(["a"], [9.0], 50, seed=0):
        start, stop = staging._window(2.0, *item.window)
        assert 0 <= start < stop <= 2.0 + 1e-9 and 1.2 <= stop - start <= 2.0


def test_without_splits_a_part_is_held_out(videos):
    bare = Annotations(
        segments=tuple(Segment(uid=f"P{n:02d}", video=f"P{n:02d}", labels={"action": "ab"[n % 2]}) for n in range(6)),
        classes={"action": ("a", "b")},
    )
    plan = clip_plan.make_plan(bare, videos, Preparation(windows=0))
    assert {clip.segment.splits for clip in plan.clips} == {("train",), ("validation",)}


def test_damaged_videos_go_to_quarantine(tmp_path, videos, make_sound):
    folder = tmp_path / "videos"
    shutil.copytree(videos, folder)
    data = (folder / "P00.mp4").read_bytes()
    (folder / "P00.mp4").write_bytes(data[: len(data) // 2])
    (folder / "P01.mp4").write_bytes(b"")
    (folder / "P02.mp4").write_text("not a video")
    make_sound(folder / "P03.mp4")
    (folder / "P04.mp4").unlink()
    summary = prepare.prepare(annotated(3), folder, tmp_path / "out", SMALL)
    assert summary["clips"] == 3 and summary["quarantined"] == 15 and summary["videos_quarantined"] == 5
    with open(tmp_path / "out" / "quarantine.csv", newline="") as file:
        reasons = {row["video"]: row["reason"] for row in csv.DictReader(file)}
    assert "no video stream" in reasons["P00"] or "cannot be decoded" in reasons["P00"]
    assert "empty" in reasons["P01"] and "cannot be decoded" in reasons["P02"]
    assert "no video stream" in reasons["P03"] and reasons["P04"] == "video not found"
    assert set(Shards(tmp_path / "out").clips["video"]) == {"P05"}
    assert str(tmp_path).encode() not in b"".join(content(tmp_path / "out").values())


def test_a_span_beyond_the_end_costs_one_clip(tmp_path, videos):
    late = Segment(uid="late", video="P00", start=3.5, stop=5.0, labels={"verb": "cut"}, splits=("train",))
    annotations = annotated(2)
    annotations = Annotations(segments=(late, *annotations.segments), classes=annotations.classes)
    prepare.prepare(annotations, videos, tmp_path / "out", SMALL)
    assert len(Shards(tmp_path / "out")) == 12
    assert "lasts from 3.500 s to 5.000 s, the video only to 4.000 s" in (tmp_path / "out" / "quarantine.csv").read_text()


def test_a_worker_that_dies_or_hangs_costs_its_video(tmp_path, videos, monkeypatch):
    fates = {"P01": os.abort, "P03": functools.partial(time.sleep, 600)}
    make = prepare._task
    monkeypatch.setattr(prepare, "_task", lambda plan, unit, *rest: fates.get(plan.units[unit][0].stem) or make(plan, unit, *rest))
    settings = Preparation(frames=2, size=16, workers=2, windows=0, timeout=3)
    prepare.prepare(annotated(2), videos, tmp_path / "out", settings)
    listed = (tmp_path / "out" / "quarantine.csv").read_text()
    assert listed.count("SIGABRT") == 2 and listed.count("time limit") == 2
    assert len(Shards(tmp_path / "out")) == 8


def test_a_lost_unit_is_cut_again_clip_by_clip(tmp_path, videos, monkeypatch):
    """An accident to a worker leaves no trace in the bytes; a clip that kills its worker each time is lost alone."""
    settings = Preparation(frames=4, size=40, workers=2, windows=0, shard_bytes=100_000)
    prepare.prepare(annotated(5), videos, tmp_path / "whole", settings)
    make = prepare._task
    guilty: set[str] = set()

    def dies(plan, unit, clips, *rest):
        uids = {plan.clips[clip].segment.uid for clip in clips}
        fails = uids & guilty or (len(clips) > 1 and unit in (0, 4))
        return functools.partial(signal.raise_signal, signal.SIGKILL) if fails else make(plan, unit, clips, *rest)

    monkeypatch.setattr(prepare, "_task", dies)
    prepare.prepare(annotated(5), videos, tmp_path / "accident", settings)
    assert content(tmp_path / "accident") == content(tmp_path / "whole")
    guilty.add("3-2")
    summary = prepare.prepare(annotated(5), videos, tmp_path / "guilty", settings)
    assert summary["quarantined"] == 1 and "3-2,P03,ended the worker process (SIGKILL" in (tmp_path / "guilty/quarantine.csv").read_text()
    assert set(Shards(tmp_path / "whole").clips["uid"]) - set(Shards(tmp_path / "guilty").clips["uid"]) == {"3-2"}


def test_what_a_power_cut_took_is_cut_again(tmp_path, videos, monkeypatch):
    """Staged clips are not synced to the disk; the journal may tell of some that are gone, short or never written."""
    prepare.prepare(annotated(), videos, tmp_path / "whole", SMALL)
    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
        context.setattr(prepare._Packer, "_pack_unit", stopped_at(4, prepare._Packer._pack_unit))
        prepare.prepare(annotated(), videos, tmp_path / "cut", SMALL)
    staged = sorted((tmp_path / "cut" / ".work").glob("clip-*"))
    assert len(staged) >= 5
    staged[0].unlink()
    staged[1].write_bytes(staged[1].read_bytes()[:100])
    staged[2].write_bytes(bytes(staged[2].stat().st_size))
    with open(tmp_path / "cut" / ".work" / "journal.jsonl", "ab") as file:
        file.write(b"\0\xff" * 99)
    prepare.prepare(annotated(), videos, tmp_path / "cut", SMALL)
    assert content(tmp_path / "cut") == content(tmp_path / "whole")


def stopped_at(count, pack):
    """A `_pack_unit` that fails at its `count`-th unit."""

    def stopping(packer, unit):
        if unit == count:
            raise KeyboardInterrupt
        pack(packer, unit)

    return stopping


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 3 MB, and a function that makes it larger."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a disk")
    yield folder, lambda: subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_stops_and_the_same_command_goes_on(small_disk, tmp_path, videos, monkeypatch):
    """4.3 MB of clips on 3 MB; the check before the work is fooled, as if another program had filled the disk."""
    disk, grow = small_disk
    settings = Preparation(frames=6, size=64, workers=2, windows=0, shard_bytes=500_000)
    prepare.prepare(annotated(), videos, tmp_path / "whole", settings)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 0, 10**9))
    for _ in range(2):
        with pytest.raises(InputError, match="No space left on device; free some space and run the same command again to go on"):
            prepare.prepare(annotated(), videos, disk / "out", settings)
        assert not (disk / "out" / "index.json").exists()
    grow()
    prepare.prepare(annotated(), videos, disk / "out", settings)
    assert content(disk / "out") == content(tmp_path / "whole")


def test_a_full_disk_stops_the_packing(tmp_path, videos, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as context, pytest.raises(InputError, match=r"out: No space left on device; free some space .* to go on"):
        context.setattr(prepare.ShardWriter, "append", full)
        prepare.prepare(annotated(2), videos, tmp_path / "out", SMALL)
    prepare.prepare(annotated(2), videos, tmp_path / "out", SMALL)
    prepare.prepare(annotated(2), videos, tmp_path / "whole", SMALL)
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_no_clip_at_all_leaves_no_work(tmp_path, videos, monkeypatch):
    monkeypatch.setattr(prepare, "_task", lambda *_: os.abort)
    alone = Annotations(segments=annotated(1).segments[:1], classes={"verb": ("take",)})
    with pytest.raises(InputError, match="none of 1 clips could be made; .*SIGABRT"):
        prepare.prepare(alone, videos, tmp_path / "out", SMALL)
    assert list((tmp_path / "out").iterdir()) == []


def test_windows_of_a_lost_video_are_not_listed_beside_its_clips(tmp_path, videos):
    folder = tmp_path / "videos"
    shutil.copytree(videos, folder)
    (folder / "P01.mp4").write_text("not a video")
    settings = Preparation(frames=2, size=16, workers=1, windows=6)
    summary = prepare.prepare(annotated(2), folder, tmp_path / "out", settings)
    assert summary["quarantined"] == 2 and summary["splits"] == {"train": 6, "validation": 4, "windows": 4}


SCRIPT = """
import signal, sys, time
from egokeras.data import prepare as module, readers
from egokeras.data.preparation import Preparation
from egokeras.data.prepare import prepare
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it
    if sys.argv[4:]:
        add = module._Journal.add
        module._Journal.add = lambda *args: (add(*args), time.sleep(float(sys.argv[4])))
    settings = Preparation(frames=20, size=64, windows=10, workers=2, shard_bytes=6_000_000)
    prepare(readers.read("table", [sys.argv[1]]), sys.argv[2], sys.argv[3], settings)
"""


@pytest.fixture
def start(tmp_path, videos):
    """Function that starts a `prepare` of 180 clips into a folder, as a process of its own; with seconds of pause after each unit."""
    table = tmp_path / "table.csv"
    rows = [
        f"P{n:02d}.mp4,{'cut' if n < 2 else 'put'},{s * 0.1:.1f},{s * 0.1 + 1:.1f},{'train' if n % 2 else 'validation'}"
        for n in range(VIDEOS)
        for s in range(30)
    ]
    table.write_text("file,label,start,stop,split\n" + "\n".join(rows) + "\n")
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    def started(out, *pause):
        command = [sys.executable, str(script), str(table), str(videos), str(out), *pause]
        return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    return started


@pytest.mark.skipif(os.name != "posix", reason="kills processes")
def test_kill_and_rerun_gives_the_same_bytes(tmp_path, start):
    whole = start(tmp_path / "whole")
    whole.communicate()
    assert whole.returncode == 0
    journal = tmp_path / "killed" / ".work" / "journal.jsonl"
    codes = []
    for units, how in ((1, signal.SIGKILL), (4, signal.SIGINT), (7, signal.SIGKILL)):
        running = start(tmp_path / "killed", "0.3")  # not done before the signal comes, however busy the machine is
        while running.poll() is None and not (journal.exists() and journal.read_text().count("\n") >= units):
            time.sleep(0.002)
        running.send_signal(how)
        running.communicate()
        codes.append(running.returncode)
    assert codes[0] == codes[2] == -signal.SIGKILL and codes[1] != 0
    with open(journal, "a") as file:
        file.write("[11, [[0.0, 1.")
    last = start(tmp_path / "killed")
    said = last.communicate()[1]
    assert last.returncode == 0 and "units are done" in said
    assert content(tmp_path / "killed") == content(tmp_path / "whole")
    again = start(tmp_path / "killed")
    assert "complete already" in again.communicate()[1] and again.returncode == 0


@pytest.mark.skipif(os.name != "posix", reason="needs locks")
def test_two_at_once_do_not_mix(tmp_path, start):
    running = [start(tmp_path / "out") for _ in range(2)]
    said = [process.communicate()[1] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    waiting = [text for text in said if "another `prepare` is at work" in text]
    assert len(waiting) == 1 and "complete already" in waiting[0] and "180 clips to cut" not in waiting[0]
    assert len(Shards(tmp_path / "out")) == 190 and not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_another_plan_does_not_mix_in(tmp_path, videos):
    out = tmp_path / "out"
    prepare.prepare(annotated(1), videos, out, SMALL)
    with pytest.raises(InputError, match="holds shards of other annotations, videos or settings"):
        prepare.prepare(annotated(2), videos, out, SMALL)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        prepare.prepare(annotated(1), videos, tmp_path / "own", SMALL)
    work = tmp_path / "half" / ".work"
    work.mkdir(parents=True)
    (work / "plan.json").write_text(json.dumps({"plan": "other"}))
    (work / "journal.jsonl").write_text('[0, ["damaged"]]\n')
    with pytest.raises(InputError, match="unfinished work on other"):
        prepare.prepare(annotated(1), videos, tmp_path / "half", SMALL)
    (work / "journal.jsonl").write_text("")  # nothing done yet: nothing to keep
    assert prepare.prepare(annotated(1), videos, tmp_path / "half", SMALL)["clips"] == 6


def test_disk_and_videos_are_checked_before_work(tmp_path, videos, monkeypatch):
    with pytest.raises(InputError, match="none of the 6 videos"):
        prepare.prepare(annotated(1), tmp_path, tmp_path / "out", SMALL)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(InputError, match=r"are needed, 1\.0 KB free"):
        prepare.prepare(annotated(1), videos, tmp_path / "out", SMALL)


def test_names_find_files(tmp_path):
    for name in ("P01/P01_01.MP4", "P01/P01_02.mp4", "P02/clip.avi", "P03/clip.avi", "notes/P01_03.txt", "a.b.mkv", "exact.xyz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    find = functools.partial(video_files.find, folder=tmp_path)
    wanted = {
        "P01_01": "P01/P01_01.MP4",
        "p01_02.webm": "P01/P01_02.mp4",
        "P02/clip": "P02/clip.avi",
        "a.b": "a.b.mkv",
        "exact.xyz": "exact.xyz",
    }
    assert find(wanted) == {name: tmp_path / path for name, path in wanted.items()}
    assert find(["P01_03"]) == {"P01_03": None}
    with pytest.raises(InputError, match=r"may be any of 2 files: P02/clip.avi, P03/clip.avi"):
        find(["clip"])


def test_names_stay_inside(tmp_path):
    (tmp_path / "inside").mkdir()
    outside = tmp_path / "canary.mp4"
    outside.touch()
    (tmp_path / "inside" / "link.mp4").symlink_to(outside)
    for name in ("../canary.mp4", str(outside), "link.mp4", "link"):
        with pytest.raises(InputError, match="outside"):
            video_files.find([name], tmp_path / "inside")


def test_real_edge_cases(tmp_path, shared_data):
    """The sound files come out upright, the others in quarantine."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for path in (shared_data / "codec_edge").rglob("*.m*"):
        shutil.copy(path, folder / path.name)
    data = (folder / "test__resources__nasa_13013.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(data[: len(data) // 2])
    flipped = bytearray(data)
    flipped[10_000:600_000:97] = bytes(len(flipped[10_000:600_000:97]))
    (folder / "flipped.mp4").write_bytes(flipped)
    names = sorted(path.name for path in folder.iterdir())
    found = tuple(Segment(uid=name, video=name, labels={"action": "ab"[n % 2]}, splits=("train",)) for n, name in enumerate(names))
    summary = prepare.prepare(
        Annotations(segments=found, classes={"action": ("a", "b")}), folder, tmp_path / "out", Preparation(frames=4, size=64, workers=2)
    )
    clips = Shards(tmp_path / "out")
    assert set(clips.clips["uid"]) == {"video_0.mov", "video_90.mov", "test__resources__h265_video.mp4", "test__resources__nasa_13013.mp4"}
    assert summary["quarantined"] == 3 and "corrupted.mp4" in pathlib.Path(tmp_path / "out" / "quarantine.csv").read_text()


def test_long_videos_have_room_for_all_windows():
    """Two for every stretch of the usual length: 170 of 1.8 s in a video of 153 s."""
    judged = [Segment(uid="a", video="long", start=100.0, stop=153.0), Segment(uid="b", video="short", start=0.0, stop=2.0)]
    assert clip_plan._room(judged, ["long", "short"], [1.0, 1.8, 9.0]) == 170 + 10
    assert clip_plan._room([Segment(uid="c", video="whole")], ["whole"], []) == 10
