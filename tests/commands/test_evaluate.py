"""`egokeras evaluate` on a real saved student and real shards: the table, the files, the refusals."""

import json
import zlib

import numpy as np
import pytest

from egokeras import cli
from egokeras.data.shards import Shards, ShardWriter, table_dtype
from egokeras.files import sha256

CLASSES = {"verb": ["take", "put", "wash"], "noun": ["cup", "plate"]}


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Twelve training clips, four held-out ones of a new participant, one test clip; brightness is the verb."""
    folder = tmp_path_factory.mktemp("shards")
    writer, table = ShardWriter(folder, shape=(2, 4, 4, 3)), np.zeros(17, table_dtype(6, 4, 2, CLASSES))
    for number, record in enumerate(table):
        verb, noun, split = (number % 3, number % 2, 1 if number < 12 else 2) if number < 16 else (-1, -1, 4)
        pixels = np.full((2, 4, 4, 3), 100 * verb % 256, np.uint8)
        record["uid"], record["video"], record["group"] = f"clip{number}", f"v{number // 2}", f"P{split}"
        record["shard"], record["offset"], record["size"] = writer.append(pixels)
        record["checksum"], record["splits"], record["label_verb"], record["label_noun"] = zlib.crc32(pixels), split, verb, noun
    about = {"modality": "rgb", "channels": "RGB", "classes": CLASSES, "splits": ["train", "validation", "test"]}
    about |= {"clip_seconds": 1.0, "sampling": {"rule": "uniform", "frames": 2}}
    writer.finish(table, about)
    return folder


@pytest.fixture
def run_dir(tmp_path, shards):
    """A run whose student reads the verb off the brightness, and always says cup."""
    import keras

    rgb = keras.Input((2, 4, 4, 3), dtype="uint8", name="rgb")
    bright = keras.layers.GlobalAveragePooling3D()(keras.layers.Rescaling(1 / 100)(rgb))
    verb = keras.layers.Dense(3, name="verb")
    noun = keras.layers.Dense(2, name="noun", kernel_initializer="zeros")
    model = keras.Model({"rgb": rgb}, {"verb": verb(bright), "noun": noun(bright), "features": bright})
    verb.set_weights([np.tile([[0, 2 / 3, 4 / 3]], (3, 1)), np.array([0, -1, -4])])  # 2bv - v^2, largest at v = b
    noun.set_weights([np.zeros((3, 2)), np.array([1, 0])])
    model.save(tmp_path / "model.keras")
    (tmp_path / "recipe.json").write_text(json.dumps({"data": {"shards": str(shards)}, "data_sha256": sha256(shards / "index.json")}))
    (tmp_path / "classes.json").write_text(json.dumps(CLASSES))
    return tmp_path


def test_several_clips_of_each_segment(run_dir, capsys):
    record = json.loads((run_dir / "recipe.json").read_text())
    assert cli.main(["evaluate", str(run_dir), "--clips", "2"]) == 1
    assert "there is one of each; several take a run with data.crop" in capsys.readouterr().err
    record["data"]["crop"] = {"is": "Crop", "frames": 2, "size": 4, "sides": []}
    (run_dir / "recipe.json").write_text(json.dumps(record))
    assert cli.main(["evaluate", str(run_dir), "--clips", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["clips_averaged"] == 2 and found["heads"]["verb"]["top1"] == 100 and not (run_dir / "metrics.json").exists()
    assert cli.main(["evaluate", str(run_dir), "--clips", "0"]) == 1 and "--clips is 0" in capsys.readouterr().err


def test_scores_are_printed_and_kept(run_dir, capsys):
    assert cli.main(["evaluate", str(run_dir), "--batch-size", "3", "--confusion", str(run_dir / "pictures")]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [
        "validation:",
        "4",
        "clips,",
        "all",
        "of",
        "groups",
        "(participants,",
        "sources)",
        "that",
        "training",
        "did",
        "not",
        "see",
    ] in lines
    assert ["verb", "model", "100.00"] in [line[:3] for line in lines]
    assert ["noun", "model", "50.00"] in [line[:3] for line in lines]
    assert ["action", "model", "50.00"] in [line[:3] for line in lines]
    assert lines.count(["chance", "50.00", "100.00", "100.00"]) == 1  # two nouns
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert metrics["heads"]["verb"]["top1"] == 100
    with np.load(run_dir / "predictions.npz", allow_pickle=False) as stored:
        assert stored["uid"].tolist() == ["clip12", "clip13", "clip14", "clip15"]
    assert sorted(path.name for path in (run_dir / "pictures").iterdir()) == ["confusion_noun.png", "confusion_verb.png"]


def test_another_split_does_not_replace_the_scores_of_the_run(run_dir, capsys):
    (run_dir / "metrics.json").write_text('{"split": "validation", "folds": {"verb": {}}}')
    np.savez(run_dir / "predictions.npz")
    before = (run_dir / "metrics.json").read_bytes()
    assert cli.main(["evaluate", str(run_dir), "--split", "test", "--submission", str(run_dir / "test.json")]) == 0
    captured = capsys.readouterr()
    assert "no labels in this split" in captured.out
    assert "declared as SLS-1-3-3" in captured.err
    assert (run_dir / "metrics.json").read_bytes() == before
    assert list(json.loads((run_dir / "test.json").read_text())["results"]) == ["clip16"]
    assert cli.main(["evaluate", str(run_dir)]) == 0
    after = json.loads((run_dir / "metrics.json").read_text())
    assert (after["clips"], after["folds"]) == (4, {"verb": {}})


def test_the_default_is_what_the_run_held_out(run_dir, shards, capsys):
    """A recipe that holds out training videos is judged by those, and the majority comes from the rest."""
    recipe = {"data": {"shards": str(shards), "hold_out": 0.5}, "data_sha256": sha256(shards / "index.json")}
    (run_dir / "recipe.json").write_text(json.dumps(recipe))
    assert cli.main(["evaluate", str(run_dir)]) == 0
    assert cli.main(["evaluate", str(run_dir), "--split", "validation"]) == 0  # of the same name, and not what the run held out
    with np.load(run_dir / "predictions.npz", allow_pickle=False) as stored:
        held_out, trained = set(stored["uid"]), stored["training_verb"].sum()
    assert held_out < set(Shards(shards).clips["uid"][:12])
    assert trained == 12 - len(held_out)


def test_other_data_is_scored_without_its_own_training_clips(run_dir, shards, tmp_path, capsys):
    (run_dir / "recipe.json").write_text(json.dumps({"data": {"shards": "/gone", "train": "train3"}, "data_sha256": "of others"}))
    assert cli.main(["evaluate", str(run_dir), "--data", str(shards)]) == 0
    assert "majority" not in capsys.readouterr().out
    assert not (run_dir / "predictions.npz").exists()  # an export would judge by clips of other data


def test_json_is_the_metrics(run_dir, capsys):
    assert cli.main(["evaluate", str(run_dir), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((run_dir / "metrics.json").read_text())


@pytest.fixture
def anticipating(tmp_path, observations):
    """A run whose model reads the action to come off the features; in the test split one segment is discarded, and all of a video."""
    import keras

    segments = observations.segments()
    features = np.zeros((len(segments), 14, 5), np.float16)
    features[np.arange(len(segments)), :, [action for *_, action in segments]] = 1
    labelled = observations.write(tmp_path / "labelled", features, segments)
    table, splits = labelled.clips.copy(), [*labelled.splits, "test"]
    for row in np.flatnonzero(table["video"] == table["video"][-1]):
        for space in labelled.classes:
            table[row][f"label_{space}"] = -1
        discarded = (table["start"][row] == 0) << splits.index("discarded")
        table["splits"][row] = discarded | 1 << splits.index("test")
    table["splits"][84:96] = 1 << splits.index("discarded") | 1 << splits.index("test")
    (tmp_path / "set").mkdir()
    writer = ShardWriter(tmp_path / "set", shape=(14, 5), dtype="float16")
    for window in features:
        writer.append(window)
    names = ("modality", "classes", "actions", "observations", "quarantined", "sources")
    writer.finish(table, {**{name: labelled.index[name] for name in names}, "splits": splits})
    seen = keras.Input((14, 5), name="rgb_features")
    action = keras.layers.Dense(5, name="action", kernel_initializer="identity")
    keras.Model({"rgb_features": seen}, {"action": action(seen[:, -8:])}).save(tmp_path / "model.keras")
    record = {"data": {"shards": str(tmp_path / "set")}, "data_sha256": sha256(tmp_path / "set" / "index.json")}
    (tmp_path / "recipe.json").write_text(json.dumps(record))
    (tmp_path / "classes.json").write_text(json.dumps({"action": labelled.index["classes"]["action"]}))
    return tmp_path


def test_anticipation_is_printed_over_time(anticipating, capsys):
    pictures = anticipating / "pictures"
    assert cli.main(["evaluate", str(anticipating), "--confusion", str(pictures)]) == 0
    kinds = [f"{kind}_{head}.png" for kind in ("confusion", "over_time") for head in ("action", "noun", "verb")]
    assert sorted(path.name for path in pictures.iterdir()) == kinds
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    metrics = json.loads((anticipating / "metrics.json").read_text())["anticipation"]
    assert ["action", "model", *["100.00"] * 8] in lines
    assert ["markov", *(f"{value:.2f}" for value in metrics["heads"]["action"]["markov"]["top5"])] in lines
    assert ["overall", "action", "5", "100.00", "100.00", "100.00"] in lines
    assert ["action", "model", "2.00,", "markov", "2.00,", "majority", "2.00"] in lines


def test_test_segments_go_into_a_challenge_file_the_discarded_too(anticipating, capsys):
    file = anticipating / "test.json"
    assert cli.main(["evaluate", str(anticipating), "--split", "test", "--submission", str(file)]) == 0
    said = capsys.readouterr()
    assert "no labels in this split" in said.out and "warning" not in said.err
    content = json.loads(file.read_text())
    assert content["challenge"] == "action_anticipation"
    assert list(content["results"]) == [f"s{row}" for row in (*range(109, 120), *range(84, 96), 108)]
    assert all(set(content["results"][f"s{row}"]["action"].values()) == {0} for row in (84, 95, 108))
    assert max(content["results"]["s109"]["action"].values()) == pytest.approx(np.e / (np.e + 4))
    assert set(content["results"]["s109"]["action"]) == {"0,0", "0,1", "1,0", "1,2", "2,2"}


def test_segments_in_quarantine_are_missed_aloud(anticipating, capsys, monkeypatch):
    shards = Shards(anticipating / "set")
    shards.index["quarantined"] = 3
    monkeypatch.setattr("egokeras.recipe.open_sets", lambda paths: shards)
    assert cli.main(["evaluate", str(anticipating), "--split", "test", "--submission", str(anticipating / "test.json")]) == 0
    assert f"warning: 3 segments are in the quarantine of {anticipating / 'set'}" in capsys.readouterr().err


def test_mean_of_runs(anticipating, tmp_path, capsys):
    assert cli.main(["evaluate", str(anticipating)]) == 0
    metrics = json.loads((anticipating / "metrics.json").read_text())
    metrics["heads"]["action"]["top1"], metrics["anticipation"]["heads"]["action"]["top5"][0] = 50.0, 80.0
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "metrics.json").write_text(json.dumps({**metrics, "split": "validation2"}))
    capsys.readouterr()
    folders = [str(anticipating), str(tmp_path / "second")]
    assert cli.main(["evaluate", *folders, "--mean"]) == 0
    out = capsys.readouterr().out
    assert "mean of 2 runs, intervals over runs; validation, validation2" in out
    assert ["action", "model", "90.00", *["100.00"] * 7] in [line.split() for line in out.splitlines()]
    assert cli.main(["evaluate", *folders, "--mean", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["heads"]["action"]["top1"] == 75
    assert cli.main(["evaluate", *folders]) == 1
    assert "average their scores with --mean" in capsys.readouterr().err
    (tmp_path / "second" / "metrics.json").write_text("[]")
    assert cli.main(["evaluate", *folders, "--mean"]) == 1
    assert "is not the scores of a run" in capsys.readouterr().err
    assert cli.main(["evaluate", folders[0], "--mean"]) == 1
    assert "--mean takes two or more runs" in capsys.readouterr().err


def _of_longer_clips(run):
    import keras

    rgb = keras.Input((8, 4, 4, 3), dtype="uint8", name="rgb")
    keras.Model({"rgb": rgb}, {"verb": keras.layers.GlobalAveragePooling3D(name="verb")(rgb)}).save(run / "model.keras")


@pytest.mark.parametrize(
    ("prepare", "arguments", "message"),
    [
        (lambda run: (run / "model.keras").unlink(), [], "model.keras does not exist"),
        (lambda run: None, ["--split", "exam"], "no split 'exam'"),
        (
            lambda run: (run / "classes.json").write_text('{"verb": ["take", "wash", "put"]}'),
            [],
            "verb 1 is 'wash' for the model and 'put'",
        ),
        (lambda run: (run / "recipe.json").unlink(), [], "recipe.json does not exist"),
        (lambda run: (run / "model.keras").write_text("junk"), [], "model.keras does not exist or is damaged"),
        (lambda run: None, ["--batch-size", "0"], "--batch-size is 0"),
        (lambda run: None, ["--submission", "test.csv"], "ends in .json or .zip"),
        (lambda run: None, ["--submission", "nowhere/test.json"], "in a folder that exists"),
        (lambda run: None, ["--submission", "test.json", "--supervision", "1", "9", "3"], "supervision level labels is 9"),
        (_of_longer_clips, [], "has clips of (2, 4, 4, 3), the model takes (8, 4, 4, 3)"),
    ],
)
def test_what_cannot_be_evaluated_is_said(run_dir, capsys, prepare, arguments, message):
    prepare(run_dir)
    assert cli.main(["evaluate", str(run_dir), *arguments]) == 1
    assert message in capsys.readouterr().err


def test_report_prints_where_the_page_is(run_dir, capsys):
    assert cli.main(["evaluate", str(run_dir)]) == 0
    assert cli.main(["report", str(run_dir)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(run_dir / "report.html")
