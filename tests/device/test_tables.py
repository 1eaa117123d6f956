"""Tables: aligned, every row with its processor, no column that no machine could fill."""

import pytest

from egokeras.device import tables

RESULT = {"artifact": "int8", "path": "p", "bytes": 2_720_696, "threads": 1, "runs": 20, "load_ms": 1.234, "first_ms": 8.0}
RESULT |= {"p50_ms": 3.761, "p90_ms": None, "p95_ms": 123.4, "mean_ms": 4.0, "peak_memory_mb": None}
STREAM = {"seconds": 60.0, "fps": 30.0, "stride": 0.5, "frames": 1800, "missed": 0.125, "answers": 120, "p50_ms": 9.0, "p90_ms": 10.0}
STREAM |= {"p95_ms": 11.0, "p99_ms": 12.0, "drift": 1.304, "cold_start_ms": 456.7, "stages": {"model": {"p50_ms": 8.5, "p95_ms": 9.5}}}
NOTHING = {"governor": None, "mhz": [], "temperature_c": {}}
STREAM |= {"before": NOTHING, "after": NOTHING, "energy": {}}


def record(processor="Board", **stream):
    host = {"processor": processor, "cores": 4, "governor": None, "system": "Linux 6 aarch64", "ai-edge-litert": "2.3.0"}
    return {"host": host, "results": [RESULT | ({"sustained": STREAM | stream} if stream else {})]}


def test_every_row_names_its_processor():
    columns, rows = tables.latency([record("A"), record("B")])
    assert columns[-1] == "processor" and [row[-1] for row in rows] == ["A", "B"]
    assert rows[0] == ["int8", "1", "2.72", "1.23", "8.00", "3.76", "-", "123", "4.00", "-", "A"]


def test_columns_that_nobody_filled_are_left_out():
    columns, rows = tables.stream([record("A", fps=None, missed=None), record("B", drift=None), record("C without a stream")])
    assert [dict(zip(columns, row, strict=True)) for row in rows] == [
        {"one stream": "int8", "threads": "1", "fps": fps, "s": "60.0", "answers": "120", "p50 ms": "9.00", "p90 ms": "10.00",
         "p95 ms": "11.00", "p99 ms": "12.00", "missed %": missed, "drift": drift, "processor": name}
        for fps, missed, drift, name in (("-", "-", "1.30", "A"), ("30.0", "12.5", "-", "B"))
    ]  # fmt: skip
    assert tables.stream_parts([record(drift=1.0)]) == (
        ["its parts", "threads", "cold start ms", "model ms", "processor"], [["int8", "1", "457", "8.50", "Board"]]
    )  # fmt: skip


def test_heat_and_energy_before_and_after():
    hot = {"mhz": [900, 1100], "temperature_c": {"cpu 0": 71.6, "gpu 1": 60.0}}
    cold = {"mhz": [1500, 1500], "temperature_c": {"cpu 0": 40.0, "gpu 1": 41.2}}
    energy = {"VDD_CPU": {"joules": 10.0, "mj_per_inference": 50.0}, "VDD_IN": {"joules": 30.0, "mj_per_inference": 150.0}}
    columns, (row,) = tables.stream_parts([record(before=cold, after=hot, energy=energy)])
    found = dict(zip(columns, row, strict=True))
    assert (found["MHz"], found["°C"], found["mJ"]) == ("1500 to 1000", "41 to 72", "150.0")


def test_text_is_aligned_and_begins_with_the_machines():
    lines = tables.text([record("A"), record("A longer name", drift=2.0)]).split("\n")
    assert lines[0] == "A, 4 cores; Linux 6 aarch64; ai-edge-litert 2.3.0"
    assert [line.rindex("A" if "A" in line else "processor") for line in lines[3:6]] == [lines[3].index("processor")] * 3
    assert "one stream" in lines[7] and lines[8].endswith("A longer name")


def test_a_name_cannot_write_on_the_terminal():
    written = tables.text([record("Board\x1b[2J", drift=1.0)])
    assert "\x1b" not in written and "Board\\x1b[2J" in written


@pytest.mark.parametrize(("extra", "end"), [({"governor": "performance"}, "cores, governor performance; Linux"), ({}, "4 cores; Linux")])
def test_a_phone_has_a_runtime_of_its_own(extra, end):
    host = {"processor": "P", "cores": 4, "system": "Linux", "runtime": "benchmark_model", **extra}
    assert f"{end}; benchmark_model" in tables.where(host)
