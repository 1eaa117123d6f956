"""Grids: which values are axes, what the folders are called, what is skipped, refused and gone on with."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egokeras import experiments
from egokeras.errors import InputError
from egokeras.files import UNFINISHED

WORDS = st.text("abcXYZ019_./+-' \"(", max_size=6)
LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=6,
)


@pytest.fixture
def recipe(tmp_path, squares):
    """A recipe of two small stages on the moving squares, the second of which has an argument."""
    file = tmp_path / "pair.py"
    file.write_text(
        "from egokeras.models import AverageHead, FrameModel, SmallBackbone\nfrom egokeras.recipe import Data, Recipe\n\n"
        "def stages(filters=(4,)):\n"
        "    model = FrameModel(backbone=SmallBackbone(channels=filters), head=AverageHead())\n"
        f"    data = Data(shards={str(squares.path)!r}, heads=('verb',))\n"
        "    return Recipe(name='one', data=data, model=model, epochs=2), Recipe(name='pair', data=data, model=model, epochs=2, seed=4)\n"
    )
    return file


@given(st.lists(LITERALS, min_size=1, max_size=5))
def test_literals_are_split_where_they_were_joined(values):
    written = [repr(value) for value in values]
    assert experiments.split(",".join(written)) == written


@given(st.text("ab,'\"()[]{}\\ 1", max_size=30))
def test_splitting_loses_nothing(text):
    assert ",".join(experiments.split(text)) == text


@pytest.mark.parametrize(
    ("change", "axis"),
    [
        ("epochs=1,2", ("1", "2")),
        ("epochs=3", None),
        ("optim.weight_decay=0,5e-1, 1", ("0", "5e-1", "1")),
        ("optim.optimizer=adam,sgd", ("adam", "sgd")),
        ("method=Supervised,LabelSmoothing", ("Supervised", "LabelSmoothing")),
        ("early_stopping=None,3", ("None", "3")),
        ("mixed_precision=true,false", ("true", "false")),
        ("data.heads=verb,noun", None),  # a tuple as it is
        ("data.heads=('verb','noun')", None),
        ("data.heads=('verb','noun'),('verb',)", ("('verb','noun')", "('verb',)")),
        ("data.shards=one,two", None),  # two sets, joined
        ("model.backbone.channels=(8,16)", None),
        ("model.backbone.channels=8,16", None),
        ("model.backbone.channels=(8,16),(16,32)", ("(8,16)", "(16,32)")),
        ("data.classes={'verb': 2, 'noun': 3}", None),
        ("filters=(4,),(4,8)", ("(4,)", "(4,8)")),  # an argument of stages()
        ("filters=4,8", None),
        ("pair.epochs=1,2", ("1", "2")),
    ],
)
def test_a_value_is_an_axis_only_if_its_parts_fit_and_it_does_not(recipe, change, axis):
    plan = experiments.plan(recipe, [change])
    assert plan.axes == ({} if axis is None else {change.partition("=")[0]: axis})
    assert plan.is_grid == (axis is not None) and len(plan.trainings) == len(axis or [0])
    assert plan.changes == ((change,) if axis is None else ())


def test_the_product_of_axes_and_seeds_has_readable_folders(recipe):
    plan = experiments.plan(recipe, ["epochs=1,3", "batch_size=8", "pair.optim.learning_rate=0.5,.25"], seeds=2)
    assert [training.path for training in plan.trainings] == [
        f"epochs={epochs}/pair.optim.learning_rate={rate}/seed-{seed}" for epochs in (1, 3) for rate in (0.5, 0.25) for seed in (4, 5)
    ]
    one, pair = plan.trainings[3].stages
    assert (one.epochs, one.batch_size, one.seed, one.optim.learning_rate) == (1, 8, 1, 1e-3)
    assert (pair.epochs, pair.batch_size, pair.seed, pair.optim.learning_rate) == (1, 8, 5, 0.25)
    assert [training.path for training in experiments.plan(recipe, ["seed=10"], seeds=2).trainings] == ["seed-10", "seed-11"]
    assert [training.path for training in experiments.plan(recipe, ["seed=1,3"]).trainings] == ["seed=1", "seed=3"]
    (alone,) = experiments.plan(recipe).trainings
    assert alone.path == "" and alone.stages[-1].seed == 4


@pytest.mark.parametrize(
    ("changes", "seeds", "message"),
    [
        ([], 0, "--seeds is 0; give at least 1"),
        (["epochs=1,x"], None, "epochs: 'x' does not fit; it takes int"),
        (["epochs=x,y"], None, "epochs: 'x,y' does not fit; it takes int"),
        (["epochs=1,2,"], None, "epochs: '' does not fit"),
        (["epochs=1,0"], None, "epochs is 0; it must be at least 1"),
        (["epoch=1,2"], None, "did you mean 'epochs'"),
        (["epochs=1,2", "epochs=3,4"], None, "epochs is given twice"),
        (["seed=1,2"], 3, "seeds are given twice"),
        (["optim.learning_rate=1,1.0"], None, "=1 and optim.learning_rate=1 are one training"),
        (["early_stopping=3,None", "early_stopping=2"], None, "early_stopping is given twice"),
        (["method=LabelSmoothing,Supervised", "method.alpha=0.1,0.3"], None, "method=Supervised method.alpha=0.1: .*no field 'alpha'"),
    ],
)
def test_mistakes_are_named(recipe, changes, seeds, message):
    with pytest.raises(InputError, match=message):
        experiments.plan(recipe, changes, seeds)


def test_names_of_folders_are_safe_and_their_own():
    name = experiments.folder_name
    assert name("method.beta", "0.5") == "method.beta=0.5" and name("a", "5e-1") == name("a", ".5") == "a=0.5"
    assert name("a", "1.0") == "a=1" and name("a", "1e-3") == "a=0.001" and name("a", "True") == "a=True" and name("a", "-2") == "a=-2"
    values = ["('verb',)", "('verb')", "../..", "a/b", "a\\b", "a b", "a:b", "ü", "x" * 500, "x" * 501, "nul.", "\n"]
    names = [name("key", value) for value in values]
    assert len(set(names)) == len(values)
    for given_name in names:
        assert len(given_name) < 120 and not set(given_name) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._=+-")
        assert given_name.startswith("key=") and not given_name.endswith(".")


class Trainer:
    """In the place of a training: leaves what one leaves, or fails."""

    def __init__(self, squares, fails_at=None):
        self.squares, self.fails_at, self.trained = squares, fails_at, []

    def __call__(self, training, run_dir):
        from egokeras.recipe import as_json

        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / UNFINISHED).touch()
        if training.path == self.fails_at:
            raise InputError("the loss is not finite.")
        for stage, folder in zip(training.stages, training.folders(run_dir), strict=True):
            folder.mkdir(exist_ok=True)
            (folder / "recipe.json").write_text(json.dumps({**as_json(stage), "data_sha256": self.squares.sha256, "channels": "RGB"}))
            (folder / "model.keras").touch()
        (run_dir / UNFINISHED).unlink()
        self.trained.append(training.path)


def test_what_is_finished_is_skipped_and_what_is_not_goes_on(recipe, squares, tmp_path, capsys):
    plan, folder = experiments.plan(recipe, ["batch_size=8,16"], seeds=2), tmp_path / "runs" / "pair"
    paths = [training.path for training in plan.trainings]
    with pytest.raises(InputError, match="^batch_size=8/seed-5: the loss is not finite"):
        experiments.carry_out(plan, folder, Trainer(squares, fails_at="batch_size=8/seed-5"))
    assert "[1/4] batch_size=8/seed-4: 4 of 4 left\n" in capsys.readouterr().out
    trainer = Trainer(squares)
    experiments.carry_out(plan, folder, trainer)
    said = capsys.readouterr().out
    assert trainer.trained == paths[1:] and "[1/4] batch_size=8/seed-4: finished, skipped" in said
    assert "[3/4] batch_size=16/seed-4: 2 of 4 left, about 0.0 min" in said
    more = experiments.plan(recipe, ["batch_size=8,16", "epochs=3"], seeds=3)  # more seeds, and longer
    trainer = Trainer(squares)
    experiments.carry_out(more, folder, trainer)
    assert trainer.trained == [training.path for training in more.trainings]
    record = json.loads((folder / "experiment.json").read_text())
    assert list(record["runs"]) == [*paths, "batch_size=8/seed-6", "batch_size=16/seed-6"]
    assert record["runs"][paths[0]] == ["one", "pair"] and record["axes"] == {"batch_size": ["8", "16"]} and record["seeds"] == 3


def test_another_recipe_or_other_clips_are_refused_before_anything_is_trained(recipe, squares, epic_noise, tmp_path):
    folder, trainer = tmp_path / "pair", Trainer(squares)
    experiments.carry_out(experiments.plan(recipe, seeds=1), folder, trainer)
    for changes, message in (
        (["batch_size=8"], r"^seed-4: batch_size was 16 and is 8; give what it began with, or another place with --runs"),
        (["epochs=1"], "epochs was 2 and is 1"),
        ([f"data.shards={epic_noise.path}"], "does not hold the shards that it began with"),
        (["data.shards=absent"], "seed-4: absent is not a finished folder of shards"),
    ):
        with pytest.raises(InputError, match=message):
            experiments.carry_out(experiments.plan(recipe, changes, seeds=2), folder, trainer)
    assert trainer.trained == ["seed-4"]
    (folder / "seed-4" / "one" / "recipe.json").write_text("[]")
    with pytest.raises(InputError, match="is not the recipe of a run"):
        experiments.carry_out(experiments.plan(recipe, seeds=1), folder, trainer)


def test_a_run_of_its_own_is_not_taken_for_a_grid(tmp_path):
    assert experiments.place("a", tmp_path) == tmp_path / "a"
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / UNFINISHED).touch()
    assert experiments.place("a", tmp_path) == tmp_path / "a-2"
    (tmp_path / "a-2" / "stage").mkdir(parents=True)
    (tmp_path / "a-2" / "stage" / "recipe.json").touch()
    assert experiments.place("a", tmp_path) == tmp_path / "a-3"
    (tmp_path / "a-2" / "experiment.json").touch()
    assert experiments.place("a", tmp_path) == tmp_path / "a-2"


def test_all_trainings_look_for_features_in_one_place(recipe, squares, tmp_path, monkeypatch):
    from egokeras.models import SmallBackbone

    monkeypatch.setattr(SmallBackbone, "frozen", True, raising=False)
    plan = experiments.plan(recipe, ["batch_size=8,16"])
    experiments.carry_out(plan, tmp_path / "runs" / "pair", Trainer(squares))
    for training in plan.trainings:  # of several stages, which have the run folder above them
        assert (tmp_path / "runs" / "pair" / training.path / ".features").resolve() == (tmp_path / "runs" / ".features").resolve()
    single = dataclasses.replace(plan, trainings=(dataclasses.replace(plan.trainings[0], stages=plan.trainings[0].stages[1:]),))
    experiments.carry_out(single, tmp_path / "runs" / "single", Trainer(squares))
    assert (tmp_path / "runs" / "single" / ".features").resolve() == (tmp_path / "runs" / ".features").resolve()
