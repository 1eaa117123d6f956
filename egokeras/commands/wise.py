"""`egokeras wise`: weigh the early exits of a run, and say what leaving early costs and gains."""

import importlib.util
import json
import pathlib

EXAMPLE = """egokeras wise runs/pkd_wise --lost 0.5
         egokeras wise runs/pkd_wise --fit-on held-out --cost 50 --milliseconds   (half of the cost of everything; also measured)"""
TENSORFLOW = True


def add_arguments(parser):
    parser.add_argument("run_dir", metavar="RUN", help="a run whose networks have exits, of the recipe pkd_wise or with model=WithExits")
    parser.add_argument("--order", metavar="A,B,C", help="of the networks (default: residual,motion_vector,iframe, then others)")
    parser.add_argument(
        "--fit-on",
        choices=("train", "held-out"),
        default="train",
        help="clips that the weights are fitted on (default: train, as published; held-out, in folds, for networks that have their "
        "training clips by heart)",
    )
    parser.add_argument("--l1", type=float, metavar="A", help="penalty on the weights of every exit (default: 0 up to the fifth, then 0.1)")
    parser.add_argument("--nonnegative", action="store_true", help="allow no weight below 0")
    wish = parser.add_mutually_exclusive_group()
    wish.add_argument("--lost", type=float, default=0.5, metavar="POINTS", help="accuracy to give up for leaving early (default: 0.5)")
    wish.add_argument("--accuracy", type=float, metavar="PERCENT", help="accuracy to reach as cheaply as possible")
    wish.add_argument("--cost", type=float, metavar="PERCENT", help="share of the cost of everything to stay within")
    parser.add_argument("--milliseconds", action="store_true", help="also measure how long a clip takes on this machine")
    parser.add_argument("--json", action="store_true", help="print the content of wise.json")
    parser.add_argument("--cpu", action="store_true", help="use the CPU although there is a GPU")


def run(args):
    from egokeras.exit_ensemble import fit
    from egokeras.wise import Wish

    order = args.order and tuple(name.strip() for name in args.order.split(","))
    wish = Wish(lost=args.lost, accuracy=args.accuracy, cost=args.cost)
    settings = {"order": order, "fit_on": args.fit_on, "l1": args.l1, "nonnegative": args.nonnegative}
    found = fit(args.run_dir, **settings, wish=wish, milliseconds=args.milliseconds)
    print(json.dumps(found, indent=1) if args.json else "\n".join(lines(found)))
    if importlib.util.find_spec("matplotlib") is not None:
        written = draw(found, pathlib.Path(args.run_dir))
        if not args.json:
            print("\npictures: " + ", ".join(map(str, written)))


def lines(found):
    """Accuracy of every exit, and what leaving early reaches."""
    from egokeras.errors import plain
    from egokeras.exit_ensemble import TRAIN

    timed = found["milliseconds"]
    took = f", in milliseconds the median of {timed['clips']} clips" if timed else ""
    yield f"{found['clips']} clips of {plain(found['judged_on'])}; top-1 % at every exit, costs in millions of multiply-accumulates{took}"
    for space, head in found["heads"].items():
        names = list(head["accuracy"])
        yield f"\n  {plain(space):<20}{'cost':>10}" + ("      ms" if timed else "") + "".join(f"{name:>10}" for name in names)
        for number, (exit_name, cost) in enumerate(zip(found["exits"], found["costs"], strict=True)):
            cells = f"{timed['exits'][number]:8.1f}" if timed else ""
            cells += "".join(f"{head['accuracy'][name][number]:10.2f}" for name in names)
            yield f"  {plain(exit_name):<20}{cost / 1e6:10.1f}{cells}"
        yield from _leaving(found, space)
        if found["fitted_on"] == TRAIN and head["accuracy"]["WISE"][-1] < head["accuracy"]["equal"][-1]:
            yield "  equal weights answer better: these networks are too sure of their training clips; try --fit-on held-out"


def _leaving(found, space):
    from egokeras.exit_ensemble import OTHERS

    leaving, timed = found["heads"][space]["leaving"], found["milliseconds"]
    began = f"  leaving above {_written(leaving['threshold'])}"
    if leaving["accuracy"] is None:
        yield f"{began}, chosen on all clips that judge; they are of one group, so none is left to say what it reaches"
    else:
        share = 100 * leaving["cost"] / found["costs"][-1]
        reached = f"{leaving['accuracy']:.2f} % for {leaving['cost'] / 1e6:.1f}, {share:.0f} % of the cost of everything"
        how = "chosen on clips that training looked at" if leaving["chosen_on"] == OTHERS else "for each fold chosen on the others"
        yield f"{began}: {reached} ({how})"
    if timed:
        times = timed["heads"][space]
        early, everything = f"{times['leaving']:.1f} ms ({times['tabulated']:.1f} by the table)", f"{timed['everything']:.1f} ms"
        yield f"  a clip takes {early} on average, {everything} where it leaves at no exit"


def _written(probability):
    """Sure networks need thresholds that no six digits tell from 1."""
    return f"{probability:.6g}" if probability < 0.9999 or probability == 1 else f"1 - {1 - probability:.2g}"


def draw(found, folder):
    """Write a picture of accuracy against cost for every label space, and one against time where that was measured; returns the files."""
    import numpy as np

    from egokeras import plots
    from egokeras.files import atomic

    written, timed = [], found["milliseconds"]
    for space, head in found["heads"].items():
        curve, leaving = head["trade_off"], head["leaving"]
        scale, word = (1e9, "billions") if found["costs"][-1] >= 1e9 else (1e6, "millions")
        units = {"": (np.array(found["costs"]) / scale, f"{word} of multiply-accumulates a clip")}
        units |= {"_ms": (np.array(timed["exits"]), "milliseconds a clip")} if timed else {}
        for ending, (costs, unit) in units.items():
            exits = {"each exit alone": (costs, head["accuracy"]["alone"]), "each weighted sum": (costs, head["accuracy"]["WISE"])}
            chosen = ("threshold chosen on other clips", np.dot(leaving["left"], costs), leaving["accuracy"]) if leaving["left"] else None
            figure = plots.trade_off((np.array(curve["left"]) @ costs, curve["accuracy"]), exits, chosen, unit)
            written.append(folder / f"wise_{space}{ending}.png")
            with atomic(written[-1]) as file:
                file.write(plots.png(figure))
    return written
