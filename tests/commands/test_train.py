"""The whole road through the command line, shrunk: from video files to artifacts, latency and page."""

import importlib.util
import json
import os
import subprocess
import sys

import av
import numpy as np
import pytest

from egokeras import cli
from egokeras.data.synthetic import World

SMALL = ["epochs=2", "model.backbone=SmallBackbone", "folds=2", "exports=('float32',)"]


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Two classes of eight short videos, and one that is no video."""
    folder, random = tmp_path_factory.mktemp("own"), np.random.default_rng(0)
    for name, channel in (("red", 0), ("blue", 2)):
        (folder / name).mkdir()
        for number in range(8):
            with av.open(str(folder / name / f"s{number // 2}_{number}.mp4"), "w") as container:
                stream = container.add_stream("mpeg4", 25, width=64, height=48, pix_fmt="yuv420p")
                for _ in range(12):
                    frame = random.integers(0, 60, (48, 64, 3)).astype("uint8")
                    frame[..., channel] += 150
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
                container.mux(stream.encode())
    (folder / "red" / "s9_9.mp4").write_text("this is no video")
    return folder


@pytest.mark.slow
def test_own_clips_to_artifact_and_page(clips, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ["--videos", str(clips), "--group", r"(s\d)_", "--frames", "8", "--size", "32", "--accept-untested"]
    code = cli.main(["train", *options, *SMALL])
    said = capsys.readouterr()
    assert code == 3, said.err  # the file that is no video was quarantined
    run = tmp_path / "runs" / "own_clips"
    metrics = json.loads((run / "metrics.json").read_text())
    assert not (run / ".unfinished").exists()
    assert metrics["heads"]["action"]["majority"]["top1"] > 0 and len(metrics["folds"]["action"]["per_fold"]) == 2
    with np.load(run / "predictions.npz") as held_out, np.load(run / "train_predictions.npz") as trained:
        assert len(held_out["uid"]) + len(trained["uid"]) == 16 and not set(held_out["uid"]) & set(trained["uid"])
    artifact = json.loads((run / "exports" / "float32" / "artifact.json").read_text())
    assert artifact["outputs"]["action"] == ["blue", "red"] and artifact["inputs"]["rgb"]["shape"] == [1, 8, 32, 32, 3]
    latency = json.loads((run / "latency.json").read_text())
    assert {result["threads"] for result in latency["results"]} == {1, 2} and latency["host"]["processor"]
    assert "s9_9" in (run / "shards" / "quarantine.csv").read_text()
    page = (run / "report.html").read_text()
    assert "own_clips" in page and "majority" in page
    assert "majority" in said.out and "p50" in said.out and "action over 2 grouped folds" in said.out


def test_a_class_lost_to_quarantine_stops_the_road(clips, tmp_path, monkeypatch, capsys):
    import shutil

    monkeypatch.chdir(tmp_path)
    shutil.copytree(clips, "videos")
    for path in (tmp_path / "videos" / "blue").iterdir():
        path.write_text("this is no video")
    command = [
        "train",
        "--videos",
        "videos",
        "--frames",
        "8",
        "--size",
        "32",
        "epochs=1",
        "model.backbone=SmallBackbone",
        "folds=0",
        "exports=()",
    ]
    assert cli.main(command) == 1
    assert "action 'blue' has no training clip; see quarantine.csv" in capsys.readouterr().err
    assert not list(tmp_path.glob("runs/*/model.keras"))


@pytest.mark.slow
def test_demo_renders_its_own_world(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "demo" / "demo" / "exports" / "int8").mkdir(parents=True)  # of a run that ended before its time
    for left in (".unfinished", "demo/latency.json"):
        (tmp_path / "runs" / "demo" / left).touch()
    monkeypatch.setattr(World, "demo", World.tiny)
    assert cli.main(["train", "epochs=1", "exports=()"]) == 0
    page = (tmp_path / "runs" / "demo" / "report.html").read_text()
    assert all(
        f'href="{stage}/report.html"' in page and (tmp_path / "runs" / "demo" / stage / "report.html").exists()
        for stage in ("teacher", "demo")
    )
    assert not any((tmp_path / "runs" / "demo" / left).exists() for left in (".unfinished", "demo/latency.json", "demo/exports"))
    assert len(list((tmp_path / "runs" / "demo" / "world" / "videos").glob("*.mp4"))) == 3
    shards = tmp_path / "runs" / "demo" / "shards"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)  # without matplotlib all but the page is there
    assert cli.main(["train", "demo", f"data.shards={shards}", "epochs=1"]) == 0  # as any recipe, on given shards, in a run of its own
    assert all((tmp_path / "runs" / "demo-2" / "demo" / name).exists() for name in ("model.keras", "metrics.json"))
    said = capsys.readouterr().out
    assert "next: egokeras export runs/demo-2" in said and "no page: install matplotlib" in said


@pytest.mark.slow
def test_an_interrupted_run_is_resumed_and_not_taken_over(squares, tmp_path, monkeypatch, capsys):
    from egokeras import files
    from egokeras.snapshots import Snapshots

    save = Snapshots._save

    def train(*changes):
        files._locks.clear()  # as if the process before had ended
        return cli.main([*command, *changes])

    def interrupted(self, epoch, step):
        save(self, epoch, step)
        if (epoch, step) == (1, 0):
            raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    command = ["train", "own_clips", f"data.shards={squares.path}", "model.backbone=SmallBackbone", "folds=0", "epochs=2", "batch_size=32"]
    command += ["--snapshot-seconds", "0"]
    monkeypatch.setattr(Snapshots, "_save", interrupted)
    assert train("--resume") == 130
    said = capsys.readouterr()
    assert "runs/own_clips does not exist, so there is nothing to resume: from the beginning" in said.out
    assert "run the same command again with --resume to go on" in said.err
    monkeypatch.setattr(Snapshots, "_save", save)
    assert train("epochs=1") == 0  # another training does not take its folder
    assert "runs/own_clips holds a training that was interrupted; --resume goes on with it" in capsys.readouterr().out
    (tmp_path / "runs" / "own_clips-2").rename(tmp_path / "other")
    assert train("batch_size=8", "--resume") == 1
    assert "batch_size was 32 and is 8" in capsys.readouterr().err
    assert train("--resume") == 0 and "going on in epoch 2 after 0 of 5 steps" in capsys.readouterr().out
    assert not (tmp_path / "runs" / "own_clips" / ".unfinished").exists() and (tmp_path / "runs" / "own_clips" / "report.html").exists()
    metrics = (tmp_path / "runs" / "own_clips" / "metrics.json").read_bytes()
    assert train("--resume") == 0 and "its training was complete; nothing to do" in capsys.readouterr().out
    assert (tmp_path / "runs" / "own_clips" / "metrics.json").read_bytes() == metrics
    assert train("epochs=3", "--resume") == 0  # a run that was finished goes on for longer
    assert cli.main(["verify", "runs/own_clips"]) == 0
    assert train("epochs=3", "seed=4", "--resume") == 1
    assert "seed was 0 and is 4" in capsys.readouterr().err and (tmp_path / "runs" / "own_clips" / "model.keras").exists()
    assert not (tmp_path / "runs" / "own_clips" / ".unfinished").exists()
    for snapshot in (tmp_path / "runs" / "own_clips" / "snapshots").iterdir():
        snapshot.write_bytes(b"no more")
    assert train("epochs=4", "--resume") == 1
    assert "no snapshot is left, train anew without --resume" in capsys.readouterr().err
    assert json.loads((tmp_path / "runs" / "own_clips" / "recipe.json").read_text())["epochs"] == 3
    assert not (tmp_path / "runs" / "own_clips" / ".unfinished").exists() and (tmp_path / "runs" / "own_clips" / "metrics.json").exists()
    epochs = [line.split(",")[0] for line in (tmp_path / "runs" / "own_clips" / "history.csv").read_text().splitlines()]
    assert epochs == ["epoch", "0", "1", "2"] and [path.name for path in (tmp_path / "runs").iterdir()] == ["own_clips"]


@pytest.fixture
def tiny(squares, tmp_path, monkeypatch):
    """The path of a small recipe, with Dropout, on the moving squares; no pages are drawn."""
    from egokeras.commands import train

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train, "_report", lambda *folders: None)
    (tmp_path / "tiny.py").write_text(
        "from egokeras.models import AverageHead, FrameModel, SmallBackbone\nfrom egokeras.recipe import Data, Recipe\n\ndef stages():\n"
        "    model = FrameModel(backbone=SmallBackbone(channels=(4,)), head=AverageHead(dropout=0.3))\n"
        f"    data = Data(shards={str(squares.path)!r}, heads=('verb',))\n"
        "    return (Recipe(name='tiny', data=data, model=model, epochs=2, batch_size=80),)\n"
    )
    return "tiny.py"


def results(folder):
    """What a training gives, its times aside."""
    import egokeras

    found = {name: (folder / name).read_bytes() for name in ("history.csv", "metrics.json", "recipe.json")}
    with np.load(folder / "predictions.npz") as arrays:
        found |= {name: arrays[name].tobytes() for name in arrays}
    return found | {weight.path: np.asarray(weight).tobytes() for weight in egokeras.load_model(folder / "model.keras").weights}


def test_a_grid_that_was_killed_ends_like_one_that_was_not(tiny, tmp_path, monkeypatch, capsys):
    from egokeras import files, train
    from egokeras import recipe as recipes
    from egokeras.snapshots import Snapshots

    save, killed = Snapshots._save, []

    def deadly(self, epoch, step):
        save(self, epoch, step)
        if "seed-1" in str(self.folder) and epoch == 1 and not killed:
            killed.append(epoch)
            raise KeyboardInterrupt

    def grid(*changes):
        files._locks.clear()  # as if the process before had ended
        return cli.main(["train", tiny, "--seeds", "2", "--snapshot-seconds", "0", *changes])

    monkeypatch.setattr(Snapshots, "_save", deadly)
    assert grid() == 130 and "run the same command again" in capsys.readouterr().err
    runs = tmp_path / "runs" / "tiny"
    assert (runs / "seed-0" / "metrics.json").exists() and not (runs / "seed-1" / "metrics.json").exists()
    assert cli.main(["compare", "runs/tiny"]) == 0 and "seed-1 is not finished and left out" in capsys.readouterr().out
    before = (runs / "seed-0" / "model.keras").stat().st_mtime_ns
    assert grid() == 0
    said = capsys.readouterr().out
    assert "[1/2] seed-0: finished, skipped" in said and "[2/2] seed-1: 1 of 2 left" in said and "going on in epoch 2 after 0 of" in said
    assert "60 clips of validation; 95% t-intervals over seeds" in said and (runs / "seed-0" / "model.keras").stat().st_mtime_ns == before
    assert cli.main(["verify", "runs/tiny"]) == 0
    (recipe,) = recipes.load(tiny, ["seed=1"])
    (tmp_path / "alone").mkdir()
    train.fit(recipe, tmp_path / "alone", quiet=True)  # without a grid, and without a kill
    for name in ("history.csv", "recipe.json"):
        assert (tmp_path / "alone" / name).read_bytes() == (runs / "seed-1" / name).read_bytes()
    (tmp_path / "runs").rename(tmp_path / "killed")
    assert grid() == 0
    for seed in (0, 1):
        assert results(runs / f"seed-{seed}") == results(tmp_path / "killed" / "tiny" / f"seed-{seed}")
    assert [float(line.split(",")[0]) for line in (tmp_path / "killed/tiny/seed-1/seconds.csv").read_text().splitlines()] == [0, 1]
    capsys.readouterr()
    assert grid("batch_size=40") == 1
    assert "error: seed-0: batch_size was 80 and is 40; give what it began with" in capsys.readouterr().err


def test_a_training_that_fails_stops_the_grid_with_its_combination(tiny, tmp_path, capsys):
    assert cli.main(["train", tiny, "epochs=2", "optim.optimizer=sgd", "optim.learning_rate=0.1,1e38"]) == 1
    said = capsys.readouterr().err
    assert "error: optim.learning_rate=1e+38: the loss is not finite in epoch" in said and len(said.strip().splitlines()) == 1
    assert (tmp_path / "runs" / "tiny" / "optim.learning_rate=0.1" / "metrics.json").exists()
    assert cli.main(["train", tiny, "epochs=1", "--resume"]) == 0  # a run of its own beside the grid
    assert "runs/tiny does not exist" in capsys.readouterr().out and (tmp_path / "runs" / "tiny-2" / "metrics.json").exists()
    assert cli.main(["train", tiny, "epochs=2", "--resume"]) == 0
    assert "going on in epoch 2" in capsys.readouterr().out


def test_a_recipe_of_two_stages_ends_in_artifacts_of_the_last(clips, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.py").write_text(
        "from egokeras.models import FrameModel, SmallBackbone\nfrom egokeras.recipe import Recipe\n\ndef stages():\n"
        "    small = FrameModel(backbone=SmallBackbone())\n"
        "    return Recipe(name='one', model=small, epochs=1), Recipe(name='two', model=small, epochs=1, exports=('float32',))\n"
    )
    command = ["train", "two.py", "--videos", str(clips), "--group", r"(s\d)_", "--frames", "8", "--size", "32", "--accept-untested"]
    assert cli.main(command) == 3, capsys.readouterr().err
    run = tmp_path / "runs" / "two"
    assert (run / "two" / "exports" / "float32" / "artifact.json").exists() and (run / "two" / "latency.json").exists()
    assert (run / "one" / "report.html").exists() and not (run / ".unfinished").exists()


@pytest.mark.slow
def test_two_devices_give_the_losses_of_one(squares, tmp_path, root):
    command = [sys.executable, "-m", "egokeras.cli", "train", "own_clips", f"data.shards={squares.path}", "model.backbone=SmallBackbone"]
    command += ["model.head.dropout=0.0", "optim.learning_rate=1e-4", "folds=0", "epochs=2", "--cpu", "batch_size=32"]
    environment = {**os.environ, "PYTHONPATH": str(root)}

    for devices in ("1", "2"):
        where = [*command, "--devices", devices, "--runs", str(tmp_path / devices)]
        subprocess.run(where, env=environment, cwd=tmp_path, check=True, capture_output=True, timeout=300)
    one, two = (np.genfromtxt(tmp_path / f"{n}" / "own_clips" / "history.csv", delimiter=",", names=True) for n in (1, 2))
    assert {"loss", "val_loss", "val_verb_top1"} < set(one.dtype.names)
    for name in one.dtype.names:
        np.testing.assert_allclose(one[name], two[name], atol=1e-5, err_msg=name)


def test_a_batch_that_the_devices_cannot_share_is_refused_at_once(squares, tmp_path, monkeypatch, capsys):
    from egokeras import accelerator

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(accelerator, "start", lambda **_: None)  # TensorFlow runs already, with one device
    assert cli.main(["train", "own_clips", f"data.shards={squares.path}", "batch_size=3", "--devices", "2"]) == 1
    assert "batch_size is 3, which 2 devices cannot share; give a multiple of the devices" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report_lstn"], "nearest: report_lstm"),
        (["report_lstm"], "has no data; give data.shards=FOLDER"),
        (["report_lstm", "optim.learning_rte=1"], "did you mean 'learning_rate'"),
        (["report_lstm", "data.shards=absent"], "absent is not a finished folder of shards"),
        (["--videos", "absent"], "absent"),
        (["--group", "x"], "go with --videos"),
        (["--videos", "CLIPS", "model.backbone.weights=absent.h5"], "absent.h5"),
        (["--videos", "CLIPS", "--frames", "0", "model.backbone=SmallBackbone"], "model.frames is 0; give at least 1"),
        (["demo", "exports=int9"], "there is no export 'int9'; nearest: int8"),
        (["--seeds", "3"], "the demo trains once; for seeds or a grid give a RECIPE and data.shards=FOLDER"),
        (["epochs=3,5"], "the demo trains once"),
        (["--videos", "CLIPS", "--seeds", "2"], "--videos trains once"),
        (["demo", "--seeds", "0"], "--seeds is 0; give at least 1"),
        (["report_lstm", "--seeds", "2"], "seed-0: recipe 'report_lstm' has no data; give data.shards=FOLDER"),
    ],
)
def test_mistakes_end_in_one_sentence_and_no_run_folder(arguments, message, clips, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", *(str(clips) if argument == "CLIPS" else argument for argument in arguments)]) == 1
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said and len(said.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_a_gpu_that_tensorflow_cannot_see_stops_the_run_with_the_cure(tmp_path, monkeypatch, capsys):
    import tensorflow as tf

    from egokeras import accelerator

    if tf.config.list_physical_devices("GPU"):
        pytest.skip("TensorFlow sees the GPU of this machine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(accelerator, "_has_nvidia_gpu", lambda: True)
    assert cli.main(["train", "demo"]) == 1
    assert "pip install egokeras[cuda]" in capsys.readouterr().err
