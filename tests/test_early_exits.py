"""Early exits in an artifact: the answers of every exit, thresholds of its own, and nothing computed behind the exit that is taken."""

import dataclasses
import json
import pathlib
import shutil

import keras
import numpy as np
import pytest

from egokeras import artifact_kinds, cli, exit_ensemble, export, gated_run, wise
from egokeras.compress import conversion
from egokeras.data.selection import grouped_folds
from egokeras.device import selftest
from egokeras.device.artifact import Artifact
from egokeras.device.early_exit import StagedArtifact
from egokeras.errors import InputError
from egokeras.export import Export, load, ship, ship_all
from egokeras.files import read_json, run_file, write_json
from egokeras.gated_run import open_run
from egokeras.models import AverageHead, SmallBackbone, TwoStream, WithExits

MODALITIES = {"motion_vector": 2, "residual": 3}
CLASSES = {"verb": ["a", "b", "c"], "noun": ["x", "y"]}
NAMES = ["residual 1", "residual 2", "motion_vector 1", "motion_vector 2"]
LENIENT = {"max_lost_points": 100.0, "min_agreement": 0.0, "calibration_clips": 10, "lost_by_leaving": 5.0}


def bright_clips(modality, channels):
    """Brightness tells the verb, a bright corner the noun."""
    random = np.random.default_rng(len(modality))
    for row in range(150):
        verb, noun = row % 3, row // 3 % 2
        pixels = (random.integers(0, 60, (3, 16, 16, channels)) + 60 * verb).astype("uint8")
        pixels[:, :5, :5] = 250 * noun
        labels = {"verb": CLASSES["verb"][verb], "noun": CLASSES["noun"][noun]}
        yield pixels, "train" if row < 90 else "validation", f"v{row}", "", labels


def trained(modality, channels, clips):
    """A network with an exit behind its first convolution, trained for a second."""
    spec = TwoStream(modalities=(modality,), backbone=SmallBackbone(channels=(6, 8)), head=AverageHead(dropout=0.0))
    model = WithExits(model=spec, at=("conv_1_relu",), channels=6).build(
        classes={space: len(names) for space, names in CLASSES.items()}, shapes={modality: (3, 16, 16, channels)}
    )
    heads = [name for name in model.output if name != "features"]
    trainer = keras.Model(model.input, {name: model.output[name] for name in heads})
    trainer.compile(keras.optimizers.Adam(0.01), {name: keras.losses.SparseCategoricalCrossentropy(from_logits=True) for name in heads})
    pixels = np.stack([clip for clip, split, *_ in clips if split == "train"])
    ids = {space: np.array([names.index(clip[4][space]) for clip in clips if clip[1] == "train"]) for space, names in CLASSES.items()}
    trainer.fit({modality: pixels}, {name: ids[name.split("_")[0]] for name in heads}, epochs=12, batch_size=15, verbose=0)
    return model


@pytest.fixture(scope="module")
def run_dir(write_clips, tmp_path_factory):
    """A run of two networks with exits, weighed."""
    keras.utils.set_random_seed(0)
    folder, models = tmp_path_factory.mktemp("exits"), {}
    for modality, channels in MODALITIES.items():
        (folder / modality).mkdir()
        clips = list(bright_clips(modality, channels))
        write_clips(folder / modality, clips, CLASSES, modality)
        models[modality] = trained(modality, channels, clips)
    for modality, model in models.items():
        stage = folder / "run" / f"{modality}_exits"
        stage.mkdir(parents=True)
        model.save(stage / "model.keras")
        write_json(stage / "recipe.json", {"data": {"shards": ",".join(str(folder / each) for each in MODALITIES)}})
        write_json(stage / "classes.json", CLASSES)
    exit_ensemble.fit(folder / "run", l1=0.01)
    return folder / "run"


@pytest.fixture(scope="module")
def shipments(run_dir, convert_here):
    """Both exports that come with egokeras, on few clips."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "convert", convert_here)
        return ship_all([dataclasses.replace(load(name), **LENIENT) for name in ("early_exit_float32", "early_exit")], run_dir)


@pytest.fixture(scope="module")
def clips(run_dir):
    shards = open_run(run_dir).shards
    return shards.inputs(shards.rows("validation"))


def answers(run_dir, clips):
    """Z of every exit by Keras, head to (exits, clips, classes), written out."""
    weights = {head: found["weights"] for head, found in read_json(run_dir / "wise.json")["heads"].items()}
    networks = exit_ensemble.Ensemble.open(run_dir).networks
    outputs = [networks[modality]({modality: clips[modality]}) for modality in ("residual", "motion_vector")]
    z = {head: [np.array(each[name]) for each in outputs for name in (f"{head}_exit_1", head)] for head in CLASSES}
    return {head: np.stack([sum(w * z[head][i] for i, w in enumerate(row)) for row in rows]) for head, rows in weights.items()}


def test_every_exit_of_the_artifact_answers_as_keras_does(shipments, run_dir, clips):
    expected = answers(run_dir, clips)
    for shipment, tolerance in zip(shipments, (1e-4, 0.15), strict=True):
        staged = StagedArtifact(Artifact.open(shipment.path))
        assert list(staged.names) == NAMES
        for row in range(0, 60, 7):
            steps = list(staged.steps({name: values[row][None] for name, values in clips.items()}))
            for head, z in expected.items():
                np.testing.assert_allclose([step[head] for step in steps], z[:, row], atol=tolerance * np.abs(z).max())
        assert (tested := selftest.replay(Artifact.open(shipment.path))).passed and tested.pairs == 8
    gate = shipments[0].gate
    assert gate["answer"] == "pass" and gate["clips"] == 60 and gate["max_relative_difference"] <= 1e-5
    assert list(gate["heads"]) == [f"{head} {name}" for name in NAMES for head in CLASSES]


def test_thresholds_come_from_the_artifacts_own_answers(shipments, run_dir, clips):
    """Of the float32 file Keras' answers are the reference; leaving is written out, clip by clip."""
    exits = json.loads((shipments[0].path / "artifact.json").read_text())["exits"]
    z, run = answers(run_dir, clips), open_run(run_dir)
    costs = exit_ensemble.Ensemble.open(run_dir).costs()
    labels = {head: run.shards.labels(head, run.shards.rows("validation")) for head in CLASSES}
    for head, values in z.items():
        curve = wise.trade_off(values, labels[head], costs)
        assert exits["thresholds"][head] == pytest.approx(wise.Wish(lost=5.0).threshold(curve), abs=1e-5)
    taken, right = [], dict.fromkeys(CLASSES, 0)
    for row in range(60):
        for number in range(4):
            p = {head: np.exp(values[number, row]) / np.exp(values[number, row]).sum() for head, values in z.items()}
            if number == 3 or all(p[head].max() > exits["thresholds"][head] for head in p):
                break
        taken.append(number)
        for head in CLASSES:
            right[head] += p[head].argmax() == labels[head][row]
    chosen = exits["chosen_on"]
    assert chosen["clips"] == 60 and chosen["left"] == [taken.count(number) / 60 for number in range(4)]
    assert {head: accuracy[0] for head, accuracy in chosen["accuracy"].items()} == pytest.approx(
        {head: 100 * count / 60 for head, count in right.items()}
    )
    assert chosen["cost"] == pytest.approx(np.mean(costs[taken]) / costs[-1]) and chosen["cost"] < 1


def test_nothing_behind_the_exit_is_computed(shipments, clips, monkeypatch):
    artifact = Artifact.open(shipments[1].path)
    staged, ran = StagedArtifact(artifact), []

    def counting(number, runner):
        return lambda **inputs: ran.append(number) or runner(**inputs)

    monkeypatch.setattr(artifact.parts, "_runners", [counting(*each) for each in enumerate(artifact.parts._runners)])
    clip = {name: values[0][None] for name, values in clips.items()}
    for last in range(4):
        thresholds = dict.fromkeys(CLASSES, 0.0 if last < 3 else 1.0)
        ran.clear()
        if last in (0, 3):
            answer = staged.answer(clip, thresholds)
            assert (answer.exit, answer.name, ran) == (last, NAMES[last], list(range(last + 1)))
    found = artifact.predict({name: values[0] for name, values in clips.items()})
    expected = staged.answer(clip)
    for head in CLASSES:
        np.testing.assert_array_equal(found[head], expected.logits[head])


def test_the_folder_holds_a_file_for_each_exit_and_pairs_and_nothing_else(shipments):
    for shipment in shipments:
        assert sorted(file.name for file in shipment.path.iterdir()) == [
            "artifact.json",
            *(f"exit_{number}.tflite" for number in range(1, 5)),
            *(f"input_{number}_0{row}.bin" for number in (1, 2) for row in range(8)),
            *(f"logits_{number}.bin" for number in range(1, 9)),
        ]


def test_every_file_carries_the_labels_of_its_exit(shipments, tflite_metadata):
    for shipment in shipments:
        for number, path in enumerate(Artifact.open(shipment.path).files, 1):
            said = tflite_metadata(path.read_bytes())
            labels = {tensor["name"]: said["files"][tensor["files"][0][0]] for tensor in said["outputs"] if tensor["files"]}
            assert labels == {f"{head}_{number}": names for head, names in CLASSES.items()}


def test_int8_parts_compute_in_int8(shipments):
    from ai_edge_litert.interpreter import Interpreter

    for file in Artifact.open(shipments[1].path).files:
        details = Interpreter(str(file)).get_tensor_details()
        kernels = [detail["dtype"] for detail in details if len(detail["shape"]) == 4 and "conv" in detail["name"]]
        assert kernels.count(np.int8) >= 1, file


def test_without_labels_of_a_head_no_threshold_is_chosen(run_dir, shipments, monkeypatch):
    def convert(conversions):
        for each in conversions:
            shutil.copy(shipments[0].path / pathlib.Path(each.file).name, each.file)
        return [None] * len(conversions)

    monkeypatch.setattr(export, "convert", convert)
    labels = gated_run.Run.labels
    monkeypatch.setattr(
        gated_run.Run, "labels", lambda run, head: np.full_like(labels(run, head), -1) if head == "noun" else labels(run, head)
    )
    (shipment,) = ship_all([dataclasses.replace(load("early_exit_float32"), name="blind", **LENIENT)], run_dir)
    assert shipment.path is None and "no validation clip has a label of 'noun', so no threshold can be chosen" in shipment.reason


def test_a_run_that_is_not_weighed_is_told_how(run_dir, tmp_path, capsys):
    stage = run_dir / "residual_exits"
    for file in stage.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert artifact_kinds.made_of(open_run(tmp_path)) == ("clip", "early_exit")
    with pytest.raises(InputError, match="its exits are not weighed yet; run `egokeras wise "):
        ship(Export(name="mine", kind="early_exit"), tmp_path)
    assert not (tmp_path / "exports").exists()
    with pytest.raises(InputError, match="becomes early_exit, export 'float32' makes 'clip'"):
        ship(load("float32"), run_dir)
    assert cli.main(["verify", str(run_dir / "exports" / "early_exit")]) == 0


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("names", NAMES[:3], r"exits\.names"),
        ("weights", {"verb": [[1.0]], "noun": [[1.0]]}, r"exits\.weights\.verb"),
        ("thresholds", {"verb": 0.5}, r"exits\.thresholds"),
        ("thresholds", {"verb": 0.5, "noun": 1.5}, r"exits\.thresholds\.noun is 1\.5"),
    ],
)
def test_a_wrong_description_is_refused(shipments, tmp_path, field, value, message):
    for file in shipments[0].path.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    about = {**read_json(tmp_path / "artifact.json"), "seal": None}
    write_json(tmp_path / "artifact.json", {**about, "exits": {**about["exits"], field: value}})
    with pytest.raises(InputError, match=message):
        Artifact.open(tmp_path)


def test_the_benchmark_times_what_leaves_against_everything(run_dir, shipments, convert_here, root, tmp_path, monkeypatch):
    """The files are those that ship; on clips that are so easy leaving is about as accurate as everything."""
    module = run_file(root / "benchmarks" / "early_exit.py")
    monkeypatch.setattr(export, "convert", convert_here)
    monkeypatch.setattr(conversion, "convert", convert_here)
    monkeypatch.setattr(module, "KINDS", {"float32": "early_exit_float32"})
    found = module.measure(run_dir, tmp_path, count=30, rounds=2, threads=1, calibration=4, lost=5.0)
    (result,) = found.values()
    assert result["clips"] == 30 and sum(result["left"]) == pytest.approx(1) and 0 < result["cost"] <= 1 and result["mean"] > 0
    assert 50 < result["everything"]["noun"] <= 100 and abs(result["lost"]["noun"]) < 20
    cost = f"{result['cost']:.2f} ({result['cost']:.2f} to {result['cost']:.2f})"
    assert list(module.lines([found, found]))[2].split(" | ")[:4:3] == ["| float32", cost]


def test_thresholds_of_a_clip_are_chosen_by_clips_of_other_groups(root):
    module, random = run_file(root / "benchmarks" / "early_exit.py"), np.random.default_rng(0)
    labels, groups = random.integers(0, 3, 60), np.arange(60) % 6
    z = np.stack([scale * np.eye(3)[labels] + random.normal(0, 1, (60, 3)) for scale in (1, 2, 3)])
    costs = np.array([1.0, 2.0, 3.0])
    found = module.by_folds({"verb": z}, {"verb": labels}, groups, costs, 0.5)
    fold_of = grouped_folds(groups, labels, 5)
    for clip in range(60):
        rest = fold_of != fold_of[clip]
        assert found[clip] == {"verb": wise.Wish(lost=0.5).threshold(wise.trade_off(z[:, rest], labels[rest], costs))}
    with pytest.raises(SystemExit, match="all clips that judge are of one group"):
        module.by_folds({"verb": z}, {"verb": labels}, np.zeros(60), costs, 0.5)
