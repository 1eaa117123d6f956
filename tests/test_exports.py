"""Every export file in the tree is data alone, and is run, shrunk, on a tiny network."""

import ast
import dataclasses
import importlib.util
import zlib

import numpy as np
import pytest

from egokeras.compress.qat import NEEDED, QAT
from egokeras.data.shards import ShardWriter, table_dtype
from egokeras.device import selftest
from egokeras.device.artifact import Artifact
from egokeras.device.frame_stream import FrameStream
from egokeras.errors import InputError
from egokeras.export import Export, load, names, ship, ship_all
from egokeras.files import read_json, write_json


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """An untrained run on twelve clips of noise."""
    import keras

    from egokeras.models import ConvNet1DHead, FrameModel, SmallBackbone

    keras.utils.set_random_seed(0)
    folder, data = tmp_path_factory.mktemp("run"), tmp_path_factory.mktemp("data")
    clips = np.random.default_rng(0).integers(0, 256, (12, 5, 16, 16, 3), np.uint8)
    writer, table = ShardWriter(data, shape=clips.shape[1:]), np.zeros(12, table_dtype(4, 4, 0, ["action"]))
    for number, clip in enumerate(clips):
        table[number] = (f"c{number}", f"v{number}", "", 0, 1, *writer.append(clip), zlib.crc32(clip), 1 + number % 2, number % 3)
    about = {"modality": "rgb", "channels": "RGB", "resize": "squash", "sampling": {"rule": "uniform", "frames": 5}, "clip_seconds": 1.0}
    writer.finish(table, {**about, "classes": {"action": ["a", "b", "c"]}, "splits": ["train", "validation"], "quarantined": 0})
    model = FrameModel(backbone=SmallBackbone(channels=(4,)), head=ConvNet1DHead(filters=4, last_filters=4))
    model.build(classes={"action": 3}, frames=5, size=16).save(folder / "model.keras")
    write_json(folder / "classes.json", {"action": ["a", "b", "c"]})
    write_json(folder / "recipe.json", {"data": {"shards": str(data)}})
    return folder


def test_every_export_is_found_and_is_data_alone(root):
    files = sorted(root.glob("exports/**/*.py"))
    assert files == sorted(names().values()) and len(files) >= 4
    for file in files:
        docstring, *statements = ast.parse(file.read_text()).body
        assert isinstance(docstring.value.value, str)
        assert {type(statement) for statement in statements} <= {ast.ImportFrom, ast.Assign}
        assert load(file) == load(file.stem) and load(file).name == file.stem
    assert load("int8").max_lost_points == 1.0 and load("int8").min_agreement == 98.0


def possible(export):
    """Whether its libraries are installed; `make` installs them all."""
    needed = [*["tf2onnx"] * (export.format == "onnx"), *NEEDED * (export.qat is not None)]
    needed += ["ai_edge_quantizer"] * (export.quantization == "weight_only")
    return all(map(importlib.util.find_spec, needed))


def small(export):
    """The same on few clips, refused by nothing."""
    qat = export.qat and dataclasses.replace(export.qat, clips=4, epochs=1)
    return dataclasses.replace(export, calibration_clips=3, qat=qat, max_lost_points=100.0, min_agreement=0.0)


@pytest.mark.slow
def test_every_export_makes_a_file_that_runs(root, run_dir):
    exports = [export for file in sorted(root.glob("exports/**/*.py")) if (export := load(file)).kind in ("clip", "stream")]
    exports.append(Export(name="stream_savedmodel", kind="stream", format="savedmodel"))
    shrunk = [small(export) for export in exports if possible(export)]
    shipments, found = ship_all(shrunk, run_dir), {}
    clip = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8)
    for shipment in shipments:
        assert shipment.gate and shipment.gate["answer"] == "pass", shipment.reason
        artifact = Artifact.open(shipment.path)
        assert (tested := selftest.replay(artifact)).passed and tested.pairs == 3, tested.sentence
        answers = FrameStream(artifact).clip if artifact.kind == "stream" else artifact.predict
        found[shipment.export.name] = answers(clip)["action"]
        assert (shipment.path / "trtexec.txt").exists() == (shipment.export.format == "onnx")
    assert len(found) == len(shrunk) and all(np.isfinite(logits).all() for logits in found.values())
    np.testing.assert_allclose(found["stream_float32"], found["float32"], atol=1e-5)
    for name in ("savedmodel", "stream_savedmodel"):
        np.testing.assert_allclose(found[name], found["float32"], atol=1e-5)
    np.testing.assert_allclose(found.get("onnx", found["float32"]), found["float32"], atol=1e-5)
    np.testing.assert_allclose(found["stream"], found["mixed"], atol=1e-5)
    if "int8_qat" not in found:
        return
    parts = read_json(run_dir / "exports" / "int8_qat" / "artifact.json")["parts"]
    assert [part["quantization"] for part in parts] == ["int8", "int8"] and parts[0]["qat"]["epochs"] == 1 and "qat" not in parts[1]
    files = [path.name for path in (run_dir / "exports" / "int8_qat").iterdir() if path.suffix != ".bin"]
    assert sorted(files) == ["artifact.json", "features.tflite", "head.tflite"]


@pytest.mark.slow
def test_a_stream_is_trained_too_and_answers_as_the_clip(run_dir):
    qat = QAT(clips=4, epochs=1)
    clip, stream = (
        small(Export(name=f"{kind}_qat", kind=kind, quantization="mixed", qat=qat)) for kind in ("clip", "stream")
    )  # two trainings of the same clips in the same order
    paths = [shipment.path for shipment in ship_all([clip, stream], run_dir)]
    pixels = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8)
    frames = FrameStream(Artifact.open(paths[1])).clip(pixels)
    np.testing.assert_allclose(frames["action"], Artifact.open(paths[0]).predict(pixels)["action"], atol=1e-5)


@pytest.mark.parametrize(
    "fields", [{"quantization": "float16"}, {"kind": "early_exit", "quantization": "int8"}, {"format": "onnx", "quantization": "int8"}]
)
def test_training_of_what_is_not_int8_is_refused(fields):
    with pytest.raises(InputError, match=r"qat with kind .* is not made; it trains int8 or mixed features of a clip or a stream in tflite"):
        Export(name="x", qat=QAT(), **fields)


def test_weight_only_without_its_library_is_refused(run_dir, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "ai_edge_quantizer" else found(name, *rest))
    (shipment,) = ship_all([load("weight_only")], run_dir)
    assert shipment.path is None and shipment.reason == "weight_only needs ai_edge_quantizer; run `pip install 'egokeras[weight_only]'`."


def test_without_the_libraries_nothing_is_made_and_the_way_out_is_said(run_dir, monkeypatch):
    monkeypatch.setattr("egokeras.soft_targets.NEEDED", ("no_such_library",))
    (shipment,) = ship_all([small(Export(name="x", quantization="mixed", qat=QAT()))], run_dir)
    assert shipment.path is None and "pip install 'egokeras[compress]'" in shipment.reason
    assert not (run_dir / "exports" / "x").exists()


def test_what_onnx_needs_is_said(run_dir, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"export 'onnx' needs onnx and onnxruntime and tf2onnx; run `pip install 'egokeras\[onnx\]'`"):
        ship(load("onnx"), run_dir)
    with pytest.raises(InputError, match="quantization 'float16' is not made in onnx; give one of int8, mixed, float32"):
        Export(name="x", format="onnx", quantization="float16")


def test_the_step_of_a_stream_is_refused_for_a_model_of_clips(run_dir):
    with pytest.raises(InputError, match=r"becomes clip or stream, export 'anticipation_step' makes 'anticipation_step'; give one of "):
        ship_all([load("anticipation_step")], run_dir)
    assert not (run_dir / "exports" / "anticipation_step").exists()
