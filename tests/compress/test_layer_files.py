"""Layers as files of their own, measured, and weighed."""

import json

import keras
import pytest
from keras import layers

from egokeras import cli
from egokeras.compress.conversion import ConversionError
from egokeras.compress.layer_files import write_layers
from egokeras.compress.pruned import Pruned


def build():
    """A block with a shortcut on one picture; `wide` costs all there is."""
    image = keras.Input((32, 32, 3), dtype="uint8", name="rgb")
    x = layers.Conv2D(8, 3, padding="same", name="stem")(layers.Rescaling(1 / 255, name="scale")(image))
    y = layers.ReLU(name="relu")(layers.BatchNormalization(name="bn")(layers.Conv2D(64, 5, padding="same", name="wide")(x)))
    y = layers.Conv2D(8, 1, name="back")(layers.DepthwiseConv2D(3, padding="same", name="depthwise")(y))
    x = layers.GlobalAveragePooling2D(name="pool")(layers.Add(name="add")([x, y]))
    return keras.Model({"rgb": image}, {"action": layers.Dense(3, name="action")(x), "features": x})


def test_from_a_run_to_channels_that_cost_no_time(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    model = build()
    model.save(tmp_path / "run" / "model.keras")
    folder, file = tmp_path / "layers", tmp_path / "latencies.json"
    assert cli.main(["layers", str(tmp_path / "run"), str(folder), "--kind", "int8"]) == 0
    assert "6 layers, whole and with half of their channels, as int8" in capsys.readouterr().out
    assert cli.main(["benchmark", str(folder), "--layers", "--json", str(file)]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("wide ")  # the longest first
    record = json.loads(file.read_text())
    shares = {row["layer"]: row["share"] for row in record["layers"]}
    assert shares == {"stem": 0.5, "wide": 0.25, "depthwise": 0.5, "back": 0.25, "add": 0.5, "action": 0.5}
    times = {row["layer"]: (row["whole_ms"], row["part_ms"]) for row in record["layers"]}
    assert all(whole > 0 and part > 0 for whole, part in times.values()) and times["wide"][0] > 1.5 * times["wide"][1]
    assert (record["kind"], record["threads"]) == ("int8", 1) and record["host"]["cores"]
    assert cli.main(["layers", str(tmp_path / "run"), str(folder)]) == 1
    assert "layers exists; remove it, or give another folder." in capsys.readouterr().err
    smaller = Pruned(macs=0.7, latencies=str(file)).prune(model)
    assert smaller.get_layer("wide").kernel.shape[-1] < 64


def test_what_is_refused(tmp_path, capsys):
    (tmp_path / "model.keras").write_bytes(b"nothing")
    with pytest.raises(ConversionError, match=r"the layers of .*model.keras could not be converted to int8: .*exit code 1"):
        write_layers(tmp_path / "model.keras", tmp_path / "layers")
    assert not (tmp_path / "layers").exists()
    assert cli.main(["layers", str(tmp_path / "none"), str(tmp_path / "layers")]) == 1
    (tmp_path / "layers.json").write_text('{"layers": [{}]}')
    assert cli.main(["benchmark", str(tmp_path), "--layers"]) == 1
    assert cli.main(["benchmark", str(tmp_path), "--layers", "--threads", "1,2"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert "none/model.keras does not exist; give a run folder of one stage." in said[0]
    assert "layers.json is no list of layers; write the folder with `egokeras layers`." in said[1]
    assert "--layers takes one folder, one number of threads and no --against." in said[2]
