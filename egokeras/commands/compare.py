"""`egokeras compare`: runs side by side, over seeds."""

import pathlib

EXAMPLE = """egokeras compare runs/skd_srl --page comparison.html           (all runs of a grid)
         egokeras compare runs/own_clips runs/own_clips-2 --latex table.tex"""
TENSORFLOW = True
WIDEST = 60  # characters of a row's name that the table lines up


def add_arguments(parser):
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run folders, folders of seeds, folders of grids")
    parser.add_argument("--baseline", metavar="RUN", help="what the others are compared to (default: the first row)")
    parser.add_argument("--json", metavar="FILE", help="also write all figures as JSON")
    parser.add_argument("--latex", metavar="FILE", help="also write a table for LaTeX (booktabs)")
    parser.add_argument("--page", metavar="FILE", help="also write an HTML page with curves and intervals")


def run(args):
    from egokeras.comparison import compare
    from egokeras.errors import InputError
    from egokeras.files import write_json

    for option in ("json", "latex", "page"):
        file = getattr(args, option)
        if file is not None and not pathlib.Path(file).parent.is_dir():
            raise InputError(f"--{option} {file}: give a file in a folder that exists.")
    found = compare(args.runs, args.baseline)
    print("\n".join(lines(found)))
    if args.json:
        write_json(args.json, found.as_json())
    if args.latex:
        from egokeras.report import latex

        latex.write(args.latex, found)
    if args.page:
        from egokeras.report import comparison

        comparison.write(args.page, found)


def lines(found):
    """The comparison as a table for the terminal."""
    from egokeras.errors import plain
    from egokeras.report.comparison import cost_cells, score_cells

    width = min(WIDEST, max(len(plain(name)) for name in [*(row.name for row in found.rows), *found.references]))
    yield f"{found.clips} clips of {plain(found.split)}; 95% t-intervals over seeds, differences to the first row over common seeds"
    for name in found.names:
        yield f"\n  {plain(name):<{width}}{'seeds':>7}{'%':>8}{'95%':>18}   to the first row"
        for row in found.rows:
            mean, interval, gain, mark = score_cells(row, name)
            yield f"  {plain(row.name):<{width}}{row.scores[name].seeds:>7}{mean:>8}{interval:>18}   {gain} {mark}".rstrip()
        for title, scores in found.references.items():
            if name in scores:
                yield f"  {plain(title):<{width}}{'':7}{scores[name]:8.2f}"
    yield f"\n  {'':<{width}}{'parameters':>12}{'M MACs':>12}{'training':>12}"
    for row in found.rows:
        parameters, macs, seconds = cost_cells(row)
        yield f"  {plain(row.name):<{width}}{parameters:>12}{macs:>12}{seconds:>12}"
    if any(name.startswith("published") for name in found.references):
        yield "\npublished scores are of the paper's own data and protocol"
    yield from (["", *map(plain, found.notes)] if found.notes else [])
