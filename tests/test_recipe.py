"""Recipes: found by name or path, changed by key=value with every mistake named, recorded as JSON."""

import dataclasses
import json

import pytest

from egokeras import recipe as recipes
from egokeras.compress.prune import Pruning
from egokeras.data.transforms import Augment, Crop
from egokeras.distill import GloVe, LabelSmoothing, Mixture, Uniform
from egokeras.errors import InputError
from egokeras.models import ConvNet1DHead, LSTMHead, ResNet3D
from egokeras.optim import Cosine, Optim, StepDecay
from egokeras.recipe import Data, Recipe


@pytest.fixture
def stages():
    return (Recipe(name="teacher"), Recipe(name="student", epochs=3))


def test_every_recipe_has_a_docstring_and_loads():
    assert {"report_lstm", "report_convlstm", "report_convlstm_table1", "report_convnet1d", "own_clips", "demo"} <= set(recipes.names())
    for name, path in recipes.names().items():
        assert recipes.load(name) == recipes.load(path)
        assert recipes.run_file(path).__doc__
        assert recipes.load(name)[-1].name == name


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("epochs=7", "epochs", 7),
        ("optim.learning_rate=1e-2", "optim.learning_rate", 0.01),
        ("optim.learning_rate=1", "optim.learning_rate", 1.0),
        ("optim.clip_norm=None", "optim.clip_norm", None),
        ("optim.schedule=Cosine", "optim.schedule", Cosine()),
        ("optim.optimizer=sgd", "optim.optimizer", "sgd"),
        ("model.head=LSTMHead", "model.head", LSTMHead()),
        ("model.backbone.weights=some/file.h5", "model.backbone.weights", "some/file.h5"),
        ("model.backbone.weights=None", "model.backbone.weights", None),
        ("data.heads=verb", "data.heads", ("verb",)),
        ("data.heads=verb,noun", "data.heads", ("verb", "noun")),
        ("data.heads=('verb','noun')", "data.heads", ("verb", "noun")),
        ("data.augment=Augment", "data.augment", Augment()),
        ("data.shards=2024", "data.shards", "2024"),
        ("data.classes={'verb': 5}", "data.classes", {"verb": 5}),
        ("mixed_precision=True", "mixed_precision", True),
        ("deterministic=true", "deterministic", True),
        ("optim.ema=0.99", "optim.ema", 0.99),
        ("model=ResNet3D", "model", ResNet3D()),
        ("pruning.sparsity=0.5", "pruning", Pruning(sparsity=0.5)),
        ("pruning.dense=conv_1,verb", "pruning", Pruning(dense=("conv_1", "verb"))),
        ("pruning.pattern=2:4", "pruning.final", 0.5),
        ("data.crop.frames=4", "data.crop", Crop(frames=4)),
    ],
)
def test_overrides(stages, assignment, path, value):
    for changed in recipes.override(stages, assignment):
        for part in path.split("."):
            changed = getattr(changed, part)
        assert changed == value and type(changed) is type(value)


def test_override_of_one_stage(stages):
    teacher, student = recipes.override(stages, "student.optim.learning_rate=0.5")
    assert teacher == stages[0] and student.optim.learning_rate == 0.5
    deep = recipes.override((Recipe(name="a", optim=Optim(schedule=StepDecay())),), "optim.schedule.first=3")
    assert deep[0].optim.schedule == StepDecay(first=3)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("epochs", "not key=value"),
        ("optim.learning_rte=1", "did you mean 'learning_rate'"),
        ("epoch=3", "did you mean 'epochs'"),
        ("epochs=3.5", "epochs: '3.5' does not fit; it takes int"),
        ("epochs=True", "does not fit; it takes int"),
        ("epochs=many", "it takes int"),
        ("optim.optimizer=lion", "does not fit"),
        ("optim.schedule.first=3", "nothing below None"),
        ("teach.epochs=3", "no field 'teach'"),
        ("mixed_precision=1", "it takes bool"),
        ("epochs=0", "epochs is 0; it must be at least 1"),
        ("batch_size=-1", "batch_size is -1"),
        ("early_stopping=0", "early_stopping is 0"),
        ("optim.learning_rate=-1", "optim.learning_rate is -1; it must be more than 0"),
    ],
)
def test_wrong_overrides_are_named(stages, assignment, message):
    with pytest.raises(InputError, match=message):
        recipes.override(stages, assignment)


def test_unknown_and_broken_recipes(tmp_path):
    with pytest.raises(InputError, match="nearest: report_lstm"):
        recipes.load("report_lstn")
    with pytest.raises(InputError, match="no recipe 'absent.py'"):
        recipes.load("absent.py")
    (tmp_path / "empty.py").write_text('"""Nothing."""\n')
    with pytest.raises(InputError, match="no function stages"):
        recipes.load(tmp_path / "empty.py")
    (tmp_path / "list.py").write_text("def stages():\n    return []\n")
    with pytest.raises(InputError, match="returned list"):
        recipes.load(tmp_path / "list.py")


def test_a_recipe_of_ones_own(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from egokeras.recipe import Recipe\n\n\ndef stages():\n    return (Recipe(name='mine', epochs=2),)\n"
    )
    assert recipes.load(tmp_path / "mine.py") == (Recipe(name="mine", epochs=2),)


def test_arguments_of_stages_are_given_like_fields(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from egokeras.recipe import Recipe\n\n\ndef stages(names: tuple[str, ...] = ('a',), rounds: int = 2):\n"
        "    return tuple(Recipe(name=name, epochs=rounds) for name in names)\n"
    )
    assert recipes.load(file, ["names=b,c", "seed=3", "c.epochs=9"]) == (
        Recipe(name="b", epochs=2, seed=3), Recipe(name="c", epochs=9, seed=3)
    )  # fmt: skip
    with pytest.raises(InputError, match="rounds: 'many' does not fit; it takes int"):
        recipes.load(file, ["rounds=many"])
    with pytest.raises(InputError, match="has no field 'nmes'"):
        recipes.load(file, ["nmes=b"])


def test_arguments_without_a_type_have_that_of_their_default(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from egokeras.optim import Optim\nfrom egokeras.recipe import Recipe\n\n\ndef stages(lr=0.1, names=('a',), unknown=None):\n"
        "    return tuple(Recipe(name=name, optim=Optim(learning_rate=lr)) for name in names)\n"
    )
    made = recipes.load(file, ["lr=1", "names=b,c"])
    assert [stage.name for stage in made] == ["b", "c"] and made[0].optim.learning_rate == 1.0
    with pytest.raises(InputError, match="lr: 'fast' does not fit; it takes float"):
        recipes.load(file, ["lr=fast"])
    with pytest.raises(InputError, match="unknown of stages.. has neither a type nor a default that tells one"):
        recipes.load(file, ["unknown=3"])


def test_json_names_the_classes():
    record = json.loads(json.dumps(recipes.as_json(Recipe(name="r", data=Data(heads=("verb",)), optim=Optim(schedule=StepDecay())))))
    assert record["is"] == "Recipe" and record["model"]["head"] == {"is": "ConvNet1DHead", **vars(ConvNet1DHead())}
    assert record["optim"]["schedule"]["first"] == 35 and record["data"]["heads"] == ["verb"]


def test_differences_from_the_record_of_a_run_are_named():
    recipe = Recipe(name="a", data=Data(shards="here"))
    record = json.loads(json.dumps(recipes.as_json(recipe)))
    assert recipes.differences(record, recipe) == []
    assert recipes.differences(record, dataclasses.replace(recipe, data=Data(shards="there"))) == []  # a path may change
    mixed = dataclasses.replace(recipe, method=LabelSmoothing(prior=Mixture(parts=(Uniform(), GloVe(vectors="here.txt")))))
    (moved,) = recipes.override((mixed,), "method.prior.parts.1.vectors=there.txt")
    assert moved.method.prior.parts == (Uniform(), GloVe(vectors="there.txt"))
    assert recipes.differences(json.loads(json.dumps(recipes.as_json(mixed))), moved) == []
    changed = dataclasses.replace(recipe, seed=3, optim=Optim(schedule=Cosine()))
    assert recipes.differences(record, changed) == [
        "optim.schedule was None and is absent", "seed was 0 and is 3", "optim.schedule.is was absent and is 'Cosine'",
    ]  # fmt: skip


def test_a_field_of_the_model_is_changed_in_the_stages_that_have_it():
    teacher, student = recipes.load("demo", ["model.frames=7", "model.macs=0.25"])
    assert teacher.model.frames == 7 and student.model.macs == 0.25 and student.model.of == "teacher"
    with pytest.raises(InputError, match=r"model\.fames"):
        recipes.load("demo", ["model.fames=7"])
