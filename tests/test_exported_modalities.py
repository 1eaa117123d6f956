"""A model of two modalities to the device: each input by its name, with how its pictures are made, in float and in int8."""

import json

import keras
import numpy as np
import pytest

import egokeras
from egokeras import cli, export
from egokeras.data.cropped import cropped
from egokeras.data.joined import open_sets
from egokeras.data.transforms import Crop
from egokeras.device.artifact import Artifact
from egokeras.errors import InputError
from egokeras.export import Export, ship_all
from egokeras.files import write_json
from egokeras.models import SmallBackbone, TwoStream

CLASSES = {"verb": ["open", "close"], "noun": ["door", "cup", "tap"]}
CROP = Crop(segments=3, size=16)


@pytest.fixture(scope="module")
def run_dir(write_clips, tmp_path_factory):
    """An untrained run on twelve clips of noise, 6 frames of 20 pixels: RGB and changes of RGB, which have as many channels."""
    folder, random = tmp_path_factory.mktemp("two"), np.random.default_rng(0)
    for modality in ("rgb", "rgb_difference"):
        (folder / modality).mkdir()
        pixels = random.integers(0, 256, (12, 6, 20, 20, 3)).astype("uint8")
        labels = [{"verb": CLASSES["verb"][row % 2], "noun": CLASSES["noun"][row % 3]} for row in range(12)]
        clips = [(pixels[row], ("train", "validation")[row % 2], f"v{row}", "", labels[row]) for row in range(12)]
        write_clips(folder / modality, clips, CLASSES, modality)
    run = folder / "run"
    run.mkdir()
    keras.utils.set_random_seed(0)
    spec = TwoStream(modalities=("rgb", "rgb_difference"), backbone=SmallBackbone(channels=(4, 8)))
    shards = cropped(open_sets(f"{folder / 'rgb'},{folder / 'rgb_difference'}"), CROP)
    model = spec.build(classes={space: len(names) for space, names in CLASSES.items()}, shapes=shards.modalities)
    model.set_weights([weight * 2 for weight in model.get_weights()])
    model.save(run / "model.keras")
    write_json(run / "classes.json", CLASSES)
    crop = {"is": "Crop", "frames": None, "segments": 3, "size": 16, "sides": []}
    write_json(run / "recipe.json", {"data": {"shards": shards.path, "crop": crop}})
    return run


@pytest.fixture(scope="module")
def shipments(run_dir, convert_here):
    lenient = {"max_lost_points": 100.0, "min_agreement": 0.0, "calibration_clips": 6}
    exports = [Export(name=kind, quantization=kind, **lenient) for kind in ("float32", "int8")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "convert", convert_here)
        return {shipment.export.name: shipment for shipment in ship_all(exports, run_dir)}


def test_an_artifact_says_what_each_of_its_inputs_is(shipments):
    for shipment in shipments.values():
        assert shipment.gate["answer"] == "pass", shipment.reason
        about = json.loads((shipment.path / "artifact.json").read_text())
        common = {"shape": [1, 3, 16, 16, 3], "dtype": "uint8", "channels": "RGB", "resize": "squash", "cut_from": [20, 20]}
        assert about["inputs"] == {"rgb": common, "rgb_difference": common} and about["sampling"]["frames"] == 3
    assert shipments["float32"].gate["max_relative_difference"] < 1e-4


@pytest.mark.parametrize(("kind", "tolerance"), [("float32", 1e-5), ("int8", 0.3)])
def test_every_input_is_taken_by_its_name(shipments, run_dir, kind, tolerance):
    """In any order: swapped, clips would have the scores of others, for each is the changes of another here."""
    model, artifact = egokeras.load_model(run_dir / "model.keras"), Artifact.open(shipments[kind].path)
    clips = np.random.default_rng(1).integers(0, 256, (8, 3, 16, 16, 3)).astype("uint8")
    given = {"rgb": clips, "rgb_difference": clips[::-1]}
    expected = model(given, training=False)
    for order in (list(given), list(reversed(given))):
        found = [artifact.predict({name: given[name][row] for name in order}) for row in range(8)]
        for head in CLASSES:
            wanted = np.asarray(expected[head])
            answers = np.stack([logits[head] for logits in found])
            error, swapped = (np.sqrt(np.mean((answers - scores) ** 2)) for scores in (wanted, wanted[::-1]))
            assert error < tolerance * wanted.std() and swapped > 3 * error
    with pytest.raises(InputError, match="takes clips of rgb, rgb_difference, these are of rgb"):
        artifact.predict(clips[0])
    with pytest.raises(InputError, match=r"takes a clip \(3, 16, 16, 3\) uint8, this one is \(2, 16, 16, 3\) uint8"):
        artifact.predict({"rgb": clips[0], "rgb_difference": clips[1][:2]})


def test_a_camera_gives_no_motion(shipments, tmp_path, capsys):
    assert cli.main(["predict", str(shipments["float32"].path), str(tmp_path / "any.mp4")]) == 1
    assert "takes rgb, rgb_difference, and frames alone are rgb; give its clips to `Artifact.predict`" in capsys.readouterr().err


def test_the_commands_take_such_runs(shipments, run_dir, capsys):
    assert cli.main(["evaluate", str(run_dir), "--clips", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["clips_averaged"] == 2
    sets = json.loads((run_dir / "recipe.json").read_text())["data"]["shards"].split(",")
    assert cli.main(["evaluate", str(run_dir), "--data", ",".join(reversed(sets)), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["clips"] == 6
    assert cli.main(["verify", str(shipments["int8"].path)]) == 0
    assert cli.main(["evaluate", str(run_dir), "--data", sets[0]]) == 1
    assert "has no rgb_difference, which the model takes" in capsys.readouterr().err
