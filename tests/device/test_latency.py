"""Latency: the figures belong together, a bad file ends its own process only, ratios cancel what slows the machine."""

import subprocess

import numpy as np
import pytest

from egokeras.device import latency, timing
from egokeras.errors import InputError


def test_measures_an_artifact(tiny):
    result = latency.measure(tiny, threads=2, seconds=0.1)
    assert (result["artifact"], result["path"], result["threads"]) == ("tiny", str(tiny), 2)
    assert result["bytes"] == (tiny / "model.tflite").stat().st_size
    assert 0 < result["p50_ms"] <= result["p90_ms"] <= result["p95_ms"]
    assert result["runs"] >= timing.MIN_RUNS
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


def test_a_record_says_where_it_was_made():
    assert latency.record([1]) == {"host": latency.host(), "results": [1]}


def test_one_stream_begins_with_a_process(tiny):
    found = latency.sustain(tiny, seconds=0.5, fps=20, stride=0.1, frame_size=(24, 32))
    assert found["cold_start_ms"] > found["load_ms"] + found["first_ms"] > 0
    assert (found["frames"], found["answers"]) == (10, 5) and found["seconds"] >= 0.5
    assert set(found["stages"]) == {"resize", "model"} and found["decoder"] is None


def test_pictures_are_resized_as_the_artifact_says(tiny, bare, monkeypatch):
    jobs = []
    monkeypatch.setattr(latency, "_child", lambda job, limit: jobs.append((job, limit)))
    latency.sustain(tiny, seconds=1000)
    latency.sustain(bare)
    assert [job["picture"] for job, _ in jobs] == [[12, 16, "squash"], None]
    assert jobs[0][1] == latency.LIMIT + 1000


def test_blas_has_one_thread_unless_somebody_asks_for_more(tiny, monkeypatch):
    found = []

    def run(command, env, **_):
        found.append(env["OPENBLAS_NUM_THREADS"])
        return subprocess.CompletedProcess(command, 0, "{}", "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    latency.measure(tiny)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "4")
    latency.measure(tiny)
    assert found == ["1", "4"]


def test_a_video_that_cannot_be_decoded_is_said(tiny, tmp_path):
    (tmp_path / "no.mp4").write_text("no video")
    with pytest.raises(InputError, match=r"no\.mp4"):
        latency.sustain(tiny, seconds=0.1, video=tmp_path / "no.mp4")
