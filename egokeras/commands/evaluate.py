"""`egokeras evaluate`: score a run beside chance and majority."""

import json
import pathlib

EXAMPLE = "egokeras evaluate runs/report_lstm --confusion pictures"
TENSORFLOW = True


def add_arguments(parser):
    parser.add_argument("folder", metavar="RUN", help="a run folder with model.keras")
    parser.add_argument("--data", metavar="SHARDS", help="shards to evaluate on (default: those of the run)")
    parser.add_argument("--split", help="held-out split (default: the clips that the run was validated on)")
    parser.add_argument("--batch-size", type=int, default=16, metavar="N", help="clips at once (default: 16)")
    parser.add_argument("--submission", metavar="FILE", help="also write an EPIC challenge file (.json or .zip)")
    parser.add_argument(
        "--supervision",
        type=int,
        nargs=3,
        default=(1, 3, 3),
        metavar=("PT", "TL", "TD"),
        help="levels declared in the submission: pretraining, training labels, training data, 0 to 5 each (default: 1 3 3)",
    )
    parser.add_argument("--confusion", metavar="FOLDER", help="also write a confusion matrix per head as PNG")
    parser.add_argument("--json", action="store_true", help="print the metrics as JSON")
    parser.add_argument("--cpu", action="store_true", help="use the CPU although there is a GPU")


def run(args):
    import egokeras
    from egokeras.data.shards import Shards
    from egokeras.evaluate import evaluate_rows
    from egokeras.files import read_json
    from egokeras.recipe import Data

    _check(args)
    folder = pathlib.Path(args.folder)
    recipe = read_json(folder / "recipe.json")
    data = Data.of_run(recipe)
    shards = Shards(args.data or data.shards)
    own = shards.sha256 == recipe.get("data_sha256")
    model = egokeras.load_model(folder / "model.keras")
    shards.check_fits(model, read_json(folder / "classes.json"))
    train_rows, rows = _rows(data, shards, args.split, own)
    metrics, predictions = evaluate_rows(model, shards, rows, train_rows, args.batch_size)
    metrics = {"split": args.split or (data.held_out if own else data.validation), **metrics}
    if own:
        _keep(folder, metrics, predictions, replace=args.split is None)
    print(json.dumps(metrics, indent=1) if args.json else "\n".join(lines(metrics)))
    if args.submission:
        _submit(args, predictions)
    if args.confusion:
        _draw(pathlib.Path(args.confusion), predictions, shards.classes)


def _rows(data, shards, split, own):
    """Rows that the run was trained on and rows to judge it by; other data may have no training split, then no majority."""
    if own:
        train, held_out = data.rows(shards)
        return train, shards.rows(split) if split else held_out
    return shards.rows(data.train) if data.train in shards.splits else [], shards.rows(split or data.validation)


def _check(args):
    """What would only show after the work."""
    from egokeras import submission
    from egokeras.errors import InputError

    if args.batch_size < 1:
        raise InputError(f"--batch-size is {args.batch_size}; give at least 1.")
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
    yield f"{metrics['split']}: {metrics['clips']} clips" + _unseen(metrics)
    if not metrics["heads"]:
        yield "no labels in this split: logits only"
        return
    yield from _block(metrics["heads"])
    for name, heads in metrics["subsets"].items():
        yield f"\n{name} {'groups' if name == 'unseen' else 'classes'}"
        yield from _block(heads)
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


def _submit(args, predictions):
    import sys

    from egokeras import submission

    submission.write(args.submission, predictions, submission.Supervision(**_levels(args)))
    declared = "-".join(map(str, args.supervision))
    print(f"wrote {args.submission}, declared as SLS-{declared}; change it with --supervision", file=sys.stderr)


def _levels(args):
    return dict(zip(("pretraining", "labels", "data"), args.supervision, strict=True))


def _draw(folder, predictions, classes):
    from egokeras import plots
    from egokeras.files import atomic
    from egokeras.scores import confusion, heads

    folder.mkdir(parents=True, exist_ok=True)
    for head in heads(predictions):
        labels, logits = predictions[f"label_{head}"], predictions[f"logits_{head}"]
        matrix = confusion(labels[labels >= 0], logits[labels >= 0].argmax(axis=1), logits.shape[1])
        with atomic(folder / f"confusion_{head}.png") as file:
            file.write(plots.png(plots.confusion(matrix, classes[head])))
