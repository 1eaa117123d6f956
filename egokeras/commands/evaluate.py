"""`egokeras evaluate`: score a run beside chance and majority, or an artifact on whole videos."""

import json
import pathlib

from egokeras.commands import continuous

EXAMPLE = "egokeras evaluate runs/report_lstm --confusion pictures"
TENSORFLOW = True


def add_arguments(parser):
    parser.add_argument(
        "folders", metavar="RUN", nargs="+", help="a run folder with model.keras; with --mean, several; with --continuous, an artifact"
    )
    parser.add_argument("--mean", action="store_true", help="average the scores that the runs have, such as those of EGTEA's three splits")
    parser.add_argument("--data", metavar="SHARDS", help="shards to evaluate on (default: those of the run)")
    parser.add_argument("--split", help="held-out split (default: the clips that the run was validated on)")
    parser.add_argument("--batch-size", type=int, default=16, metavar="N", help="clips at once (default: 16)")
    parser.add_argument(
        "--clips", type=int, default=1, metavar="N", help="of each segment, evenly spaced, averaged: 10 is usual (default: 1)"
    )
    parser.add_argument("--submission", metavar="FILE", help="also write an EPIC challenge file (.json or .zip)")
    parser.add_argument(
        "--supervision",
        type=int,
        nargs=3,
        default=(1, 3, 3),
        metavar=("PT", "TL", "TD"),
        help="levels declared in the submission: pretraining, training labels, training data, 0 to 5 each (default: 1 3 3)",
    )
    parser.add_argument(
        "--confusion", metavar="FOLDER", help="also write a confusion matrix per head as PNG, to anticipate also top-5 over time"
    )
    parser.add_argument("--json", action="store_true", help="print the metrics as JSON")
    parser.add_argument("--cpu", action="store_true", help="use the CPU although there is a GPU")
    continuous.add_arguments(parser)


def run(args):
    return continuous.run(args) if args.continuous else _run(args)


def _run(args):
    import egokeras
    from egokeras import submission
    from egokeras.errors import InputError
    from egokeras.evaluate import evaluate_rows
    from egokeras.files import read_json
    from egokeras.recipe import Data

    _check(args)
    if args.mean:
        _say(args, _mean(args.folders))
        return
    folder = pathlib.Path(args.folders[0])
    recipe = read_json(folder / "recipe.json")
    data = Data.of_run(recipe)
    shards = data.open(args.data)
    own = shards.sha256 == recipe.get("data_sha256")
    trained_on, given = recipe.get("channels") or "RGB", shards.channels
    if given is not None and given != trained_on:  # of other inputs, the name says it
        raise InputError(f"{shards.path} has {given} pictures, the run was trained on {trained_on}; give data of that kind.")
    if args.submission:
        submission.check_name(args.submission, *(len(shards.classes.get(space, ())) for space in ("verb", "noun")))
    model = egokeras.load_model(folder / "model.keras")
    shards.check_fits(model, read_json(folder / "classes.json"))
    train_rows, rows = _rows(data, shards, args.split, own)
    metrics, predictions = evaluate_rows(model, shards, rows, train_rows, args.batch_size, args.clips)
    metrics = {"split": args.split or (data.held_out if own else data.test or data.validation), **metrics}
    if own and args.clips == 1:
        _keep(folder, metrics, predictions, replace=args.split is None)
    _say(args, metrics)
    if args.submission:
        part = own and not args.split and (data.videos or data.hold_out)
        whole = args.split or data.test or data.validation
        _submit(args, predictions, shards, shards.discarded(near=rows) if part else shards.discarded(whole))
    if args.confusion:
        _draw(pathlib.Path(args.confusion), predictions, shards.classes, metrics.get("anticipation", {}))


def _say(args, metrics):
    print(json.dumps(metrics, indent=1) if args.json else "\n".join(lines(metrics)))


def _mean(folders):
    """The mean of what the runs' `metrics.json` say."""
    from egokeras.errors import InputError
    from egokeras.evaluate import average
    from egokeras.files import read_json

    files = [pathlib.Path(folder) / "metrics.json" for folder in folders]
    found = [read_json(file) for file in files]
    for file, metrics in zip(files, found, strict=True):
        if not isinstance(metrics, dict) or not {"split", "clips", "heads", "subsets"} <= set(metrics):
            raise InputError(f"{file} is not the scores of a run; run `egokeras evaluate {file.parent}` again.")
    return average(found)


def _rows(data, shards, split, own):
    """Rows that the run was trained on and rows to judge it by; other data may have no training split, then no majority."""
    if own:
        train, held_out = data.judged(shards)
        return train, shards.rows(split) if split else held_out
    return shards.rows(data.train) if data.train in shards.splits else [], shards.rows(split or data.test or data.validation)


def _check(args):
    """What would only show after the work."""
    from egokeras import submission
    from egokeras.errors import InputError

    if args.mean and (len(args.folders) < 2 or args.submission or args.confusion or args.data or args.split):
        raise InputError("--mean takes two or more runs that have their scores, and no --data, --split, --submission or --confusion.")
    if len(args.folders) > 1 and not args.mean:
        raise InputError(f"{len(args.folders)} runs are given; evaluate one at a time, then average their scores with --mean.")
    if args.batch_size < 1:
        raise InputError(f"--batch-size is {args.batch_size}; give at least 1.")
    if args.clips < 1:
        raise InputError(f"--clips is {args.clips}; give at least 1.")
    if args.submission:
        submission.Supervision(**_levels(args))
        path = pathlib.Path(args.submission)
        if path.suffix not in (".json", ".zip") or not path.parent.is_dir():
            raise InputError(f"--submission {path}: give a name that ends in .json or .zip, in a folder that exists.")
    if args.confusion:
        pathlib.Path(args.confusion).mkdir(parents=True, exist_ok=True)


def _keep(run_dir, metrics, predictions, replace):
    """Store the result on the run's own data if the run has none, or if it is to `replace` it; folds stay."""
    from egokeras.evaluate import write
    from egokeras.files import read_json

    path = run_dir / "metrics.json"
    before = read_json(path) if path.exists() else {}
    if replace or not before or not (run_dir / "predictions.npz").exists():
        folds = {"folds": before["folds"]} if "folds" in before else {}
        write(run_dir, {**metrics, **folds}, predictions)


def lines(metrics):
    """The metrics as lines of a table."""
    mean = f"mean of {metrics['runs']} runs, intervals over runs; " if "runs" in metrics else ""
    yield f"{mean}{metrics['split']}: {metrics['clips']} clips" + _unseen(metrics)
    if not metrics["heads"]:
        yield "no labels in this split: logits only"
        return
    yield from _block(metrics["heads"])
    for name, heads in metrics["subsets"].items():
        yield f"\n{name} {'groups' if name == 'unseen' else 'classes'}"
        yield from _block(heads)
    if metrics.get("anticipation", {}).get("heads"):
        yield from _over_time(metrics["anticipation"])
    for head, fold in metrics.get("folds", {}).items():
        majority = f", majority {fold['majority']:.1f}" if "majority" in fold else ""
        yield f"\n{head} over {len(fold['per_fold'])} grouped folds: {fold['top1']:.1f} ({fold['low']:.1f} to {fold['high']:.1f}){majority}"


def _unseen(metrics):
    unseen = metrics["unseen_clips"]
    if unseen == metrics["clips"]:
        return ", all of groups (participants, sources) that training did not see"
    return f", {unseen} of them of groups that training did not see" if unseen else ""


def _block(heads):
    yield f"  {'head':<14}{'':<10}{'top-1':>7}{'(95%)':>14}{'top-3':>8}{'top-5':>8}{'clips':>8}"
    for head, result in heads.items():
        interval = f"{result['low']:.1f} to {result['high']:.1f}"
        yield f"  {head:<14}{'model':<10}{result['top1']:7.2f}{interval:>14}{_others(result)}{result['clips']:8}"
        for name in ("majority", "chance"):
            if name in result:
                yield f"  {'':<14}{name:<10}{result[name]['top1']:7.2f}{'':14}{_others(result[name])}"


def _others(result):
    return f"{result['top3']:8.2f}{result['top5']:8.2f}"


def _over_time(found):
    """Top-5 at every anticipation time, mean top-5 recall at 1 s, time to action."""
    times = found["times"]
    yield f"\nabove: 1 s before the action; top-5 over seconds before it ({found['discarded']} segments without observations left out)"
    yield f"  {'head':<14}{'':<10}" + "".join(f"{time:7.2f}" for time in times)
    for head, result in found["heads"].items():
        for number, (name, scores) in enumerate({"model": result, **_baselines(result)}.items()):
            yield f"  {'' if number else head:<14}{name:<10}" + "".join(f"{value:7.2f}" for value in _at_all(scores["top5"], times))
    yield from _recalls(found["recall5"], times.index(1.0))
    yield "\nseconds before the action at which it is first among the best 5, 0 if never"
    for head, ranked in found["time_to_action"].items():
        yield f"  {head:<14}" + ", ".join(f"{name} {seconds:.2f}" for name, seconds in ranked.items())


def _baselines(result):
    return {name: result[name] for name in ("markov", "majority", "chance") if name in result}


def _at_all(values, times):
    """One number that holds at all times, as often as there are times."""
    return values if isinstance(values, list) else [values] * len(times)


def _recalls(recall5, at):
    """A line per subset, head and ranking."""
    yield f"\nmean top-5 recall at 1 s{'':<10}{'classes':>8}{'model':>8}{'markov':>8}{'majority':>10}"
    for subset, heads in recall5.items():
        for number, (head, result) in enumerate(heads.items()):
            values = (_at_all(result[name], range(at + 1))[at] if name in result else None for name in ("model", "markov", "majority"))
            cells = ("-" if value is None else f"{value:.2f}" for value in values)
            model, markov, majority = cells
            yield f"  {'' if number else subset:<18}{head:<14}{result['classes']:>8}{model:>8}{markov:>8}{majority:>10}"


def _submit(args, predictions, shards, unobserved):
    """Write the challenge file; `unobserved` are the rows of the segments before which nothing was observed."""
    import sys

    from egokeras import submission
    from egokeras.inference import pairs

    anticipated = {}
    if "observations" in shards.index:
        uids = shards.clips["uid"][unobserved]
        anticipated = {"challenge": "action_anticipation", "actions": pairs(shards), "unobserved": uids}
    submission.write(args.submission, predictions, submission.Supervision(**_levels(args)), **anticipated)
    for one in getattr(shards, "sets", {"": shards}).values():
        if lost := one.index.get("quarantined"):
            what = f"{lost} segments are in the quarantine of {one.path}; where they are of this split, {args.submission} has no scores"
            print(f"warning: {what} of them, which the challenge may refuse", file=sys.stderr)
    declared = "-".join(map(str, args.supervision))
    print(f"wrote {args.submission}, declared as SLS-{declared}; change it with --supervision", file=sys.stderr)


def _levels(args):
    return dict(zip(("pretraining", "labels", "data"), args.supervision, strict=True))


def _draw(folder, predictions, classes, over_time):
    from egokeras import plots
    from egokeras.files import atomic
    from egokeras.report.anticipation import drawing
    from egokeras.scores import confusion, heads

    drawings = {}
    for head in heads(predictions):
        labels, logits = predictions[f"label_{head}"], predictions[f"logits_{head}"]
        if logits.shape[1] <= plots.MOST_CLASSES:
            matrix = confusion(labels[labels >= 0], logits[labels >= 0].argmax(axis=1), logits.shape[1])
            drawings[f"confusion_{head}"] = plots.confusion(matrix, classes[head])
    for head, result in over_time.get("heads", {}).items():
        drawings[f"over_time_{head}"] = drawing(result, over_time["times"])
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in drawings.items():
        with atomic(folder / f"{name}.png") as file:
            file.write(plots.png(figure))
