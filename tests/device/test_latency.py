"""Latency: the figures belong together, a bad file ends its own process only, ratios cancel what slows the machine."""

import platform
import time

import numpy as np
import pytest

from egokeras.device import latency
from egokeras.errors import InputError


def test_measures_an_artifact(tiny):
    result = latency.measure(tiny, threads=2, seconds=0.1)
    assert (result["artifact"], result["path"], result["threads"]) == ("tiny", str(tiny), 2)
    assert result["bytes"] == (tiny / "model.tflite").stat().st_size
    assert 0 < result["p50_ms"] <= result["p90_ms"] <= result["p95_ms"]
    assert result["runs"] >= latency.MIN_RUNS
    assert result["load_ms"] > 0
    assert result["first_ms"] > 0
    assert result["runs"] * result["mean_ms"] == pytest.approx(100, rel=0.9)


def test_memory_is_that_of_the_model_not_of_this_process(tiny):
    ballast = np.ones(150 << 20, np.uint8)
    memory = latency.measure(tiny, seconds=0.01)["peak_memory_mb"]
    assert memory < 100 < ballast.nbytes / 2**20


def test_measures_a_bare_file_of_another_maker(shared_data):
    result = latency.measure(shared_data / "coral" / "mobilenet_v1_0.25_128_quant.tflite", seconds=0.05)
    assert result["artifact"] == "mobilenet_v1_0.25_128_quant"
    assert 0.05 < result["p50_ms"] < 1000


def test_compares_round_by_round(tiny, bare):
    first, second = latency.compare([tiny, bare], rounds=3, seconds=0.02)
    assert (first["ratio"], first["ratio_low"], first["ratio_high"]) == (1, 1, 1)
    assert second["artifact"] == "bare"
    assert 0 < second["ratio_low"] <= second["ratio"] <= second["ratio_high"]


def test_ratio_of_a_drifting_machine():
    """Twice as slow in every round, on a machine that gets ten times slower."""
    first = [[1.0, 1.0, 5.0], [10.0, 10.0], [10.0, 10.0, 10.0]]
    second = [[2.0], [20.0, 20.0], [22.0, 20.0, 18.0]]
    result = latency._against(first, second)
    assert (result["ratio"], result["ratio_low"], result["ratio_high"]) == (2, 2, 2)
    assert result["p50_ms"] == 20


@pytest.mark.parametrize("damage", ["text", "cut", "zeroed", "noise"])
def test_a_damaged_bare_file_is_reported(bare, tmp_path, damage):
    content = bytearray(bare.read_bytes())
    half = len(content) // 2
    damaged = {
        "text": b"not a model",
        "cut": content[:half],
        "zeroed": content[:half] + bytes(len(content) - half),
        "noise": content[:64] + np.random.default_rng(0).bytes(len(content) - 64),
    }
    file = tmp_path / "damaged.tflite"
    file.write_bytes(damaged[damage])
    with pytest.raises(InputError, match=r"damaged\.tflite (crashes the interpreter|cannot be run)"):
        latency.measure(file, seconds=0.01)


def test_an_altered_artifact_never_reaches_the_interpreter(tiny, tmp_path, monkeypatch):
    (tmp_path / "artifact.json").write_bytes((tiny / "artifact.json").read_bytes())
    (tmp_path / "model.tflite").write_bytes((tiny / "model.tflite").read_bytes()[::-1])
    monkeypatch.setattr(latency, "_child", lambda job: pytest.fail("started"))
    for path in (tmp_path, tmp_path / "model.tflite"):
        with pytest.raises(InputError, match="was altered"):
            latency.measure(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.tflite does not exist"):
        latency.measure(tmp_path / "none.tflite")


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.float32, np.int32, np.bool_])
def test_inputs_have_the_type_and_shape_that_the_model_takes(dtype):
    found = latency._input({"shape": np.array([1, 50, 3]), "dtype": dtype})
    assert (found.shape, found.dtype) == ((1, 50, 3), dtype)
    if dtype in (np.uint8, np.int8):
        assert found.max() - found.min().astype(int) > 200


def test_time_is_in_milliseconds(tiny):
    model = latency.Model(tiny / "model.tflite", 1)
    model.run = lambda: time.sleep(0.02)
    assert 20 <= model.time() < 200


def test_memory_is_what_was_added(tiny):
    model = latency.Model(tiny / "model.tflite", 1)
    model.before = latency._memory("VmHWM") - 5
    assert 5 <= model.added_mb < 50


def test_host_names_the_processor(monkeypatch):
    host = latency.host()
    assert host["processor"]
    assert host["cores"] >= 1
    assert platform.machine() in host["system"]


def test_a_board_is_named_before_its_processor(monkeypatch):
    files = {"/proc/device-tree/model": "NVIDIA Jetson Orin Nano", "/proc/cpuinfo": "processor : 0\nmodel name : ARMv8"}
    monkeypatch.setattr(latency, "_text", files.get)
    assert latency._processor() == "NVIDIA Jetson Orin Nano"
    del files["/proc/device-tree/model"]
    assert latency._processor() == "ARMv8"
