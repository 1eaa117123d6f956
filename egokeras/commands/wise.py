"""`egokeras wise`: weigh the early exits of a run, and say what leaving early costs and gains."""

import json

EXAMPLE = "egokeras wise runs/pkd_wise --lost 0.5"
TENSORFLOW = True


def add_arguments(parser):
    parser.add_argument("run_dir", metavar="RUN", help="a run of the recipe pkd_wise")
    parser.add_argument("--order", default="residual,motion_vector,iframe", metavar="A,B,C", help="of the networks (default: %(default)s)")
    parser.add_argument("--l1", type=float, metavar="A", help="penalty on the weights of every exit (default: 0 up to the fifth, then 0.1)")
    parser.add_argument("--nonnegative", action="store_true", help="allow no weight below 0")
    parser.add_argument("--lost", type=float, default=0.5, metavar="POINTS", help="accuracy to give up for leaving early (default: 0.5)")
    parser.add_argument("--json", action="store_true", help="print the content of wise.json")
    parser.add_argument("--cpu", action="store_true", help="use the CPU although there is a GPU")


def run(args):
    from egokeras.exit_ensemble import fit

    order = tuple(name.strip() for name in args.order.split(","))
    found = fit(args.run_dir, order=order, l1=args.l1, nonnegative=args.nonnegative)
    print(json.dumps(found, indent=1) if args.json else "\n".join(lines(found, args.lost)))


def lines(found, lost):
    """Accuracy of every exit, and the cheapest way to stay within `lost` points of the last."""
    from egokeras.errors import plain

    yield f"{found['clips']} clips; top-1 % at every exit, costs in millions of multiply-accumulates a clip"
    for space, head in found["heads"].items():
        names = list(head["accuracy"])
        yield f"\n  {plain(space):<20}{'cost':>10}" + "".join(f"{name:>10}" for name in names)
        for number, (exit_name, cost) in enumerate(zip(found["exits"], found["costs"], strict=True)):
            cells = "".join(f"{head['accuracy'][name][number]:10.2f}" for name in names)
            yield f"  {plain(exit_name):<20}{cost / 1e6:10.1f}{cells}"
        curve = head["trade_off"]
        wanted = curve["accuracy"][-1] - lost
        cost, threshold, accuracy = min(
            (cost, threshold, accuracy)
            for threshold, accuracy, cost in zip(curve["thresholds"], curve["accuracy"], curve["cost"], strict=True)
            if accuracy >= wanted
        )
        share = 100 * cost / found["costs"][-1]
        yield f"  leaving above {threshold:.4f}: {accuracy:.2f} % for {cost / 1e6:.1f}, {share:.0f} % of the cost of everything"
