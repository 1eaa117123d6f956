"""One self-contained page about a run: what was learnt, what it is worth, what the exported files cost.

The page has no script and fetches nothing, so it opens from a disk, prints, and can be mailed. What a run does not have yet is
replaced by a sentence that names the command for it.
"""

import csv
import dataclasses
import json
import pathlib
import zipfile
import zlib

import numpy as np

from egokeras.data.clip_table import ClipTable
from egokeras.errors import InputError
from egokeras.files import atomic, read_json
from egokeras.recipe import Data
from egokeras.report import anticipation, film, page, sections

NAME = "report.html"
LARGEST = 2_000_000
MOST_BYTES = 4_000_000_000  # of predictions; a small file can unpack to more than a machine has
CLIPS = (8, 5, 3, 0)  # pictures per list: fewer are tried until the page is small enough


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """What a run folder holds; parts that are not there are empty or None.

    Attributes:
        folder: the run folder.
        recipe: the resolved recipe.
        metrics: content of metrics.json.
        history: column of history.csv to values (epochs,).
        classes: head to class names.
        predictions: arrays of predictions.npz, and for the training clips of train_predictions.npz.
        exports: content of every exports/*/artifact.json.
        latency: content of latency.json.
        shards: the data, or None where it cannot be read.
    """

    folder: pathlib.Path
    recipe: dict
    metrics: dict
    history: dict
    classes: dict
    predictions: dict
    train_predictions: dict
    exports: list
    latency: dict
    shards: ClipTable | None


def write(folder):
    """Write `report.html` into a run folder and return its path.

    Raises:
        InputError: the folder is not a run, or one of its files is broken.
    """
    try:
        run = load(folder)
        for clips in CLIPS:
            content = render(run, clips).encode()
            if len(content) <= LARGEST:
                break
    except InputError:
        raise
    except (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError) as error:
        found = f"{type(error).__name__}: {str(error)[:200]}"
        raise InputError(f"{folder}: its files do not fit together ({found}); restore them, or train or evaluate it again.") from error
    with atomic(run.folder / NAME) as file:
        file.write(content)
    return run.folder / NAME


def load(folder):
    """Read a run folder into a `Run`."""
    folder = pathlib.Path(folder)
    if not (folder / "recipe.json").is_file():
        raise InputError(f"{folder} is not a run folder: it has no recipe.json; give the folder that `egokeras train` printed.")
    recipe = read_json(folder / "recipe.json")
    shards, predictions = _shards(recipe), _arrays(folder / "predictions.npz")
    return Run(
        folder=folder,
        recipe=recipe,
        metrics=_json(folder / "metrics.json"),
        history=read_history(folder / "history.csv"),
        classes=_classes(_json(folder / "classes.json"), predictions, shards),
        predictions=predictions,
        train_predictions=_arrays(folder / "train_predictions.npz"),
        exports=[read_json(path) for path in sorted(folder.glob("exports/*/artifact.json")) if path.is_file()],
        latency=_json(folder / "latency.json"),
        shards=shards,
    )


def _classes(learnt, predictions, shards):
    """Class names of the heads that were learnt, and of those that follow from them, by number where the data cannot be read."""
    sizes = {name.removeprefix("logits_"): values.shape[1] for name, values in predictions.items() if name.startswith("logits_")}
    follow = {head: tuple(map(str, range(size))) for head, size in sizes.items()}
    return {**follow, **({} if shards is None else shards.classes), **learnt}


def _json(path):
    return read_json(path) if path.is_file() else {}


def _arrays(path):
    if not path.is_file():
        return {}
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(part.file_size for part in archive.infolist())
        if size > MOST_BYTES:
            raise InputError(f"{path} would take {size / 1e9:.1f} GB of memory; run `egokeras evaluate` again.")
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored)
    except (ValueError, OSError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is damaged or holds no plain arrays ({error}); run `egokeras evaluate` again.") from None


def read_history(path):
    """Column of a history.csv to values (epochs,); nothing where there is none."""
    if not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([_number(row[name]) for row in rows]) for name in (rows[0] if rows else ())}


def _number(cell):
    try:
        return float(cell)
    except (TypeError, ValueError):
        return np.nan


def _shards(recipe):
    """The run's data if it still lies where it was; a page must not fail because it moved."""
    try:
        return Data.of_run(recipe).open()
    except (InputError, KeyError, TypeError):
        return None


def render(run, clips):
    """The page as a string, with at most `clips` pictures in each list of clips."""
    head = run.predictions, run.classes
    over_time = run.metrics.get("anticipation")
    when = ", 1 s before the action" if over_time else ""
    parts = [
        ("scores", f"Scores on held-out clips{when}", sections.scores(run.metrics, run.folder)),
        *([("anticipation", "Accuracy over anticipation time", anticipation.section(over_time))] if over_time else ()),
        ("export", "Exported files", sections.export(run.exports, run.latency, run.folder)),
        ("training", "Training", sections.training(run.history)),
        ("classes", "Classes and what they are mistaken for", sections.confusions(*head)),
        *(() if over_time else _clips(run, clips)),
        ("data", "The data", sections.data(*head, run.shards)),
        ("recipe", "Recipe", [page.details("The resolved recipe", page.pre(json.dumps(run.recipe, indent=1, ensure_ascii=False)))]),
    ]
    name = run.folder.resolve().name
    links = page.navigation([(anchor, anchor.capitalize()) for anchor, _, _ in parts])
    top = sections.top(name, run.metrics, run.exports, run.latency)
    return page.document(f"{name} · egokeras", *top, links, *(page.section(anchor, title, *content) for anchor, title, content in parts))


def _clips(run, clips):
    """The sections that show clips; before an action there is nothing to see of it, and a sure prediction says nothing of its label."""
    labels = film.labels(run.predictions, run.train_predictions, run.classes, run.shards, clips)
    yield "clips", "Clips and predictions", film.clips(run.predictions, run.classes, run.shards, clips)
    yield "labels", "Labels worth checking", labels
