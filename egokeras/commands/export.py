"""`egokeras export`: turn a run into gated artifacts of TFLite or ONNX files or SavedModels."""

import json
import sys

from egokeras.errors import InputError
from egokeras.files import read_json

EXAMPLE = """egokeras export runs/demo float32 int8
         egokeras export runs/demo --all --target 'latency<10ms,accuracy>-1'"""
TENSORFLOW = True


def add_arguments(parser):
    parser.add_argument("run_dir", metavar="RUN", help="a run folder with model.keras")
    parser.add_argument(
        "exports", metavar="EXPORT", nargs="*", help="names that `egokeras list` gives (int8, stream, anticipation_step ...), or paths"
    )
    parser.add_argument("--accept-untested", action="store_true", help="keep a file that the clips are too few to judge")
    parser.add_argument(
        "--data", metavar="SHARDS", help="shards to calibrate and judge on, several with commas (default: those of the run)"
    )
    parser.add_argument("--max-lost-points", type=float, metavar="X", help="top-1 accuracy a head may lose (default: the export's, 1)")
    parser.add_argument("--min-agreement", type=float, metavar="Y", help="percent of clips with equal top-1 (default: the export's, 98)")
    parser.add_argument(
        "--embedding", action="store_true", help="clips and streams also give their embedding, for `egokeras predict --recogniser`"
    )
    parser.add_argument("--all", action="store_true", help="make every export that fits the run, time them, and compare them in a table")
    parser.add_argument(
        "--target", metavar="LIMITS", help="with --all: the best with latency<10ms,size<2MB,memory<50MB,accuracy>-1,agreement>98"
    )
    parser.add_argument(
        "--latencies", metavar="FILE", help="with --all: what `egokeras benchmark --json` wrote on a device, in place of timing"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--cpu", action="store_true", help="use the CPU although there is a GPU")


def run(args):
    import dataclasses

    if bool(args.exports) == args.all:
        raise InputError("give the names of exports, or --all for every one that fits the run.")
    if not args.all and (args.target or args.latencies):
        raise InputError(f"{'--target' if args.target else '--latencies'} chooses among all exports; give --all, too.")
    if args.all and args.embedding:
        raise InputError("--embedding is of named exports; give their names in the place of --all.")

    from egokeras.data.joined import open_sets
    from egokeras.export import load, ship_all

    limits = {"max_lost_points": args.max_lost_points, "min_agreement": args.min_agreement}
    limits = {name: value for name, value in limits.items() if value is not None}
    data = open_sets(args.data) if args.data else None
    if args.all:
        return _search(args, data, limits)
    embedding = {"embedding": True} if args.embedding else {}
    exports = [dataclasses.replace(load(name), **limits, **embedding) for name in args.exports]
    shipments = ship_all(exports, args.run_dir, data, args.accept_untested)
    if args.json:
        print(json.dumps([_record(shipment) for shipment in shipments], indent=1))
    else:
        print("\n".join(line for shipment in shipments for line in lines(shipment)))
    refused = [shipment for shipment in shipments if shipment.path is None]
    for shipment in refused:
        print(f"error: {shipment.reason}", file=sys.stderr)
    return 1 if refused else 0


def _search(args, data, limits):
    from egokeras import search, target

    wanted = target.parse(args.target) if args.target else ()
    record = search.search(args.run_dir, data, args.accept_untested, args.latencies, wanted, **limits)
    print(json.dumps(record, indent=1) if args.json else "\n".join(search.text(record)))
    if wanted:
        print(search.verdict(record), file=sys.stderr if args.json else sys.stdout)
    elif not any(row["path"] for row in record["exports"]):
        raise InputError(f"{args.run_dir}: no export passed its gate.")
    return 0


def _record(shipment):
    path = None if shipment.path is None else str(shipment.path)
    return {"name": shipment.export.name, "path": path, "gate": shipment.gate, "reason": shipment.reason}


def lines(shipment):
    """The gate's table, head by head; an interval goes from one 95% bound to the other."""
    gate, name = shipment.gate, shipment.export.name
    if gate is None:
        yield f"{name}: no file"
        return
    yield f"{name}: {gate['answer']}, on {gate['clips']} validation clips and {gate['windows']} windows of {gate['videos']} videos"
    yield f"  {'head':<14}{'Keras':>8}{'file':>8}{'lost':>7}{'(bounds)':>16}{'agreement':>11}{'(bounds)':>17}"
    for head, figures in gate["heads"].items():
        lost, agreement = (f"{figures[f'{what}_low']:.1f} to {figures[f'{what}_high']:.1f}" for what in ("lost", "agreement"))
        scores = f"{_points(figures['keras_top1']):>8}{_points(figures['tflite_top1']):>8}{_points(figures['lost']):>7}"
        yield f"  {head:<14}{scores}{lost:>16}{_points(figures['agreement']):>11}{agreement:>17}"
    lost, agreement = gate["limits"]["lost_points"], gate["limits"]["agreement"]
    yield f"  limits: {lost:g} points lost, {agreement:g}% agreement; logits differ by up to {gate['max_difference']:.2g}"
    if "embedding" in gate:
        yield f"  embedding: cosine with Keras {_cosine(gate, 'cosine')} in the mean, {_cosine(gate, 'least_cosine')} at least"
    if shipment.path is not None:
        about = read_json(shipment.path / "artifact.json")
        for part in about["parts"]:
            size, packed = (count / 1e6 for count in (about["files"][part["file"]]["bytes"], part["compressed_bytes"]))
            zeros = f"; {part['sparsity']:.1%} of the weights are zero" if "sparsity" in part else ""
            yield f"  {shipment.path / part['file']}, {size:.2f} MB, {packed:.2f} MB compressed{zeros}"


def _cosine(gate, name):
    value = gate["embedding"][name]
    return "-" if value is None else f"{value:.4f}"


def _points(value):
    return "-" if value is None else f"{value:.2f}"
