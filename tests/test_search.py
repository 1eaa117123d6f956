"""A search over exports: what is in its table, what is best, what another machine measured; none of it is converted here."""

import json

import pytest

from egokeras import cli, search
from egokeras.device import latency
from egokeras.errors import InputError
from egokeras.export import Export, Shipment
from egokeras.files import read_json, sha256, write_json

# Name to bytes, accuracy lost by two heads, agreement of both, p50.
MADE = {
    "float32": (4000, (0.0, 0.0), (100.0, 100.0), 9.0),
    "int8": (1000, (0.5, -0.5), (99.0, 98.5), 3.0),
    "mixed": (1200, (0.6, 0.0), (99.0, 98.5), 3.5),  # int8 is better in everything
    "stream": (1300, (0.7, 0.0), (98.0, 98.0), 4.0),  # the same, but of another kind
    "onnx": (4500, (0.0, 0.0), (100.0, 100.0), 9.5),  # worse than float32, but of another runtime
}


def artifact(folder, name, size):
    """An artifact whose file is never run."""
    folder.mkdir(parents=True)
    (folder / "model.tflite").write_bytes(bytes(size))
    about = {
        "format": 2, "name": name, "quantization": "int8",
        "parts": [{"file": "model.tflite", "signature": "serving_default", "quantization": "int8"}],
        "files": {"model.tflite": {"sha256": sha256(folder / "model.tflite"), "bytes": size}},
        "inputs": {"rgb": {"shape": [1, 2, 8, 8, 3], "dtype": "uint8", "channels": "RGB", "resize": "squash"}},
        "outputs": {"action": ["x", "y"]}, "sampling": {"rule": "uniform", "frames": 2, "clip_seconds": 1.0},
    }  # fmt: skip
    write_json(folder / "artifact.json", about)
    return folder


def gate(lost, agreement):
    figures = zip(("verb", "noun"), lost, agreement, strict=True)
    return {"heads": {head: {"tflite_top1": 90 - points, "lost": points, "agreement": same} for head, points, same in figures}}


@pytest.fixture
def asked():
    """What `ship_all` was asked for."""
    return []


@pytest.fixture
def run_dir(tmp_path, monkeypatch, asked):
    """A run whose exports are made as `MADE` says; another is refused."""

    def ship_all(exports, folder, shards, accept_untested, nearest):
        asked.append((exports, accept_untested, nearest))
        for export in exports:
            size, lost, agreement, _ = MADE.get(export.name, (0, (30.0, 0.0), (60.0, 99.0), 0))
            path = artifact(folder / "exports" / export.name, export.name, size) if size else None
            yield Shipment(export=export, path=path, gate=gate(lost, agreement), reason="" if path else f"{export.name} fails its gate.")

    def measure(path, threads):
        assert threads == 1
        p50 = MADE[path.name][3]
        return {"p50_ms": p50, "p95_ms": 2 * p50, "peak_memory_mb": p50}

    monkeypatch.setattr(search, "open_run", lambda folder, shards: None)
    monkeypatch.setattr(search, "made_of", lambda run: ("clip", "stream"))
    monkeypatch.setattr(search, "ship_all", lambda *args, **settings: list(ship_all(*args, **settings)))
    monkeypatch.setattr(latency, "measure", measure)
    monkeypatch.setattr(latency, "host", lambda: {"processor": "Z80"})
    run = tmp_path / "run"
    run.mkdir()
    return run


def test_every_export_that_fits_is_in_the_table(run_dir, asked, capsys):
    assert cli.main(["export", str(run_dir), "--all", "--min-agreement", "90", "--accept-untested"]) == 0
    record = read_json(run_dir / "exports" / "search.json")
    rows = {row["name"]: row for row in record["exports"]}
    names = {"float32", "float16", "dynamic_range", "int8", "mixed", "stream", "stream_float16", "stream_float32"}
    assert set(rows) >= names and not any(name.startswith(("anticipation", "early")) for name in rows)
    assert {name for name, row in rows.items() if row["pareto"]} == {"float32", "int8", "stream", "onnx"}
    assert rows["int8"] == {
        "name": "int8", "kind": "clip", "runtime": "ai-edge-litert", "quantization": "int8",
        "path": str(run_dir / "exports" / "int8"), "bytes": 1000,
        "top1": {"verb": 89.5, "noun": 90.5}, "accuracy": -0.5, "agreement": 98.5, "p50_ms": 3.0, "p95_ms": 6.0, "peak_memory_mb": 3.0,
        "reason": "", "pareto": True,
    }  # fmt: skip
    assert rows["float16"]["path"] is None and rows["float16"]["accuracy"] == -30 and rows["float16"]["reason"].endswith("fails its gate.")
    assert (record["latency_of"], record["processor"], record["target"], record["best"]) == ("host", "Z80", None, None)
    printed = capsys.readouterr().out
    lines = {line.split()[0 if line[0] == " " else 1]: line for line in printed.splitlines()}
    assert lines["int8"].split() == [
        "*", "int8", "clip", "ai-edge-litert", "0.00", "89.50", "90.50", "-0.50", "98.50", "3.00", "6.00", "3.00", "Z80"
    ]  # fmt: skip
    assert lines["onnx"].split()[:4] == ["*", "onnx", "clip", "onnxruntime"]
    assert lines["float16"].split() == [
        "float16",
        "clip",
        "ai-edge-litert",
        "-",
        "60.00",
        "90.00",
        "-30.00",
        "60.00",
        "-",
        "-",
        "-",
        "float16",
        "fails",
        "its",
        "gate.",
    ]
    assert "Latency of this host, Z80, one thread" in printed
    ((exports, accept_untested, nearest),) = asked
    assert all(export.min_agreement == 90 for export in exports) and accept_untested and not nearest


@pytest.mark.parametrize(
    ("target", "code", "said"),
    [
        ("latency<10ms,accuracy>-1", 0, "float32 is the most accurate that fulfils latency<10.0ms,accuracy>-1.0."),
        ("latency<5ms", 0, "int8 is the most accurate"),
        ("size<1kB", 1, "error: no export fulfils size<0.001MB; int8 comes nearest with size 0.001."),
        ("agreement>99,latency<8.9ms", 1, "; int8 comes nearest with agreement 98.5, latency 3."),
    ],
)
def test_a_target_picks_one(run_dir, capsys, target, code, said):
    assert cli.main(["export", str(run_dir), "--all", "--target", target]) == code
    printed = capsys.readouterr()
    assert said in (printed.err if code else printed.out)
    assert "float16" in printed.out
    record = read_json(run_dir / "exports" / "search.json")
    assert (record["best"] is None) == bool(code) and record["nearest"]


def test_what_a_device_has_measured_is_taken(run_dir, tmp_path, capsys):
    results = [
        {"artifact": name, "bytes": size, "threads": threads, "p50_ms": 100.0 * threads + size, "p95_ms": 1e4, "peak_memory_mb": None}
        for name, (size, *_) in MADE.items() if name != "mixed" for threads in (2, 1)
    ]  # fmt: skip
    file = tmp_path / "device.json"
    write_json(file, {"host": {"processor": "Jetson"}, "results": results})
    assert cli.main(["export", str(run_dir), "--all", "--latencies", str(file), "--target", "latency<2000ms", "--json"]) == 0
    printed = capsys.readouterr()
    record = json.loads(printed.out)
    rows = {row["name"]: row for row in record["exports"]}
    assert rows["int8"]["p50_ms"] == 1100 and record["processor"] == "Jetson" and record["best"] == "int8"
    assert rows["mixed"]["p50_ms"] is None and "has no latency of mixed with 1200 bytes" in rows["mixed"]["reason"]
    assert printed.err == "int8 is the most accurate that fulfils latency<2000.0ms.\n"
    assert f"Latency of the device of {file}, Jetson, one thread" in list(search.text(record))[-1]


HOST = {"processor": "x"}
SLOW = {"artifact": "a", "bytes": 1, "threads": 1, "p50_ms": "slow", "p95_ms": 1.0}


@pytest.mark.parametrize("content", [[], {}, {"host": {}, "results": []}, {"host": HOST, "results": []}, {"host": HOST, "results": [SLOW]}])
def test_another_file_is_no_record_of_latencies(run_dir, asked, tmp_path, content):
    write_json(tmp_path / "other.json", content)
    with pytest.raises(InputError, match=r"other\.json is not what `egokeras benchmark --json` writes with one thread"):
        search.search(run_dir, latencies=tmp_path / "other.json")
    assert not asked


def test_where_nothing_passes(run_dir, monkeypatch, capsys):
    monkeypatch.setattr(search, "load", lambda file: Export(name="other"))
    monkeypatch.setattr(search, "names", lambda: {"other": None})
    for options, said in (
        ([], "no export passed its gate"),
        (["--target", "size<1"], "no export fulfils size<1.0MB: none passed its gate"),
    ):
        assert cli.main(["export", str(run_dir), "--all", *options]) == 1
        printed = capsys.readouterr()
        assert said in printed.err and "other fails its gate." in printed.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give the names of exports, or --all"),
        (["int8", "--all"], "give the names of exports, or --all"),
        (["int8", "--target", "size<1"], "--target chooses among all exports; give --all, too"),
        (["int8", "--latencies", "x"], "--latencies chooses among all exports"),
        (["--all", "--target", "speed>1"], "is not a limit"),
    ],
)
def test_wrong_usage_is_named(run_dir, asked, capsys, arguments, said):
    assert cli.main(["export", str(run_dir), *arguments]) == 1
    assert said in capsys.readouterr().err and not asked
