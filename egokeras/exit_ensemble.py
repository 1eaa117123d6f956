"""The early exits of the networks of a run as one: their logits in the order in which they are computed, weighed by WISE.

Soufleri et al., https://arxiv.org/abs/2407.02713: residuals first, then motion vectors, then whole pictures. A run of other networks with
exits, or of one, serves as well.
"""

import dataclasses
import functools
import pathlib
import time
import typing

import keras
import numpy as np

import egokeras
from egokeras import wise
from egokeras.compress.cost import cost
from egokeras.data.selection import grouped_folds, groups
from egokeras.device.latency import host
from egokeras.errors import InputError
from egokeras.files import read_json, write_json
from egokeras.progress import track
from egokeras.recipe import Data
from egokeras.staged import Staged, exits_of

FILE = "wise.json"
PUBLISHED = ("residual", "motion_vector", "iframe")  # order
ABLATIONS = ("alone", "WISE", "divided", "equal")
TRAIN, HELD_OUT = "train", "held-out"  # clips that the weights may be fitted on
FOLDS, BY_FOLDS, OTHERS = 5, "folds", "other clips"  # what may choose a threshold
TIMED_CLIPS, ROUNDS = 40, 3


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Clips:
    """Clips that have a label in a label space.

    Attributes:
        logits: (exits, clips, classes) float32.
        labels: (clips,) class ids.
        groups: (clips,) names of what no two folds share.
    """

    logits: np.ndarray
    labels: np.ndarray
    groups: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Ensemble:
    """Networks with exits, and their data.

    Attributes:
        networks: name to model, in the order in which they are computed. A network is called by what it reads, `residual`, or by its stage
            where another one reads that, too.
        data: of their training.
        shards: the same, open: `Shards`, `Joined` or `Cropped`.
        spaces: label spaces that all of them answer.
    """

    networks: dict[str, keras.Model]
    data: Data
    shards: typing.Any
    spaces: tuple[str, ...]

    @classmethod
    def open(cls, run_dir, order=None):
        """The networks with exits in a run of one or several stages.

        Args:
            run_dir: the run folder.
            order: names of networks; None takes all, the published ones first and in their order.

        Raises:
            InputError: a network is not there, or one reads other data or has other classes than the rest.
        """
        found = networks_of(run_dir, order)
        data = Data.of_run(read_json(next(iter(found.values()))[0] / "recipe.json"))
        shards = data.open()
        for folder, model in found.values():
            shards.check_fits(model, read_json(folder / "classes.json"))
        networks = {name: model for name, (_, model) in found.items()}
        spaces = tuple(space for space in shards.classes if all(space in model.output for model in networks.values()))
        if not spaces:
            raise InputError(f"{run_dir}: no label space is answered by all of {', '.join(networks)}; choose networks by their order.")
        return cls(networks=networks, data=data, shards=shards, spaces=spaces)

    @property
    def names(self):
        """Of the exits: network and number, `residual 1`."""
        return [f"{name} {number}" for name, model in self.networks.items() for number, _ in enumerate(exits_of(model, self.spaces), 1)]

    def costs(self):
        """(exits,) multiply-accumulates of everything up to each exit, those on the way included, for one clip."""
        found, before = [], 0
        for model in self.networks.values():
            outputs: dict[str, keras.KerasTensor] = {}
            for names in exits_of(model, self.spaces):
                outputs |= {name: model.output[name] for name in names.values()}
                found.append(before + cost(keras.Model(model.input, outputs))["macs"]["whole"])
            before = found[-1]
        return np.array(found, float)

    def labelled(self, rows, batch_size=16):
        """Label space to the `Clips` of `rows` that have a label in it."""
        parts: dict[str, list] = {space: [] for space in self.spaces}
        for at in track(range(0, len(rows), batch_size), "exits", unit="batches"):
            inputs = self.shards.inputs(rows[at : at + batch_size])
            found = [(model, model.predict_on_batch({name: inputs[name] for name in model.input})) for model in self.networks.values()]
            for space, collected in parts.items():
                collected.append(np.stack([outputs[names[space]] for model, outputs in found for names in exits_of(model, self.spaces)]))
        clips = {}
        for space in parts if len(rows) else ():
            labels = self.shards.labels(space, rows)
            known = labels >= 0
            logits = np.concatenate(parts[space], axis=1)[:, known]
            clips[space] = Clips(logits=logits, labels=labels[known], groups=groups(self.shards, rows[known]))
        return clips


def networks_of(run_dir, order=None):
    """Name to folder and model of the networks with exits in a run, in their order; arguments and errors as of `Ensemble.open`."""
    found = _with_exits(pathlib.Path(run_dir))
    order = order or sorted(found, key=lambda name: PUBLISHED.index(name) if name in PUBLISHED else len(PUBLISHED))
    for name in order or ("early exits",):
        if name not in found:
            there = f"it has {', '.join(found)}" if found else "give a run of the recipe pkd_wise, or one with model=WithExits"
            raise InputError(f"{run_dir} has no trained network {name!r} with exits; {there}.")
    return {name: found[name] for name in order}


def _with_exits(run_dir):
    """Name to folder and model of each network with exits in a run."""
    files = [*run_dir.glob("model.keras"), *sorted(run_dir.glob("*/model.keras"))]
    loaded = [(file.parent, egokeras.load_model(file)) for file in files]
    found = [(folder, model) for folder, model in loaded if any("_exit_" in name for name in model.output)]
    reads = [",".join(model.input) for _, model in found]
    return {what if reads.count(what) == 1 else one[0].name: one for what, one in zip(reads, found, strict=True)}


def fit(run_dir, *, order=None, fit_on=TRAIN, l1=None, nonnegative=False, wish=wise.Wish(), milliseconds=False):  # noqa: B008  frozen
    """Fit WISE on clips of a run, judge it on others, and keep it as `wise.json` in the run.

    The threshold for leaving early is chosen on the clips that the training has looked at, where the run has others to judge by;
    where it has not, on the clips that judge, and it is judged by five folds of them: each clip leaves by the threshold that the other
    folds choose. With `fit_on="held-out"` the same goes for the weights.

    Args:
        run_dir, order: as for `Ensemble.open`.
        fit_on: what the weights are fitted on: `train` as published, or `held-out`, for networks that have their training clips by heart
            and are surer of them than of any other.
        l1: penalty on the weights of every exit; None is the published one.
        nonnegative: allow no weight below 0.
        wish: what leaving early shall reach, a `wise.Wish`.
        milliseconds: also measure, see `measure`.

    Returns:
        The content of `wise.json`: `order`, `exits` (names), `costs` (multiply-accumulates up to each), `clips` that judge, `judged_on`
        (what to call them), `fitted_on` (`fit_on`), `milliseconds` (see `measure`, or None), and by label space in `heads` the entries
        that `judge` gives.

    Raises:
        InputError: a network or the data is missing, no threshold fulfils the wish, or nothing could judge the weights.
    """
    ensemble = Ensemble.open(run_dir, order)
    data, costs = ensemble.data, ensemble.costs()
    train_rows, seen = data.rows(ensemble.shards)
    judged_rows, choosing_rows = (ensemble.shards.rows(data.test), seen) if data.test else (seen, seen[:0])
    if not len(judged_rows):
        raise InputError(f"{run_dir}: there are no clips of {data.held_out!r} to judge by; train with some held out: data.hold_out=0.2.")
    judged, choosing = map(ensemble.labelled, (judged_rows, choosing_rows))
    train = ensemble.labelled(train_rows) if fit_on == TRAIN else {}
    weigh = functools.partial(wise.fit_wise, l1=None if l1 is None else [l1] * len(costs), nonnegative=nonnegative)
    heads = {}
    for space, clips in judged.items():
        if fit_on == HELD_OUT and not (space in choosing and len(choosing[space].labels)) and len(np.unique(clips.groups)) < 2:
            raise InputError(f"{run_dir}: its clips of {data.held_out!r} are of one group, so none could judge weights fitted on them.")
        known = train.get(space)
        chosen = weigh if known is None else constant(weigh(known.logits, known.labels))
        heads[space] = judge(chosen, clips, choosing.get(space), costs, wish)
    about = {"order": list(ensemble.networks), "exits": ensemble.names, "costs": costs.tolist()}
    about |= {"clips": len(judged_rows), "judged_on": data.held_out, "fitted_on": fit_on}
    timed = measure(ensemble, heads, judged_rows) if milliseconds else None
    found = {**about, "milliseconds": timed, "heads": heads}
    write_json(pathlib.Path(run_dir) / FILE, found)
    return found


def constant(weights):
    """For `judge`: weights that were fitted before."""
    return lambda logits, labels: weights


def judge(weigh, judged, choosing, costs, wish):
    """What a label space has in `wise.json`.

    Args:
        weigh: from logits and labels of the clips that choose the threshold to weights of WISE (exits, exits): `wise.fit_wise`, or
            `constant` weights.
        judged: the `Clips` that judge; those of one group are judged by `constant` weights alone.
        choosing: other `Clips`, which choose the threshold; None or none where folds of those that judge take turns.
        costs: (exits,) of everything up to each exit.
        wish: a `wise.Wish`.

    Returns:
        `weights`; `accuracy` of every exit, for each of ABLATIONS; `trade_off` of the WISE answers on the clips that judge (fields of
        `wise.TradeOff`); `leaving`: `threshold`, what it is `chosen_on` (`other clips` or `folds`), and of clips that did not choose it
        `accuracy`, `cost` and the share that `left` at each exit, None where all clips are of one group.
    """
    logits, labels = judged.logits, judged.labels
    apart = choosing is not None and len(choosing.labels) > 0
    fitted = choosing if apart else judged
    weights, fold_of = weigh(fitted.logits, fitted.labels), grouped_folds(fitted.groups, fitted.labels, FOLDS)
    answers = wise.cross_fitted(weigh, fitted.logits, fitted.labels, fold_of)
    threshold, taken = wish.threshold(wise.trade_off(answers, fitted.labels, costs)), None
    if apart:
        answers = wise.combined(weights, logits)
        taken = wise.leave(answers, threshold)
    elif fold_of.any():
        taken = wise.leave_by_folds(weigh, logits, labels, costs, fold_of, wish)
    curve = wise.trade_off(answers, labels, costs)
    ablations = {
        "alone": logits,
        "WISE": answers,
        "divided": wise.divided(answers),
        "equal": wise.combined(wise.equal_weights(len(logits)), logits),
    }
    return {
        "weights": weights.tolist(),
        "accuracy": {name: (100 * (z.argmax(axis=2) == labels).mean(axis=1)).tolist() for name, z in ablations.items()},
        "trade_off": {field.name: getattr(curve, field.name).tolist() for field in dataclasses.fields(curve)},
        "leaving": {"threshold": threshold, "chosen_on": OTHERS if apart else BY_FOLDS, **_reached(answers, labels, costs, taken)},
    }


def _reached(answers, labels, costs, taken):
    """Accuracy, cost and shares of clips that leave at the exits `taken`; None if that is not known."""
    if taken is None:
        return dict.fromkeys(("accuracy", "cost", "left"))
    right, left = answers.argmax(axis=2) == labels, wise.shares(taken, len(answers))
    return {"accuracy": float(100 * right[taken, np.arange(len(labels))].mean()), "cost": float(left @ costs), "left": left.tolist()}


def measure(ensemble, heads, rows):
    """Time on this machine, of one clip after another.

    Args:
        ensemble: the `Ensemble`.
        heads: by label space, what `judge` gives.
        rows: of clips; some of them, evenly spaced, are taken.

    Returns:
        `host`; `clips`; `exits`, the median time until each exit has answered; `everything`, the mean until the last; and by label space in
        `heads`: `leaving`, the mean of clips that leave by the threshold, and `tabulated`, what `exits` says that this takes.
    """
    staged = Staged(ensemble.networks, {space: head["weights"] for space, head in heads.items()})
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, TIMED_CLIPS).round().astype(int))]
    through, left = np.zeros((len(rows), ROUNDS, len(staged.names))), {space: np.zeros((len(rows), ROUNDS)) for space in heads}
    taken = {space: np.zeros(len(rows), np.int64) for space in heads}
    for number, row in enumerate(track(rows, "milliseconds", unit="clips")):
        clip = {name: values[0] for name, values in ensemble.shards.inputs(np.array([row])).items()}
        if not number:
            staged.milliseconds(clip)  # TensorFlow compiles
        for turn in range(ROUNDS):
            through[number, turn] = staged.milliseconds(clip)
            for space, head in heads.items():
                started = time.perf_counter()
                taken[space][number] = staged.answer(clip, {space: head["leaving"]["threshold"]}).exit
                left[space][number, turn] = 1000 * (time.perf_counter() - started)
    exits = np.median(through, axis=(0, 1))
    return {
        "host": host(),
        "clips": len(rows),
        "exits": exits.tolist(),
        "everything": float(np.median(through[:, :, -1], axis=1).mean()),
        "heads": {
            space: {"leaving": float(np.median(left[space], axis=1).mean()), "tabulated": float(exits[taken[space]].mean())}
            for space in heads
        },
    }


def open_staged(run_dir):
    """The networks of a run for one clip at a time, as `egokeras wise` has weighed them.

    Returns:
        A `Staged`, and label space to the threshold that was chosen for it.

    Raises:
        InputError: the run has no `wise.json`, or a network of it is missing.
    """
    if not (pathlib.Path(run_dir) / FILE).is_file():
        raise InputError(f"{run_dir} has no {FILE}; run `egokeras wise {run_dir}` first.")
    found = read_json(pathlib.Path(run_dir) / FILE)
    networks = Ensemble.open(run_dir, found["order"]).networks
    weights = {space: head["weights"] for space, head in found["heads"].items()}
    return Staged(networks, weights), {space: head["leaving"]["threshold"] for space, head in found["heads"].items()}
