"""WISE over the exits of several networks: order, costs, what is fitted and chosen on what, what is measured, and the command."""

import json
import shutil

import keras
import numpy as np
import pytest

import egokeras.commands.wise as command
from egokeras import cli, exit_ensemble, wise
from egokeras.compress.cost import cost
from egokeras.data.selection import grouped_folds
from egokeras.errors import InputError
from egokeras.exit_ensemble import Clips, Ensemble, constant, fit, judge, open_staged
from egokeras.layers import FoldTime
from egokeras.models import FrameModel, LSTMHead, SmallBackbone, WithExits
from egokeras.models.internal_classifiers import Tap, answer, attach, mean

MODALITIES = {"motion_vector": 2, "residual": 3, "iframe": 3}
ORDER = ("residual", "motion_vector", "iframe")
CLASSES = {"action": ["a", "b", "c"]}
GROUPS = np.arange(60) % 12


def network(modality, channels, exits=True):
    """Two convolutions on every segment, an exit behind each, and the network's own answer."""
    clip = keras.Input((2, 16, 16, channels), dtype="uint8", name=modality)
    x = keras.layers.Rescaling(1 / 255, name="scale")(FoldTime(name="fold_time")(clip))
    taps = []
    for name in ("conv_1", "conv_2"):
        x = keras.layers.Conv2D(3, 3, strides=2, activation="relu", name=name)(x)
        taps.append(Tap(tensor=keras.layers.GlobalAveragePooling2D(name=f"{name}_pool")(x), name=name))
    features = keras.layers.Dense(4, activation="relu", name="features_dense")(taps[1].tensor)
    model = keras.Model({modality: clip}, {"action": answer(features, 3, "action", 2), "features": mean(features, 2, "features")})
    return attach(model, taps if exits else [], {"action": 3})


def write_stage(run, model, shards):
    """A run folder as far as it is read."""
    run.mkdir(parents=True)
    model.save(run / "model.keras")
    (run / "recipe.json").write_text(json.dumps({"data": {"shards": shards}}))
    (run / "classes.json").write_text(json.dumps(CLASSES))


def write_sets(folder, modalities, write_clips):
    """Sets in which brightness tells the class."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 40)
    for modality, channels in modalities.items():
        (folder / modality).mkdir()
        clips = []
        for row, label in enumerate(labels):
            pixels = (random.integers(0, 60, (2, 16, 16, channels)) + 60 * label).astype("uint8")
            clips.append((pixels, "train" if row < 25 else "validation", f"v{row}", "", {"action": CLASSES["action"][label]}))
        write_clips(folder / modality, clips, CLASSES, modality)
    return ",".join(str(folder / name) for name in modalities)


@pytest.fixture(scope="module")
def run_dir(write_clips, tmp_path_factory):
    """A run of three untrained networks with exits, and one without."""
    folder = tmp_path_factory.mktemp("pkd")
    shards = write_sets(folder, MODALITIES, write_clips)
    keras.utils.set_random_seed(0)
    for modality, channels in MODALITIES.items():
        write_stage(folder / "run" / f"{modality}_exits", network(modality, channels), shards)
    write_stage(folder / "run" / "iframe", network("iframe", 3, exits=False), shards)
    return folder / "run"


@pytest.fixture(scope="module")
def found(run_dir):
    """What `egokeras wise --milliseconds` writes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exit_ensemble, "TIMED_CLIPS", 3)
        return fit(run_dir, l1=0.01, milliseconds=True, wish=wise.Wish(cost=60.0))


def test_exits_come_in_the_order_of_their_computation(run_dir):
    ensemble = Ensemble.open(run_dir)
    rows = ensemble.shards.rows("validation")[:5]
    clips = ensemble.labelled(rows, batch_size=2)["action"]
    assert ensemble.names == [f"{modality} {number}" for modality in ORDER for number in (1, 2, 3)]
    inputs = ensemble.shards.inputs(rows)
    for number, name in enumerate(ensemble.names):
        modality, exit_number = name.split()
        outputs = ensemble.networks[modality]({modality: inputs[modality]})
        expected = outputs["action" if exit_number == "3" else f"action_exit_{exit_number}"]
        np.testing.assert_allclose(clips.logits[number], expected, rtol=1e-4, atol=1e-5)
    whole = [cost(ensemble.networks[modality])["macs"]["whole"] for modality in ORDER]
    costs = ensemble.costs()
    assert costs[[2, 5, 8]].tolist() == np.cumsum(whole).tolist() and (np.diff(costs) > 0).all()
    np.testing.assert_array_equal(clips.labels, ensemble.shards.labels("action", rows))


def test_it_is_fitted_on_training_clips_and_judged_on_others(run_dir, found):
    assert json.loads((run_dir / "wise.json").read_text()) == found and (found["clips"], found["judged_on"]) == (15, "validation")
    ensemble = Ensemble.open(run_dir)
    train, held_out = (ensemble.labelled(ensemble.shards.rows(split))["action"] for split in ("train", "validation"))
    weights, head = wise.fit_wise(train.logits, train.labels, l1=[0.01] * 9), found["heads"]["action"]
    np.testing.assert_allclose(head["weights"], weights, atol=1e-6)
    answers, costs = wise.combined(weights, held_out.logits), np.array(found["costs"])
    curve = wise.trade_off(answers, held_out.labels, costs)
    np.testing.assert_allclose(head["trade_off"]["accuracy"], curve.accuracy)
    assert head["leaving"]["threshold"] == pytest.approx(curve.most_accurate(0.6 * costs[-1])) and head["leaving"]["chosen_on"] == "folds"
    assert sum(head["leaving"]["left"]) == pytest.approx(1) and head["leaving"]["cost"] == pytest.approx(head["leaving"]["left"] @ costs)


def test_it_is_measured_as_it_is_computed(run_dir, found):
    timed, head = found["milliseconds"], found["heads"]["action"]
    assert timed["clips"] == 3 and timed["host"]["cores"] and len(timed["exits"]) == 9 and (np.diff(timed["exits"]) > 0).all()
    assert 0 < timed["heads"]["action"]["leaving"] < timed["everything"]
    staged, thresholds = open_staged(run_dir)
    assert thresholds == {"action": head["leaving"]["threshold"]} and staged.names == found["exits"]
    ensemble = Ensemble.open(run_dir)
    rows = ensemble.shards.rows("validation")
    answers = wise.combined(np.array(head["weights"]), ensemble.labelled(rows)["action"].logits)
    threshold = max(head["trade_off"]["thresholds"], key=lambda one: len(set(wise.leave(answers, one))))
    table = wise.leave(answers, threshold)
    assert len(set(table)) > 1
    for row, expected in zip(rows, table, strict=True):
        clip = {name: values[0] for name, values in ensemble.shards.inputs(rows[rows == row]).items()}
        assert staged.answer(clip, {"action": threshold}).exit == expected


def test_accuracies_by_hand():
    logits = np.array([[[2.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 3.0]]])  # exits, clips, classes
    clips = Clips(logits=logits, labels=np.array([0, 1]), groups=np.array(["v", "v"]))
    weights, costs = np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([1.0, 2.0])
    found = judge(constant(weights), clips, None, costs, wise.Wish())
    assert found["accuracy"] == {"alone": [100, 50], "WISE": [100, 100], "divided": [100, 100], "equal": [100, 100]}
    assert found["leaving"] == {"threshold": 0.0, "chosen_on": "folds", "accuracy": None, "cost": None, "left": None}  # one group


def test_other_clips_choose_the_threshold_where_there_are_some():
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, 120)
    logits = np.stack([(1 + number) * np.eye(4)[labels] + random.normal(0, 1.5, (120, 4)) for number in range(3)])
    judged, choosing = (Clips(logits=logits[:, half], labels=labels[half], groups=GROUPS) for half in (slice(60), slice(60, 120)))
    weights, costs, wish = np.tril(np.ones((3, 3))), np.array([1.0, 2.0, 4.0]), wise.Wish(lost=1.0)
    found = judge(constant(weights), judged, choosing, costs, wish)["leaving"]
    threshold = wish.threshold(wise.trade_off(wise.combined(weights, choosing.logits), choosing.labels, costs))
    answers = wise.combined(weights, judged.logits)
    taken = wise.leave(answers, threshold)
    assert (found["threshold"], found["chosen_on"]) == (threshold, "other clips") and found["cost"] == pytest.approx(costs[taken].mean())
    right = [answers[number, clip].argmax() == judged.labels[clip] for clip, number in enumerate(taken)]
    assert found["accuracy"] == pytest.approx(100 * np.mean(right)) and len(set(found["left"])) > 1


def test_held_out_clips_fit_the_weights_of_others(run_dir, tmp_path):
    """Where all held-out clips judge, each is answered by weights of the other folds; the run keeps weights of all."""
    shutil.copytree(run_dir, tmp_path / "run")
    found = fit(tmp_path / "run", fit_on="held-out", l1=0.01)
    ensemble, head = Ensemble.open(run_dir), found["heads"]["action"]
    clips = ensemble.labelled(ensemble.shards.rows("validation"))["action"]
    np.testing.assert_allclose(head["weights"], wise.fit_wise(clips.logits, clips.labels, l1=[0.01] * 9), atol=1e-6)
    fold_of = grouped_folds(clips.groups, clips.labels, 5)
    right = np.zeros(9)
    for fold in range(5):
        own = fold_of == fold
        weights = wise.fit_wise(clips.logits[:, ~own], clips.labels[~own], l1=[0.01] * 9)
        right += (wise.combined(weights, clips.logits[:, own]).argmax(axis=2) == clips.labels[own]).sum(axis=1)
    assert head["accuracy"]["WISE"] == pytest.approx((100 * right / 15).tolist()) and found["fitted_on"] == "held-out"


def test_other_held_out_clips_fit_the_weights_where_there_are_some():
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, 120)
    logits = np.stack([(1 + number) * np.eye(4)[labels] + random.normal(0, 1.5, (120, 4)) for number in range(3)])
    judged, choosing = (Clips(logits=logits[:, half], labels=labels[half], groups=GROUPS) for half in (slice(60), slice(60, 120)))
    found = judge(wise.fit_wise, judged, choosing, np.array([1.0, 2.0, 4.0]), wise.Wish())
    weights = wise.fit_wise(choosing.logits, choosing.labels)
    np.testing.assert_allclose(found["weights"], weights)
    right = wise.combined(weights, judged.logits).argmax(axis=2) == judged.labels
    assert found["accuracy"]["WISE"] == pytest.approx((100 * right.mean(axis=1)).tolist())
    fold_of = grouped_folds(GROUPS, choosing.labels, 5)
    chosen = wise.trade_off(wise.cross_fitted(wise.fit_wise, choosing.logits, choosing.labels, fold_of), choosing.labels, [1.0, 2.0, 4.0])
    assert found["leaving"]["threshold"] == wise.Wish().threshold(chosen)


def test_one_network_of_pictures(write_clips, tmp_path):
    """A run of one stage, and two networks that read the same, which are called by their stages."""
    shards = write_sets(tmp_path, {"rgb": 3}, write_clips)
    spec = WithExits(model=FrameModel(backbone=SmallBackbone(channels=(2, 3)), head=LSTMHead(units=2)), at=("conv_1_relu", "lstm"))
    model = spec.build(classes={"action": 3}, frames=2, size=16)
    write_stage(tmp_path / "run", model, shards)
    ensemble = Ensemble.open(tmp_path / "run")
    assert ensemble.names == ["rgb 1", "rgb 2", "rgb 3"]
    clips = ensemble.labelled(ensemble.shards.rows("validation"))["action"]
    assert clips.logits.shape == (3, 15, 3) and ensemble.costs()[-1] == cost(model)["macs"]["whole"]
    for stage in "ab":
        shutil.copytree(tmp_path / "run", tmp_path / "grid" / stage)
    assert list(Ensemble.open(tmp_path / "grid").networks) == ["a", "b"]
    assert list(Ensemble.open(tmp_path / "grid", ("b",)).networks) == ["b"]
    (tmp_path / "grid" / "b" / "classes.json").write_text(json.dumps({"action": ["a", "c", "b"]}))
    with pytest.raises(InputError, match="action 1 is 'c' for the model and 'b' in the shards"):
        Ensemble.open(tmp_path / "grid")


def test_the_command_says_and_draws_what_leaving_early_costs(run_dir, found, capsys, monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr(exit_ensemble, "fit", lambda *args, **kwargs: given.append((args, kwargs)) or found)
    assert cli.main(["wise", str(tmp_path), "--l1", "0.01", "--cost", "60", "--milliseconds", "--order", "residual, iframe"]) == 0
    kwargs = {"order": ("residual", "iframe"), "fit_on": "train", "l1": 0.01, "nonnegative": False}
    kwargs |= {"wish": wise.Wish(cost=60.0), "milliseconds": True}
    assert given == [((str(tmp_path),), kwargs)]
    said = capsys.readouterr().out
    leaving = found["heads"]["action"]["leaving"]
    assert "15 clips of validation; top-1 % at every exit" in said and "residual 1" in said and "      ms" in said
    assert f"leaving above {leaving['threshold']:.6g}: {leaving['accuracy']:.2f} %" in said and "for each fold chosen on the others" in said
    assert "a clip takes" in said and "wise_action.png" in said
    for name in ("wise_action.png", "wise_action_ms.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    alone = {"threshold": 1 - 5e-9, "chosen_on": "folds", **dict.fromkeys(("accuracy", "cost", "left"))}
    one_group = {**found, "milliseconds": None, "heads": {"action": {**found["heads"]["action"], "leaving": alone}}}
    monkeypatch.setattr(exit_ensemble, "fit", lambda *args, **kwargs: one_group)
    assert cli.main(["wise", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "leaving above 1 - 5e-09, chosen on all clips that judge; they are of one group" in said
    monkeypatch.undo()
    assert cli.main(["wise", str(run_dir), "--order", "residual,sound"]) == 1
    assert "has no trained network 'sound' with exits; it has iframe, motion_vector, residual." in capsys.readouterr().err


@pytest.mark.parametrize(("fitted_on", "equal", "advised"), [("train", 90.0, True), ("train", 80.0, False), ("held-out", 90.0, False)])
def test_who_loses_to_equal_weights_is_advised(found, fitted_on, equal, advised):
    head = found["heads"]["action"]
    accuracy = {**head["accuracy"], "WISE": [80.0] * 9, "equal": [0.0] * 8 + [equal]}
    said = "\n".join(command.lines({**found, "fitted_on": fitted_on, "heads": {"action": {**head, "accuracy": accuracy}}}))
    assert ("try --fit-on held-out" in said) == advised


def test_a_run_without_networks(tmp_path):
    with pytest.raises(InputError, match="has no trained network 'early exits' with exits; give a run of the recipe pkd_wise"):
        Ensemble.open(tmp_path)
    with pytest.raises(InputError, match="has no wise.json; run `egokeras wise"):
        open_staged(tmp_path)
