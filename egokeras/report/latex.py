"""A comparison as a LaTeX table for the package booktabs."""

from egokeras.errors import plain
from egokeras.files import atomic
from egokeras.report.comparison import cost_cells

SPECIAL = {
    **{character: f"\\{character}" for character in "{}$&#%_"},
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    '"': r"\textquotedbl{}",
    "[": "{[}",  # after the end of a row it would begin an argument, as a star would
    "*": "{*}",
    "-": "{-}",  # two of them are a dash
    "–": "--",
}
MARKS = {"above": r"$^{\uparrow}$", "below": r"$^{\downarrow}$", "none": "", "unknown": ""}


def write(path, found):
    """Write a `Comparison` as a table."""
    with atomic(path, "w") as file:
        file.write(table(found))


def table(found):
    """The `tabular`: a column per score, the half-width of the 95% interval over seeds beside its mean."""
    columns = ["", "seeds", *found.names, "parameters", "M MACs", "training"]
    lines = [
        f"% {found.clips} clips; mean and half of the 95% t-interval over seeds",
        r"% an arrow: the paired interval of the difference to the first row is without zero; needs \usepackage{booktabs}",
        rf"\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}",
        r"\toprule",
        _line(map(escape, columns)),
        r"\midrule",
        *(_line([escape(row.name), str(len(row.runs)), *_scores(row, found.names), *map(escape, cost_cells(row))]) for row in found.rows),
        *([r"\midrule"] if found.references else []),
        *(_line([escape(name), "", *_references(scores, found.names), "", "", ""]) for name, scores in found.references.items()),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def escape(text):
    """`text` as LaTeX shows it, whatever it holds."""
    return "".join(SPECIAL.get(character, character) for character in plain(str(text)))


def _line(cells):
    return " & ".join(cells) + r" \\"


def _scores(row, names):
    for name in names:
        score, gain = row.scores[name], row.gains.get(name)
        half = "" if score.low is None else rf" $\pm$ {score.high - score.mean:.2f}"
        yield f"{score.mean:.2f}{half}{MARKS[gain.verdict] if gain else ''}"


def _references(scores, names):
    return [f"{scores[name]:.2f}" if name in scores else "" for name in names]
