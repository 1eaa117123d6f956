"""`egokeras report`: one HTML page about a run."""

EXAMPLE = "egokeras report runs/demo"


def add_arguments(parser):
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders; each gets its report.html")


def run(args):
    from egokeras import report

    for folder in args.runs:
        print(report.write(folder))
