"""TFLite's own tool: its command line, and its output from several versions in our figures."""

import pytest

from egokeras.device import benchmark_model
from egokeras.device.benchmark_model import parse
from egokeras.errors import InputError

# As the tool prints since it has percentiles, and before; made-up figures.
NEW = """INFO: STARTING!
INFO: Initialized session in 4.5ms.
INFO: Running benchmark for at least 5 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
INFO: count=9 first=87112 curr=51629 min=51629 max=87112 avg=58147.4 std=11478 p5=51629 median=51962 p95=87112

INFO: Running benchmark for at least 20 iterations and at least 3 seconds but terminate if exceeding 150 seconds.
INFO: count=60 first=52162 curr=49785 min=49088 max=1.3e+06 avg=1.24027e+06 std=60716 p5=49620 median=51891 p95=1.2e+06

INFO: Inference timings in us: Init: 4500, First inference: 87112, Warmup (avg): 58147.4, Inference (avg): 1.24027e+06
INFO: Memory footprint delta from the start of the tool (MB): init=6.36328 overall=109.832
"""
OLD = """STARTING!
count=2 first=339304 curr=266325 min=266325 max=339304 avg=302814 std=36489
count=50 first=266601 curr=266931 min=265837 max=268116 avg=266473 std=419
Inference timings in us: Init: 20283, First inference: 339304, Warmup (avg): 302814, Inference (avg): 266473
"""


def test_figures_of_the_run_not_of_the_warm_up():
    assert parse(NEW) == {
        "runs": 60, "load_ms": 4.5, "first_ms": 87.112, "p50_ms": 51.891, "p90_ms": None, "p95_ms": 1200, "mean_ms": 1240.27,
        "peak_memory_mb": 109.8,
    }  # fmt: skip


def test_an_old_tool_has_no_percentiles():
    found = parse(OLD)
    assert (found["runs"], found["mean_ms"], found["p50_ms"], found["p95_ms"], found["peak_memory_mb"]) == (50, 266.473, None, None, None)


@pytest.mark.parametrize("output", ["", "STARTING!\nFailed to load model\n", OLD.rpartition("Inference timings")[0]])
def test_no_timings_is_said_with_the_last_line(output):
    with pytest.raises(InputError, match=f"last line: {(output.strip().splitlines() or ['nothing'])[-1][:20]}"):
        parse(output)


def test_the_line_names_the_signature(tiny, bare):
    expected = "--signature_to_run_for=serving_default --num_threads=2 --warmup_runs=5 --num_runs=20 --min_secs=3 --use_xnnpack=true"
    assert benchmark_model.lines(tiny, 2) == f"benchmark_model --graph={tiny / 'model.tflite'} {expected}"
    ((file, command),) = benchmark_model.commands(bare, binary="/phone/tool", place=lambda file: f"/phone/{file.name}")
    assert file == bare and command[:2] == ["/phone/tool", "--graph=/phone/bare.tflite"]


def test_a_file_of_another_maker_has_no_signature(shared_data):
    line = benchmark_model.lines(shared_data / "coral" / "mobilenet_v1_0.25_128_quant.tflite")
    assert "--num_threads=1" in line and "signature" not in line


@pytest.mark.parametrize("content", [b"", b"not a model", bytes(64), b"\xff" * 64])
def test_what_is_no_tflite_file_is_said(tmp_path, content):
    (tmp_path / "no.tflite").write_bytes(content)
    with pytest.raises(InputError, match=r"no\.tflite is damaged or no TFLite file"):
        benchmark_model.lines(tmp_path / "no.tflite")
