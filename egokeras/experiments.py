"""A grid of trainings: seeds, and several values of a field; each has a folder, what is finished is skipped and what is not goes on.

The folder of the experiment holds one folder per axis, value by value, and in it one per seed: `method.beta=0.5/seed-2`. What was asked
for lies beside them in `experiment.json`.
"""

import ast
import contextlib
import dataclasses
import hashlib
import itertools
import os
import pathlib
import re
import time
from collections.abc import Mapping

from egokeras import recipe as recipes
from egokeras.errors import InputError
from egokeras.files import UNFINISHED, read_json, write_json
from egokeras.resumption import begun_with
from egokeras.run_folders import EXPERIMENT
from egokeras.train import open_shards

OPENING, CLOSING = "([{", ")]}"
FEATURES = ".features"
LONGEST = 80  # characters of a value in the name of a folder


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """One combination.

    Attributes:
        path: its folder below that of the experiment, with slashes; empty if it is the only one.
        stages: its recipes.
    """

    path: str
    stages: tuple[recipes.Recipe, ...]

    def folders(self, run_dir):
        """Of the stages: the run folder, or one folder each in it if there are several."""
        return [run_dir if len(self.stages) == 1 else run_dir / stage.name for stage in self.stages]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """What was asked for.

    Attributes:
        recipe: name or path.
        changes: `key=value` each, the same for all trainings.
        axes: key to its values, as they were written.
        seeds: number of seeds, or None for that of the recipe alone.
        trainings: the product of axes and seeds; the last axis changes first, and the seeds before it.
    """

    recipe: str
    changes: tuple[str, ...]
    axes: Mapping[str, tuple[str, ...]]
    seeds: int | None
    trainings: tuple[Training, ...]

    @property
    def is_grid(self):
        """Whether there is more to it than one training."""
        return bool(self.axes) or self.seeds is not None


def plan(recipe, changes=(), seeds=None):
    """The trainings of a command.

    Args:
        recipe: name or path.
        changes: `key=value` each; one whose value does not fit its field, but whose parts between commas do, is an axis of a grid. A value
            that fits as it is stays one, as `data.heads=verb,noun`; of such a field several are given as literals:
            `data.heads=('verb',),('noun',)`.
        seeds: how many; the seeds are that of the recipe (0, or `seed=10`) and those that follow it.

    Raises:
        InputError: a change that does not fit, with the combination in which it does not; or two combinations that are one training.
    """
    if seeds is not None and seeds < 1:
        raise InputError(f"--seeds is {seeds}; give at least 1.")
    axes: dict[str, tuple[str, ...]] = {}
    first: list[str] = []  # the changes with the first value of every axis
    for change in changes:
        key, _, _ = change.partition("=")
        values = _axis(recipe, first, change)
        if values and [other.partition("=")[0] for other in changes].count(key) > 1:
            raise InputError(f"{key} is given twice; give its values once, with commas between them.")
        axes |= {key: values} if values else {}
        first.append(f"{key}={values[0]}" if values else change)
    if seeds is not None and any(key.rpartition(".")[2] == "seed" for key in axes):
        raise InputError("the seeds are given twice; give --seeds N or seed=A,B,C.")
    fixed = tuple(change for change in changes if change.partition("=")[0] not in axes)
    trainings = tuple(_trainings(recipe, changes, axes, seeds))
    known: list[Training] = []
    for training in trainings:
        if same := next((other for other in known if other.path == training.path or other.stages == training.stages), None):
            raise InputError(f"{same.path} and {training.path} are one training; give every value once.")
        known.append(training)
    return Experiment(recipe=recipe, changes=fixed, axes=axes, seeds=seeds, trainings=trainings)


def _axis(recipe, before, change):
    """The values of a change that is an axis; none if it is a plain change."""
    key, _, text = change.partition("=")
    parts = split(text)

    def misfit(value):
        try:
            recipes.load(recipe, [*before, f"{key}={value}"])
        except InputError as error:
            return error
        return None

    if len(parts) < 2 or "=" not in change:
        recipes.load(recipe, [*before, change])
        return ()
    whole, literals = misfit(text), all(part.strip()[:1] in tuple(OPENING) for part in parts)
    if whole is None and not literals:
        return ()
    wrong = [error for error in map(misfit, parts) if error]
    if not wrong:
        return tuple(part.strip() for part in parts)
    if whole is None:
        return ()
    raise whole if len(wrong) == len(parts) else wrong[0]


def split(text):
    """`text` at its commas outside of brackets and quotes; whole where these do not close."""
    parts, start, closing, quote, escaped = [], 0, [], "", False
    for at, character in enumerate(text):
        if quote:
            quote = "" if character == quote and not escaped else quote
            escaped = character == "\\" and not escaped
        elif character in "'\"":
            quote = character
        elif character in OPENING:
            closing.append(CLOSING[OPENING.index(character)])
        elif character in CLOSING:
            if not closing or closing.pop() != character:
                return [text]
        elif character == "," and not closing:
            parts.append(text[start:at])
            start = at + 1
    return [text] if quote or closing else [*parts, text[start:]]


def _trainings(recipe, changes, axes, seeds):
    for values in itertools.product(*axes.values()):
        chosen = dict(zip(axes, values, strict=True))
        folders = [folder_name(key, value) for key, value in chosen.items()]
        given = [f"{key}={chosen[key]}" if (key := change.partition("=")[0]) in chosen else change for change in changes]
        try:
            stages = recipes.load(recipe, given)
        except InputError as error:
            raise InputError(f"{' '.join(folders)}: {error}" if axes else str(error)) from None
        for number in range(1 if seeds is None else seeds):
            seeded = tuple(dataclasses.replace(stage, seed=stage.seed + number) for stage in stages)
            last = [] if seeds is None else [f"seed-{seeded[-1].seed}"]
            yield Training(path="/".join([*folders, *last]), stages=seeded)


def folder_name(key, text):
    """`key=value` as a name that every file system takes; equal numbers have equal names, and what had to be left out has a checksum."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    shown = repr(value) if isinstance(value, int | float) else text
    name = f"{key}={shown}"
    safe = re.sub(r"[^A-Za-z0-9._=+-]+", "_", name)[: len(key) + LONGEST].rstrip(".")
    return safe if safe == name else f"{safe.rstrip('_')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def place(name, runs):
    """The folder of the experiment on a recipe: `runs/name`, or numbered if that is a run of its own."""
    for number in itertools.count(1):
        folder = pathlib.Path(runs) / (name if number == 1 else f"{name}-{number}")
        alone = (folder / UNFINISHED).exists() or any(folder.glob("recipe.json")) or any(folder.glob("*/recipe.json"))
        if (folder / EXPERIMENT).exists() or not alone:
            return folder
    raise AssertionError("there is always a next number")


def carry_out(experiment, folder, train):
    """Train what is not finished, one after another, and say how far it is.

    Args:
        experiment: an `Experiment`.
        folder: its folder, see `place`.
        train: called with a `Training` and its run folder, to begin it or to go on with it.

    Raises:
        InputError: a training failed, or one that is there was begun with something else; the message names the combination.
    """
    folder, total = pathlib.Path(folder), len(experiment.trainings)
    open_ = [training for training in experiment.trainings if not _check(training, folder / training.path)]
    _write_record(experiment, folder)
    taken: list[float] = []
    for number, training in enumerate(experiment.trainings, 1):
        which = f"[{number}/{total}] {training.path}"
        if training not in open_:
            print(f"{which}: finished, skipped")
            continue
        left = len(open_) - len(taken)
        estimate = f", about {sum(taken) / len(taken) * left / 60:.1f} min" if taken else ""
        print(f"\n{which}: {left} of {total} left{estimate}", flush=True)
        started = time.monotonic()
        _share_features(training, folder / training.path, folder.parent)
        with _named(training):
            train(training, folder / training.path)
        taken.append(time.monotonic() - started)


@contextlib.contextmanager
def _named(training):
    """Puts the combination before the sentence of an InputError."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{training.path}: {error}") from error


def _check(training, run_dir):
    """Whether a training is finished; its data must be there, and what has begun must have begun with the same recipe and clips."""
    with _named(training):
        shards = [open_shards(stage) for stage in training.stages]
        finished = not (run_dir / UNFINISHED).exists()
        for stage, folder, data in zip(training.stages, training.folders(run_dir), shards, strict=True):
            finished &= _begun(stage, folder, data) >= stage.epochs and (folder / "model.keras").is_file()
        return finished


def _begun(stage, folder, shards):
    """The epochs with which a stage was begun in a folder, 0 if it was not; the last may be few, all else must be the same."""
    file = folder / "recipe.json"
    if not file.is_file():
        return 0
    epochs, data, changed = begun_with(stage, file, f"remove {folder} to train anew")
    if data != shards.sha256:
        changed.append(f"{shards.path} does not hold the shards that it began with")
    if changed:
        raise InputError(f"{', '.join(changed)}; give what it began with, or another place with --runs FOLDER.")
    return epochs


def _share_features(training, run_dir, runs):
    """Let a frozen backbone's features be looked for where those of single runs are, by a link, so that no axis computes them anew."""
    frozen = [
        stage for stage in training.stages if stage.cache_features and getattr(getattr(stage.model, "backbone", None), "frozen", False)
    ]
    link = (run_dir if len(training.stages) > 1 else run_dir.parent) / FEATURES
    if not frozen or os.path.lexists(link):
        return
    (runs / FEATURES).mkdir(exist_ok=True)
    link.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError):  # a file system without links: every folder has its own
        link.symlink_to(os.path.relpath(runs / FEATURES, link.parent), target_is_directory=True)


def _write_record(experiment, folder):
    """Say what belongs together; trainings of earlier commands stay in it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / EXPERIMENT
    before = read_json(file) if file.exists() else {}
    runs = before.get("runs", {}) if isinstance(before, dict) else {}
    now = {training.path: [stage.name for stage in training.stages] for training in experiment.trainings}
    about = {
        "recipe": str(experiment.recipe),
        "changes": list(experiment.changes),
        "axes": {k: list(v) for k, v in experiment.axes.items()},
    }
    write_json(file, {**about, "seeds": experiment.seeds, "runs": {**runs, **now}})
