"""`egokeras evaluate ARTIFACT --continuous`: the events of whole videos, what is chosen and kept, what is left out and refused."""

import json
import runpy
import shutil

import av
import numpy as np
import pytest

from egokeras import cli, whole_videos
from egokeras.data import readers
from egokeras.data.segments import Annotations, Segment
from egokeras.device import selftest
from egokeras.device.artifact import Artifact
from egokeras.device.events import Event, Smoothing
from egokeras.device.manifest import write_manifest
from egokeras.device.stream import Stream
from egokeras.errors import InputError
from egokeras.files import read_json, write_json

FPS = 20
COLOURS = {"open": (220, 0, 0), "close": (0, 220, 0), "pour": (0, 0, 220)}
ROWS = """file,verb,noun,start,stop,split
a,open,fridge,0.5,3,train
a,pour,fridge,3,5.7,train
a,pour,cup,5.7,6,train
b,close,fridge,0,4,validation
b,open,fridge,4,8,validation
"""


def write(path, *parts):
    """A video of (verb, seconds): the tiny artifact's verb is the colour, its noun a draw that the fridge wins."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=FPS)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for verb, seconds in parts:
            picture = np.full((48, 64, 3), COLOURS[verb], np.uint8)
            for _ in range(int(seconds * FPS)):
                output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode(None))


@pytest.fixture(scope="module")
def built(root, tmp_path_factory):
    return runpy.run_path(root / "tests" / "device" / "conftest.py")["build"](tmp_path_factory.mktemp("artifact"))


@pytest.fixture
def artifact(built, tmp_path):
    return shutil.copytree(built, tmp_path / "tiny")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    write(folder / "a.mp4", ("open", 3), ("pour", 3))
    write(folder / "b.mp4", ("close", 4), ("open", 4))
    (folder / "clips.csv").write_text(ROWS)
    return folder


def evaluate(artifact, videos, *options):
    return cli.main(["evaluate", str(artifact), "--continuous", str(videos), str(videos / "clips.csv"), "--workers", "1", *options])


def test_events_of_whole_videos(artifact, videos, capsys):
    write_json(artifact / "artifact.json", {**read_json(artifact / "artifact.json"), "events": {"seconds": 0, "on": 0.45, "off": 0.4}})
    assert evaluate(artifact, videos, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["videos"], found["skipped"], list(found["heads"])) == (1, {}, ["verb noun", "verb", "noun"])
    model = found["heads"]["verb noun"]["model"]
    # a window of 1 s: close from 1 s, when the first is known; open from 4.5 or 5 s, when half or all of the window is red
    assert (model["segments"], model["events"], model["seconds"]) == (2, 2, 8.0)
    assert model["f1"] == {"10": 100, "25": 100, "50": 100} and model["delay"] == pytest.approx((1.0 + 0.75) / 2, abs=0.13)
    assert found["heads"]["verb noun"]["classes"].keys() == {"close fridge", "open fridge"}
    assert found["heads"]["noun"]["background"]["time"] == 0 and found["heads"]["noun"]["majority"]["time"] == 100
    assert evaluate(artifact, videos) == 0
    said = capsys.readouterr().out
    assert "1 videos, 0.1 minutes, 2 segments" in said and "verb noun" in said and "close fridge" in said


def test_what_is_watched_is_what_a_device_sees(artifact, videos):
    opened = Artifact.open(artifact)
    annotations = readers.read("table", [videos / "clips.csv"])
    seen, lost = whole_videos.watch(opened, annotations, videos, split="train", stride=0.25, workers=1)
    assert list(seen) == ["a"] and lost == {}
    stream = Stream(opened, 0.25)
    with av.open(str(videos / "a.mp4")) as container:
        expected = [(frame.time, logits) for frame in container.decode(video=0) if (logits := stream.add(frame.time, frame)) is not None]
    assert seen["a"].predictions.times.tolist() == pytest.approx([time for time, _ in expected])
    np.testing.assert_array_equal(seen["a"].predictions.logits["verb"], [logits["verb"] for _, logits in expected])
    assert seen["a"].truth[0] == Event(label=(0, 0), start=0.5, stop=3.0, known=0.5) and seen["a"].seconds == pytest.approx(6.0)


def test_what_is_chosen_is_kept_in_the_artifact(artifact, videos, capsys):
    write_manifest(artifact, read_json(artifact / "artifact.json"))
    assert evaluate(artifact, videos, "--choose", "train", "--json") == 0
    said = capsys.readouterr()
    kept = Smoothing.of(Artifact.open(artifact).manifest)
    assert kept != Smoothing() and json.loads(said.out)["events"] == vars(kept) and f"on {kept.on}" in said.err
    assert json.loads(said.out)["heads"]["verb noun"]["model"]["f1"]["50"] == 100, said
    assert evaluate(artifact, videos, "--json") == 0
    assert json.loads(capsys.readouterr().out)["events"] == vars(kept)
    assert cli.main(["verify", str(artifact)]) == 0 and selftest.main([str(artifact)]) == 0


def test_videos_that_cannot_be_watched_are_named(artifact, videos, tmp_path, capsys):
    folder = shutil.copytree(videos, tmp_path / "some")
    (folder / "c.mp4").write_bytes(b"no video")
    (folder / "clips.csv").write_text(ROWS + "c,open,cup,0,1,validation\nd,open,cup,0,1,validation\ne,open,cup,7,9,validation\n")
    shutil.copy(folder / "a.mp4", folder / "e.mp4")
    assert evaluate(artifact, folder, "--json") == 3
    said = capsys.readouterr()
    assert json.loads(said.out)["videos"] == 1
    for name, reason in {
        "c": "",
        "d": "video not found",
        "e": "the segment lasts from 7.000 s to 9.000 s, the video only to 6.000 s",
    }.items():
        assert f"warning: {name} is left out: {reason}" in said.err


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ("file,verb,noun\na,stir,cup\nb,open,fridge\n", [], "segment 'a' has verb 'stir', which is no class of the artifact"),
        (ROWS, ["--split", "test"], "no segment to judge by in split 'test'; the annotations have train, validation"),
        (ROWS, ["--choose", "train", "--split", "train"], "--choose train is the split that judges"),
        (ROWS, ["--mean"], "--mean is for runs"),
        (ROWS, ["--stride", "0"], "stride is 0.0 s"),
        (ROWS, ["--workers", "0"], "--workers is 0"),
        ("file,verb,noun\nx,open,cup\ny,pour,fridge\n", [], "none of 2 videos"),
    ],
)
def test_what_cannot_be_used_is_refused(artifact, videos, tmp_path, rows, options, message, capsys):
    table = tmp_path / "clips.csv"
    table.write_text(rows)
    assert cli.main(["evaluate", str(artifact), "--continuous", str(videos), str(table), "--workers", "1", *options]) == 1
    assert message in capsys.readouterr().err


def test_one_artifact_and_annotations_are_needed(artifact, videos, capsys):
    assert cli.main(["evaluate", str(artifact), "--continuous", str(videos)]) == 1
    assert "takes one artifact, the folder of the videos" in capsys.readouterr().err


def test_segments_are_events_of_the_artifacts_classes():
    verbs, nouns = ["cut", "wash", "background"], ["jar", "pan", "background"]
    labels = [{"verb": "wash", "noun": "jar"}, {"verb": "cut", "noun": "pan"}, {"verb": "background", "noun": "background"}]
    segments = tuple(
        Segment(uid=str(n), video="v", start=5.0 - n, stop=None if n else 7.0, labels=found, splits=("validation",))
        for n, found in enumerate(labels)
    )
    annotations = Annotations(segments=segments, classes={"verb": tuple(verbs), "noun": tuple(nouns)})
    found = whole_videos.segments_of(annotations, {"noun": nouns, "verb": verbs})["v"]
    assert [(event.label, event.start, event.stop) for event in found] == [((0, 1), 4.0, float("inf")), ((1, 0), 5.0, 7.0)]
    with pytest.raises(InputError, match="'0' has action 'wash jar', which is no class"):
        whole_videos.segments_of(annotations, {"action": ["cut pan", "background"]})
