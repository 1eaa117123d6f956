"""A SavedModel is a part like any other; one that does more than compute is never loaded, and its folder holds nothing else."""

import json
import shutil
import sys

import numpy as np
import pytest

from egokeras import cli
from egokeras.device import benchmark_model, bundle, timing
from egokeras.device.artifact import Artifact
from egokeras.device.savedmodel_file import OPERATIONS, SavedModelRunner
from egokeras.errors import InputError
from egokeras.files import sha256, write_json

CLIP = np.random.default_rng(0).integers(0, 256, (4, 12, 16, 3), np.uint8)
FILE = "model/saved_model.pb"


@pytest.fixture
def copy(tiny_savedmodel, tmp_path):
    return shutil.copytree(tiny_savedmodel, tmp_path / "copy")


def describe(folder, content, **fields):
    """Another file with the checksum that fits it."""
    about = json.loads((folder / "artifact.json").read_text())
    (folder / FILE).write_bytes(content)
    about["files"][FILE] = {"sha256": sha256(folder / FILE), "bytes": len(content)}
    write_json(folder / "artifact.json", {**about, **fields})


def altered(folder, change):
    """Change the graphs of the file, as somebody could who writes the checksums anew."""
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString((folder / FILE).read_bytes())
    change(saved.meta_graphs)
    describe(folder, saved.SerializeToString())


def test_predicts_what_the_graph_computes(tiny_savedmodel):
    artifact = Artifact.open(tiny_savedmodel, threads=2)
    logits = artifact.predict(CLIP[:, :, ::-1])  # a view
    np.testing.assert_allclose(logits["verb"], CLIP.mean((0, 1, 2)) / 16, rtol=1e-5)
    np.testing.assert_allclose(logits["noun"], CLIP[[0, 3]].mean((1, 2, 3)) / 16, rtol=1e-5)
    assert artifact.runtime == "tensorflow" and artifact.files == [tiny_savedmodel / FILE]


def test_threads_reach_tensorflow_and_it_computes_on_the_cpu(tiny_savedmodel):
    config = SavedModelRunner(tiny_savedmodel / FILE, 3)._session._config
    assert (config.intra_op_parallelism_threads, config.inter_op_parallelism_threads, dict(config.device_count)) == (3, 3, {"GPU": 0})


def test_is_timed_and_bundled(tiny_savedmodel, tmp_path):
    out = bundle.write(tmp_path / "there", [tiny_savedmodel])
    copied = out / "models" / tiny_savedmodel.name
    assert timing.KINDS["measure"]([str(copied)], threads=1, seconds=0.02, warmup=1)["p50_ms"] > 0
    assert (copied / FILE).read_bytes() == (tiny_savedmodel / FILE).read_bytes()
    readme = (out / "README.txt").read_text()
    assert "pip install numpy ai-edge-litert tensorflow\n" in readme and "--graph" not in readme
    with pytest.raises(InputError, match="is run by tensorflow, and benchmark_model times TFLite files alone"):
        benchmark_model.lines(tiny_savedmodel)


def test_without_tensorflow_the_way_out_is_said(tiny_savedmodel, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(InputError, match=r"saved_model\.pb is run by TensorFlow, which is not installed; run `pip install tensorflow`"):
        Artifact.open(tiny_savedmodel).predict(CLIP)


def test_what_does_not_fit_is_refused(copy):
    whole = (copy / FILE).read_bytes()
    describe(copy, whole[:90])
    with pytest.raises(InputError, match=r"saved_model\.pb cannot be loaded"):
        Artifact.open(copy).predict(CLIP)
    part = {"file": FILE, "signature": "other", "quantization": "float32"}
    describe(copy, whole, parts=[part])
    with pytest.raises(InputError, match="no signature 'other'"):
        Artifact.open(copy).predict(CLIP)
    describe(copy, whole, parts=[{**part, "signature": "serving_default"}], outputs={"verb": ["open"]})
    with pytest.raises(InputError, match="3 outputs for 'verb'"):
        Artifact.open(copy).predict(CLIP)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda graphs: graphs.add(), "2 graphs with 1 signatures"),
        (lambda graphs: graphs[0].signature_def.clear(), "1 graphs with 0 signatures"),
        (lambda graphs: setattr(graphs[0].signature_def["serving_default"].inputs["rgb"], "name", "none:0"), "none"),
        (lambda graphs: setattr(graphs[0].graph_def.node[0], "name", "other"), ""),
    ],
)
def test_a_file_without_its_one_graph_is_refused(copy, change, words):
    altered(copy, change)
    with pytest.raises(InputError, match=rf"cannot be loaded \(.*{words}"):
        Artifact.open(copy).predict(CLIP)


def test_a_graph_that_writes_a_file_is_never_loaded(copy, tmp_path, monkeypatch):
    """The attack works where it is not looked for: the file is written in place of the answer."""
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        pixels = tf.compat.v1.placeholder(tf.uint8, (1, 4, 12, 16, 3), "rgb")
        with tf.control_dependencies([tf.io.write_file(str(tmp_path / "canary"), "sings")]):
            verb = tf.reduce_mean(tf.cast(pixels, tf.float32), (1, 2, 3))

    def change(graphs):
        graphs[0].graph_def.CopyFrom(graph.as_graph_def())
        signature = graphs[0].signature_def["serving_default"]
        signature.inputs["rgb"].name, signature.outputs["verb"].name = pixels.name, verb.name
        del signature.outputs["noun"]

    altered(copy, change)
    with pytest.raises(InputError, match=r"saved_model\.pb holds 'WriteFile', which egokeras runs from no file"):
        Artifact.open(copy).predict(CLIP)
    assert not (tmp_path / "canary").exists()
    monkeypatch.setattr("egokeras.device.savedmodel_file.OPERATIONS", f"{OPERATIONS} WriteFile")
    SavedModelRunner(copy / FILE, 1)(rgb=CLIP[None])
    assert (tmp_path / "canary").exists()


def test_functions_hide_nothing(copy):
    altered(copy, lambda graphs: graphs[0].graph_def.library.function.add())
    with pytest.raises(InputError, match="holds functions, which egokeras runs from no file"):
        Artifact.open(copy).predict(CLIP)


def test_no_operation_that_is_run_keeps_a_state_or_takes_text():
    from tensorflow.core.framework import types_pb2
    from tensorflow.python.framework import op_def_registry

    for name in OPERATIONS.split():
        known = op_def_registry.get(name)
        assert known is not None and not known.is_stateful, name
        types = {given.type for given in (*known.input_arg, *known.output_arg)}
        assert not types & {types_pb2.DT_STRING, types_pb2.DT_RESOURCE, types_pb2.DT_VARIANT}, name
        assert not {attribute.type for attribute in known.attr} & {"func", "list(func)", "list(string)"}, name


@pytest.mark.parametrize("name", ["model/saved_model.cpb", "model/variables/variables.index", "model/assets/run.sh"])
def test_a_file_that_nobody_described_is_refused(copy, name, capsys):
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_bytes(b"")
    with pytest.raises(InputError, match=rf"{name} is not described in artifact\.json; delete it"):
        Artifact.open(copy)
    assert cli.main(["verify", str(copy)]) == 1 and "is not described" in capsys.readouterr().out


def test_links_are_refused(copy, tmp_path):
    (copy / "model" / "assets").symlink_to(tmp_path)
    with pytest.raises(InputError, match=r"assets is not described in artifact\.json"):
        Artifact.open(copy)
    (copy / "model" / "assets").unlink()
    (copy / "model").rename(tmp_path / "elsewhere")
    (copy / "model").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="outside the artifact's folder"):
        Artifact.open(copy)


def test_damage_is_named(copy):
    content = bytearray((copy / FILE).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / FILE).write_bytes(content)
    with pytest.raises(InputError, match=r"model/saved_model\.pb was altered"):
        Artifact.open(copy)
    (copy / FILE).unlink()
    with pytest.raises(InputError, match=r"model/saved_model\.pb is missing"):
        Artifact.open(copy)
