"""A recipe says how to train: typed objects with the paper's values as defaults, changed from outside by `key=value`.

A recipe file is a Python file with a docstring and a function `stages() -> tuple[Recipe, ...]`; it is data, and is run by its path.
"""

import dataclasses
import difflib
import inspect
import pathlib
import re
import types
import typing
from collections.abc import Mapping
from typing import Any

from egokeras.compress.prune import Pruning
from egokeras.compress.pruned import Pruned
from egokeras.data.cropped import cropped
from egokeras.data.joined import open_sets
from egokeras.data.selection import split_rows
from egokeras.data.transforms import Augment, Crop
from egokeras.distill import SKDSRL, LabelSmoothing, ProgressiveDistillation, SelfDistillation, SoftTargets, Supervised, SupervisedExits
from egokeras.errors import InputError
from egokeras.files import run_file
from egokeras.models import FrameModel, ResNet3D, TwoStream
from egokeras.models.anticipation import RULSTM, AnticipationLSTM
from egokeras.models.early_exit import EarlyExitResNet
from egokeras.models.past_actions import PastActionsLSTM
from egokeras.models.with_exits import WithExits
from egokeras.optim import Optim, Plateau
from egokeras.overrides import fields_of, is_dataclass, parsed, replaced
from egokeras.papers import PAPERS

Model = FrameModel | ResNet3D | TwoStream | EarlyExitResNet | WithExits | AnticipationLSTM | RULSTM | PastActionsLSTM | Pruned
Method = Supervised | LabelSmoothing | SoftTargets | SelfDistillation | SKDSRL | ProgressiveDistillation | SupervisedExits
FACTS = ("paper", "published", "measured")  # fields that say something of a recipe and change nothing about its training
PATHS = re.compile(r"data\.(shards|videos)|method\.teachers?|method\.prior\.(parts\.\d+\.)*vectors|model\.(\w+\.)*weights|model\.of")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    """Which clips, and what of them.

    Attributes:
        shards: folder that `egokeras prepare` or `egokeras observe` made; several of the latter, with commas between them, are joined.
        train, validation: names of the splits that training learns from and looks at.
        test: the split that judges the trained model; empty is the one that training looks at.
        heads: label spaces to learn; empty is `verb` and `noun` where the data has them and is no observation set, else `action`.
        classes: sizes of the label spaces, for `describe` without data; data that has other sizes is refused.
        videos: a text file with one video name per line, or a csv with a column `video_id`: only clips of these videos are used.
        hold_out: share of the training clips to validate on, in the place of the split `validation`: 1/2, 1/3, 1/4 ..., whichever is
            nearest; 0 is none. Videos are not cut apart, nor groups that the dataset's own splits keep whole (UCF-101's, one's own).
        crop: how the model's clip is cut out of a stored one that is longer or larger: at random in training, else in the middle; or None.
        augment: random changes to the training clips, or None.
        two_clips: cut a clip of its own for each view of a method that compares views; otherwise all views are of one clip.
        balanced: draw training clips so that rare classes come as often as common ones.
    """

    shards: str = ""
    train: str = "train"
    validation: str = "validation"
    test: str = ""
    heads: tuple[str, ...] = ()
    classes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    videos: str = ""
    hold_out: float = 0.0
    crop: Crop | None = None
    augment: Augment | None = None
    two_clips: bool = True
    balanced: bool = False

    def open(self, shards=None):
        """The set in `shards`, or in another folder, as clips of the size that the model sees."""
        return cropped(open_sets(shards or self.shards), self.crop)

    def rows(self, shards):
        """Rows of `shards` to train on, and rows to validate on (see `selection.split_rows`)."""
        return split_rows(shards, train=self.train, validation=self.validation, videos=self.videos, hold_out=self.hold_out)

    def judged(self, shards):
        """Rows of `shards` to train on, and rows to judge the trained model by."""
        train, held_out = self.rows(shards)
        return train, shards.rows(self.test) if self.test else held_out

    @property
    def held_out(self):
        """What to call the clips that judge."""
        if self.test:
            return self.test
        return f"{self.hold_out:.0%} of {self.train}" if self.hold_out else self.validation

    @classmethod
    def of_run(cls, record):
        """What the `recipe.json` of a run says about which clips were trained on, and how they were cut."""
        fields = ("shards", "train", "validation", "test", "videos", "hold_out")
        known = {name: record["data"][name] for name in fields if name in record["data"]}
        crop = record["data"].get("crop")
        cut = {name: crop[name] for name in ("frames", "segments", "size") if name in crop} if crop else {}
        return cls(**known, crop=crop and Crop(**cut, sides=tuple(crop["sides"])))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training.

    Attributes:
        name: of the stage, and of its run folder.
        data, model, method, optim: what is learned from what, how.
        epochs: passes over the training clips.
        batch_size: clips per step.
        seed: of the weights, the order of the clips and the augmentation.
        early_stopping: epochs without a better `monitor` after which training ends and the best weights return; None is never.
        monitor: what is better: a lower `val_loss`, or a higher `val_action_top5` or the like.
        start_from: earlier stages, or run folders, whose weights layers of the same name take over; another shape is an error.
        pruning: how many weights of the student become zero while it trains, and when, whatever the method; None is none.
        mixed_precision: compute in float16 with float32 weights (for GPUs).
        cache_features: compute a frozen backbone's features once, where no augmentation forbids it.
        feature_views: augmented copies of each training clip whose features are computed once, too, and taken in turn by the epochs; 0
            is none: with an augmentation the backbone then runs in every step.
        deterministic: let TensorFlow take only operations that give the same bits in every run (needed on a GPU; slower there).
        folds: below 1,000 clips, also score by that many grouped folds, each trained anew; 0 is never.
        exports: names of the exports that follow, where the whole road is taken.
        paper: key of the paper in `egokeras.papers.PAPERS` whose setting this is; empty is none.
        published: what that paper has with it in percent, by the name of the score: `verb_top1`, or `action_top5@1s` for anticipation.
        measured: whether egokeras' own results have it at full size.
    """

    name: str
    data: Data = Data()
    model: Model = FrameModel()
    method: Method = Supervised()
    optim: Optim = Optim()
    epochs: int = 100
    batch_size: int = 16
    seed: int = 0
    early_stopping: int | None = None
    monitor: str = "val_loss"
    start_from: tuple[str, ...] = ()
    pruning: Pruning | None = None
    mixed_precision: bool = False
    cache_features: bool = True
    feature_views: int = 0
    deterministic: bool = False
    folds: int = 0
    exports: tuple[str, ...] = ()
    paper: str = ""
    published: Mapping[str, float] = dataclasses.field(default_factory=dict)
    measured: bool = False

    def __post_init__(self):
        for field, least in (("epochs", 1), ("batch_size", 1), ("seed", 0), ("early_stopping", 1), ("folds", 0), ("feature_views", 0)):
            value = getattr(self, field)
            if value is not None and value < least:
                raise InputError(f"{field} is {value}; it must be at least {least}.")
        if not self.monitor.startswith("val_"):
            raise InputError(f"monitor is {self.monitor!r}; give val_loss or a score of the held-out clips such as val_action_top5.")
        if self.folds and (self.start_from or isinstance(self.model, Pruned)):
            field = "start_from" if self.start_from else "model.of"
            raise InputError(f"{field} has weights of all training clips, so folds would score clips that they know; set one of them.")
        if self.paper and self.paper not in PAPERS:
            raise InputError(f"paper is {self.paper!r}; egokeras knows {', '.join(PAPERS)}.")

    @property
    def watched_by(self):
        """Names of the fields that follow `monitor`."""
        follow = {"early_stopping": self.early_stopping is not None, "optim.schedule=Plateau": isinstance(self.optim.schedule, Plateau)}
        return [field for field, follows in follow.items() if follows]


def shipped(folder):
    """Name to file, for all files that come with egokeras in a folder: beside this one in a wheel, one up in a checkout."""
    package = pathlib.Path(__file__).parent
    return {path.stem: path for place in (package, package.parent) for path in sorted((place / folder).glob("*.py"))}


def find(kind, given, known):
    """The file of a recipe or an export (`kind`), given by its path or by one of the `known` names.

    Raises:
        InputError: there is none.
    """
    path = pathlib.Path(given) if str(given).endswith(".py") else known.get(str(given))
    if path is None or not path.is_file():
        nearest = ", ".join(difflib.get_close_matches(str(given), known, n=3, cutoff=0.4) or known)
        raise InputError(
            f"there is no {kind} {str(given)!r}; nearest: {nearest}. `egokeras list` shows all; a path to a .py file works too."
        )
    return path


def names():
    """Recipe name to its file, for all recipes that come with egokeras."""
    return shipped("pipelines")


def load(recipe, changes=()):
    """Stages of a recipe file, given by its path or, for those that come with egokeras, by its name.

    Args:
        recipe: path or name.
        changes: `key=value` each, of a field (see `override`) or of an argument of the file's `stages()`.

    Raises:
        InputError: no such recipe, the file has no `stages()` that returns recipes, or a change does not fit.
    """
    path = find("recipe", recipe, names())
    stages = getattr(run_file(path), "stages", None)
    if not callable(stages):
        raise InputError(f"{path} has no function stages(); a recipe file returns a tuple of Recipe from it.")
    parameters, arguments, fields = inspect.signature(stages).parameters, {}, []
    for change in changes:
        key, equals, text = change.partition("=")
        if equals and key in parameters:
            hint = typing.get_type_hints(stages).get(key) or _type_of(parameters[key].default, f"{path}: {key} of stages()")
            arguments[key] = parsed(text, hint, key)
        else:
            fields.append(change)
    made = stages(**arguments)
    if not isinstance(made, tuple) or not made or not all(isinstance(stage, Recipe) for stage in made):
        raise InputError(f"{path}: stages() returned {type(made).__name__}; it must return a tuple of Recipe.")
    for change in fields:
        made = override(made, change)
    return made


def _type_of(default, what) -> Any:
    """The type hint that the default of an argument without one stands for."""
    if default in (None, inspect.Parameter.empty):
        raise InputError(f"{what} has neither a type nor a default that tells one; annotate it, for example with `: int`.")
    return types.GenericAlias(tuple, (type((*default, "")[0]), ...)) if isinstance(default, tuple) else type(default)


def override(stages, assignment):
    """Stages with one field changed: `optim.learning_rate=1e-3`, or `STAGE.optim.learning_rate=1e-3` for one stage alone.

    A field of the model is changed where the model has it: what a stage prunes of an earlier one follows that one.

    A value is a Python literal, a bare word for text, or the name of a class where the field holds an object (`model.head=LSTMHead`).

    Raises:
        InputError: not of the form key=value, an unknown key, or a value of the wrong type.
    """
    key, equals, text = assignment.partition("=")
    if not equals:
        raise InputError(f"{assignment!r} is not key=value, for example optim.learning_rate=1e-3.")
    stage, _, rest = key.partition(".")
    chosen = [stage] if rest and stage in [recipe.name for recipe in stages] else [recipe.name for recipe in stages]
    path = (rest if rest and [stage] == chosen and stage not in fields_of(stages[0]) else key).split(".")
    if path[0] == "model" and len(path) > 1:
        having = [recipe.name for recipe in stages if recipe.name in chosen and path[1] in fields_of(recipe.model)]
        chosen = having or chosen
    return tuple(replaced(recipe, path, text, key) if recipe.name in chosen else recipe for recipe in stages)


def as_json(value):
    """A recipe as JSON values, for the record and for comparison: objects carry their class's name under `is`."""
    if is_dataclass(value):
        return {"is": type(value).__name__, **{name: as_json(getattr(value, name)) for name in fields_of(value)}}
    if isinstance(value, Mapping):
        return {key: as_json(item) for key, item in value.items()}
    return [as_json(item) for item in value] if isinstance(value, tuple) else value


def differences(record, recipe):
    """Fields in which the `recipe.json` of a run and a recipe differ, as `optim.learning_rate was 0.001 and is 0.01`.

    Paths may change, and what is known of a recipe (FACTS).
    """
    old, new = settings(record), settings(as_json(recipe))
    keys = [key for key in {**old, **new} if not PATHS.fullmatch(key) and old.get(key, _ABSENT) != new.get(key, _ABSENT)]
    return [f"{key} was {_shown(old, key)} and is {_shown(new, key)}" for key in keys]


def settings(record):
    """Dotted key to value of every field of a recipe as JSON, but for the FACTS; an object's class stands under `KEY.is`."""
    return {key: value for key, value in _leaves(record) if key.partition(".")[0] not in FACTS}


_ABSENT = object()


def _shown(leaves, key):
    return repr(leaves[key]) if key in leaves else "absent"


def _leaves(value, path=()):
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for number, item in enumerate(value):
            yield from _leaves(item, (*path, str(number)))
    else:
        yield ".".join(path), value
