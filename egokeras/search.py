"""Which export of a run is worth its bytes: all that fit are made, judged and timed; a table says what none of the others betters."""

import dataclasses
import pathlib

from egokeras import target
from egokeras.artifact_kinds import made_of
from egokeras.device import latency
from egokeras.device.artifact import RUNTIMES, Artifact
from egokeras.device.manifest import run_bytes
from egokeras.errors import InputError, plain
from egokeras.export import load, names, ship_all
from egokeras.files import read_json, write_json
from egokeras.gated_run import open_run
from egokeras.progress import track

FILE = "search.json"
THREADS = 1
NOTHING = "-"


def search(run_dir, shards=None, accept_untested=False, latencies=None, wanted=(), **limits):
    """Make every export that fits a run; written to `exports/search.json` in the run, too.

    Args:
        run_dir, shards, accept_untested: as for `egokeras.export.ship_all`.
        latencies: file that `egokeras benchmark --json` has written on a device; None measures here.
        wanted: conditions, see `egokeras.target.parse`.
        limits: fields of `Export` that all exports get.

    Returns:
        A record: run, `latency_of` (`host` or the file), `processor`, `target`, `best` and `nearest` (names, or None), and `exports`: for
        each name, kind, runtime (of `egokeras.device.artifact.RUNTIMES`), quantization, path (None if it was refused), bytes, top1 (by what
        is judged), accuracy (percentage points that the worst head has more than Keras), agreement (of the worst head, in percent),
        p50_ms, p95_ms, peak_memory_mb, pareto, reason.

    Raises:
        InputError: the run, the data or the file of latencies cannot be used.
    """
    folder, times = pathlib.Path(run_dir), None if latencies is None else _Recorded(latencies)
    kinds = made_of(open_run(folder, shards))
    exports = [dataclasses.replace(export, **limits) for export in map(load, names()) if export.kind in kinds]
    shipments = ship_all(exports, folder, shards, accept_untested, nearest=False)
    rows = [_row(shipment, times or _measured) for shipment in track(shipments, "latency", unit="file")]
    made = {row["name"]: _figures(row) for row in rows if row["path"]}
    for row in rows:
        rivals = {name: made[name] for name in made if _group(rows, name) == (row["kind"], row["runtime"])}
        row["pareto"] = row["name"] in target.undominated(rivals)
    found, nearest = target.best(made, wanted) if wanted else (None, None)
    record = {
        "run": folder.resolve().name,
        "latency_of": "host" if times is None else str(latencies),
        "processor": latency.host()["processor"] if times is None else times.processor,
        "target": ",".join(map(str, wanted)) or None,
        "best": found,
        "nearest": nearest,
        "exports": rows,
    }
    (folder / "exports").mkdir(exist_ok=True)
    write_json(folder / "exports" / FILE, record)
    return record


def _group(rows, name):
    return next((row["kind"], row["runtime"]) for row in rows if row["name"] == name)


def _measured(path):
    return latency.measure(path, threads=THREADS)


class _Recorded:
    """Latencies that another machine has measured."""

    def __init__(self, file):
        record = read_json(file)
        try:
            self.file, self.processor = file, str(record["host"]["processor"])
            self._results = [result for result in record["results"] if result["threads"] == THREADS]
            self._known = {(result["artifact"], result["bytes"]): result for result in self._results}
            numbers = [result[name] for result in self._results for name in ("p50_ms", "p95_ms")]
            fine = all(type(value) in (int, float) and 0 <= value < float("inf") for value in numbers)
        except (LookupError, TypeError):
            fine = False
        if not fine or not self._results:
            raise InputError(f"{file} is not what `egokeras benchmark --json` writes with one thread; give such a file.")

    def __call__(self, path):
        artifact = Artifact.open(path)
        size = run_bytes(artifact.manifest)
        found = self._known.get((artifact.name, size))
        if found is None:
            raise InputError(
                f"{self.file} has no latency of {artifact.name} with {size} bytes; run `egokeras benchmark` on that file there."
            )
        return found


def _row(shipment, measure):
    export, gate, reason, timed, size = shipment.export, shipment.gate or {"heads": {}}, shipment.reason, {}, None
    if shipment.path:
        size = run_bytes(Artifact.open(shipment.path).manifest)
        try:
            timed = measure(shipment.path)
        except InputError as error:
            reason = str(error)
    heads = gate["heads"]
    lost = [figures["lost"] for figures in heads.values() if figures["lost"] is not None]
    return {
        "name": export.name,
        "kind": export.kind,
        "runtime": RUNTIMES[export.format],
        "quantization": export.quantization,
        "path": None if shipment.path is None else str(shipment.path),
        "bytes": size,
        "top1": {name: figures["tflite_top1"] for name, figures in heads.items()},
        "accuracy": -max(lost) if lost else None,
        "agreement": min((figures["agreement"] for figures in heads.values()), default=None),
        **{name: timed.get(name) for name in ("p50_ms", "p95_ms", "peak_memory_mb")},
        "reason": reason,
    }


def _figures(row):
    """Quantity of a target to its value."""
    return {
        "latency": row["p50_ms"],
        "size": row["bytes"] / 1e6,
        "memory": row["peak_memory_mb"],
        "accuracy": row["accuracy"],
        "agreement": row["agreement"],
    }


def text(record):
    """The record as a table; of many anticipation times or exits, the last that was judged of each head stands for them."""
    heads = _heads(record["exports"])
    measured = ["vs Keras", "agreement", "p50 ms", "p95 ms", "memory MiB"]
    columns = ["", "export", "kind", "runtime", "size MB", *heads, *measured, "processor, or reason"]
    rows = [columns, *(_cells(row, heads, record["processor"]) for row in record["exports"])]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(width) if place < 4 else cell.rjust(width) for place, (cell, width) in enumerate(zip(row[:-1], widths, strict=False))
        ]
        yield "  ".join([*cells, row[-1]]).rstrip()
    where = "this host" if record["latency_of"] == "host" else f"the device of {record['latency_of']}"
    yield "* no other of its kind and runtime is as good in all of size, accuracy, agreement, latency and memory, and better in one."
    yield plain(f"Latency of {where}, {record['processor']}, one thread: of a clip, with all exits; of a stream, one frame or observation.")


def verdict(record):
    """Which export fulfils the target, in one sentence.

    Raises:
        InputError: none does.
    """
    wanted = record["target"]
    if record["best"]:
        return f"{record['best']} is the most accurate that fulfils {wanted}."
    if record["nearest"] is None:
        raise InputError(f"no export fulfils {wanted}: none passed its gate.")
    row = next(row for row in record["exports"] if row["name"] == record["nearest"])
    figures = _figures(row)
    values = [(each.quantity, figures[each.quantity]) for each in target.parse(wanted)]
    reached = ", ".join(f"{quantity} {'unknown' if value is None else f'{value:.4g}'}" for quantity, value in values)
    raise InputError(f"no export fulfils {wanted}; {row['name']} comes nearest with {reached}.")


def _heads(rows):
    """The heads, of which several times or exits may be judged, `verb 1 s`."""
    judged = [name for row in rows for name in row["top1"]]
    return list(dict.fromkeys(name.split(" ")[0] for name in judged))


def _cells(row, heads, processor):
    top1 = [next((value for name, value in reversed(row["top1"].items()) if name.split(" ")[0] == head), None) for head in heads]
    size = None if row["bytes"] is None else row["bytes"] / 1e6
    change = NOTHING if row["accuracy"] is None else f"{row['accuracy'] + 0.0:+.2f}"
    numbers = [_number(value) for value in (row["agreement"], row["p50_ms"], row["p95_ms"], row["peak_memory_mb"])]
    mark, about = "*" if row.get("pareto") else "", (row["name"], row["kind"], row["runtime"])
    return [mark, *about, _number(size), *map(_number, top1), change, *numbers, plain(row["reason"] or processor)]


def _number(value):
    return NOTHING if value is None else f"{value:.2f}"
