"""`egokeras sensitivity`: which layers of a run bear pruning."""

import argparse
import json

EXAMPLE = """egokeras sensitivity runs/demo
         egokeras sensitivity runs/demo --sparsity 0.7,0.9 --pattern 2:4 --json"""
TENSORFLOW = True


def add_arguments(parser):
    parser.add_argument("run_dir", metavar="RUN", help="a run folder with model.keras, whose data is there")
    parser.add_argument("--sparsity", type=_shares, metavar="A,B,...", help="shares of zeros to try (default: 0.5,0.8,0.9,0.95)")
    parser.add_argument("--pattern", metavar="N:M", help="also try N of every M input channels, such as 2:4")
    parser.add_argument("--clips", type=int, default=500, metavar="N", help="of validation to score on at most (default: 500)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--cpu", action="store_true", help="use the CPU although there is a GPU")


def _shares(text):
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not shares such as 0.8 or 0.5,0.9") from None


def run(args):
    from egokeras.compress.prune import Pruning
    from egokeras.errors import InputError
    from egokeras.sensitivity import SPARSITIES, scan

    if args.clips < 1:
        raise InputError(f"--clips is {args.clips}; give at least 1.")
    prunings = [Pruning(sparsity=share) for share in args.sparsity or SPARSITIES]
    prunings += [Pruning(pattern=args.pattern)] if args.pattern else []
    found = scan(args.run_dir, prunings, args.clips)
    print(json.dumps(found, indent=1) if args.json else "\n".join(lines(found)))


def lines(found):
    """Top-1 by kernel and pruning, a block for each head."""
    from egokeras.errors import plain

    width = max(len(plain(path)) for path in (*found["kernels"], "kernel"))
    yield f"{found['clips']} clips of {plain(found['split'])}; top-1 % with one kernel pruned and all others whole, without training anew"
    for head, dense in found["dense"].items():
        yield f"\n{plain(head)}: {dense['top1']:.2f} unpruned (95%: {dense['low']:.1f} to {dense['high']:.1f})"
        yield f"  {'kernel':<{width}}{'weights':>12}" + "".join(f"{name:>8}" for name in found["prunings"])
        for path, kernel in found["kernels"].items():
            cells = "".join(f"{'-' if top1 is None else f'{top1:.2f}':>8}" for top1 in kernel["top1"][head])
            yield f"  {plain(path):<{width}}{kernel['weights']:>12,}{cells}"
