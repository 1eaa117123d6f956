"""Every recipe in the tree trains, shrunk: narrow networks with random weights, few frames, one epoch."""

import json
import pathlib

import numpy as np
import pytest

import egokeras
from egokeras import recipe as recipes
from egokeras import train

FOLDER = pathlib.Path(__file__).parent.parent / "pipelines"


def shrunk(stages, shards, tmp_path):
    small = [f"data.shards={shards.path}", "model.frames=None", "model.size=None", "epochs=1", "batch_size=4", "folds=0", "data.classes={}"]
    if hasattr(stages[-1].model.backbone, "alpha"):
        small += ["model.backbone.weights=None", "model.backbone.alpha=0.35"]
    for change in small:
        stages = recipes.override(stages, change)
    return stages


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: path.stem)
def test_recipe_trains(path, epic_noise, tmp_path):
    (stage,) = shrunk(recipes.load(path), epic_noise, tmp_path)
    model = train.fit(stage, tmp_path, quiet=True)
    heads = json.loads((tmp_path / "classes.json").read_text())
    assert set(heads) == set(stage.data.heads or ("verb", "noun"))
    outputs = egokeras.load_model(tmp_path / "model.keras")({"rgb": epic_noise.read(np.arange(2))})
    assert all(outputs[head].shape == (2, len(names)) and np.isfinite(outputs[head]).all() for head, names in heads.items())
    assert model.name


def test_table1_settings_are_overrides(epic_noise, tmp_path):
    """The report's Table 1: 13 categories, the videos of EPIC-55 alone, a fifth of them held out."""
    (tmp_path / "epic55.csv").write_text("uid,video_id\n" + "".join(f"{i},v{i}\n" for i in range(6)))
    stages = shrunk(recipes.load("report_convnet1d"), epic_noise, tmp_path)
    for change in ("data.heads=verb_category", f"data.videos={tmp_path / 'epic55.csv'}", "data.hold_out=0.2"):
        stages = recipes.override(stages, change)
    model = train.fit(stages[0], tmp_path, quiet=True)
    assert model.output["verb_category"].shape == (None, 13) and "verb" not in model.output
    trained, held_out = stages[0].data.rows(epic_noise)
    assert len(trained) + len(held_out) == 6 and len(held_out) in (1, 2)


def test_published_recipes_have_the_reports_settings():
    for name in ("report_lstm", "report_convlstm", "report_convlstm_table1", "report_convnet1d"):
        (stage,) = recipes.load(name)
        assert (stage.model.frames, stage.model.size, stage.epochs, stage.batch_size) == (20, 256, 100, 16)
        assert stage.optim.optimizer == "adam" and stage.optim.learning_rate == 1e-3
        assert (stage.optim.schedule.first, stage.optim.schedule.every, stage.optim.schedule.factor) == (35, 20, 0.2)
        assert stage.model.backbone.name == "MobileNetV2" and stage.model.backbone.frozen
