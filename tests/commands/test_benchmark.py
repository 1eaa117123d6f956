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

    def sustain(path, threads, seconds, **stream):
        nothing = {"governor": None, "mhz": [], "temperature_c": {}}
        times = dict.fromkeys(("p50_ms", "p90_ms", "p95_ms", "p99_ms", "cold_start_ms"), 7.5)
        common = {"seconds": seconds, "answers": 9, "missed": 0.5, "drift": 1.25, "energy": {}, "before": nothing, "after": nothing}
        return {**times, **common, **stream, "stages": {"model": {"p50_ms": 7.0, "p95_ms": 8.0}}}

    monkeypatch.setattr(latency, "measure", measure)
    monkeypatch.setattr(latency, "compare", compare)
    monkeypatch.setattr(latency, "sustain", sustain)


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
    assert len({line.index(name) for line, name in zip(lines, ["processor", *[latency.host()["processor"]] * 4], strict=True)}) == 1
    assert [line.split()[:2] for line in lines[1:]] == [["a", "1"], ["a", "4"], ["longer", "1"], ["longer", "4"]]
    assert lines[1].split()[:10] == ["a", "1", "2.72", "1.23", "8.00", "3.76", "4.00", "123", "4.00", "-"]
    assert all(line.endswith(latency.host()["processor"]) for line in lines[1:])


def test_json_alone_on_standard_output(instant, capsys):
    assert cli.main(["benchmark", "a", "--json", "-", "--against", "b"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert set(record) == {"host", "results", "comparison"}
    assert [result["artifact"] for result in record["comparison"][0]] == ["b", "a"]


def test_against_gives_the_ratio_with_its_spread(instant, capsys):
    assert cli.main(["benchmark", "a", "--against", "peer"]) == 0
    assert capsys.readouterr().out.rstrip().endswith("a: 0.49 of the p50 of peer (0.40 to 0.60 over 30 rounds, 1 threads)")


@pytest.mark.parametrize(
    "options",
    [
        ["--threads", "0"], ["--threads", "two"], ["--seconds", "0"], ["--seconds", "nan"], ["--seconds", "x"], ["--fps", "1001"],
        ["--frame-size", "640"], ["--frame-size", "0x4"], ["--classes", "verb"], ["--classes", "verb=0"], ["--merge", "--untrained"],
    ],
)  # fmt: skip
def test_wrong_usage_is_exit_2(instant, options, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["benchmark", "a", *options])
    assert end.value.code == 2
    assert options[-1 if options[0] == "--merge" else 0] in capsys.readouterr().err


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


def test_one_stream_for_every_file_and_thread_count(instant, tmp_path, capsys):
    stream = ["--sustained", "60", "--fps", "30", "--stride", "0.5", "--frame-size", "640x480"]
    assert cli.main(["benchmark", "a", "b", *stream, "--json", str(tmp_path / "a.json")]) == 0
    results = json.loads((tmp_path / "a.json").read_text())["results"]
    wanted = {"seconds": 60, "fps": 30, "stride": 0.5, "video": None, "frame_size": [480, 640]}
    assert [wanted.items() <= {**result["sustained"]}.items() for result in results] == [True, True]
    assert "50.0   1.25" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fps", "30"], "--fps is of a stream; give --sustained, too"),
        (["--sustained", "9", "--stride", "1"], "--stride is of a stream; give --fps, too"),
        (["--sustained", "9", "--video", "none.mp4"], "none.mp4 does not exist"),
        (["--classes", "verb=3"], "--classes is of recipes"),
        (["--bundle", "x", "--against", "b"], "give one of them"),
        (["--html", "none/page.html"], "the folder none does not exist"),
        (["--merge"], "a does not exist"),
    ],
)
def test_what_does_not_go_together_is_said(instant, options, message, capsys):
    assert cli.main(["benchmark", "a", *options]) == 1
    captured = capsys.readouterr()
    assert message in captured.err and captured.out == ""


def test_results_of_several_machines_are_one_table_and_page(instant, tmp_path, capsys):
    for name in ("desk", "board"):
        assert cli.main(["benchmark", name, "--json", str(tmp_path / f"{name}.json")]) == 0
        record = json.loads((tmp_path / f"{name}.json").read_text())
        record["host"]["processor"] = f"the {name}'s processor"
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
    capsys.readouterr()
    files = [str(tmp_path / f"{name}.json") for name in ("desk", "board")]
    assert cli.main(["benchmark", "--merge", *files, "--html", str(tmp_path / "p.html"), "--json", str(tmp_path / "all.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[-1] for line in lines[-2:]] == ["the desk's processor", "the board's processor"]
    assert "the board&#x27;s processor" in (tmp_path / "p.html").read_text()
    assert cli.main(["benchmark", "--merge", str(tmp_path / "all.json")]) == 0  # what was merged is merged again
    assert capsys.readouterr().out.splitlines() == lines


@pytest.mark.parametrize(
    "content",
    [
        "3",
        "[]x",
        '{"host": {"processor": "p", "cores": 1, "system": "s"}, "results": [{"sustained": {"before": 1}}]}',
        '{"host": {}, "results": []}',
        '[{"host": 1}]',
        '{"results": []}',
    ],
)
def test_what_is_no_result_is_not_merged(tmp_path, content, capsys):
    (tmp_path / "a.json").write_text(content)
    assert cli.main(["benchmark", "--merge", str(tmp_path / "a.json")]) == 1
    assert "a.json is not" in capsys.readouterr().err


def test_the_line_for_tflites_own_tool(tiny, capsys):
    assert cli.main(["benchmark", str(tiny), "--threads", "1,4", "--benchmark-model-line"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[2:4] for line in lines] == [["--signature_to_run_for=serving_default", f"--num_threads={n}"] for n in (1, 4)]


def test_a_bundle_takes_the_options_along(tiny, tmp_path, capsys):
    out = tmp_path / "device"
    stream = ["--sustained", "60", "--fps", "30", "--frame-size", "640x480", "--threads", "1,2"]
    assert cli.main(["benchmark", str(tiny), "--bundle", str(out), *stream]) == 0
    script = (out / "latency.py").read_text()
    assert "'--threads', '1,2', '--seconds', '3.0', '--sustained', '60.0', '--fps', '30.0', '--frame-size', '640x480']" in script
    assert "numpy and ai-edge-litert alone" in capsys.readouterr().out


def test_untrained_recipes_are_timed_as_they_would_be_used(instant, tmp_path, monkeypatch, capsys):
    from egokeras import untrained

    built = []

    def write_tflite(stage, folder):
        built.append(stage)
        return [f"{folder}/{stage.name}-int8.tflite"], ["20 frames"]

    monkeypatch.setattr(untrained, "write_tflite", write_tflite)
    monkeypatch.setattr(untrained, "write_video", lambda path, *size: f"{path} {size}")
    command = ["benchmark", "--untrained", "report_lstm", "skd_srl", "epochs=3", "--classes", "verb=97,noun=300"]
    assert cli.main([*command, "--json", str(tmp_path / "a.json")]) == 0
    assert [(dict(stage.data.classes), stage.epochs) for stage in built] == [({"verb": 97, "noun": 300}, 3)] * 2
    results = json.loads((tmp_path / "a.json").read_text())["results"]
    assert all(result["sustained"]["video"].endswith("video.mp4 (30.0, 256, 456)") for result in results)
    assert "random weights, assuming 20 frames" in capsys.readouterr().out
