"""What was measured as tables: rows of cells for a page, lines for a terminal. Every row names its processor."""

import textwrap

from egokeras.errors import plain

LATENCY = {
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
    "processor": "processor",
}
STREAM = {
    "artifact": "one stream",
    "threads": "threads",
    "fps": "fps",
    "seconds": "s",
    "answers": "answers",
    "p50_ms": "p50 ms",
    "p90_ms": "p90 ms",
    "p95_ms": "p95 ms",
    "p99_ms": "p99 ms",
    "missed": "missed %",
    "drift": "drift",
    "processor": "processor",
}
PARTS = {
    "artifact": "its parts",
    "threads": "threads",
    "cold_start_ms": "cold start ms",
    "decode_ms": "decode ms",
    "resize_ms": "resize ms",
    "model_ms": "model ms",
    "mhz": "MHz",
    "celsius": "°C",
    "mj_per_inference": "mJ",
    "processor": "processor",
}
NOTHING = "-"
LINE = 120
ABOUT_STREAM = (
    "From a frame to its answer. Missed: frames without an answer, or not done with, when the next one came. Drift: median of the last "
    "tenth of the answers against that of the first."
)
ABOUT_PARTS = (
    "Cold start: from the start of the process to the first answer. Decode, resize, model: medians. MHz and °C: mean clock and hottest "
    "zone, before and after. mJ: per inference, of the rail or package that used most."
)


def text(records):
    """Where it ran, the tables, the ratios.

    Args:
        records: what `egokeras.device.latency.record` makes, one for each device; with `comparison` where files were compared.
    """
    parts = [[where(record["host"]) for record in records], table(*latency(records))]
    for found, about in ((stream(records), ABOUT_STREAM), (stream_parts(records), ABOUT_PARTS)):
        parts += [[*table(*found), *textwrap.wrap(about, LINE)]] if found[1] else []
    parts += [[line for record in records for comparison in record.get("comparison", []) for line in _ratios(*comparison)]]
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def where(host):
    """One device in a line."""
    governor = f", governor {host['governor']}" if host.get("governor") else ""
    runtime = f"ai-edge-litert {host['ai-edge-litert']}" if host.get("ai-edge-litert") else host.get("runtime")
    return plain("; ".join(filter(None, [f"{host['processor']}, {host['cores']} cores{governor}", host["system"], runtime])))


def latency(records):
    """Headings, and rows of cells, of all results."""
    return list(LATENCY.values()), [[cell(name, row.get(name)) for name in LATENCY] for row in _rows(records)]


def stream(records):
    """Headings and rows of what was run as one stream, without the columns that no device could fill."""
    return _streams(records, STREAM)


def stream_parts(records):
    """The same of what a stream's time is made of, and of heat and energy."""
    return _streams(records, PARTS)


def _streams(records, headings):
    found = [{**row, **_flat(row["sustained"])} for row in _rows(records) if row.get("sustained")]
    rows = [[cell(name, row.get(name)) for name in headings] for row in found]
    filled = [number for number in range(len(headings)) if any(row[number] != NOTHING for row in rows)]
    names = list(headings.values())
    return [names[number] for number in filled], [[row[number] for number in filled] for row in rows]


def _rows(records):
    return [{**result, "processor": record["host"]["processor"]} for record in records for result in record["results"]]


def _flat(found):
    """The figures of one stream by the names of `STREAM` and `PARTS`."""
    before, after = found["before"], found["after"]
    stages = {f"{stage}_ms": times["p50_ms"] for stage, times in found["stages"].items()}
    rail: dict = max(found["energy"].values(), key=lambda used: used["joules"], default={})
    clocks = [sum(state["mhz"]) / len(state["mhz"]) for state in (before, after) if state["mhz"]]
    degrees = [max(state["temperature_c"].values()) for state in (before, after) if state["temperature_c"]]
    return {**found, **stages, "mhz": clocks, "celsius": degrees, "mj_per_inference": rail.get("mj_per_inference")}


def cell(name, value):
    """A figure as it is written in a table."""
    if value is None or value == []:
        return NOTHING
    if name == "bytes":
        return f"{value / 1e6:.2f}"
    if name == "missed":
        return f"{100 * value:.1f}"
    if name == "drift":
        return f"{value:.2f}"
    if isinstance(value, list):
        return " to ".join(f"{item:.0f}" for item in value)
    if name.endswith("_ms"):
        return f"{value:.2f}" if value < 100 else f"{value:.0f}"
    return f"{value:.1f}" if isinstance(value, float) else plain(str(value))


def table(columns, rows):
    """Lines with the columns one under another; the first and the last are of words."""
    cells = [columns, *rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for first, *row, last in cells:
        numbers = [cell.rjust(width) for cell, width in zip(row, widths[1:], strict=False)]
        yield "  ".join([first.ljust(widths[0]), *numbers, last]).rstrip()


def _ratios(first, *others):
    for other in others:
        spread = f"{other['ratio_low']:.2f} to {other['ratio_high']:.2f} over {other['rounds']} rounds"
        yield plain(f"{other['artifact']}: {other['ratio']:.2f} of the p50 of {first['artifact']} ({spread}, {other['threads']} threads)")
