"""Label-smoothing priors compared: chosen on held-out training videos, judged on validation sets, beside baselines."""

import collections
import dataclasses

import numpy as np

from anticipation.epochs import best_epoch
from anticipation.prior_runs import run_all
from anticipation.prior_training import CUTS, HARD, Job, opened, unpacked
from egokeras import anticipation_scores as scores
from egokeras.anticipation_scores import ONE_SECOND
from egokeras.markov import markov_place
from egokeras.protocol import ANTICIPATION
from egokeras.scores import interval, majority_place


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """What was chosen for a method on held-out training videos: alpha, number of epochs, and the score (percent) that they had there."""

    alpha: float
    epochs: int
    score: float


def selection_jobs(bench, cut, alphas, *, folds, **which):
    """The trainings to choose by: every method with every alpha of `alphas` (method to alphas), once per fold."""
    epochs = bench.settings.most_epochs(cut)
    return [
        Job(cut=cut, method=method, alpha=alpha, epochs=epochs, seed=fold, fold=fold, **which)
        for method, tried in alphas.items()
        for alpha in tried
        for fold in range(folds)
    ]


def choices(results):
    """Method to `Choice`, from the results of `selection_jobs`; the best epoch alone counts, see `best_epoch`."""
    curves = collections.defaultdict(list)
    for job, result in results.items():
        curves[job.method, job.alpha].append(np.mean(result["top5"][: job.epochs], axis=1))
    found = {}
    for (method, alpha), each in curves.items():
        epochs, score = best_epoch(np.mean(each, axis=0), width=1)
        choice = Choice(alpha=alpha, epochs=epochs, score=score)
        if method not in found or choice.score > found[method].score:
            found[method] = choice
    return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """Methods judged on the validation sets of one dataset.

    Attributes:
        chosen: cut to method to `Choice`.
        results: cut to method to the results of its seeds.
        videos: cut to (clips,) videos of the validation clips.
    """

    chosen: dict
    results: dict
    videos: dict

    @property
    def best(self):
        """The prior that did best on held-out training videos."""
        cuts = self.chosen.values()
        return max((method for method in next(iter(cuts)) if method != HARD), key=lambda method: sum(cut[method].score for cut in cuts))

    def epochs(self, cut, method, own):
        """After how many epochs a method is judged: its own best, or as many as one-hot."""
        return self.chosen[cut][method if own else HARD].epochs

    def scores(self, method, own, key="top5"):
        """(seeds, times) in percent, the mean over cuts."""
        at = {cut: self.epochs(cut, method, own) - 1 for cut in self.results}
        return np.mean([[result[key][at[cut]] for result in found[method]] for cut, found in self.results.items()], axis=0)

    def hits(self, method, own):
        """(clips of all cuts,) share of the seeds that had the label in the top 5 at 1 s."""
        parts = []
        for cut, found in self.results.items():
            at, clips = self.epochs(cut, method, own) - 1, len(self.videos[cut])
            parts.append(np.mean([unpacked(result["hits"][at], clips) for result in found[method]], axis=0))
        return np.concatenate(parts)

    def gain(self, method, own):
        """Points of top-5 at 1 s above one-hot: mean, 95% t-interval over seeds, 95% bounds of a paired bootstrap over videos."""
        seeds = (self.scores(method, own) - self.scores(HARD, own))[:, ONE_SECOND]
        videos = np.concatenate(list(self.videos.values()))
        return (*interval(seeds), *scores.paired_bounds(self.hits(method, own), self.hits(HARD, own), videos)[1:])


def compare(bench, cuts, alphas, *, folds, **which):
    """Choose for every method on the training videos of each cut, train on all of them, and judge: a `Comparison`.

    Args:
        bench: a `Bench`.
        cuts: names in `CUTS`.
        alphas: method to the alphas to choose from.
        folds: see `Settings`.
        **which: `model` and `errors` of the jobs.
    """
    jobs = {cut: selection_jobs(bench, cut, alphas, folds=folds, **which) for cut in cuts}
    results = run_all(bench, [job for of_cut in jobs.values() for job in of_cut])
    chosen = {cut: choices({job: results[job] for job in of_cut}) for cut, of_cut in jobs.items()}
    finals = {
        (cut, method): [
            Job(cut=cut, method=method, alpha=choice.alpha, epochs=max(choice.epochs, chosen[cut][HARD].epochs), seed=seed, **which)
            for seed in range(bench.settings.seeds)
        ]
        for cut in cuts
        for method, choice in chosen[cut].items()
    }
    results = run_all(bench, [job for of_method in finals.values() for job in of_method])
    judged_by = {cut: opened(bench.set_of(finals[cut, HARD][0]))[0] for cut in cuts}
    return Comparison(
        chosen=chosen,
        results={cut: {method: [results[job] for job in finals[cut, method]] for method in chosen[cut]} for cut in cuts},
        videos={cut: shards.clips["video"][shards.rows(CUTS[cut].validation)] for cut, shards in judged_by.items()},
    )


def baselines(bench, cuts):
    """Name to (times,) top-5 accuracy of a first-order Markov chain, of the most frequent actions and of chance, the mean over cuts."""
    found = collections.defaultdict(list)
    for cut in cuts:
        shards, _ = opened(bench.set_of(Job(cut=cut, method=HARD, alpha=0.0, epochs=1)))
        rows, train_rows = shards.rows(CUTS[cut].validation), shards.rows(CUTS[cut].train)
        labels, classes = shards.labels("action", np.arange(len(shards))), len(shards.classes["action"])
        counted = np.union1d(train_rows, shards.discarded(CUTS[cut].train, train_rows))
        found["Markov"].append(markov_place(shards.clips, labels, rows, counted, classes).hits(5).mean(axis=0))
        frequent = majority_place(labels[train_rows], labels[rows], classes).hits(5).mean()
        found["most frequent"].append(np.full(len(ANTICIPATION), frequent))
        found["chance"].append(np.full(len(ANTICIPATION), min(1, 5 / classes)))
    return {name: 100 * np.mean(values, axis=0) for name, values in found.items()}
