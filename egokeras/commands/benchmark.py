"""`egokeras benchmark`: latency, memory and size of artifacts on this machine."""

import argparse
import itertools
import json
import pathlib

from egokeras.errors import InputError
from egokeras.files import write_json
from egokeras.progress import track

EXAMPLE = "egokeras benchmark runs/demo/exports/int8 --threads 1,2"
STDOUT = "-"
COLUMNS = {
    "artifact": "",
    "threads": "threads",
    "bytes": "size MB",
    "load_ms": "load ms",
    "first_ms": "first ms",
    "p50_ms": "p50 ms",
    "p90_ms": "p90 ms",
    "p95_ms": "p95 ms",
    "mean_ms": "mean ms",
    "peak_memory_mb": "memory MiB",
}


def add_arguments(parser):
    parser.add_argument("artifacts", nargs="+", metavar="ARTIFACT", help="folder of an artifact, or a bare .tflite file")
    parser.add_argument("--threads", type=_threads, default=(1,), metavar="N[,N...]", help="measure with each of these (1)")
    parser.add_argument("--seconds", type=_seconds, default=3.0, help="time to run each for, after the warm-up (%(default)s)")
    parser.add_argument("--against", metavar="FILE", help="also give p50 as a ratio to this one's, taking turns in one process")
    parser.add_argument("--json", metavar="FILE", help=f"write host and results there; {STDOUT} prints them instead of the table")


def run(args):
    if args.json not in (None, STDOUT) and not pathlib.Path(args.json).parent.is_dir():
        raise InputError(f"--json {args.json}: the folder {pathlib.Path(args.json).parent} does not exist; make it first.")
    from egokeras.device import latency

    jobs = list(itertools.product(args.artifacts, args.threads))
    results = [latency.measure(path, threads, args.seconds) for path, threads in track(jobs, "benchmark", unit="file")]
    record = {"host": latency.host(), "results": results}
    if args.against:
        record["comparison"] = [latency.compare([args.against, *args.artifacts], threads) for threads in args.threads]
    if args.json == STDOUT:
        print(json.dumps(record, indent=1))
        return
    print(text(record))
    if args.json:
        write_json(args.json, record)


def _threads(text):
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not numbers such as 1 or 1,2,4") from None
    if min(found) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: give at least 1")
    return found


def _seconds(text):
    try:
        found = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds") from None
    if not 0 < found <= 600:
        raise argparse.ArgumentTypeError(f"{text!r}: give more than 0 and at most 600")
    return found


def text(record):
    """Where it ran, the table, the ratios."""
    host = record["host"]
    governor = f", governor {host['governor']}" if host["governor"] else ""
    where = f"{host['processor']}, {host['cores']} cores{governor}; {host['system']}; ai-edge-litert {host['ai-edge-litert']}"
    ratios = [line for comparison in record.get("comparison", []) for line in _ratios(*comparison)]
    return "\n".join([where, "", *_table(record["results"]), *ratios])


def _table(results):
    rows = [list(COLUMNS.values())] + [[_cell(name, result[name]) for name in COLUMNS] for result in results]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]) for row in rows
    ]


def _cell(name, value):
    if value is None:
        return "-"
    if name == "bytes":
        return f"{value / 1e6:.2f}"
    if name.endswith("_ms"):
        return f"{value:.2f}" if value < 100 else f"{value:.0f}"
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _ratios(first, *others):
    yield ""
    for other in others:
        spread = f"{other['ratio_low']:.2f} to {other['ratio_high']:.2f} over {other['rounds']} rounds"
        yield f"{other['artifact']}: {other['ratio']:.2f} of the p50 of {first['artifact']} ({spread}, {other['threads']} threads)"
