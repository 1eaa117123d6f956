"""The page about latency on one device or several: the tables of `egokeras benchmark`, and what each machine said of itself."""

from egokeras.device import tables
from egokeras.files import atomic
from egokeras.report import page

ABOUT = (
    "Milliseconds from input arrays to output arrays, copies included, each file in a process of its own. The machines were measured at "
    "different times: a small difference between two of them says nothing."
)


def write(path, records):
    """Write the page on what `egokeras.device.latency.record` made, one for each device."""
    with atomic(path, "w") as file:
        file.write(render(records))


def render(records):
    """The page as a string."""
    processors = list(dict.fromkeys(record["host"]["processor"] for record in records))
    name = ", ".join(processors[:3]) + (" ..." if len(processors) > 3 else "")
    streams = tables.stream(records)
    parts = [
        ("latency", "Latency", [_table(tables.latency(records), ABOUT)]),
        *(
            [("stream", "One stream", [_table(streams, tables.ABOUT_STREAM), _table(tables.stream_parts(records), tables.ABOUT_PARTS)])]
            if streams[1]
            else []
        ),
        *([("energy", "Energy", [_energy(records)])] if any(_rails(records)) else []),
        ("machines", "Machines", [page.paragraph(tables.where(record["host"])) for record in records]),
    ]
    top = [
        page.paragraph("egokeras latency", kind="kind"),
        page.element("h1", name),
        page.paragraph(_lead(records), kind="lead"),
        page.navigation([(anchor, title) for anchor, title, _ in parts]),
    ]
    return page.document(f"{name} · egokeras", *top, *(page.section(anchor, title, *content) for anchor, title, content in parts))


def _lead(records):
    files = {result["artifact"] for record in records for result in record["results"]}
    return f"{len(files)} file{'s' * (len(files) != 1)} on {len(records)} machine{'s' * (len(records) != 1)}."


def _table(found, about):
    """A table with the processor, which is compared, beside the file's name."""
    columns, rows = found
    names = ["", "processor", *(f"#{name}" for name in columns[1:-1])]
    return page.table(names, [[first, last, *row] for first, *row, last in rows], caption=about)


def _rails(records):
    for record in records:
        for result in record["results"]:
            for rail, used in (result.get("sustained") or {}).get("energy", {}).items():
                yield [result["artifact"], record["host"]["processor"], str(result["threads"]), rail, used]


def _energy(records):
    """Every rail and package that a device counted, beside what it used at rest."""
    columns = ["", "processor", "#threads", "rail", "#J", "#W", "#W at rest", "#mJ per inference"]
    names = ("joules", "watts", "idle_watts", "mj_per_inference")
    rows = [[*first, *(_figure(used[name]) for name in names)] for *first, used in _rails(records)]
    return page.table(columns, rows, caption="During the stream, of the whole rail or package; the model alone is less.")


def _figure(value):
    return tables.NOTHING if value is None else f"{value:.2f}"
