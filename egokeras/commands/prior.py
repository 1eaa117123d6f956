"""`egokeras prior`: what else the prior of a recipe holds possible, class by class or in figures."""

import difflib
import re

from egokeras.errors import InputError

EXAMPLE = 'egokeras prior anticipation_labels data.shards=shards/epic55 --of "open fridge"'
TENSORFLOW = True


def add_arguments(parser):
    parser.add_argument("recipe", metavar="RECIPE", help="name or path of a recipe with method=LabelSmoothing")
    parser.add_argument("changes", metavar="KEY=VALUE", nargs="*", help="fields to change, for example method.prior=Temporal")
    parser.add_argument("--of", metavar="CLASS", help="list the companions of this class; without it, figures of the whole prior")
    parser.add_argument("--top", type=int, default=20, metavar="N", help="how many companions to list (%(default)s)")


def run(args):
    if args.top < 1:
        raise InputError(f"--top is {args.top}; give at least 1.")
    from egokeras import recipe, train
    from egokeras.distill import LabelSmoothing
    from egokeras.distill.training_set import training_set

    stages = recipe.load(args.recipe, args.changes)
    smoothed = [stage for stage in stages if isinstance(stage.method, LabelSmoothing)]
    if not smoothed:
        raise InputError(f"recipe {args.recipe!r} has no prior; give method=LabelSmoothing method.prior=VerbNoun, for example.")
    stage = smoothed[-1]
    shards = train.open_shards(stage)
    rows, _ = stage.data.rows(shards)
    training = training_set(shards, rows, list(train.class_counts(stage, shards)), stage.data.train)
    print(f"{stage.name}: {stage.method.prior}, alpha {stage.method.alpha:g}")
    print("\n".join(_figures(stage.method.prior, training) if args.of is None else _companions(stage.method.prior, training, args)))


def _companions(prior, training, args):
    """The lines of `--of`: the most likely companions in every head that has a class of that name."""
    found = {space: number for space in training.labels if (number := _find(args.of, training.classes[space])) is not None}
    if not found:
        known = [name for space in training.labels for name in training.classes[space]]
        nearest = difflib.get_close_matches(args.of, known, n=5, cutoff=0.4) or known[:5]
        raise InputError(f"--of {args.of!r} is no class of {' or '.join(training.labels)}; nearest: {', '.join(nearest)}.")
    for space, number in found.items():
        names, row = training.classes[space], prior.matrix(training, space)[number]
        order = [i for i in (-row).argsort(kind="stable") if row[i] > 0]
        yield f"{space} {names[number]!r}: {len(order)} of {len(names)} classes"
        for i in order[: args.top]:
            yield f"  {row[i]:.5f}  {names[i]}" + ("  (the class itself)" if i == number else "")
        if len(order) > args.top:
            yield f"  {row[order[args.top :]].sum():.5f}  in {len(order) - args.top} more"


def _find(name, names):
    """Number of the class `name`; else of the only one that differs in case or in what stands between its words; else None."""
    if name in names:
        return names.index(name)
    same = [number for number, other in enumerate(names) if _words(other) == _words(name)]
    return same[0] if len(same) == 1 else None


def _words(name):
    return re.split(r"[\W_]+", name.casefold())


def _figures(prior, training):
    """The lines without `--of`: for each head, how many companions classes have, and which have none."""
    from egokeras.distill import prior_matrices
    from egokeras.distill.label_priors import Temporal, missing_words, parts_of

    for space in training.labels:
        names, sequences = training.classes[space], [labels.tolist() for labels in training.sequences(space)]
        present = sorted({number for labels in sequences for number in labels})
        matrix = prior.matrix(training, space)
        support, entropy = prior_matrices.support(matrix), prior_matrices.entropy(matrix)
        alone = [number for number in present if support[number] == 1 and matrix[number, number] == 1]
        yield f"{space}: {len(names)} classes, {len(present)} of them in training"
        middle = sorted(support)[len(support) // 2]
        yield f"  companions                mean {support.mean():.1f}, median {middle}, {support.min()} to {support.max()}"
        yield f"  entropy in bits           mean {entropy.mean():.2f}, {entropy.min():.2f} to {entropy.max():.2f}"
        yield _counted("itself alone", alone, names)
        if parts_of(prior, Temporal):
            followed = {number for labels in sequences for number in labels[1:]}
            yield _counted("without a predecessor", [number for number in present if number not in followed], names)
    yield from missing_words(prior, training)


def _counted(what, numbers, names):
    some = ", ".join(names[number] for number in numbers[:10]) + (" ..." if len(numbers) > 10 else "")
    return f"  {what:26}{len(numbers)} of those in training" + (f": {some}" if numbers else "")
