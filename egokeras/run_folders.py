"""Run folders from outside: which may be gone on with, which lie below a folder, and what one says of itself: clips, scores, time."""

import csv
import dataclasses
import functools
import hashlib
import pathlib
import re
import zipfile
from collections.abc import Mapping, Sequence

import numpy as np

from egokeras.errors import InputError
from egokeras.files import UNFINISHED, read_json
from egokeras.recipe import settings

EXPERIMENT = "experiment.json"  # in the folder of a grid: which runs it has, see `egokeras.experiments`
DEPTH = 4  # folders below one that is given in which runs are looked for
KS = (1, 5)
MOMENT = 1.0  # seconds before the action at which anticipation is compared
BASELINES = ("markov", "majority", "chance")
MOST_BYTES = 4_000_000_000  # of a column of predictions; a small file can unpack to more than a machine has


def is_free(folder):
    """Whether a new training may take over a folder that is there: not one whose training has begun, for `--resume` to go on with."""
    begun = any(folder.glob("**/snapshots/*.npz"))
    if begun and (folder / UNFINISHED).exists():
        print(f"{folder} holds a training that was interrupted; --resume goes on with it, and this one goes elsewhere")
    return not begun


def is_run(folder):
    """Whether a folder may hold a run, and is not that of a grid."""
    own = (folder / UNFINISHED).exists() or any(folder.glob("**/recipe.json"))
    return own and not (folder / EXPERIMENT).exists()


@dataclasses.dataclass(frozen=True)
class Run:
    """One training, of one or several stages.

    Attributes:
        folder: the run folder.
        stages: folders of its stages; the last one's model is what the run gives.

    Reading anything else may raise an InputError that names the file.
    """

    folder: pathlib.Path
    stages: Sequence[pathlib.Path]

    @property
    def finished(self):
        """Whether it has scores, and no training is to go on."""
        return not (self.folder / UNFINISHED).exists() and (self.stages[-1] / "metrics.json").is_file()

    @property
    def model(self):
        """The file of the trained student."""
        return self.stages[-1] / "model.keras"

    @functools.cached_property
    def records(self):
        """Name of each stage to its recipe as JSON."""
        found = {}
        for folder in self.stages:
            record = read_json(folder / "recipe.json")
            if not isinstance(record, dict) or not isinstance(record.get("name"), str) or not isinstance(record.get("seed"), int):
                raise InputError(f"{folder / 'recipe.json'} is not the recipe of a run; restore it, or train again.")
            found[record["name"]] = record
        return found

    @functools.cached_property
    def stage_settings(self):
        """Name of each stage to its settings, see `egokeras.recipe.settings`."""
        return {name: settings(record) for name, record in self.records.items()}

    @property
    def _last(self):
        return list(self.records.values())[-1]

    @property
    def name(self):
        """Of the recipe."""
        return self._last["name"]

    @property
    def seed(self):
        """Of the last stage."""
        return self._last["seed"]

    @property
    def paper(self):
        """Key of the recipe's paper, or an empty string."""
        return str(self._last.get("paper", ""))

    @property
    def published(self):
        """Score to percent, as the recipe has it of its paper."""
        found = self._last.get("published")
        found = found if isinstance(found, dict) else {}
        return {name: float(value) for name, value in found.items() if isinstance(value, int | float)}

    @functools.cached_property
    def _scores(self):
        """Scores, scores of each baseline, number of clips, what these are called."""
        metrics = read_json(self.stages[-1] / "metrics.json")
        try:
            return *_scored(metrics), int(metrics["clips"]), str(metrics["split"])
        except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
            file = self.stages[-1] / "metrics.json"
            raise InputError(f"{file} is not the scores of a run ({error!r}); run `egokeras evaluate {self.stages[-1]}` again.") from None

    @property
    def scores(self):
        """`HEAD_topK` in percent; `HEAD_topK@1s` where actions are anticipated."""
        return self._scores[0]

    @property
    def references(self):
        """The same of `majority` and the other baselines that there are."""
        return self._scores[1]

    @property
    def clips(self):
        """How many it was judged on."""
        return self._scores[2]

    @property
    def split(self):
        """What these are called."""
        return self._scores[3]

    def same_clips(self, other):
        """Whether another run was judged on the same clips, with the same labels in the heads that both have."""
        common = set(self._judged_on) & set(other._judged_on)
        return all(self._judged_on[name] == other._judged_on[name] for name in common)

    @functools.cached_property
    def _judged_on(self):
        """Digests of the clips and of their labels by head, in any order of the clips."""
        file = self.stages[-1] / "predictions.npz"
        again = f"run `egokeras evaluate {self.stages[-1]}` again"
        if not file.is_file():
            raise InputError(f"{file} does not exist, so nothing says which clips the run was judged on; {again}.")
        try:
            with zipfile.ZipFile(file) as archive:
                sizes = {info.filename.removesuffix(".npy"): info.file_size for info in archive.infolist()}
            heads = [name for name in sizes if name.startswith("label_")]
            if sum(sizes[name] for name in ("uid", "video", *heads)) > MOST_BYTES:
                raise ValueError("its columns are too large")
            with np.load(file, allow_pickle=False) as stored:
                clips = np.array([f"{uid}\0{video}" for uid, video in zip(stored["uid"], stored["video"], strict=True)])
                order = np.argsort(clips, kind="stable")
                return {"clips": _digest(clips[order]), **{head: _digest(stored[head][order]) for head in heads}}
        except (ValueError, OSError, LookupError, EOFError, TypeError, MemoryError, zipfile.BadZipFile) as error:
            raise InputError(f"{file} is damaged ({error}); {again}.") from None

    @functools.cached_property
    def seconds(self):
        """Of training, all stages together; None where one has no record of it."""
        files = [folder / "seconds.csv" for folder in self.stages]
        if not all(file.is_file() for file in files):
            return None
        return sum(sum(map(_seconds, _rows(file))) for file in files)


def _digest(values):
    return hashlib.sha256("\n".join(map(str, values.tolist())).encode("utf-8", "surrogatepass")).hexdigest()


def _rows(file):
    with open(file, newline="", encoding="utf-8", errors="replace") as stream:
        return list(csv.reader(stream))


def _seconds(row):
    """A line that a kill cut short counts nothing."""
    try:
        return max(0.0, float(row[1]))
    except (IndexError, ValueError):
        return 0.0


def _scored(metrics) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Scores of a `metrics.json`, and those of the baselines in it; what chance alone has whole, as top-5 of three classes, is no score."""
    over_time = metrics.get("anticipation")
    heads, suffix = (over_time["heads"], f"@{MOMENT:g}s") if over_time else (metrics["heads"], "")
    at = over_time["times"].index(MOMENT) if over_time else 0

    def top(result: Mapping, k):
        value = result[f"top{k}"]
        return float(value[at] if isinstance(value, list) else value)

    own: dict[str, float] = {}
    others: dict[str, dict[str, float]] = {}
    for head, result in heads.items():
        for k in KS:
            if top(result["chance"], k) < 100:
                own[f"{head}_top{k}{suffix}"] = top(result, k)
                for name in BASELINES:
                    if name in result:
                        others.setdefault(name, {})[f"{head}_top{k}{suffix}"] = top(result[name], k)
    return own, others


def find(folder):
    """The runs in a folder: itself, those of an experiment in the order of its record, or whatever lies below.

    Raises:
        InputError: there is none, or the record of the experiment is broken.
    """
    folder = pathlib.Path(folder)
    found = _recorded(folder) or list(_below(folder, DEPTH))
    if not found:
        raise InputError(f"{folder} holds no run: it has no recipe.json; give a folder that `egokeras train` printed.")
    return found


def _recorded(folder):
    """Runs of the experiment that the folder is or lies in, as far as they lie in the folder."""
    whole = folder.resolve()
    for root in (whole, *whole.parents[: DEPTH + 2]):
        if (root / EXPERIMENT).is_file():
            runs = _record(root / EXPERIMENT)
            inside = {(root / path): stages for path, stages in runs.items() if (root / path).is_relative_to(whole)}
            shown = {folder / path.relative_to(whole): stages for path, stages in inside.items()}
            return [Run(path, [path] if len(stages) == 1 else [path / stage for stage in stages]) for path, stages in shown.items()]
    return []


def _record(file):
    """Path below the experiment to names of the stages."""
    record = read_json(file)
    runs = record.get("runs") if isinstance(record, dict) else None
    good = isinstance(runs, dict) and all(
        isinstance(stages, list)
        and stages
        and all(isinstance(part, str) and ".." not in part and not pathlib.PurePath(part).is_absolute() for part in (path, *stages))
        for path, stages in runs.items()
    )
    if not good:
        raise InputError(f"{file} is not the record of an experiment; remove it, and name the runs one by one.")
    return runs


def _below(folder, depth):
    """Runs without a record."""
    if (folder / "recipe.json").is_file():
        yield Run(folder, [folder])
        return
    inside = [path for path in sorted(folder.glob("*"), key=_natural) if path.is_dir() and not path.name.startswith(".")]
    named = [path for path in inside if path.name in (folder.name, re.sub(r"-\d+$", "", folder.name))]
    if named and (named[0] / "recipe.json").is_file():  # the last stage of several is called like the run
        earlier = [path for path in inside if path != named[0] and (path / "recipe.json").is_file()]
        yield Run(folder, [*earlier, named[0]])
    elif depth:
        for path in inside:
            yield from _below(path, depth - 1)


def _natural(path):
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]
