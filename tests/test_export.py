"""A small trained network through the whole road: files that pass, files that are refused, and nothing left behind."""

import importlib.util
import json
import re
import shutil
import zlib

import numpy as np
import pytest

from egokeras import artifact_kinds, cli, export, gated_run
from egokeras.artifact_kinds import clips
from egokeras.compress.conversion import ConversionError
from egokeras.compress.sparsity import summary
from egokeras.data.selection import split_rows
from egokeras.data.shards import Shards, ShardWriter, table_dtype
from egokeras.device.artifact import Artifact
from egokeras.errors import InputError
from egokeras.export import Export, load, ship, ship_all
from egokeras.files import seal, sha256, write_json

FRAMES, SIZE = 4, 24
CLASSES = {"verb": ["lift", "push"], "noun": [f"grade {grade}" for grade in range(8)]}
COLOURS = np.linspace([30, 20, 10], [245, 230, 210], 8)  # noun by brightness alone: a wrong range of pixels merges them
SPLITS = {"train": 240, "validation": 300, "windows": 400}


def moving_squares(count, seed):
    """Clips of one coloured bar, tall (verb 0) or wide (verb 1), that drifts over a grey ground; with their labels."""
    rng = np.random.default_rng(seed)
    verbs, nouns = rng.integers(0, 2, count), rng.integers(0, len(COLOURS), count)
    clips = rng.integers(100, 140, (count, FRAMES, SIZE, SIZE, 3))
    for clip, verb, noun in zip(clips, verbs, nouns, strict=True):
        height, width = (16, 4) if verb == 0 else (4, 16)
        top, left = rng.integers(0, SIZE - 16 - FRAMES, 2)
        for time, frame in enumerate(clip):
            frame[top + time : top + time + height, left : left + width] = COLOURS[noun] + rng.integers(-6, 7)
    return clips.astype(np.uint8), verbs, nouns


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Folder of shards with training, validation and window clips; a video has ten of them."""
    folder = tmp_path_factory.mktemp("data")
    clips, verbs, nouns = moving_squares(sum(SPLITS.values()), seed=0)
    split = np.repeat(np.arange(len(SPLITS)), list(SPLITS.values()))
    writer = ShardWriter(folder, shape=clips.shape[1:])
    table = np.zeros(len(clips), table_dtype(8, 8, 0, CLASSES))
    for number, clip in enumerate(clips):
        labels = (verbs[number], nouns[number]) if split[number] < 2 else (-1, -1)
        place = writer.append(clip)
        table[number] = (f"clip{number}", f"video{number // 10}", "", 0, 1, *place, zlib.crc32(clip), 1 << split[number], *labels)
    about = {"modality": "rgb", "channels": "RGB", "classes": CLASSES, "splits": list(SPLITS), "quarantined": 0, "resize": "squash"}
    writer.finish(table, {**about, "sampling": {"rule": "uniform", "frames": FRAMES}, "clip_seconds": 1.0})
    return Shards(folder)


@pytest.fixture(scope="module")
def run_dir(data, tmp_path_factory):
    """A run folder with a network trained for seconds on the training clips."""
    import keras

    from egokeras.models import AverageHead, FrameModel, SmallBackbone

    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("runs") / "squares"
    folder.mkdir()
    model = FrameModel(backbone=SmallBackbone(channels=(16, 24)), head=AverageHead(dropout=0.0)).build(
        classes={head: len(names) for head, names in CLASSES.items()}, frames=FRAMES, size=SIZE
    )
    trainer = keras.Model(model.input, {head: model.output[head] for head in CLASSES})
    losses = {head: keras.losses.SparseCategoricalCrossentropy(from_logits=True) for head in CLASSES}
    trainer.compile(keras.optimizers.Adam(0.01), losses)
    rows = data.rows("train")
    trainer.fit({"rgb": data.read(rows)}, {head: data.labels(head, rows) for head in CLASSES}, epochs=40, batch_size=16, verbose=0)
    model.save(folder / "model.keras")
    write_json(folder / "classes.json", CLASSES)
    write_json(folder / "recipe.json", {"data": {"shards": str(data.path)}})
    return folder


class Sabotaged(Shards):
    """Shards whose training clips have pixels 112..143, as a calibration with the wrong range of pixels would."""

    def read(self, rows, out=None):
        training = np.isin(rows, self.rows("train"))[:, None, None, None, None]
        return np.where(training, super().read(rows) // 8 + 112, super().read(rows))


@pytest.fixture(scope="module")
def shipments(run_dir):
    """A float32 and an int8 export of the trained network, judged on the run's own data."""
    return ship_all([Export(name="plain", quantization="float32"), Export(name="small", quantization="int8")], run_dir)


@pytest.fixture
def quick(shipments, run_dir, monkeypatch, tmp_path):
    """A copy of the run without exports, where "converting" copies the files made above: for all that is not conversion."""

    def convert(conversions):
        for conversion in conversions:
            made = shipments[0 if conversion.kind == "float32" else 1].path / "model.tflite"
            shutil.copy(made, conversion.file)
        return [None] * len(conversions)

    monkeypatch.setattr(export, "convert", convert)
    copy = tmp_path / "squares"
    shutil.copytree(run_dir, copy, ignore=shutil.ignore_patterns("exports"))
    return copy


def test_good_files_pass_with_bounds_on_both_heads(shipments):
    for shipment in shipments:
        gate = shipment.gate
        assert gate["answer"] == "pass" and (gate["clips"], gate["windows"], gate["videos"]) == (300, 400, 70)
        for figures in gate["heads"].values():
            assert figures["keras_top1"] >= 90 and figures["lost_high"] <= 1 and figures["agreement_low"] >= 98
    assert shipments[0].gate["max_relative_difference"] <= 1e-4 < shipments[1].gate["max_relative_difference"]


def test_the_artifact_explains_itself(shipments, run_dir, data):
    from ai_edge_litert.interpreter import Interpreter

    small = shipments[1].path
    about = json.loads((small / "artifact.json").read_text())
    files = [*(f"input_1_0{number}.bin" for number in range(8)), "logits_1.bin", "logits_2.bin", "model.tflite"]
    assert sorted(path.name for path in small.iterdir()) == ["artifact.json", *files]
    assert about["files"] == {file: {"sha256": sha256(small / file), "bytes": (small / file).stat().st_size} for file in files}
    assert about["seal"] == seal(about)
    assert about["inputs"] == {"rgb": {"shape": [1, 4, 24, 24, 3], "dtype": "uint8", "channels": "RGB", "resize": "squash"}}
    assert about["sampling"] == {"rule": "uniform", "frames": 4, "clip_seconds": 1.0} and about["outputs"] == CLASSES
    parent = {"run": "squares", "model_sha256": sha256(run_dir / "model.keras"), "data_sha256": sha256(data.path / "index.json")}
    assert about["parent"] == parent and about["gate"] == shipments[1].gate and about["quantization"] == "int8" and about["name"] == "small"
    zeros = summary((small / "model.tflite").read_bytes())
    assert about["parts"] == [{"file": "model.tflite", "signature": "serving_default", "quantization": "int8", **zeros}]
    runner = Interpreter(str(small / "model.tflite")).get_signature_runner("serving_default")
    rows = data.rows("validation")[:20]
    found = [runner(rgb=clip[None]) for clip in data.read(rows)]
    for head in about["outputs"]:
        answers = np.array([outputs[head].argmax() for outputs in found])
        assert (answers == data.labels(head, rows)).mean() >= 0.9


def test_the_files_carry_their_labels(shipments, tflite_metadata):
    """And are the ones that were judged: the test above compares their checksums."""
    for shipment in shipments:
        said = tflite_metadata((shipment.path / "model.tflite").read_bytes())
        assert said["files"] == {f"{head}_labels.txt": names for head, names in CLASSES.items()}
        assert {tensor["name"]: tensor["files"] for tensor in said["outputs"]} == {head: [(f"{head}_labels.txt", 2)] for head in CLASSES}
        assert said["name"] == f"squares {shipment.export.name}"


def test_a_sabotaged_calibration_is_refused_and_leaves_nothing(run_dir, shipments, data):
    before = sorted(path for path in run_dir.rglob("*"))
    (refused,) = ship_all([Export(name="int8", quantization="int8")], run_dir, Sabotaged(data.path))
    assert refused.path is None and refused.gate["answer"] == "fail"
    assert "int8 fails its gate: " in refused.reason and "; the nearest that passes is " in refused.reason
    assert sorted(path for path in run_dir.rglob("*")) == before


def test_few_clips_are_refused_unless_accepted_and_float32_is_proven(quick, data, monkeypatch):
    rows, kept = Shards.rows, {"validation": 10, "windows": 20}
    monkeypatch.setattr(Shards, "rows", lambda self, split: rows(self, split)[: kept.get(split)])
    int8, float32 = Export(name="int8", quantization="int8"), Export(name="float32")
    with pytest.raises(
        InputError, match=r"int8 cannot be judged: 10 validation clips and 20 windows of 3 videos are too few: verb may lose"
    ):
        ship(int8, quick)
    assert not (quick / "exports").exists()
    assert ship(float32, quick) == quick / "exports" / "float32"
    path = ship(int8, quick, accept_untested=True)
    assert json.loads((path / "artifact.json").read_text())["gate"]["answer"] == "untested"


def test_missing_splits_are_named(quick, data, monkeypatch):
    monkeypatch.setattr(data, "splits", ("train",))
    with pytest.raises(
        InputError, match=r"0 validation clips and 0 windows of 0 videos are too few \(none of split validation or windows\)"
    ):
        ship(Export(name="float16", quantization="float16"), quick, data)


def test_held_out_clips_never_calibrate(quick, data, monkeypatch):
    write_json(quick / "recipe.json", {"data": {"shards": str(data.path), "hold_out": 0.25}})
    trained, held_out = split_rows(data, hold_out=0.25)
    seen = []
    monkeypatch.setattr(clips, "write_calibration", lambda shards, rows, *rest, **settings: seen.append(rows))
    (shipment,) = ship_all([Export(name="int8", quantization="int8")], quick)
    assert shipment.gate["clips"] == len(held_out) > 0
    np.testing.assert_array_equal(seen[0], trained)


def test_windows_of_trained_videos_do_not_judge(quick, data, monkeypatch):
    """With several splits, `windows` holds the held-out videos of all of them."""
    rows, windows = Shards.rows, data.rows("windows")
    trained = np.concatenate([rows(data, "train"), windows[:100]])
    monkeypatch.setattr(Shards, "rows", lambda self, split: trained if split == "train" else rows(self, split))
    (shipment,) = ship_all([Export(name="plain")], quick)
    assert shipment.gate["windows"] == 300


def test_a_file_that_was_not_converted_and_one_that_was(quick, monkeypatch):
    copies = export.convert
    monkeypatch.setattr(export, "convert", lambda *args: [ConversionError("int8: crashed"), *copies(*args)[1:]])
    refused, shipped = ship_all([Export(name="int8", quantization="int8"), Export(name="float32")], quick)
    assert (refused.path, refused.gate, refused.reason) == (None, None, "int8: crashed") and shipped.path.is_dir()
    assert [path.name for path in (quick / "exports").iterdir()] == ["float32"]


def test_a_new_artifact_takes_the_place_of_the_old(quick):
    old = ship(Export(name="plain"), quick)
    (old / "stray").touch()
    assert ship(Export(name="plain"), quick) == old and not (old / "stray").exists()
    assert [path.name for path in (quick / "exports").iterdir()] == ["plain"]


def test_interrupted_work_leaves_nothing(quick, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(gated_run, "judge", interrupt)
    with pytest.raises(KeyboardInterrupt):
        ship(Export(name="plain"), quick)
    assert not (quick / "exports").exists()


def test_large_splits_are_judged_on_a_part(quick, monkeypatch):
    monkeypatch.setattr(gated_run, "GATE_CLIPS", 50)
    (shipment,) = ship_all([Export(name="plain")], quick)
    assert (shipment.gate["clips"], shipment.gate["windows"]) == (50, 50)


def test_a_run_on_cut_clips_says_what_they_are_cut_from(quick, data, tmp_path):
    """The same clips with a border and two more frames: the gate measures the same, and the device is told."""
    rows = np.concatenate([data.rows(split)[:count] for split, count in (("train", 20), ("validation", 60), ("windows", 60))])
    whole = np.pad(data.read(rows), ((0, 0), (1, 1), (2, 2), (4, 4), (0, 0)), constant_values=7)
    (tmp_path / "stored").mkdir()
    writer, table = ShardWriter(tmp_path / "stored", shape=whole.shape[1:]), data.clips[rows].copy()
    for record, clip in zip(table, whole, strict=True):
        record["shard"], record["offset"], record["size"] = writer.append(clip)
        record["checksum"] = zlib.crc32(clip)
    kept = ("modality", "channels", "classes", "splits", "quarantined", "resize", "clip_seconds")
    writer.finish(table, {name: data.index[name] for name in kept} | {"sampling": {"rule": "uniform", "frames": FRAMES + 2}})
    crop = {"is": "Crop", "frames": FRAMES, "size": SIZE, "sides": []}
    write_json(quick / "recipe.json", {"data": {"shards": str(tmp_path / "stored"), "crop": crop}})
    (cut,) = ship_all([Export(name="plain")], quick)
    pixels = json.loads((cut.path / "artifact.json").read_text())
    assert pixels["inputs"]["rgb"]["shape"] == [1, FRAMES, SIZE, SIZE, 3] and pixels["inputs"]["rgb"]["cut_from"] == [SIZE + 4, SIZE + 8]
    assert pixels["sampling"] == {"rule": "uniform", "frames": FRAMES, "clip_seconds": FRAMES / (FRAMES + 2)}
    assert cut.gate["answer"] == "pass" and cut.gate["clips"] == 60
    whole_again = ship_all([Export(name="other")], quick, Shards(tmp_path / "stored"))  # --data is cut in the same way
    assert whole_again[0].gate == cut.gate


def test_pictures_that_a_device_does_not_have_are_refused(quick, data, monkeypatch):
    monkeypatch.setitem(data.index, "channels", "flow")
    with pytest.raises(InputError, match="reads flow in the place of RGB pictures"):
        ship(Export(name="plain"), quick, data)


def test_other_data_is_refused(quick):
    write_json(quick / "classes.json", {**CLASSES, "noun": CLASSES["noun"][::-1]})
    with pytest.raises(InputError, match="noun 0 is"):
        ship(Export(name="plain"), quick)
    write_json(quick / "recipe.json", {"data": {"shards": "gone"}})
    with pytest.raises(InputError, match=r"the data 'gone' is not here; give its folder with --data"):
        ship(Export(name="plain"), quick)


def test_bad_exports_are_named(tmp_path, quick):
    with pytest.raises(InputError, match="no export 'int9'; nearest: int8"):
        load("int9")
    (tmp_path / "mine.py").write_text("EXPORT = 3\n")
    with pytest.raises(InputError, match=r"mine.py has no EXPORT = Export"):
        load(tmp_path / "mine.py")
    with pytest.raises(InputError, match="quantization 'int4' is unknown; it is one of int8"):
        Export(name="x", quantization="int4")
    with pytest.raises(InputError, match="calibration_clips is 0"):
        Export(name="x", calibration_clips=0)
    with pytest.raises(InputError, match="same name"):
        ship_all([Export(name="x"), Export(name="x")], quick)


def test_the_command_prints_the_gate_and_fails_where_a_file_is_refused(quick, data, capsys):
    assert cli.main(["export", str(quick), "float32", "int8"]) == 0
    printed = capsys.readouterr().out
    assert "int8: pass, on 300 validation clips and 400 windows of 70 videos" in printed and "  noun " in printed
    assert re.search(r"int8/model.tflite, 0.\d\d MB, 0.\d\d MB compressed; \d+.\d% of the weights are zero", printed)
    assert cli.main(["export", str(quick), "int8", "--min-agreement", "99.9", "--data", str(data.path), "--json"]) == 1
    printed = capsys.readouterr()
    (record,) = json.loads(printed.out)
    assert record["path"] is None and record["gate"]["limits"]["agreement"] == 99.9 and record["gate"]["answer"] == "too few clips"
    assert "error: int8 cannot be judged" in printed.err


def test_what_has_no_thresholds_is_refused_and_the_others_ship(quick, monkeypatch, capsys):
    def decided(kind, found):
        if kind.export.name == "int8":
            raise InputError("no threshold can be chosen; give --data.")
        return {}

    monkeypatch.setattr(artifact_kinds.Clips, "decided", decided)
    assert cli.main(["export", str(quick), "int8", "float32", "--accept-untested"]) == 1
    assert capsys.readouterr().err.endswith("error: no threshold can be chosen; give --data.\n")
    assert [path.name for path in (quick / "exports").iterdir()] == ["float32"]


def test_an_export_whose_packages_are_not_installed_is_refused_and_the_others_ship(quick, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tf2onnx" else find_spec(name))
    refused, shipped = ship_all([load("onnx"), load("float32")], quick, accept_untested=True)
    assert refused.path is None and refused.reason == "export 'onnx' needs tf2onnx; run `pip install 'egokeras[onnx]'`."
    assert shipped.path == quick / "exports" / "float32"


@pytest.mark.parametrize(("kind", "quantization"), [("clip", "float32"), ("clip", "int8"), ("stream", "mixed")])
def test_an_embedding_is_that_of_the_model(run_dir, data, tmp_path, kind, quantization):
    import egokeras
    from egokeras.device.frame_stream import FrameStream

    shutil.copytree(run_dir, copy := tmp_path / "squares", ignore=shutil.ignore_patterns("exports"))
    path = ship(Export(name="vector", kind=kind, quantization=quantization, embedding=True), copy)
    artifact = Artifact.open(path)
    assert artifact.manifest["embedding"] == 96 and artifact.answers == ["verb", "noun", "embedding"]
    clips = data.read(data.rows("validation")[:5])
    answer = artifact.predict if kind == "clip" else FrameStream(artifact).clip
    found = [answer(clip) for clip in clips]
    expected = egokeras.load_model(copy / "model.keras")({"rgb": clips})
    largest = np.abs(expected["features"]).max()
    tolerance = {"float32": 1e-5, "int8": 0.05, "mixed": 0.05}[quantization] * largest
    np.testing.assert_allclose(np.stack([each["embedding"] for each in found]), expected["features"], atol=tolerance)
    assert [each["noun"].argmax() for each in found] == np.argmax(expected["noun"], axis=1).tolist()
    alike = artifact.manifest["gate"]["embedding"]
    assert alike["cosine"] > 0.99 and alike["least_cosine"] > 0.95
    assert (alike["max_relative_difference"] <= 1e-4) == (quantization == "float32")
    assert set(artifact.manifest["pairs"]["outputs"]) == {"verb", "noun"}


def test_embeddings_that_are_not_made_are_refused():
    with pytest.raises(InputError, match=r"embedding with kind 'clip' and format 'onnx' is not made; clips and streams"):
        Export(name="x", format="onnx", embedding=True)
    with pytest.raises(InputError, match="embedding with kind 'anticipation_step'"):
        Export(name="x", kind="anticipation_step", embedding=True)
