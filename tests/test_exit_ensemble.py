"""WISE over the exits of several networks: order, costs, what is fitted on what, and the command."""

import json

import numpy as np
import pytest

from egokeras import cli, wise
from egokeras.compress.cost import cost
from egokeras.errors import InputError
from egokeras.exit_ensemble import costs_of, exits_of, fit, judge, open_networks
from egokeras.models.early_exit import EarlyExitResNet, InternalClassifier

MODALITIES = {"motion_vector": 2, "residual": 3, "iframe": 3}
CLASSES = {"action": ["a", "b", "c"]}


@pytest.fixture(scope="module")
def run_dir(write_clips, tmp_path_factory):
    """A run of three untrained networks with exits, and sets in which brightness tells the class."""
    folder, random = tmp_path_factory.mktemp("pkd"), np.random.default_rng(0)
    labels = random.integers(0, 3, 40)
    for modality, channels in MODALITIES.items():
        (folder / modality).mkdir()
        clips = []
        for row, label in enumerate(labels):
            pixels = (random.integers(0, 60, (2, 48, 48, channels)) + 60 * label).astype("uint8")
            clips.append((pixels, "train" if row < 25 else "validation", f"v{row}", "", {"action": CLASSES["action"][label]}))
        write_clips(folder / modality, clips, CLASSES, modality)
        spec = EarlyExitResNet(modality=modality, width=2, exits=(InternalClassifier(stage=1), InternalClassifier(stage=2)))
        model = spec.build(classes={"action": 3}, shapes={modality: (2, 48, 48, channels)})
        run = folder / "run" / f"{modality}_exits"
        run.mkdir(parents=True)
        model.save(run / "model.keras")
        shards = ",".join(str(folder / name) for name in MODALITIES)
        about = {"is": "EarlyExitResNet", "modality": modality, "exits": None}
        (run / "recipe.json").write_text(json.dumps({"data": {"shards": shards}, "model": about}))
    return folder / "run"


def test_exits_come_in_the_order_of_their_computation(run_dir):
    networks, data = open_networks(run_dir)
    shards = data.open()
    rows = shards.rows("validation")[:5]
    found = exits_of(networks, shards, rows, ["action"], batch_size=2)
    assert found.names == tuple(f"{modality} {number}" for modality in ("residual", "motion_vector", "iframe") for number in (1, 2, 3))
    inputs = shards.inputs(rows)
    for number, name in enumerate(found.names):
        modality, exit_number = name.split()
        outputs = networks[modality].predict({modality: inputs[modality]}, verbose=0)
        expected = outputs["action" if exit_number == "3" else f"action_exit_{exit_number}"]
        np.testing.assert_allclose(found.logits["action"][number], expected, rtol=1e-4, atol=1e-5)
    whole = [cost(networks[modality])["macs"]["whole"] for modality in ("residual", "motion_vector", "iframe")]
    costs = costs_of(networks, "action")
    assert costs[[2, 5, 8]].tolist() == np.cumsum(whole).tolist() and (np.diff(costs) > 0).all()
    np.testing.assert_array_equal(found.labels["action"], shards.labels("action", rows))


def test_it_is_fitted_on_training_clips_and_judged_on_others(run_dir):
    found = fit(run_dir, l1=0.01)
    assert json.loads((run_dir / "wise.json").read_text()) == found and found["clips"] == 15
    networks, data = open_networks(run_dir)
    shards = data.open()
    train, held_out = (exits_of(networks, shards, shards.rows(split), ["action"]) for split in ("train", "validation"))
    weights = wise.fit_wise(train.logits["action"], train.labels["action"], l1=[0.01] * 9)
    np.testing.assert_allclose(found["heads"]["action"]["weights"], weights, atol=1e-6)
    again = judge(weights, held_out.logits["action"], held_out.labels["action"], np.array(found["costs"]))
    assert again["accuracy"] == found["heads"]["action"]["accuracy"]
    assert found["heads"]["action"]["trade_off"]["accuracy"][-1] == again["accuracy"]["WISE"][-1]


def test_accuracies_by_hand():
    logits = np.array([[[2.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 3.0]]])  # exits, clips, classes
    found = judge(np.array([[1.0, 0.0], [1.0, 1.0]]), logits, np.array([0, 1]), np.array([1.0, 2.0]))
    assert found["accuracy"] == {"alone": [100, 50], "WISE": [100, 100], "divided": [100, 100], "equal": [100, 100]}


def test_the_command_says_what_leaving_early_costs(run_dir, capsys, monkeypatch):
    monkeypatch.setattr("egokeras.exit_ensemble.costs_of", lambda *_: np.arange(1.0, 10))
    assert cli.main(["wise", str(run_dir), "--l1", "0.01", "--lost", "100"]) == 0
    said = capsys.readouterr().out
    assert "15 clips; top-1 % at every exit" in said and "residual 1" in said and "leaving above 0.0000:" in said
    assert cli.main(["wise", str(run_dir), "--order", "residual,sound"]) == 1
    assert "has no trained network of sound with exits" in capsys.readouterr().err


def test_a_run_without_networks(tmp_path):
    with pytest.raises(InputError, match="has no trained network of residual with exits; give a run of the recipe pkd_wise"):
        open_networks(tmp_path)
