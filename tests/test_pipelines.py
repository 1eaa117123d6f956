"""Every recipe in the tree trains, shrunk: narrow networks with random weights, few frames, one epoch."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest

import egokeras
from egokeras import cli, students, train
from egokeras import recipe as recipes
from egokeras.compress.cost import cost
from egokeras.data.joined import open_sets
from egokeras.errors import InputError
from egokeras.files import sha256
from egokeras.models import ConsensusHead, ResNet2D, WithExits

FOLDER = pathlib.Path(__file__).parent.parent / "pipelines"


def shrunk(stages, shards, tmp_path):
    model = "model.model" if isinstance(stages[0].model, WithExits) else "model"
    small = [f"data.shards={shards.path}", f"{model}.frames=None", f"{model}.size=None"]
    small += ["epochs=1", "batch_size=4", "folds=0", "data.classes={}"]
    if stages[-1].data.crop:
        small += ["model.width=2", "data.crop.frames=4", "data.crop.size=32", "monitor=val_verb_top1"]
    elif model == "model.model":
        small += ["model.model.backbone.width=2", "model.model.backbone.depth=18", "model.at=pool1,stage1_block2_relu"]
    elif hasattr(stages[0].model.backbone, "alpha"):
        small += ["model.backbone.weights=None", "model.backbone.alpha=0.35"]
    for change in small:
        stages = recipes.override(stages, change)
    return stages


@pytest.fixture(scope="module")
def windows(observations, tmp_path_factory):
    """Anticipation sets of noise, a folder for each modality."""
    folder, segments, random = tmp_path_factory.mktemp("windows"), observations.segments(60), np.random.default_rng(0)
    for modality, width in {"rgb_features": 4, "flow_features": 3, "objects": 2}.items():
        observations.write(folder / modality, random.normal(size=(60, 14, width)).astype("float16"), segments, modality)
    labels = np.stack([random.integers(1, 4, (60, 10)), random.integers(1, 4, (60, 10)), np.tile(np.arange(1000, 0, -100), (60, 1))], -1)
    observations.write(folder / "labels", labels.astype("int16"), segments, "labels")
    return folder


@pytest.fixture(scope="module")
def coded_noise(write_clips, tmp_path_factory):
    """Sets of noise of the three modalities of compressed video, with commas between them."""
    folder, random = tmp_path_factory.mktemp("coded"), np.random.default_rng(0)
    for modality, channels in {"iframe": 3, "residual": 3, "motion_vector": 2}.items():
        (folder / modality).mkdir()
        clips = []
        for row in range(12):
            pixels = random.integers(0, 256, (2, 64, 64, channels)).astype("uint8")
            clips.append((pixels, "train" if row < 8 else "validation", f"v{row}", f"p{row}", {"action": f"class {row % 4}"}))
        write_clips(folder / modality, clips, {"action": [f"class {number}" for number in range(4)]}, modality)
    return ",".join(str(folder / modality) for modality in ("iframe", "residual", "motion_vector"))


@pytest.fixture(scope="module")
def moving_noise(write_clips, tmp_path_factory):
    """Sets of noise of RGB and a stack of flow, as `coded_noise`."""
    folder, random = tmp_path_factory.mktemp("moving"), np.random.default_rng(0)
    for modality, channels in {"rgb": 3, "flow": 10}.items():
        (folder / modality).mkdir()
        clips = []
        for row in range(12):
            labels = {"verb": f"verb {row % 3}", "noun": f"noun {row % 4}"}
            pixels = random.integers(0, 256, (9, 40, 40, channels)).astype("uint8")
            clips.append((pixels, "train" if row < 8 else "validation", f"v{row}", f"p{row}", labels))
        classes = {"verb": [f"verb {number}" for number in range(3)], "noun": [f"noun {number}" for number in range(4)]}
        write_clips(folder / modality, clips, classes, modality)
    return f"{folder / 'rgb'},{folder / 'flow'}"


def anticipates(path):
    return path.stem.startswith("anticipation")


def has_own_test(path):
    return path.stem in ("pkd_wise", "two_stream", "prune_channels")


OWN = {path.stem: ["dataset=own"] for path in FOLDER.glob("*.py") if "dataset:" in path.read_text()}  # recipes of official datasets


RECIPES = sorted(FOLDER.rglob("*.py"))
SLOW = ("anticipation_rulstm", "early_exit_demo", "kd_r50_r18")  # three trainings of one network; exits and their teachers; 50 layers


def each(paths):
    return [pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.stem in SLOW)) for path in paths]


@pytest.mark.parametrize("path", each(path for path in RECIPES if not anticipates(path) and not has_own_test(path)))
def test_recipe_trains(path, epic_noise, tmp_path):
    for stage in shrunk(recipes.load(path, OWN.get(path.stem, [])), epic_noise, tmp_path):
        run_dir = tmp_path / stage.name
        run_dir.mkdir()
        model = train.fit(stage, run_dir, quiet=True)
    heads = json.loads((run_dir / "classes.json").read_text())
    assert set(heads) == set(stage.data.heads or ("verb", "noun"))
    outputs = egokeras.load_model(run_dir / "model.keras")({"rgb": stage.data.open().read(np.arange(2))})
    assert all(outputs[head].shape == (2, len(names)) and np.isfinite(outputs[head]).all() for head, names in heads.items())
    assert model.name


@pytest.mark.parametrize("path", each(path for path in RECIPES if anticipates(path)))
def test_anticipation_recipe_trains_all_its_stages(path, windows, tmp_path):
    modality = "labels" if path.stem == "anticipation_labels" else "rgb_features,flow_features,objects"
    folders = ",".join(str(windows / name) for name in modality.split(","))
    small = [f"data.shards={folders}", "model.units=4", "epochs=1", "batch_size=16", "data.classes={}", "monitor=val_action_top1"]
    for stage in recipes.load(path, small):
        (tmp_path / stage.name).mkdir()
        train.fit(stage, tmp_path / stage.name, quiet=True)
    shards = open_sets(folders)
    outputs = egokeras.load_model(tmp_path / path.stem / "model.keras")(shards.inputs(np.arange(3)))
    assert outputs["action"].shape == (3, 8, 5) and np.isfinite(outputs["action"]).all()


@pytest.mark.slow
def test_progressive_recipe_trains_all_its_stages(coded_noise, tmp_path):
    small = [f"data.shards={coded_noise}", "dataset=own", "small=true", "model.width=2", "batch_size=4"]
    for stage in recipes.load("pkd_wise", small):
        if stage.start_from:
            stage = dataclasses.replace(stage, epochs=3, method=dataclasses.replace(stage.method, boundaries=(1, 2)))
        else:
            stage = dataclasses.replace(stage, epochs=1)
        (tmp_path / stage.name).mkdir()
        train.fit(stage, tmp_path / stage.name, quiet=True)
    for modality, exits in {"motion_vector": "motion_vector_exits", "residual": "residual_exits", "iframe": "pkd_wise"}.items():
        before, after = (egokeras.load_model(tmp_path / name / "model.keras") for name in (modality, exits))
        clips = open_sets(coded_noise).inputs(np.arange(3))
        found = after({modality: clips[modality]}, training=False)
        np.testing.assert_allclose(found["action"], before({modality: clips[modality]}, training=False)["action"], rtol=1e-5)
        assert found["action_exit_3"].shape == (3, 4)


def test_two_stream_recipe_trains_all_its_stages(moving_noise, tmp_path):
    """Streams alone, then the whole, which begins with them: at a learning rate of nothing it still has their weights."""
    small = [f"data.shards={moving_noise}", "data.classes={}", "model.backbone=SmallBackbone", "model.backbone.channels=4,8"]
    small += ["epochs=1", "batch_size=4", "data.crop.segments=3", "data.crop.size=32", "data.crop.sides=40,32"]
    for stage in recipes.load("two_stream", [*small, "two_stream.optim.learning_rate=1e-12"]):
        (tmp_path / stage.name).mkdir()
        model = train.fit(stage, tmp_path / stage.name, quiet=True)
    clips = stage.data.open().inputs(np.arange(2))
    outputs = egokeras.load_model(tmp_path / "two_stream" / "model.keras")(clips)
    assert outputs["verb"].shape == (2, 3) and outputs["noun"].shape == (2, 4) and np.isfinite(outputs["noun"]).all()
    assert {name: clip.shape[1:] for name, clip in clips.items()} == {"rgb": (3, 32, 32, 3), "flow": (3, 32, 32, 10)}
    for modality in ("rgb", "flow"):
        alone = egokeras.load_model(tmp_path / modality / "model.keras")
        assert list(alone.input) == [modality]
        kernels = [part.get_layer(f"{modality}_backbone").get_layer("conv_2").get_weights()[0] for part in (alone, model)]
        np.testing.assert_allclose(*kernels, atol=1e-7)


def test_pruned_recipe_trains_both_its_stages(squares, tmp_path):
    """At a learning rate of nothing the second model is what was left of the first; it takes the same clips and is smaller."""
    small = [f"data.shards={squares.path}", "epochs=1", "batch_size=16", "whole.model.frames=None", "whole.model.size=None"]
    small += ["whole.model.backbone.channels=8,16", "whole.model.head.filters=8", "macs=0.6", "prune_channels.model.multiple_of=4"]
    whole, left = (stage for stage in recipes.load("prune_channels", [*small, "prune_channels.optim.learning_rate=1e-12"]))
    for stage in (whole, left):
        (tmp_path / stage.name).mkdir()
        train.fit(stage, tmp_path / stage.name, quiet=True)
    before, after = (egokeras.load_model(tmp_path / stage.name / "model.keras") for stage in (whole, left))
    assert 0.4 < cost(after)["macs"]["whole"] / cost(before)["macs"]["whole"] <= 0.6
    kernels = [model.get_layer("backbone").get_layer("conv_1").kernel.numpy() for model in (before, after)]
    kept = [np.abs(kernels[0] - kernel[..., None]).max(axis=(0, 1, 2)).min() for kernel in np.moveaxis(kernels[1], -1, 0)]
    assert kernels[1].shape[-1] < 8 and max(kept) < 1e-6
    assert after({"rgb": squares.read(np.arange(2))})["noun"].shape == (2, 3)
    assert students.made_of(left, tmp_path / "prune_channels") == {"model.of": sha256(tmp_path / "whole" / "model.keras")}
    (one,) = recipes.load("prune_channels", [f"of={tmp_path / 'whole'}"])
    assert one.model.of == one.method.teacher == str(tmp_path / "whole")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["of=nothing"], "model.of: neither .*nothing nor nothing has a model.keras"),
        (["prune_channels.model.of="], "model.of: it is not set; name an earlier stage or a run folder"),
        (["folds=3"], "model.of has weights of all training clips, so folds"),
    ],
)
def test_pruned_recipe_needs_a_model(squares, tmp_path, changes, said):
    with pytest.raises(InputError, match=said):
        stage = recipes.load("prune_channels", ["of=x", f"data.shards={squares.path}", *changes])[-1]
        train.fit(stage, tmp_path, quiet=True)


def test_two_stream_recipe_has_epics_settings():
    """METHODS 7 and 8: EPIC's own TSN."""
    rgb, flow, whole = recipes.load("two_stream")
    for stage in (rgb, flow):
        assert (stage.optim.learning_rate, stage.optim.l2, stage.optim.clip_norm, stage.epochs) == (0.01, 5e-4, 20.0, 80)
        assert (stage.data.crop.segments, stage.model.head, stage.model.backbone) == (8, ConsensusHead(dropout=0.7), ResNet2D(depth=50))
    assert whole.start_from == ("rgb", "flow") == whole.model.modalities and rgb.model.modalities == ("rgb",)
    assert [stage.name for stage in recipes.load("two_stream", ["modalities=rgb"])] == ["two_stream"]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_is_described_without_data(path, capsys):
    changes = ["model.units=4"] if anticipates(path) else ["model.width=4"] if path.stem in OWN else ["model.size=128"]
    own = {"two_stream": "model.backbone.width=4", "prune_channels": "whole.model.size=32", "early_exit_demo": "model.model.size=64"}
    changes = [own[path.stem]] if path.stem in own else changes
    assert cli.main(["describe", str(path), *changes, "--json"]) == 0
    for facts in json.loads(capsys.readouterr().out):
        sizes = [size for name, (*_, size) in facts["outputs"].items() if name != "features"]
        known = set(sizes) - {10}
        assert facts["inputs"] and sizes and (known or any(said.startswith("10 classes of ") for said in facts["assumed"]))


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


@pytest.mark.parametrize("name", sorted(set(OWN) - {"pkd_wise"}))
def test_published_3d_recipes_have_the_papers_settings(name):
    """METHODS 2.5 to 2.7."""
    for dataset, classes in (("ucf101", 101), ("hmdb51", 51), ("kinetics400", 400)):
        for stage in recipes.load(name, [f"dataset={dataset}"]):
            optim, data = stage.optim, stage.data
            assert (optim.optimizer, optim.learning_rate, optim.momentum, optim.l2) == ("sgd", 0.01, 0.9, 5e-4)
            assert (optim.schedule.factor, optim.schedule.patience, stage.epochs, stage.batch_size) == (0.1, 10, 200, 32)
            assert (data.crop.frames, data.crop.size, data.classes) == (16, 112, {"action": classes}) and data.hold_out
            assert data.test == ("validation" if dataset == "kinetics400" else "test1") and stage.monitor == "val_action_top1"
            assert (data.augment is None) == (name == "r3d_baseline")
    published = {"r3d_baseline": 46.5, "r3d_augmented": 55.6, "kd_r50_r18": 61.4, "self_kd": 66.7, "skd_srl": 69.8}
    assert recipes.load(name)[-1].published == {"action_top1": published[name]}
    assert [stage.model.width for stage in recipes.load(name, ["small=true"])] == [16] * (1 + (name == "kd_r50_r18"))
    with pytest.raises(InputError, match="dataset is 'ufc101', split 1; give ucf101, hmdb51, kinetics400 or own"):
        recipes.load(name, ["dataset=ufc101"])


def test_progressive_recipe_has_the_papers_settings():
    """METHODS 3.1 and 3.3."""
    *networks, first, second, third = recipes.load("pkd_wise")
    assert [(one.model.modality, one.model.depth, one.optim.learning_rate, one.batch_size) for one in networks] == [
        ("motion_vector", 18, 0.01, 80), ("residual", 18, 0.005, 80), ("iframe", 50, 0.0003, 40)
    ]  # fmt: skip
    for one in networks:
        assert [epoch for epoch in range(1, 510) if one.optim.schedule.at(epoch, 510) != one.optim.schedule.at(epoch - 1, 510)] == [
            150,
            270,
            390,
        ]
    for exits, network in zip((first, second, third), networks, strict=True):
        assert exits.start_from == (network.name,) and exits.model.frozen and (exits.epochs, exits.batch_size) == (300, 32)
        assert exits.method.teachers == ("motion_vector", "residual", "iframe") and exits.method.boundaries == (50, 100)
        changes = [epoch for epoch in range(1, 300) if exits.optim.schedule.at(epoch, 300) != exits.optim.schedule.at(epoch - 1, 300)]
        assert changes == [150, 200, 250]
    assert recipes.load("pkd_wise", ["teachers=iframe"])[-1].method.boundaries == ()


def test_progressive_recipe_with_small_networks():
    *networks, first, second, third = recipes.load("pkd_wise", ["network=mobilenet_v2", "small=true"])
    for exits, network in zip((first, second, third), networks, strict=True):
        assert exits.model.model == network.model and exits.model.frozen and exits.start_from == network.model.modalities
        assert network.model.backbone.alpha == 0.35 and not network.model.backbone.frozen
    with pytest.raises(InputError, match="network is 'vgg'; give resnet or mobilenet_v2"):
        recipes.load("pkd_wise", ["network=vgg"])


def test_published_recipes_have_the_reports_settings():
    for name in ("report_lstm", "report_convlstm", "report_convlstm_table1", "report_convnet1d"):
        (stage,) = recipes.load(name)
        assert (stage.model.frames, stage.model.size, stage.epochs, stage.batch_size) == (20, 256, 100, 16)
        assert stage.optim.optimizer == "adam" and stage.optim.learning_rate == 1e-3
        assert (stage.optim.schedule.first, stage.optim.schedule.every, stage.optim.schedule.factor) == (35, 20, 0.2)
        assert stage.model.backbone.name == "MobileNetV2" and stage.model.backbone.frozen
