"""`egokeras predict --recogniser`: from videos to what happens next, by the commands that a user types."""

import csv
import json
import re
import shutil

import av
import numpy as np
import pytest

from egokeras import cli
from egokeras.device.anticipation import Anticipator
from egokeras.device.artifact import Artifact
from egokeras.device.frame_stream import FrameStream
from egokeras.device.stream import fitted
from egokeras.files import read_json, write_json

FPS = 20
RECIPE = """
from egokeras.models import ConvNet1DHead, FrameModel, SmallBackbone
from egokeras.recipe import Recipe

def stages():
    return (Recipe(name="small", model=FrameModel(backbone=SmallBackbone(channels=(4, 6)), head=ConvNet1DHead(filters=4, last_filters=5))),)
"""
ACTIONS = [("take", "cup"), ("put", "cup"), ("take", "pan"), ("put", "pan")]


def write_video(path, actions):
    """Two seconds of a colour of its own for each action, with noise."""
    random = np.random.default_rng(len(actions))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width = stream.height = 32
        for number in np.repeat(actions, 2 * FPS):
            picture = random.integers(0, 40, (32, 32, 3)) + np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200], [200, 200, 0]][number])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture.astype(np.uint8), format="rgb24")))
        container.mux(stream.encode())


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of videos, the features of a recogniser that has learned for a moment, and what was exported of it and of anticipators."""
    folder = tmp_path_factory.mktemp("ahead")
    (videos := folder / "videos").mkdir()
    with open(folder / "clips.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("file", "start", "stop", "verb", "noun", "split"))
        for number in range(3):
            actions = [(number + place) % 4 for place in range(8)]
            write_video(videos / f"v{number}.mp4", actions)
            rows.writerows(
                (f"v{number}.mp4", 2 * place, 2 * place + 2, *ACTIONS[action], "val" if number == 2 else "train")
                for place, action in enumerate(actions)
            )
    table, runs = str(folder / "clips.csv"), str(folder / "runs")
    (folder / "small.py").write_text(RECIPE)
    into = ["--runs", runs]
    learning = ["model.units=16", "model.dropout=0", "optim.optimizer=adam", "optim.learning_rate=0.02", "epochs=30", "monitor=val_loss"]
    commands = [
        ["prepare", "table", table, str(videos), f"{folder}/shards", "--frames", "8", "--size", "32"],
        ["train", f"{folder}/small.py", f"data.shards={folder}/shards", "epochs=5", *into],
        ["export", f"{runs}/small", "float32", "stream_float32", "--embedding", "--accept-untested"],
        ["features", f"{runs}/small", str(videos), f"{folder}/features"],
        ["observe", "table", table, f"{folder}/sets/rgb", "--features", f"{folder}/features"],
        ["observe", "table", table, f"{folder}/sets/labels", "--labels"],
        ["train", "anticipation_lstm", f"data.shards={folder}/sets/rgb", *learning, *into],
        ["train", "anticipation_labels", f"data.shards={folder}/sets/labels", "epochs=1", *into],
    ]
    commands += [
        ["export", f"{runs}/{name}", "anticipation_step", "--accept-untested"] for name in ("anticipation_lstm", "anticipation_labels")
    ]
    for command in commands:
        assert cli.main(command) == 0, command
    return folder


def predicted(capsys, made, anticipator, recogniser, *more):
    exports = made / "runs" / "small" / "exports"
    command = ["predict", str(made / "runs" / anticipator / "exports" / "anticipation_step"), "--recogniser", str(exports / recogniser)]
    capsys.readouterr()
    assert cli.main([*command, str(made / "videos" / "v2.mp4"), "--stride", "0.25", *more]) == 0
    return capsys.readouterr().out.splitlines()


def steps(made, name, observations):
    """The anticipator's probability of each class at each time, (observations, 8, classes), one observation after another."""
    anticipator = Anticipator.open(made / "runs" / name / "exports" / "anticipation_step")
    state = anticipator.open_stream()
    for observation in observations:
        logits, state = anticipator.step(observation, state)
        exponentials = np.exp(logits["action"])
        yield exponentials / exponentials.sum(axis=1, keepdims=True)


def probabilities(records, classes):
    """The same of what was printed."""
    for record in records:
        assert [each["in"] for each in record["ahead"]] == [2.0, 1.75, 1.5, 1.25, 1.0, 0.75, 0.5, 0.25]
        found = [{answer["name"]: answer["probability"] for answer in each["top"]} for each in record["ahead"]]
        yield [[each[name] for name in classes] for each in found]


def test_what_is_observed_of_a_clip_are_the_features_of_training(made, capsys):
    """Rows of `egokeras features`, of which that at 2 s is the first of a whole clip."""
    records = [json.loads(line) for line in predicted(capsys, made, "anticipation_lstm", "float32", "--json", "--top", "4")]
    rows = np.load(made / "features" / "v2.npy").astype(np.float32)[7:]
    assert [record["time"] for record in records] == [2 + 0.25 * number for number in range(len(records))] and len(records) >= 55
    classes = Anticipator.open(made / "runs/anticipation_lstm/exports/anticipation_step").artifact.classes["action"]
    expected = list(steps(made, "anticipation_lstm", ({"rgb_features": row} for row in rows)))[: len(records)]
    np.testing.assert_allclose(list(probabilities(records, classes)), expected, atol=2e-3)
    assert np.ptp(expected, axis=0).max() > 0.02


def test_what_is_observed_of_a_stream_are_its_embeddings(made, capsys):
    records = [json.loads(line) for line in predicted(capsys, made, "anticipation_lstm", "stream_float32", "--json", "--top", "4")]
    stream = FrameStream.open(made / "runs/small/exports/stream_float32")
    state, seen = stream.open_stream(), []
    with av.open(str(made / "videos" / "v2.mp4")) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number % 5 == 0:  # every quarter of a second
                answer, state = stream.step(fitted(stream.artifact, frame), state)
                seen += [answer["embedding"]] if answer else []
    assert records[0]["time"] == 1.75 and len(records) == len(seen)
    classes = Anticipator.open(made / "runs/anticipation_lstm/exports/anticipation_step").artifact.classes["action"]
    expected = list(steps(made, "anticipation_lstm", ({"rgb_features": row} for row in seen)))
    np.testing.assert_allclose(list(probabilities(records, classes)), expected, atol=1e-4)


def test_an_artifact_gives_the_features_of_its_run(made, tmp_path, capsys):
    exported, videos = made / "runs/small/exports/float32", str(made / "videos")
    assert cli.main(["features", str(exported), videos, str(tmp_path / "out")]) == 0
    for name in ("v0", "v2"):
        found, expected = (np.load(folder / f"{name}.npy").astype(np.float32) for folder in (tmp_path / "out", made / "features"))
        np.testing.assert_allclose(found, expected, atol=2e-3 * np.abs(expected).max())
    theirs, ours = (read_json(folder / "index.json")["made_from"] for folder in (made / "features", tmp_path / "out"))
    assert (theirs["model"], theirs["artifact"]) == (ours["model"], None) and ours["artifact"]
    assert cli.main(["features", str(made / "runs/small"), videos, str(tmp_path / "out")]) == 1
    assert "features made with another artifact" in capsys.readouterr().err
    shutil.copytree(exported, plain := tmp_path / "plain")
    about = read_json(plain / "artifact.json")
    del about["embedding"]
    write_json(plain / "artifact.json", {**about, "seal": None})
    for refused, said in [(plain, "does not give its embedding; export it"), (exported.parent / "stream_float32", "kind 'clip'")]:
        assert cli.main(["features", str(refused), videos, str(tmp_path / "none")]) == 1
        assert said in capsys.readouterr().err and not (tmp_path / "none").exists()


def test_the_anticipator_knows_whose_features_it_learned_from(made):
    step, recogniser = (
        Artifact.open(made / "runs" / path) for path in ("anticipation_lstm/exports/anticipation_step", "small/exports/float32")
    )
    made_from = step.manifest["inputs"]["rgb_features"]["observed"]["source"]["made_from"]
    assert made_from["model"] == recogniser.manifest["parent"]["model_sha256"]


def test_lines_and_what_is_known_of_past_actions(made, capsys):
    lines = predicted(capsys, made, "anticipation_labels", "float32", "--ahead", "0.5")
    assert lines[0].startswith("2.0 s  in 0.5 s:  ") and len(lines) >= 55
    assert {line.split("in 0.5 s:  ")[1].rsplit(maxsplit=1)[0] for line in lines} <= {" ".join(action) for action in ACTIONS}


def test_a_video_shorter_than_a_clip_is_anticipated_once(made, tmp_path, capsys):
    write_video(tmp_path / "short.mp4", [0])
    exports = made / "runs"
    command = ["predict", str(exports / "anticipation_lstm/exports/anticipation_step"), str(tmp_path / "short.mp4")]
    assert cli.main([*command, "--recogniser", str(exports / "small/exports/float32"), "--output", str(tmp_path / "seen.mp4")]) == 0
    assert [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()] == ["1.9 s"]
    assert (tmp_path / "seen.mp4").stat().st_size


def test_what_cannot_be_is_said(made, capsys):
    step, int8 = (str(made / "runs" / name) for name in ("anticipation_lstm/exports/anticipation_step", "small/exports/float32"))
    video = str(made / "videos" / "v0.mp4")
    cases = [
        ([step, video], "takes observations, for .* `egokeras predict --recogniser`"),
        ([int8, video, "--recogniser", int8], "takes frames, for `egokeras predict`; give one of the kind 'anticipation_step'"),
        ([step, video, "--recogniser", step], "takes observations"),
        ([step, video, "--recogniser", int8, "--ahead", "3"], "--ahead is 3; .* anticipates 2, 1.75"),
        ([int8, video, "--ahead", "1"], "--ahead is of an artifact that anticipates"),
        ([step, video, "--recogniser", int8, "--events"], "--events are of what is done"),
        ([step, video, "--recogniser", int8, "--stride", "0"], "stride is 0"),
    ]
    for arguments, said in cases:
        assert cli.main(["predict", *arguments]) == 1
        assert re.search(said, capsys.readouterr().err), said
