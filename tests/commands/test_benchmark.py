"""`egokeras benchmark`: the table, the JSON, the ratios, and wrong usage."""

import argparse
import json
import runpy

import pytest

from egokeras import cli
from egokeras.commands import benchmark
from egokeras.device import latency


@pytest.fixture(scope="module")
def tiny(root, tmp_path_factory):
    return runpy.run_path(root / "tests" / "device" / "conftest.py")["build"](tmp_path_factory.mktemp("artifact"))


@pytest.fixture
def instant(monkeypatch):
    """No process is started: the figures are given."""

    def measure(path, threads, seconds):
        figures = {
            "load_ms": 1.234,
            "first_ms": 8.0,
            "p50_ms": 3.761,
            "p90_ms": 4.0,
            "p95_ms": 123.4,
            "mean_ms": 4.0,
            "peak_memory_mb": None,
        }
        return {"artifact": path, "path": path, "bytes": 2_720_696, "threads": threads, "runs": 20, **figures}

    def compare(paths, threads):
        common = {"threads": threads, "rounds": 30, "p50_ms": 1.0, "ratio_low": 0.4, "ratio_high": 0.6}
        return [{"artifact": path, "ratio": 1.0 if path == paths[0] else 0.494, **common} for path in paths]

    monkeypatch.setattr(latency, "measure", measure)
    monkeypatch.setattr(latency, "compare", compare)


def test_measures_and_writes_what_the_run_folder_keeps(tiny, tmp_path, capsys):
    file = tmp_path / "latency.json"
    assert cli.main(["benchmark", str(tiny), "--seconds", "0.02", "--json", str(file)]) == 0
    record = json.loads(file.read_text())
    assert record["host"] == latency.host()
    assert [(result["artifact"], result["threads"]) for result in record["results"]] == [("tiny", 1)]
    first, _, header, row = capsys.readouterr().out.rstrip().split("\n")
    assert record["host"]["processor"] in first
    assert header.split()[0] == "threads"
    assert row.startswith("tiny")


def test_table_is_aligned_and_holds_every_thread_count(instant, capsys):
    assert cli.main(["benchmark", "a", "longer", "--threads", "1,4"]) == 0
    lines = capsys.readouterr().out.rstrip().split("\n")[2:]
    assert len({len(line) for line in lines}) == 1
    assert [line.split()[:2] for line in lines[1:]] == [["a", "1"], ["a", "4"], ["longer", "1"], ["longer", "4"]]
    assert lines[1].split() == ["a", "1", "2.72", "1.23", "8.00", "3.76", "4.00", "123", "4.00", "-"]


def test_json_alone_on_standard_output(instant, capsys):
    assert cli.main(["benchmark", "a", "--json", "-", "--against", "b"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert set(record) == {"host", "results", "comparison"}
    assert [result["artifact"] for result in record["comparison"][0]] == ["b", "a"]


def test_against_gives_the_ratio_with_its_spread(instant, capsys):
    assert cli.main(["benchmark", "a", "--against", "peer"]) == 0
    assert capsys.readouterr().out.rstrip().endswith("a: 0.49 of the p50 of peer (0.40 to 0.60 over 30 rounds, 1 threads)")


@pytest.mark.parametrize(
    "options", [["--threads", "0"], ["--threads", "two"], ["--seconds", "0"], ["--seconds", "nan"], ["--seconds", "x"]]
)
def test_wrong_usage_is_exit_2(instant, options, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["benchmark", "a", *options])
    assert end.value.code == 2
    assert options[0] in capsys.readouterr().err


def test_says_before_it_measures_that_the_json_has_no_place(instant, tmp_path, capsys):
    assert cli.main(["benchmark", "a", "--json", str(tmp_path / "none" / "latency.json")]) == 1
    captured = capsys.readouterr()
    assert "does not exist" in captured.err
    assert captured.out == ""


def test_threads_are_a_list():
    parser = argparse.ArgumentParser()
    benchmark.add_arguments(parser)
    assert parser.parse_args(["a"]).threads == (1,)
    assert parser.parse_args(["a", "--threads", "1,2,4"]).threads == (1, 2, 4)
