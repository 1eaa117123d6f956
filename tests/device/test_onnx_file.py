"""An ONNX file is a part like any other, and what is wrong with it is said."""

import json
import shutil
import sys

import numpy as np
import pytest

from egokeras import cli
from egokeras.device import latency
from egokeras.device.artifact import Artifact
from egokeras.errors import InputError
from egokeras.files import sha256, write_json

CLIP = np.random.default_rng(0).integers(0, 256, (4, 12, 16, 3), np.uint8)


def test_predicts_what_the_graph_computes(tiny_onnx):
    artifact = Artifact.open(tiny_onnx, threads=2)
    logits = artifact.predict(CLIP[:, :, ::-1])  # a view
    np.testing.assert_allclose(logits["verb"], CLIP.mean((0, 1, 2)) / 16, rtol=1e-5)
    np.testing.assert_allclose(logits["noun"], CLIP[[0, 3]].mean((1, 2, 3)) / 16, rtol=1e-5)


def test_threads_reach_onnxruntime(tiny_onnx):
    runner = Artifact.open(tiny_onnx, threads=2).parts._runners[0]
    assert runner._session.get_session_options().intra_op_num_threads == 2


def test_is_timed(tiny_onnx):
    result = latency.measure(tiny_onnx, seconds=0.02)
    assert result["artifact"] == "tiny" and result["bytes"] == (tiny_onnx / "model.onnx").stat().st_size and result["p50_ms"] > 0


def test_without_onnxruntime_the_way_out_is_said(tiny_onnx, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"model\.onnx is run by onnxruntime, which is not installed; run `pip install onnxruntime`"):
        Artifact.open(tiny_onnx).predict(CLIP)


def altered(folder, target, content=None, **fields):
    copy = shutil.copytree(folder, target)
    about = json.loads((copy / "artifact.json").read_text())
    if content is not None:
        (copy / "model.onnx").write_bytes(content)
        about["files"]["model.onnx"] = {"sha256": sha256(copy / "model.onnx"), "bytes": len(content)}
    write_json(copy / "artifact.json", {**about, **fields})
    return copy


def test_what_does_not_fit_is_refused(tiny_onnx, tmp_path):
    whole = (tiny_onnx / "model.onnx").read_bytes()
    with pytest.raises(InputError, match=r"model\.onnx cannot be loaded"):
        Artifact.open(altered(tiny_onnx, tmp_path / "cut", whole[:90])).predict(CLIP)
    part = {"file": "model.onnx", "signature": "other", "quantization": "float32"}
    with pytest.raises(InputError, match="no signature 'other'"):
        Artifact.open(altered(tiny_onnx, tmp_path / "named", parts=[part])).predict(CLIP)
    with pytest.raises(InputError, match="3 outputs for 'verb'"):
        Artifact.open(altered(tiny_onnx, tmp_path / "classes", outputs={"verb": ["open"]})).predict(CLIP)


def test_the_command_verifies_it(tiny_onnx, tmp_path, capsys):
    assert cli.main(["verify", str(tiny_onnx)]) == 0
    copy = altered(tiny_onnx, tmp_path / "copy")
    (copy / "model.onnx").write_bytes(b"x" * (copy / "model.onnx").stat().st_size)
    assert cli.main(["verify", str(copy)]) == 1 and "was altered" in capsys.readouterr().out
