"""Runs side by side: means and paired differences over seeds with 95% t-intervals, baselines, published scores and costs.

Runs that differ only in their seed are one row. All must have been judged on the same clips; the seeds that two rows share are compared
one by one. The intervals speak of other seeds, not of other clips.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

from egokeras.data.joined import folders as shard_folders
from egokeras.errors import InputError
from egokeras.papers import PAPERS
from egokeras.recipe import PATHS
from egokeras.run_folders import Run, find
from egokeras.scores import interval

UNLIKE = ("seed", "name", "exports", "data_sha256", "channels")  # of a recipe, no part of what makes a row
MARKS = {"above": "above", "below": "below", "none": "no difference", "unknown": "one seed"}
ABSENT = object()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """A score in percent, or a difference of two in points: mean over seeds, and the bounds of its 95% t-interval; None for one seed."""

    seeds: int
    mean: float
    low: float | None
    high: float | None

    @property
    def verdict(self):
        """Of a difference: `above` or `below` zero with all of its interval, `none` if that holds zero, `unknown` without one."""
        if self.low is None or self.high is None:
            return "unknown"
        return "above" if self.low > 0 else "below" if self.high < 0 else "none"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """The runs of one method.

    Attributes:
        name: the fields of its recipe that are others than those of other rows.
        runs: one per seed.
        scores: name to `Estimate`.
        gains: the same for the difference to the baseline, over the seeds that both have; empty for the baseline itself.
        parameters, macs: of the model, for one clip; None where there is no model any more.
        seconds: of training, the mean over seeds; None where it was not recorded.
    """

    name: str
    runs: Sequence[Run]
    scores: Mapping[str, Estimate]
    gains: Mapping[str, Estimate]
    parameters: int | None
    macs: int | None
    seconds: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """What `egokeras compare` says.

    Attributes:
        rows: the baseline comes first.
        references: `majority`, `chance` and the like, and published work, to scores by name; each has some of the names.
        clips, split: what all were judged on.
        notes: sentences on what was left out.
    """

    rows: Sequence[Row]
    references: Mapping[str, Mapping[str, float]]
    clips: int
    split: str
    notes: Sequence[str]

    @property
    def names(self):
        """Of the scores, in the order of the first row."""
        return list(self.rows[0].scores)

    def as_json(self):
        """JSON values."""
        rows = [
            {
                "name": row.name,
                "runs": [{"folder": str(run.folder), "seed": run.seed} for run in row.runs],
                "scores": {name: dataclasses.asdict(estimate) for name, estimate in row.scores.items()},
                "gains": {name: {**dataclasses.asdict(gain), "verdict": gain.verdict} for name, gain in row.gains.items()},
                **{name: getattr(row, name) for name in ("parameters", "macs", "seconds")},
            }
            for row in self.rows
        ]
        return {"clips": self.clips, "split": self.split, "rows": rows, "references": self.references, "notes": list(self.notes)}


def compare(places, baseline=None):
    """Set runs side by side.

    Args:
        places: folders of runs, of seeds or of experiments.
        baseline: one of these whose row comes first, or None for the first of `places`.

    Raises:
        InputError: no run with scores, a baseline of several rows, or runs that were judged on different clips.
    """
    runs, notes = _runs([*([] if baseline is None else [baseline]), *places])
    groups = _grouped(runs, notes)
    if baseline is not None:
        own, _ = _runs([baseline])
        kept = {run.folder for run in own}
        if len([group for group in groups if kept & {run.folder for run in group}]) > 1:
            raise InputError(f"--baseline {baseline} holds runs of several recipes; give the folder of one.")
    first = groups[0]
    names = [name for name in first[0].scores if all(name in run.scores for run in runs)]
    if not names:
        raise InputError(
            f"{', '.join(str(run.folder) for run in runs[:5])}: they have no score in common; compare runs with the same heads."
        )
    if missing := {name: None for run in runs for name in run.scores if name not in names}:
        notes.append(f"Not all runs have {', '.join(missing)}.")
    titles = row_names([(group[0].name, _settings(group[0], shown=True)) for group in groups])
    rows = [_row(title, group, first, names) for title, group in zip(titles, groups, strict=True)]
    if any(len(row.runs) == 1 for row in rows):
        notes.append("A row of one seed has no interval: train it with --seeds 5.")
    references = {**first[0].references, **_published(runs, names)}
    return Comparison(rows=rows, references=references, clips=first[0].clips, split=first[0].split, notes=notes)


def _runs(places):
    """The runs that have scores, each once, and a sentence for those that have none."""
    found = {run.folder.resolve(): run for folder in places for run in find(folder)}
    scored = [run for run in found.values() if run.finished]
    notes = [f"{run.folder} is not finished and left out." for run in found.values() if not run.finished]
    if not scored:
        raise InputError(f"{', '.join(map(str, places))}: no run has scores yet; finish the training, or `egokeras evaluate` the runs.")
    for run in scored[1:]:
        if not run.same_clips(scored[0]):
            which = f"{scored[0].folder} ({_clips(scored[0])}) and {run.folder} ({_clips(run)})"
            raise InputError(f"{which} were judged on different clips; compare runs with the same held-out clips.")
    return scored, notes


def _clips(run):
    return f"{run.clips} of {run.split}"


def _grouped(runs, notes):
    """Lists of runs that differ only in their seed, in the order in which they come."""
    groups: dict = {}
    for run in runs:
        seeds = groups.setdefault((run.name, *sorted(_settings(run).items())), {})
        if run.seed in seeds:
            notes.append(f"{run.folder} is the same training as {seeds[run.seed].folder} and left out.")
        seeds.setdefault(run.seed, run)
    return [list(seeds.values()) for seeds in groups.values()]


def _settings(run, shown=False):
    """(stage, dotted key) to text of what makes a run's training, without its seed; the stage is empty where there is but one.

    The data count by their checksum; with `shown` their folders' names stand before it.
    """
    return {
        (stage if len(run.records) > 1 else "", key): text
        for stage, record in run.records.items()
        for key, text in _stage_settings(run.stage_settings[stage], record, shown)
    }


def _stage_settings(settings, record, shown):
    """Keys and texts of one recipe: a path counts by its last name, an object by its class."""
    for key, value in settings.items():
        if key in UNLIKE or key == "is":
            continue
        if key == "data.shards":
            digest = str(record.get("data_sha256"))
            names = ",".join(pathlib.PurePath(folder).name for folder in shard_folders(str(value)))
            yield key, f"{names} ({digest[:8]})" if shown else digest
        elif PATHS.fullmatch(key):
            yield key, pathlib.PurePath(str(value)).name
        else:
            yield key.removesuffix(".is"), _text(value)


def _text(value):
    if isinstance(value, float):
        return f"{value:.6g}" if float(f"{value:.6g}") == value else repr(value)
    return ",".join(map(_text, value)) if isinstance(value, list) else str(value)


def row_names(rows):
    """What tells each row from the others: its recipe's name if that does, and the fields that are not the same everywhere.

    A field of an object counts only among rows that have an object of the same class there.

    Args:
        rows: (name of the recipe, (stage, dotted key) to text) of each.
    """
    titles = []
    for name, settings in rows:
        peers = [other for peer, other in rows if peer == name]
        unlike = {place: value for place, value in settings.items() if _differs(place, settings, peers)}
        parts = list(dict.fromkeys(_part(place, settings, unlike) for place in unlike))
        titles.append(" ".join([name, *parts] if not parts or len({peer for peer, _ in rows}) > 1 else parts))
    return titles


def _differs(place, settings, peers):
    """Whether a row with the same objects above the field has something else in it."""
    stage, key = place
    above = [(stage, key[:at]) for at, letter in enumerate(key) if letter == "." and (stage, key[:at]) in settings]
    alike = [other for other in peers if all(other.get(before) == settings[before] for before in above)]
    return any(other.get(place, ABSENT) != settings[place] for other in alike)


def _part(place, settings, unlike):
    """`key=value`, with the stage before it unless all stages have that value."""
    stage, key = place
    everywhere = all(unlike.get((other, field)) == unlike[place] for other, field in settings if field == key)
    return f"{key}={unlike[place]}" if everywhere or not stage else f"{stage}.{key}={unlike[place]}"


def _row(title, runs, baseline, names):
    others = {run.seed: run for run in baseline}
    pairs = [] if runs is baseline else [(run, others[run.seed]) for run in runs if run.seed in others]
    parameters, macs = _cost(runs[0])
    seconds = [run.seconds for run in runs]
    return Row(
        name=title,
        runs=runs,
        scores={name: estimate([run.scores[name] for run in runs]) for name in names},
        gains={name: estimate([own.scores[name] - other.scores[name] for own, other in pairs]) for name in names if pairs},
        parameters=parameters,
        macs=macs,
        seconds=None if None in seconds else sum(seconds) / len(seconds),
    )


def estimate(values):
    """The `Estimate` of one value per seed; the bounds of a score may lie beyond 0 and 100."""
    mean, low, high = interval(values)
    if len(values) == 1:
        return Estimate(seeds=1, mean=mean, low=None, high=None)
    return Estimate(seeds=len(values), mean=mean, low=low, high=high)


def _cost(run):
    """Parameters and multiply-accumulates of a run's model for one clip."""
    import egokeras
    from egokeras.compress.cost import cost

    if not run.model.is_file():
        return None, None
    model = egokeras.load_model(run.model)
    return model.count_params(), cost(model)["macs"]["whole"]


def _published(runs, names):
    """What the papers of the recipes have of the scores at hand, by their citation."""
    found: dict = {}
    for run in runs:
        scores = {name: run.published[name] for name in names if name in run.published}
        if scores and run.paper in PAPERS:
            found.setdefault((run.paper, *scores.items()), scores)
    return {f"published: {PAPERS[key[0]].name}": scores for key, scores in found.items()}
