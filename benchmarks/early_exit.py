"""What leaving early is worth on the files that ship: time and accuracy of a clip that stops where it is sure, beside computing everything.

    python -c "from egokeras.data.synthetic import World; World(participants=22, held_out=12, videos_per_participant=1).render('world')"
    egokeras prepare epic100 world world/videos shards --frames 10 --size 64
    egokeras train early_exit_demo data.shards=shards                      (and again with seed=1, seed=2)
    egokeras wise runs/early_exit_demo --l1 0.01                           (of each)
    python benchmarks/early_exit.py runs/early_exit_demo*

Exports `early_exit_float32` and `early_exit` (int8) of runs that `egokeras wise` has weighed on training clips, and every network of them
once more in one file with all its exits, which is what a device without stages computes. The validation clips are answered one after
another by the one, then by the other, in turns: a device runs one of them, and after every clip the other's weights would lie in the
cache. Each clip leaves where all heads are surer than thresholds that clips of other groups chose (five folds), so that accuracy,
multiply-accumulates and time are of the same answers. Of one run a ratio is the median over turns of the ratio within a turn, which holds
on a machine that others use too; over several runs stands the mean of these with its 95 % interval.
"""

import argparse
import pathlib
import sys
import tempfile
import time

import numpy as np

from intervals import bounded

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


def timed(staged, everything, clips, thresholds, rounds):
    """Milliseconds by leaving and by computing everything, twice (rounds, clips), and the exits taken, (clips,)."""
    leaving, whole = np.zeros((2, rounds, len(clips)))
    staged.answer(clips[0], thresholds[0]), everything(clips[0])
    for turn in range(rounds):
        leaving[turn], answers = one_by_one(staged.answer, clips, thresholds)
        whole[turn], _ = one_by_one(everything, clips)
    return leaving, whole, np.array([answer.exit for answer in answers])


def one_by_one(function, *arguments):
    """Milliseconds of each call, and what it gave."""
    milliseconds, given = [], []
    for each in zip(*arguments, strict=True):
        start = time.perf_counter()
        given.append(function(*each))
        milliseconds.append(1e3 * (time.perf_counter() - start))
    return milliseconds, given


def by_folds(z, labels, groups, costs, lost):
    """For each clip the thresholds by head that clips of other folds of groups choose.

    Args:
        z: head to what the file answers, (exits, clips, classes).
        labels: head to class ids (clips,).
        groups: (clips,) what no two folds share.
        costs: (exits,) up to each exit.
        lost: points that a threshold may cost those who choose it.
    """
    from egokeras import wise
    from egokeras.data.selection import grouped_folds

    fold_of = grouped_folds(groups, next(iter(labels.values())), FOLDS)
    if not fold_of.any():
        raise SystemExit("all clips that judge are of one group, so no others could choose thresholds; hold out more.")
    chosen = {}
    for fold in np.unique(fold_of):
        rest = fold_of != fold
        curves = {head: wise.trade_off(values[:, rest], labels[head][rest], costs) for head, values in z.items()}
        chosen[fold] = {head: wise.Wish(lost=lost).threshold(curve) for head, curve in curves.items()}
    return [chosen[fold] for fold in fold_of]


def measure(path, folder, *, count, rounds, threads, calibration, lost):
    """Kind to figures of a run."""
    import dataclasses

    from egokeras.data.selection import groups
    from egokeras.device.artifact import Artifact
    from egokeras.device.early_exit import StagedArtifact
    from egokeras.exit_ensemble import TRAIN, Ensemble
    from egokeras.export import load, ship_all
    from egokeras.gated_run import open_run

    run, results, costs = open_run(path), {}, Ensemble.open(path).costs()
    if run.weighed and run.weighed["fitted_on"] != TRAIN:
        raise SystemExit(f"{path}: its weights were fitted on the clips that judge here; run `egokeras wise {path}` without --fit-on.")
    rows = run.data.rows(run.shards)[1]
    rows = rows[np.all([run.shards.labels(head, rows) >= 0 for head in run.classes], axis=0)]
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, count).round().astype(int))]
    labels, inputs = {head: run.shards.labels(head, rows) for head in run.classes}, run.shards.inputs(rows)
    clips = [{name: values[number][None] for name, values in inputs.items()} for number in range(len(rows))]
    for kind, name in KINDS.items():
        (folder / kind).mkdir(parents=True)
        export = dataclasses.replace(load(name), calibration_clips=calibration, max_lost_points=100.0, min_agreement=0.0)
        (shipment,) = ship_all([export], path, accept_untested=True)
        if shipment.path is None:
            raise SystemExit(shipment.reason)
        staged = StagedArtifact(Artifact.open(shipment.path, threads=threads))
        answers = [list(staged.steps(clip)) for clip in clips]
        z = {head: np.array([[step[head] for step in steps] for steps in answers]).swapaxes(0, 1) for head in run.classes}
        thresholds = by_folds(z, labels, groups(run.shards, rows), costs, lost)
        everything = runners(whole_networks(run, kind, folder / kind, calibration), threads)
        leaving, whole, taken = timed(staged, everything, clips, thresholds, rounds)
        right = {head: values.argmax(axis=2) == labels[head] for head, values in z.items()}
        results[kind] = {
            "clips": len(rows),
            "whole_ms": float(np.median(whole)),
            "cost": float(costs[taken].mean() / costs[-1]),
            "mean": float(np.median(leaving.mean(axis=1) / whole.mean(axis=1))),
            "p95": float(np.median(np.percentile(leaving, 95, axis=1) / np.percentile(whole, 95, axis=1))),
            "left": (np.bincount(taken, minlength=len(costs)) / len(rows)).tolist(),
            "everything": {head: float(100 * found[-1].mean()) for head, found in right.items()},
            "lost": {head: float(100 * (found[-1].mean() - found[taken, np.arange(len(rows))].mean())) for head, found in right.items()},
        }
    return results


def lines(results):
    """A table in markdown.

    Args:
        results: of each run, what `measure` gives.
    """
    heads = list(next(iter(results[0].values()))["lost"])
    yield (
        f"| {len(results)} runs | clips | everything, ms | of its MACs | of its mean time | of its p95 | left at each exit, % | "
        + " | ".join(f"{head}: everything, top-1 % | points lost" for head in heads)
        + " |"
    )
    yield "|---|" + "---:|" * (6 + 2 * len(heads))
    for kind in results[0]:
        runs = [one[kind] for one in results]
        cells = [str(runs[0]["clips"]), *(bounded([one[name] for one in runs], ".2f") for name in ("whole_ms", "cost", "mean", "p95"))]
        cells.append(" ".join(f"{100 * share:.0f}" for share in np.mean([one["left"] for one in runs], axis=0)))
        for head in heads:
            cells += [bounded([one["everything"][head] for one in runs]), bounded([one["lost"][head] for one in runs], ".2f")]
        yield f"| {kind} | {' | '.join(cells)} |"


def main():
    """Export, time, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=pathlib.Path, metavar="RUN", help="that `egokeras wise` has weighed")
    parser.add_argument("--clips", type=int, default=400, help="validation clips that are timed (%(default)s)")
    parser.add_argument("--rounds", type=int, default=20, help="turns over all clips (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="(%(default)s)")
    parser.add_argument("--calibration", type=int, default=100, help="clips for int8 (%(default)s)")
    parser.add_argument(
        "--lost", type=float, default=0.0, help="points that leaving may cost the clips that choose thresholds (%(default)s)"
    )
    args = parser.parse_args()

    from egokeras import accelerator

    accelerator.start(cpu=True)
    with tempfile.TemporaryDirectory() as folder:
        settings = {"count": args.clips, "rounds": args.rounds, "threads": args.threads, "calibration": args.calibration, "lost": args.lost}
        print("\n".join(lines([measure(run, pathlib.Path(folder, str(number)), **settings) for number, run in enumerate(args.runs)])))


if __name__ == "__main__":
    main()
