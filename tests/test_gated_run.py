"""A model that anticipates through the whole road to a step on the device: judged window by window, shipped with its state."""

import dataclasses
import json
import shutil
import zlib

import numpy as np
import pytest

from egokeras import cli, export, gated_run
from egokeras.data.joined import open_sets
from egokeras.data.shards import ShardWriter, table_dtype
from egokeras.device import selftest
from egokeras.device.anticipation import Anticipator
from egokeras.device.artifact import Artifact
from egokeras.errors import InputError
from egokeras.export import Export, load, names, ship, ship_all
from egokeras.files import sha256, write_json

CLASSES = {"action": ["open door", "open cup", "pour cup"], "verb": ["open", "pour"], "noun": ["door", "cup"]}
SPLITS = {"train": 20, "validation": 300, "discarded": 10}
TIMES = (2.0, 1.75, 1.5, 1.25, 1.0, 0.75, 0.5, 0.25)


def write_set(folder, modality, windows):
    """A set for anticipation; a video has ten segments."""
    folder.mkdir()
    writer, random = ShardWriter(folder, shape=windows.shape[1:], dtype=windows.dtype), np.random.default_rng(5)
    table = np.zeros(len(windows), table_dtype(8, 8, 0, CLASSES))
    split = np.repeat(np.arange(len(SPLITS)), list(SPLITS.values()))
    for number, window in enumerate(windows):
        labels = random.integers(0, [3, 2, 2])
        place, checksum = writer.append(window), zlib.crc32(np.ascontiguousarray(window))
        table[number] = (f"s{number}", f"video{number // 10}", "", number, number + 1, *place, checksum, 1 << split[number], *labels)
    about = {"modality": modality, "classes": CLASSES, "splits": list(SPLITS), "quarantined": 0, "sampling": {"rule": "observations"}}
    writer.finish(table, {**about, "clip_seconds": 3.5, "observations": {"step": 0.25, "steps": 14, "seen": modality}})


def past_actions(count):
    """`labels` of windows, (count, 6, 3) int16, some with few actions."""
    random, found = np.random.default_rng(1), np.zeros((count, 6, 3), "int16")
    for window in found:
        number = random.integers(0, 7)
        ages = -np.sort(-random.integers(25, 2_000, number))
        window[6 - number :] = np.stack([random.integers(1, 3, number), random.integers(1, 3, number), ages], axis=-1).reshape(-1, 3)
    return found


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run whose RU-LSTM fuses features and past actions; its weights are random."""
    import keras

    from egokeras.models.anticipation import RULSTM, Vocabulary

    folder, count = tmp_path_factory.mktemp("anticipating"), sum(SPLITS.values())
    write_set(folder / "rgb", "rgb_features", np.random.default_rng(0).standard_normal((count, 14, 5)).astype("float16"))
    write_set(folder / "labels", "labels", past_actions(count))
    keras.utils.set_random_seed(0)
    model = RULSTM(units=8, fusion="matt", labels=Vocabulary(verbs=2, nouns=2, last=3, verb_size=2, noun_size=2)).build(
        classes={"action": 3}, shapes={"rgb_features": (14, 5), "labels": (6, 3)}
    )
    model.set_weights([weight * 3 for weight in model.get_weights()])
    run = folder / "run"
    run.mkdir()
    model.save(run / "model.keras")
    write_json(run / "classes.json", {"action": CLASSES["action"]})
    write_json(run / "recipe.json", {"data": {"shards": f"{folder / 'rgb'},{folder / 'labels'}"}})
    return run


@pytest.fixture(scope="module")
def run(run_dir):
    """The opened run, whose Keras model answers once for all tests."""
    return gated_run.open_run(run_dir)


@pytest.fixture(scope="module")
def quick(run, convert_here):
    """No other process, and no run is opened again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "convert", convert_here)
        patch.setattr(export, "open_run", lambda path, shards: run)
        yield


@pytest.fixture(scope="module")
def shipments(run_dir, quick):
    """What became of every export of a step that comes with egokeras."""
    return ship_all([found for name in names() if (found := load(name)).kind == "anticipation_step"], run_dir)


def test_every_step_passes_at_every_time(shipments):
    assert [shipment.export.name for shipment in shipments] == [f"anticipation_step{kind}" for kind in ("", "_dynamic_range", "_float16")]
    for shipment in shipments:
        gate = shipment.gate
        assert gate["answer"] == "pass" and (gate["clips"], gate["windows"], gate["videos"]) == (300, 0, 30)
        assert list(gate["heads"]) == [f"action {time:g} s" for time in TIMES]
        assert shipment.path.name == shipment.export.name
        assert (tested := selftest.replay(Artifact.open(shipment.path))).passed and tested.pairs == 8, tested.sentence
    assert shipments[0].gate["max_relative_difference"] <= 1e-5
    assert len({figures["keras_top1"] for figures in shipments[0].gate["heads"].values()}) > 1


def test_the_artifact_explains_itself(shipments, run_dir):
    about = json.loads((shipments[0].path / "artifact.json").read_text())
    rgb, labels = ({"step": 0.25, "steps": 14, "seen": name} for name in ("rgb_features", "labels"))
    assert about["kind"] == "anticipation_step" and about["outputs"] == {"action": CLASSES["action"]}
    assert about["inputs"] == {
        "rgb_features": {"shape": [1, 5], "dtype": "float32", "observed": rgb},
        "labels": {"shape": [1, 6, 3], "dtype": "int32", "observed": labels},
    }
    assert about["state"]["labels_past"] == {"shape": [1, 6, 3], "dtype": "int32"}
    branches = [f"{name}_{part}" for name in ("rgb_features", "labels") for part in "hc"]
    assert {name: about["state"][name]["shape"] for name in branches} == {name: [1, 14, 8] for name in branches}
    assert about["anticipation"] == {"step": 0.25, "steps": 14, "times": list(TIMES)}
    assert about["vocabulary"] == {"verb": CLASSES["verb"], "noun": CLASSES["noun"]}
    data = open_sets(json.loads((run_dir / "recipe.json").read_text())["data"]["shards"])
    assert about["parent"] == {"run": "run", "model_sha256": sha256(run_dir / "model.keras"), "data_sha256": data.sha256}


def test_the_artifact_gives_what_the_run_gives(shipments, run):
    anticipator = Anticipator.open(shipments[0].path)
    inputs = run.shards.inputs(run.shards.rows("validation")[:20])
    expected = np.array(run.model(inputs)["action"])
    found = [anticipator.window({name: value[number] for name, value in inputs.items()})["action"] for number in range(20)]
    np.testing.assert_allclose(np.stack(found), expected, atol=1e-5)
    assert np.ptp(expected, axis=0).min() > 1e-3


def test_a_savedmodel_gives_what_the_file_gives(shipments, run_dir, run, quick, monkeypatch):
    few = dataclasses.replace(run)
    monkeypatch.setattr(gated_run, "GATE_WINDOWS", 16)
    monkeypatch.setattr(export, "open_run", lambda path, shards: few)
    path = ship(Export(name="saved", kind="anticipation_step", format="savedmodel"), run_dir)
    window = {name: values[0] for name, values in run.shards.inputs(run.shards.rows("validation")[:1]).items()}
    found, expected = (Anticipator.open(each).window(window)["action"] for each in (path, shipments[0].path))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.fixture
def copied(shipments, monkeypatch):
    """Nothing is converted: every file is the float32 one."""

    def copies(conversions):
        for each in conversions:
            shutil.copy(shipments[0].path / "model.tflite", each.file)
        return [None] * len(conversions)

    monkeypatch.setattr(export, "convert", copies)


def test_the_command_prints_the_gate_at_every_time(run_dir, copied, capsys):
    assert cli.main(["export", str(run_dir), "anticipation_step"]) == 0
    printed = capsys.readouterr().out
    assert "anticipation_step: pass, on 300 validation clips" in printed and all(f"  action {time:g} s " in printed for time in TIMES)


def test_a_step_of_another_model_is_refused_and_leaves_nothing(run_dir, run, copied, monkeypatch):
    before = sorted(run_dir.rglob("*"))
    rolled = {name: np.roll(logits, 1, axis=0) for name, logits in run._expected["steps", False].items()}
    monkeypatch.setitem(run._expected, ("steps", False), rolled)
    with pytest.raises(
        InputError, match=r"mine fails its gate: action 2 s .*logits differ by up to .*; nothing is nearer to the Keras model"
    ):
        ship(Export(name="mine", kind="anticipation_step"), run_dir)
    assert sorted(run_dir.rglob("*")) == before


@pytest.mark.slow
def test_the_nearest_that_passes_is_named_as_it_is_shipped(run_dir, run, quick, monkeypatch):
    counts = {"clips": 300, "windows": 0, "videos": 30}
    monkeypatch.setattr(export, "explain", lambda gate: "it is bad")
    answer = {"float16": "pass"}
    monkeypatch.setattr(gated_run.Run, "gate", lambda self, kind, found: {**counts, "answer": answer.get(kind.export.quantization, "fail")})
    with pytest.raises(InputError, match="mine fails its gate: it is bad; the nearest that passes is anticipation_step_float16"):
        ship(Export(name="mine", kind="anticipation_step", quantization="dynamic_range"), run_dir)


def test_an_export_for_clips_is_refused(run_dir, quick):
    with pytest.raises(InputError, match=r"run becomes anticipation_step, export 'int8' makes 'clip'; give one of anticipation_step, "):
        ship(load("int8"), run_dir)
    with pytest.raises(InputError, match="kind 'anticipation_step' with quantization 'int8' is not made"):
        Export(name="x", kind="anticipation_step", quantization="int8")
    with pytest.raises(InputError, match="kind 'step' is unknown; it is one of clip, stream, anticipation_step, early_exit"):
        Export(name="x", kind="step")


def test_missing_data_is_named(run_dir, tmp_path):
    for name in ("model.keras", "classes.json"):
        (tmp_path / name).write_bytes((run_dir / name).read_bytes())
    write_json(tmp_path / "recipe.json", {"data": {"shards": f"{run_dir.parent / 'rgb'},gone"}})
    with pytest.raises(InputError, match="the data 'gone' is not here; give its folder with --data"):
        gated_run.open_run(tmp_path)
