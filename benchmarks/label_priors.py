"""What each label-smoothing prior is worth for anticipation from past actions, on the real labels of EPIC-KITCHENS-55 and EGTEA Gaze+.

    python benchmarks/label_priors.py --data DATA --parts epic55 egtea

DATA holds RU-LSTM's lists (`rulstm/ek55`, `rulstm/egtea`), the classes of EPIC-KITCHENS-55 (`ek55`) and GloVe vectors (`glove/*.txt`).

All that is to be chosen (a prior's alpha, its number of epochs, the best prior) is chosen on held-out training videos by the mean over the
eight anticipation times of top-5 accuracy; the validation set judges alone. A choice is the mean over folds, each a model trained without
a fifth of the training videos; then every method trains on all of them, once per seed. The learning rate is constant, so one training gives
the scores after every number of epochs. Two tables compare the methods: after equally many epochs (those at which one-hot is best), and
each after its own best number. Parts: `epic55`, `egtea` (splits 1 and 2, averaged), `robustness` (EPIC-55 with past actions that a
recogniser mistook, 20 to 60 % of them), `rulstm` (RU-LSTM reading the labels of EPIC-55); the last two use what `epic55` chose.

Every training is a line of `results.jsonl`; the same command goes on after an interruption, and trains nothing twice. The lines know data
and settings but not the code: after a change of it begin with another `--out`.
"""

import argparse
import dataclasses
import os
import pathlib

import numpy as np

from anticipation.prior_comparison import baselines, compare
from anticipation.prior_runs import Bench
from anticipation.prior_training import EPIC55, HARD, METHODS, QUICK, Settings
from anticipation.tables import bounded, columns, numbers
from egokeras.anticipation_scores import ONE_SECOND
from egokeras.files import atomic

CUTS_OF = {EPIC55: (EPIC55,), "egtea": ("egtea1", "egtea2")}
PARTS = ("epic55", "egtea", "robustness", "rulstm")
PUBLISHED = {  # top-5 action accuracy, Camporese et al., https://arxiv.org/abs/2004.07711, with video features
    "epic55": {
        "one-hot": (27.71, 28.69, 29.84, 30.90, 31.93, 33.14, 34.10, 35.16),
        "TE": (27.94, 28.90, 30.06, 31.13, 32.19, 33.21, 34.17, 35.10),
        "uniform": (28.16, 29.06, 30.23, 31.25, 32.41, 33.64, 34.69, 35.75),
        "VN": (28.43, 29.41, 30.68, 31.85, 33.08, 34.35, 35.38, 36.46),
        "GL": (28.61, 29.87, 30.97, 31.94, 33.12, 34.40, 35.51, 36.87),
        "GL+VN": (28.88, 29.94, 31.23, 32.54, 33.56, 34.92, 36.06, 37.29),
        "RU-LSTM, one-hot": (29.44, 30.73, 32.24, 33.41, 35.32, 36.34, 37.37, 38.39),
        "RU-LSTM, GL+VN": (30.37, 31.64, 33.17, 34.86, 35.90, 37.07, 38.96, 39.74),
    },
    "egtea": {
        "one-hot": (55.94, 58.75, 60.94, 63.02, 65.78, 68.04, 71.55, 73.94),
        "TE": (56.13, 58.93, 61.17, 63.24, 66.00, 68.20, 71.75, 74.20),
        "uniform": (56.35, 59.20, 61.37, 63.36, 66.12, 68.41, 71.95, 74.35),
        "VN": (56.85, 59.67, 61.64, 64.03, 66.81, 68.94, 72.56, 75.44),
        "GL": (57.34, 60.11, 62.25, 64.42, 67.21, 69.56, 73.02, 75.83),
        "RU-LSTM, one-hot": (56.82, 59.13, 61.42, 63.53, 66.40, 68.41, 71.84, 74.28),
        "RU-LSTM, GL": (59.99, 62.02, 63.95, 66.47, 68.74, 72.16, 75.21, 78.11),
    },
}


def table(comparison, own):
    """A Markdown table of the methods, after their own best number of epochs or after equally many."""
    yield f"| | alpha | epochs | {columns()} | top-1 at 1 s | gain at 1 s (95 % over seeds) | 95 % over videos |"
    yield "|---|" + "---:|" * 13
    for method in next(iter(comparison.chosen.values())):
        alpha = " / ".join(f"{chosen[method].alpha:g}" for chosen in comparison.chosen.values())
        epochs = " / ".join(str(comparison.epochs(cut, method, own)) for cut in comparison.chosen)
        top1 = comparison.scores(method, own, "top1")[:, ONE_SECOND].mean()
        gain = ("", "") if method == HARD else gain_cells(comparison.gain(method, own))
        cells = [
            method,
            "" if method == HARD else alpha,
            epochs,
            numbers(comparison.scores(method, own).mean(axis=0)),
            f"{top1:.2f}",
            *gain,
        ]
        yield f"| {' | '.join(cells)} |"
    above = comparison.scores(comparison.best, own).mean(axis=0) - comparison.scores(HARD, own).mean(axis=0)
    yield f"| gain of {comparison.best}, the prior chosen | | | {numbers(above, '+.2f')} | | | |"


def gain_cells(gain):
    """A gain and its intervals as two cells."""
    *over_seeds, low, high = gain
    return bounded(*over_seeds, "+.2f"), f"{low:+.2f} to {high:+.2f}"


def said(bench, name, comparison):
    """The lines about one dataset: what was chosen, both tables, the baselines and the published rows, the gain by epochs."""
    yield from (
        "",
        f"## {name}: top-5 action accuracy, {bench.settings.seeds} seeds",
        "",
        "Equally many epochs, those best for one-hot:",
        "",
    )
    yield from (*table(comparison, own=False), "", "Each method after its own best number of epochs:", "", *table(comparison, own=True))
    yield from ("", f"| beside them | {columns()} |", "|---|" + "---:|" * 8)
    for row, values in baselines(bench, comparison.chosen).items():
        yield f"| {row} | {numbers(values)} |"
    for row, values in PUBLISHED[name].items():
        yield f"| published: {row} | {numbers(values)} |"
    best = comparison.best
    shortest = min(len(result["top5"]) for found in comparison.results.values() for method in (HARD, best) for result in found[method])
    curves = {
        method: np.mean([[result["top5"][:shortest] for result in found[method]] for found in comparison.results.values()], axis=(0, 1))
        for method in (HARD, best)
    }
    yield from ("", f"At 1 s after every number of epochs: {HARD}, {best}, and the gain.", "")
    yield f"| epochs | {' | '.join(map(str, range(1, shortest + 1)))} |"
    yield "|---|" + "---:|" * shortest
    yield from (f"| {method} | {numbers(curve[:, ONE_SECOND])} |" for method, curve in curves.items())
    yield f"| gain | {numbers((curves[best] - curves[HARD])[:, ONE_SECOND], '+.2f')} |"
    for cut, chosen in comparison.chosen.items():
        most = bench.settings.most_epochs(cut)
        late = [method for method, choice in chosen.items() if choice.epochs == most]
        if late:
            yield from ("", f"{cut}: {', '.join(late)} did best after all {most} epochs; more might serve better.")


def robustness(bench, clean):
    """The lines about past actions that a recogniser mistook; `clean` is the comparison without mistakes."""
    best = clean.best
    alphas = {HARD: (0.0,), best: (clean.chosen[EPIC55][best].alpha,)}
    found = {0.0: clean}
    for errors in bench.settings.errors:
        found[errors] = compare(bench, [EPIC55], alphas, folds=1, errors=errors)
    yield from ("", "## past actions mistaken by a recogniser: EPIC-55, top-5 at 1 s", "")
    yield from pair_table("mistakes", best, {f"{100 * errors:.0f} %": comparison for errors, comparison in found.items()})


def rulstm(bench, clean):
    """The lines about RU-LSTM on labels."""
    best = clean.best
    alphas = {HARD: (0.0,), best: (clean.chosen[EPIC55][best].alpha,)}
    yield from ("", "## RU-LSTM on the labels of EPIC-55, each method after its own best number of epochs", "")
    yield from table(compare(bench, [EPIC55], alphas, folds=1, model="rulstm"), own=True)


def pair_table(title, best, comparisons):
    """One-hot against one prior, a row for each of the comparisons."""
    yield f"| {title} | {HARD} | {best} | gain (95 % over seeds) | 95 % over videos |"
    yield "|---|---:|---:|---:|---:|"
    for name, comparison in comparisons.items():
        means = [comparison.scores(method, True)[:, ONE_SECOND].mean() for method in (HARD, best)]
        yield f"| {name} | {numbers(means)} | {' | '.join(gain_cells(comparison.gain(best, True)))} |"


def report(bench, parts):
    """All lines of the report."""
    settings = bench.settings
    tried = {method: (0.0,) if method == HARD else settings.alphas for method in METHODS}
    lines = [f"Settings: {dataclasses.asdict(settings)}"]
    clean = None
    for part in parts:
        if part in CUTS_OF:
            comparison = compare(bench, CUTS_OF[part], tried, folds=settings.folds if part == EPIC55 else settings.egtea_folds)
            clean = comparison if part == EPIC55 else clean
            lines += said(bench, part, comparison)
            continue
        clean = clean or compare(bench, CUTS_OF[EPIC55], tried, folds=settings.folds)
        lines += {"robustness": robustness, "rulstm": rulstm}[part](bench, clean)
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, metavar="FOLDER", help="see above (the variable EGOKERAS_DATA)")
    parser.add_argument("--glove", metavar="FILE", help="word vectors in GloVe's text format (the first of DATA/glove/*.txt)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="(all)")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("build/label_priors/results.jsonl"), help="(%(default)s)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="trainings at once, a thread each; 0: here (%(default)s)")
    parser.add_argument("--seeds", type=int, help=f"trainings of every method, at least 2 ({Settings.seeds})")
    parser.add_argument("--quick", action="store_true", help="tiny and short trainings: shows that the script works, measures nothing")
    args = parser.parse_args()
    data = args.data or pathlib.Path(os.environ.get("EGOKERAS_DATA", ""))
    if not (data / "rulstm").is_dir():
        parser.error(f"--data: there is no folder {data / 'rulstm'}")
    glove = args.glove or next(map(str, sorted((data / "glove").glob("*.txt"))), None)
    if glove is None:
        parser.error(f"--glove: there are no vectors in {data / 'glove'}")
    if args.seeds is not None and args.seeds < 2:
        parser.error(f"--seeds is {args.seeds}; a spread needs at least 2")
    settings = dataclasses.replace(QUICK if args.quick else Settings(), **({"seeds": args.seeds} if args.seeds else {}))

    args.out.parent.mkdir(parents=True, exist_ok=True)
    bench = Bench(data=data, glove=glove, out=args.out, settings=settings, workers=args.workers)
    text = "\n".join(report(bench, args.parts)) + "\n"
    with atomic(args.out.with_name("report.md"), "w") as file:
        file.write(text)
    print(text)


if __name__ == "__main__":
    main()
