"""The early exits of several networks as one: their logits in the order in which they are computed, weighed by WISE.

Soufleri et al., https://arxiv.org/abs/2407.02713: residuals first, then motion vectors, then whole pictures.
"""

import dataclasses
import pathlib

import keras
import numpy as np

import egokeras
from egokeras import wise
from egokeras.compress.cost import cost
from egokeras.errors import InputError
from egokeras.files import read_json, write_json
from egokeras.progress import track
from egokeras.recipe import Data

FILE = "wise.json"
ORDER = ("residual", "motion_vector", "iframe")
ABLATIONS = ("alone", "WISE", "divided", "equal")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Exits:
    """Exits of all networks, in order.

    Attributes:
        names: of each: modality and number, `residual 1`.
        logits: label space to (exits, clips, classes) float32.
        labels: label space to (clips,) class ids, -1 for none.
    """

    names: tuple[str, ...]
    logits: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]


def open_networks(run_dir, order=ORDER):
    """Modality to trained network with exits, and the `Data` that they were trained on, of a run of several stages.

    Args:
        run_dir: of the recipe `pkd_wise`, or another with a stage for each network with exits.
        order: the modalities in the order in which they are computed.

    Raises:
        InputError: a network is not there.
    """
    folders = {}
    for file in sorted(pathlib.Path(run_dir).glob("*/recipe.json")):
        model = read_json(file).get("model", {})
        if model.get("is") == "EarlyExitResNet" and model.get("exits") != [] and (file.parent / "model.keras").is_file():
            folders[model["modality"]] = file.parent
    for modality in order:
        if modality not in folders:
            cure = f"give a run of the recipe pkd_wise, or another --order than {','.join(order)}"
            raise InputError(f"{run_dir} has no trained network of {modality} with exits; {cure}.")
    networks = {modality: egokeras.load_model(folders[modality] / "model.keras") for modality in order}
    return networks, Data.of_run(read_json(folders[order[0]] / "recipe.json"))


def exits_of(networks, shards, rows, spaces, batch_size=16):
    """The `Exits` of networks on clips.

    Args:
        networks: modality to model, in order.
        shards: open data that has all modalities.
        rows: of `shards`.
        spaces: label spaces.
        batch_size: clips at once.
    """
    outputs = {modality: _outputs(model, spaces[0]) for modality, model in networks.items()}
    parts: dict[str, list] = {space: [] for space in spaces}
    for at in track(range(0, len(rows), batch_size), "exits", unit="batches"):
        inputs = shards.inputs(rows[at : at + batch_size])
        found = {modality: model.predict_on_batch({modality: inputs[modality]}) for modality, model in networks.items()}
        for space, collected in parts.items():
            collected.append(np.stack([found[modality][name] for modality in networks for name in _outputs(networks[modality], space)]))
    return Exits(
        names=tuple(f"{modality} {number}" for modality, names in outputs.items() for number in range(1, len(names) + 1)),
        logits={space: np.concatenate(collected, axis=1) for space, collected in parts.items()},
        labels={space: shards.labels(space, rows) for space in spaces},
    )


def _outputs(model, space):
    """Names of the model's exits of a label space, the last of all at the end."""
    return [*sorted(name for name in model.output if name.startswith(f"{space}_exit_")), space]


def costs_of(networks, space):
    """(exits,) multiply-accumulates of everything up to each exit, those on the way included, for one clip."""
    found, before = [], 0
    for model in networks.values():
        names = _outputs(model, space)
        parts = [keras.Model(model.input, {name: model.output[name] for name in names[: last + 1]}) for last in range(len(names))]
        steps = [cost(part)["macs"]["whole"] for part in parts]
        found += [before + step for step in steps]
        before += steps[-1]
    return np.array(found, float)


def fit(run_dir, *, order=ORDER, l1=None, nonnegative=False):
    """Fit WISE on the training clips of a run, judge it on the others, and keep it as `wise.json` in the run.

    Args:
        run_dir, order: as for `open_networks`.
        l1: penalty on the weights of every exit; None is the published one.
        nonnegative: allow no weight below 0.

    Returns:
        The content of `wise.json`: `order`, `exits` (names), `costs` (multiply-accumulates up to each), and by label space `weights`,
        `accuracy` (of every exit, for each of ABLATIONS) and `trade_off` of the WISE answers (thresholds, accuracy, cost).

    Raises:
        InputError: a network or the data is missing.
    """
    networks, data = open_networks(run_dir, order)
    shards = data.open()
    train, judged = data.judged(shards)
    spaces = [space for space in next(iter(networks.values())).output if space in shards.classes]
    costs = costs_of(networks, spaces[0])
    learned, held_out = (exits_of(networks, shards, rows, spaces) for rows in (train, judged))
    found = {"order": list(order), "exits": list(held_out.names), "costs": costs.tolist(), "clips": len(judged), "heads": {}}
    for space in spaces:
        penalties = None if l1 is None else [l1] * len(learned.names)
        known, judging = learned.labels[space] >= 0, held_out.labels[space] >= 0
        weights = wise.fit_wise(learned.logits[space][:, known], learned.labels[space][known], l1=penalties, nonnegative=nonnegative)
        found["heads"][space] = judge(weights, held_out.logits[space][:, judging], held_out.labels[space][judging], costs)
    write_json(pathlib.Path(run_dir) / FILE, found)
    return found


def judge(weights, logits, labels, costs):
    """One entry of `heads` in `wise.json`."""
    answers = {
        "alone": logits,
        "WISE": wise.combined(weights, logits),
        "divided": wise.combined(wise.divided(weights), logits),
        "equal": wise.combined(wise.equal_weights(len(logits)), logits),
    }
    curve = wise.trade_off(answers["WISE"], labels, costs)
    return {
        "weights": weights.tolist(),
        "accuracy": {name: (100 * (z.argmax(axis=2) == labels).mean(axis=1)).tolist() for name, z in answers.items()},
        "trade_off": {name: getattr(curve, name).tolist() for name in ("thresholds", "accuracy", "cost")},
    }
