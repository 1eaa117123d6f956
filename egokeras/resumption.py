"""Whether a training may go on in a run folder: the recipe and the clips must be those that it began with."""

import pathlib

from egokeras import recipe as recipes
from egokeras import snapshots
from egokeras.errors import InputError
from egokeras.files import read_json
from egokeras.optim import Cosine


def check(recipe, shards, run_dir):
    """A training goes on with the recipe and the clips that it began with; only more epochs and other paths are welcome.

    Args:
        recipe: a `Recipe`.
        shards: its data.
        run_dir: the run folder.

    Raises:
        InputError: names what differs.
    """
    run_dir = pathlib.Path(run_dir)
    file = run_dir / "recipe.json"
    begun = snapshots.names(run_dir / snapshots.FOLDER)
    if not file.exists() and not begun:  # it was killed before it began
        return
    epochs, data, changed = begun_with(recipe, file, "train anew without --resume")
    if changed:
        raise InputError(f"{run_dir}: {', '.join(changed)}; resume with what it began with, or train anew without --resume.")
    if not begun and (run_dir / "model.keras").exists():
        raise InputError(f"{run_dir} has a trained model and no {snapshots.FOLDER} to go on from; train anew without --resume.")
    if recipe.epochs > epochs and isinstance(recipe.optim.schedule, Cosine):
        print(f"{run_dir}: the learning rate follows a cosine, from here on that of {recipe.epochs} epochs and not {epochs}.")
    if recipe.epochs > epochs and recipe.pruning:
        print(f"{run_dir}: pruning follows a schedule, from here on that of {recipe.epochs} epochs and not {epochs}.")
    if data != shards.sha256:
        raise InputError(f"{run_dir}: {shards.path} does not hold the shards that it began with; give those: data.shards=FOLDER.")


def begun_with(recipe, file, otherwise):
    """What a training began with: its epochs, the SHA-256 of its data, and what else differs from `recipe`, fewer epochs included.

    Args:
        file: `recipe.json` of its run.
        otherwise: what else one can do than to restore a file that is broken.

    Raises:
        InputError: it is no recipe of a run.
    """
    record = read_json(file)
    if not isinstance(record, dict) or not isinstance(record.get("epochs"), int):
        raise InputError(f"{file} is not the recipe of a run; restore it, or {otherwise}.")
    data, _, epochs = record.pop("data_sha256", None), record.pop("channels", None), record["epochs"]
    return epochs, data, recipes.differences({**record, "epochs": max(recipe.epochs, epochs)}, recipe)
