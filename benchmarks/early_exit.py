"""What leaving early is worth on the files that ship: time and accuracy of a clip that stops where it is sure, beside computing everything.

    egokeras wise RUN
    python benchmarks/early_exit.py RUN

Exports `early_exit_float32` and `early_exit` (int8) of a run that `egokeras wise` has weighed, and every network of it once more in one
file with all its exits, which is what a device without stages computes. Validation clips, one after another, are answered by both in
turns. Accuracy is of thresholds chosen on other groups of these clips (five folds); time is of the artifact's own thresholds. A ratio is
the median over rounds of the ratio within a round, with the 10th and 90th percentile; it holds on a machine that others use too.
"""

import argparse
import pathlib
import sys
import tempfile
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

KINDS = {"float32": "early_exit_float32", "int8": "early_exit"}
FOLDS = 5


def whole_networks(run, kind, folder, count):
    """A TFLite file for each network, with all its exits, in the order of their computation."""
    from egokeras.compress.conversion import Conversion, convert
    from egokeras.compress.quantize import write_calibration
    from egokeras.staged import exits_of

    calibration = None
    if kind == "int8":
        calibration = {name: str(folder / f"{name}.npy") for name in run.inputs}
        labels = run.shards.labels(next(iter(run.classes)), run.train)
        write_calibration(run.shards, run.train, labels, calibration, count=count, seed=0)
    conversions = []
    for number, network in enumerate(run.networks.values()):
        network.save(folder / f"{number}.keras")
        outputs = tuple(name for names in exits_of(network, tuple(run.classes)) for name in names.values())
        own = calibration and {name: calibration[name] for name in network.input}
        file = str(folder / f"{number}.tflite")
        conversions.append(Conversion(model=str(folder / f"{number}.keras"), outputs=outputs, kind=kind, file=file, calibration=own))
    for error in filter(None, convert(conversions)):
        raise error
    return [pathlib.Path(conversion.file) for conversion in conversions]


def runners(files, threads):
    """A function of the inputs of one clip that runs all files."""
    from ai_edge_litert.interpreter import Interpreter

    kept = [Interpreter(str(file), num_threads=threads) for file in files]
    called = [interpreter.get_signature_runner("serving_default") for interpreter in kept]
    wanted = [tuple(runner.get_input_details()) for runner in called]
    return lambda clip: [runner(**{name: clip[name] for name in names}) for runner, names in zip(called, wanted, strict=True)]


def timed(staged, everything, clips, rounds):
    """Milliseconds by leaving and by computing everything, twice (rounds, clips), and the exits taken, (clips,)."""
    leaving, whole = np.zeros((2, rounds, len(clips)))
    taken = np.zeros(len(clips), int)
    staged.answer(clips[0]), everything(clips[0])
    for turn in range(rounds):
        for number, clip in enumerate(clips):
            start = time.perf_counter()
            taken[number] = staged.answer(clip).exit
            middle = time.perf_counter()
            everything(clip)
            leaving[turn, number], whole[turn, number] = 1e3 * (middle - start), 1e3 * (time.perf_counter() - middle)
    return leaving, whole, taken


def accuracies(staged, run, rows, clips):
    """Head to top-1 % of all exits together, and of leaving by thresholds that other groups chose."""
    from egokeras import wise
    from egokeras.data.selection import grouped_folds, groups
    from egokeras.exit_ensemble import constant

    answers = [list(staged.steps(clip)) for clip in clips]
    found = {}
    for head in run.classes:
        z = np.array([[step[head] for step in steps] for steps in answers]).swapaxes(0, 1)
        labels = run.shards.labels(head, rows)
        folds = grouped_folds(groups(run.shards, rows), labels, FOLDS)
        weighed_already, costs = constant(np.eye(len(z))), np.arange(1.0, len(z) + 1)
        taken = wise.leave_by_folds(weighed_already, z, labels, costs, folds, wise.Wish(lost=0.5))
        right = z.argmax(axis=2) == labels
        found[head] = 100 * right[-1].mean(), 100 * right[taken, np.arange(len(labels))].mean()
    return found


def measure(path, folder, *, count, rounds, threads, calibration):
    """Kind to figures."""
    import dataclasses

    from egokeras.device.artifact import Artifact
    from egokeras.device.early_exit import StagedArtifact
    from egokeras.export import load, ship_all
    from egokeras.gated_run import open_run

    run, results = open_run(path), {}
    rows = run.data.rows(run.shards)[1]
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, count).round().astype(int))]
    inputs = run.shards.inputs(rows)
    clips = [{name: values[number][None] for name, values in inputs.items()} for number in range(len(rows))]
    for kind, name in KINDS.items():
        (folder / kind).mkdir()
        export = dataclasses.replace(load(name), calibration_clips=calibration, max_lost_points=100.0, min_agreement=0.0)
        (shipment,) = ship_all([export], path, accept_untested=True)
        if shipment.path is None:
            raise SystemExit(shipment.reason)
        staged = StagedArtifact(Artifact.open(shipment.path, threads=threads))
        everything = runners(whole_networks(run, kind, folder / kind, calibration), threads)
        leaving, whole, taken = timed(staged, everything, clips, rounds)
        ratios = {
            "mean": leaving.mean(axis=1) / whole.mean(axis=1),
            "p95": np.percentile(leaving, 95, axis=1) / np.percentile(whole, 95, axis=1),
        }
        results[kind] = {
            "clips": len(rows),
            "whole_ms": float(np.median(whole)),
            "ratios": {what: np.percentile(values, [50, 10, 90]).tolist() for what, values in ratios.items()},
            "left": np.bincount(taken, minlength=len(staged.names)).tolist(),
            "accuracy": accuracies(staged, run, rows, clips),
        }
    return results


def lines(results):
    """Tables in markdown."""
    yield "| | clips | everything, ms | mean time by leaving | p95 | top-1 %, everything / leaving | clips that left at each exit |"
    yield "|---|---:|---:|---:|---:|---|---|"
    for kind, one in results.items():
        ratios = {what: f"{middle:.2f} ({low:.2f} - {high:.2f})" for what, (middle, low, high) in one["ratios"].items()}
        accuracy = ", ".join(f"{head} {whole:.1f} / {left:.1f}" for head, (whole, left) in one["accuracy"].items())
        cells = [kind, one["clips"], f"{one['whole_ms']:.2f}", ratios["mean"], ratios["p95"], accuracy, " ".join(map(str, one["left"]))]
        yield f"| {' | '.join(map(str, cells))} |"


def main():
    """Export, time, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=pathlib.Path, metavar="RUN", help="that `egokeras wise` has weighed")
    parser.add_argument("--clips", type=int, default=200, help="validation clips that are timed (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="turns over all clips (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="(%(default)s)")
    parser.add_argument("--calibration", type=int, default=100, help="clips for int8 (%(default)s)")
    args = parser.parse_args()

    from egokeras import accelerator

    accelerator.start(cpu=True)
    with tempfile.TemporaryDirectory() as folder:
        settings = {"count": args.clips, "rounds": args.rounds, "threads": args.threads, "calibration": args.calibration}
        print("\n".join(lines(measure(args.run, pathlib.Path(folder), **settings))))


if __name__ == "__main__":
    main()
