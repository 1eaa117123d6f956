"""The page about several runs: scores with intervals over seeds, differences, costs, curves."""

import os
import pathlib
import urllib.parse

import numpy as np

from egokeras import plots, report
from egokeras.comparison import MARKS
from egokeras.files import atomic
from egokeras.report import page

PANELS = 9
KINDS = {"above": "good", "below": "bad"}
ABOUT = (
    "Mean over seeds with the 95% t-interval over them; the difference is to the first row, over the seeds that both have. An interval "
    "that holds zero is no difference. Other seeds are what the intervals speak of, not other clips."
)
ABOUT_PUBLISHED = "Published scores are of the paper's own data and protocol."


def write(path, found):
    """Write the page on a `Comparison`; it links the pages of its runs."""
    with atomic(path, "w") as file:
        file.write(render(found, pathlib.Path(path).parent))


def render(found, home=pathlib.Path()):
    """The page as a string, for a file in the folder `home`."""
    names = ", ".join(row.name for row in found.rows[:3]) + (" ..." if len(found.rows) > 3 else "")
    parts = [
        ("scores", "Scores", _scores(found)),
        ("costs", "Costs", [_costs(found)]),
        ("training", "Training", _curves(found)),
        ("runs", "Runs", [_runs(found, home)]),
    ]
    top = [
        page.paragraph("egokeras comparison", kind="kind"),
        page.element("h1", names),
        page.paragraph(f"{len(found.rows)} rows, judged on the same {found.clips:,} clips ({found.split}).", kind="lead"),
        *(page.paragraph(note, kind="note") for note in found.notes),
        page.navigation([(anchor, title) for anchor, title, _ in parts]),
    ]
    return page.document(f"{names} · egokeras", *top, *(page.section(anchor, title, *content) for anchor, title, content in parts))


def _scores(found):
    published = any(name.startswith("published") for name in found.references)
    parts = [page.paragraph(ABOUT, f" {ABOUT_PUBLISHED}" if published else "", kind="note")]
    for name in found.names:
        beside = {title: scores[name] for title, scores in found.references.items() if name in scores}
        rows = [[row.name, row.scores[name].seeds, *score_cells(row, name)] for row in found.rows]
        columns = ["row", "#seeds", "#%", "#95%", "#to the first row", ""]
        table = page.table(columns, _marked(rows), [[title, "", f"{value:.2f}", "", "", ""] for title, value in beside.items()])
        parts += [page.element("h3", name), page.figure(_picture(found, name, beside)), table]
    return parts


def _picture(found, name, beside):
    drawn = [(row.name, row.scores[name].mean, *_cut(row.scores[name])) for row in found.rows]
    said = ", ".join(f"{title} {mean:.1f}%" for title, mean, *_ in drawn)
    return page.Html(plots.svg(plots.intervals(drawn, beside), f"{name}: {said}"))


def _cut(score):
    """Bounds within what a score can be."""
    return (None, None) if score.low is None else (max(0.0, score.low), min(100.0, score.high))


def score_cells(row, name):
    """Mean, interval, difference with its interval, and what that comes to."""
    score, gain = row.scores[name], row.gains.get(name)
    cells = [f"{score.mean:.2f}", bounds(score)]
    return [*cells, "", ""] if gain is None else [*cells, f"{gain.mean:+.2f} {bounds(gain, '+')}".strip(), MARKS[gain.verdict]]


def bounds(estimate, sign=""):
    """`79.10 to 81.30`, cut to what a score can be; of a difference, with brackets and signs; empty where there are none."""
    if estimate.low is None:
        return ""
    if sign:
        return f"({estimate.low:+.2f} to {estimate.high:+.2f})"
    return "{:.2f} to {:.2f}".format(*_cut(estimate))


def _marked(rows):
    kinds = {MARKS[verdict]: kind for verdict, kind in KINDS.items()}
    return [[*cells, page.element("span", mark, kind=kinds[mark]) if mark in kinds else mark] for *cells, mark in rows]


def _costs(found):
    rows = [[row.name, *cost_cells(row)] for row in found.rows]
    about = (
        "Parameters of the whole model, multiply-accumulates for one clip, wall time of the training alone as measured, mean over seeds."
    )
    return page.table(["row", "#parameters", "#M MACs", "#training"], rows, caption=about)


def cost_cells(row):
    """Parameters, millions of multiply-accumulates, duration of the training; a dash for what is not known."""
    parameters = "–" if row.parameters is None else f"{row.parameters:,}"
    return [parameters, "–" if row.macs is None else f"{row.macs / 1e6:,.1f}", "–" if row.seconds is None else duration(row.seconds)]


def duration(seconds):
    """Seconds in the unit that fits."""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _curves(found):
    """A panel per quantity; rows are told apart by colour."""
    drawn = found.rows[: len(plots.PALETTE)]
    histories = [[report.read_history(run.stages[-1] / "history.csv") for run in row.runs] for row in drawn]
    names = [name for name in histories[0][0] if name == "loss" or name.startswith("val_")]
    names = [name for name in names if all(name in history for row in histories for history in row)][:PANELS]
    if not names:
        return [page.paragraph("The runs have no histories of training in common.")]
    panels = []
    for name in names:
        rows = [_aligned([history[name] for history in row]) for row in histories]
        ends = ", ".join(f"{row.name} {values[:, -1].mean():.4g}" for row, values in zip(drawn, rows, strict=True))
        title = ("held-out " if name.startswith("val_") else "training ") + name.removeprefix("val_").replace("_", " ")
        panels.append(page.figure(page.Html(plots.svg(plots.bands(rows), f"{title}, at the end {ends}")), title=title))
    legend = [
        page.join(page.element("span", "■ ", style=f"color:{colour}"), row.name) for row, colour in zip(drawn, plots.PALETTE, strict=False)
    ]
    about = "Mean over seeds; the band goes from the lowest to the highest. Where a seed ended early, its row ends with it."
    if len(found.rows) > len(drawn):
        about += f" The first {len(drawn)} of {len(found.rows)} rows."
    return [
        page.paragraph(page.join(*legend, between=page.BREAK)),
        page.paragraph(about, kind="note"),
        page.element("div", *panels, kind="panels"),
    ]


def _aligned(curves):
    """Curves (seeds, epochs), as long as the shortest."""
    shortest = min(map(len, curves))
    return np.stack([curve[:shortest] for curve in curves])


def _runs(found, home):
    groups = [
        [[row.name if not number else "", run.seed, _link(run.stages[-1], home)] for number, run in enumerate(row.runs)]
        for row in found.rows
    ]
    return page.details("The runs of every row", page.table(["row", "#seed", "folder"], *groups))


def _link(folder, home):
    """The folder of a run, as a link to its page if it has one."""
    file = folder / "report.html"
    if not file.exists():
        return page.code(folder)
    return page.element("a", page.code(folder), href=urllib.parse.quote(pathlib.Path(os.path.relpath(file, home)).as_posix()))
