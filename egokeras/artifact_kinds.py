"""How a run becomes an artifact of each kind: which files are made of its model, what artifact.json says, what is judged."""

import dataclasses
import functools
import typing

import numpy as np

from egokeras import early_exits, soft_targets, wise
from egokeras.compress.conversion import Conversion
from egokeras.compress.quantize import write_calibration
from egokeras.compress.tflite import WEIGHT_ONLY
from egokeras.compress.twin import inference_twin
from egokeras.device.manifest import CARRIED, CLIP, INPUT, LABELS, STEP, STREAM, WINDOW, exit_output
from egokeras.errors import InputError
from egokeras.exit_ensemble import Ensemble
from egokeras.models import streaming
from egokeras.models.anticipation_step import step_model
from egokeras.protocol import ANTICIPATION
from egokeras.staged import exits_of

EARLY_EXIT = "early_exit"
STREAM_EARLY_EXIT = "stream_early_exit"
MIXED = "mixed"
QUANTIZATIONS = ("int8", MIXED, "dynamic_range", WEIGHT_ONLY, "float16", "float32")  # from the smallest artifact to the most faithful
FORMATS = {"tflite": QUANTIZATIONS, "onnx": ("int8", MIXED, "float32"), "savedmodel": ("float32",)}
FILES = {"tflite": "{}.tflite", "onnx": "{}.onnx", "savedmodel": "{}/saved_model.pb"}
HALVES = ("features", "head")


def made_of(run):
    """The kinds of artifact that a run can become."""
    return tuple(name for name, kind in KINDS.items() if kind.fits(run))


@dataclasses.dataclass(frozen=True)
class Clips:
    """A clip in, its logits out: one file, or with mixed quantization the features in int8 and the head in float32.

    Attributes:
        run: the `egokeras.gated_run.Run`.
        export: the `egokeras.export.Export`.
    """

    run: typing.Any
    export: typing.Any
    quantizations: typing.ClassVar[tuple[str, ...]] = QUANTIZATIONS
    reference: typing.ClassVar[str] = "clips"  # kinds of one reference are judged by the same answers of Keras

    @staticmethod
    def fits(run):
        """Whether a run can become this."""
        return not run.anticipates and len(run.networks) == 1

    def conversions(self, work):
        """The `Conversion`s of the artifact's files, in the order in which they run.

        Args:
            work: folder for what must be made before; the files go into its folder `export.name`.

        Raises:
            InputError: the model has no such parts, or int8 has no training clips.
        """
        if self.export.quantization != MIXED and self.export.qat is None:
            return [self._conversion(work, "model", self.run.model, self.run.classes, self.export.quantization)]
        return self._halves(work, *streaming.halves(self.run.model))

    def _halves(self, work, features, head, state=()):
        quantizations = ("int8", "float32") if self.export.quantization == MIXED else (self.export.quantization,) * 2
        outputs = ["features"], [*self.run.classes, *state]
        parts = list(zip(HALVES, (features, head), outputs, quantizations, strict=True))
        if self.export.qat is None:
            return [self._conversion(work, *part) for part in parts]
        clips, name = self.run.inputs[INPUT], self.export.name
        training = soft_targets.training(self.run, self.export, work, time=None if self.export.kind == STREAM else clips.shape[1])
        calibration = None
        if self.export.quantization == "int8":
            (inside := work / f"{name}.inside").mkdir()
            twins = [inference_twin(features), inference_twin(head, list(self.run.classes))]
            calibration = early_exits.write_calibrations(twins, self._calibration(work), inside)[1]
        return [self._conversion(work, *parts[0], training=training), self._conversion(work, *parts[1], calibration=calibration)]

    def _conversion(self, work, name, model, outputs, quantization, calibration=None, training=None):
        saved = work / f"{self.export.name}.{name}.keras"
        model.save(saved)
        file = work / self.export.name / FILES[self.export.format].format(name)
        file.parent.mkdir(exist_ok=True)
        if quantization == "int8" and not (calibration or training):
            calibration = self._calibration(work)
        return Conversion(
            model=str(saved),
            outputs=tuple(outputs),
            kind=quantization,
            file=str(file),
            calibration=calibration,
            training=training,
        )

    def _calibration(self, work, apart=False):
        """Input to the file of its examples."""
        run, export = self.run, self.export
        if not len(run.train):
            raise InputError(f"{run.shards.path} has no training clips to calibrate {export.name} on; give the data of the training.")
        files = {name: str(work / f"{export.name}.{name}.npy") for name in run.inputs}
        labels = run.shards.labels(next(iter(run.classes)), run.train)
        write_calibration(run.shards, run.train, labels, files, count=export.calibration_clips, seed=export.seed, apart=apart)
        return files

    def describe(self):
        """What artifact.json says about inputs and outputs."""
        inputs = {name: self._pictures(name) for name in self.run.inputs}
        index = self.run.shards.indexes[next(iter(inputs))]
        return {
            "inputs": inputs,
            "outputs": self.run.classes,
            "sampling": {**index["sampling"], "clip_seconds": index["clip_seconds"]},
        }

    def _pictures(self, name):
        """One input of clips, with how its pictures were made of frames."""
        shards = self.run.shards
        index, shape = shards.indexes[name], shards.modalities[name]
        made = {key: index[key] for key in ("flow", "difference", "traced") if key in index}
        stored = getattr(shards, "stored", shards).modalities[name]
        cut = {"cut_from": list(stored[1:3])} if stored[1:3] != shape[1:3] else {}
        return {"shape": [1, *shape], "dtype": "uint8", "channels": index["channels"], "resize": index["resize"], **cut, **made}

    def judged(self):
        """What is judged: (its name, its head, which output, which part of that output)."""
        return [(head, head, head, np.s_[:]) for head in self.run.classes]

    def expected(self, inputs):
        """What Keras answers to a batch: outputs by name."""
        return self.run.model.predict_on_batch(inputs)

    def decided(self, found):
        """What artifact.json says of the artifact's own answers, `found` by what is judged: (clips, classes)."""
        return {}


class Stream(Clips):
    """A frame and a state in, logits and the new state out: a file for the frame's features, and one for the head over time."""

    quantizations = QUANTIZATIONS[1:]  # a state that is fed back needs more than 8 bits

    @staticmethod
    def fits(run):
        """Whether a run can become this."""
        if not Clips.fits(run) or set(run.inputs) != {INPUT}:
            return False
        try:
            streaming.features_step(run.model)
        except InputError:
            return False
        return True

    @functools.cached_property
    def _step(self):
        return {WINDOW: streaming.window_step, CARRIED: streaming.carried_step}[self.export.memory](self.run.model)

    def conversions(self, work):
        return self._halves(work, streaming.features_step(self.run.model), self._step, _state(self._step))

    def _calibration(self, work, apart=True):
        return super()._calibration(work, apart)

    def describe(self):
        reset = {"reset_frames": self.export.reset_frames} if self.export.reset_frames else {}
        return {
            **_of_frames(super().describe()),
            "state": _tensors(self._step),
            "memory": self.export.memory,
            **reset,
        }


class Step(Clips):
    """The step of a stream of observations, for a run that anticipates; every anticipation time is judged as a head of its own."""

    quantizations = QUANTIZATIONS[2:]
    reference = "steps"

    @staticmethod
    def fits(run):
        """Whether a run can become this."""
        return run.anticipates

    @functools.cached_property
    def _step(self):
        return step_model(self.run.model)

    def conversions(self, work):
        outputs = [*self.run.classes, *_state(self._step)]
        return [self._conversion(work, "model", self._step, outputs, self.export.quantization)]

    def describe(self):
        run, step = self.run, self._step
        sets = getattr(run.shards, "sets", None) or {run.shards.modality: run.shards}
        observed = {name: {**_tensor(step.input[name]), "observed": sets[name].index["observations"]} for name in run.model.input}
        spaces = ("verb", "noun") if LABELS in observed else ()
        about = next(iter(observed.values()))["observed"]
        return {
            "kind": STEP,
            "inputs": observed,
            "state": _tensors(step),
            "outputs": run.classes,
            "anticipation": {"step": about["step"], "steps": about["steps"], "times": list(ANTICIPATION)},
            **({"vocabulary": {space: list(run.shards.classes[space]) for space in spaces}} if spaces else {}),
        }

    def judged(self):
        times = enumerate(ANTICIPATION)
        return [(f"{head} {time:g} s", head, head, np.s_[:, row]) for row, time in times for head in self.run.classes]


class EarlyExits(Clips):
    """A file for each exit, which goes on where the one before it stopped: a clip pays for nothing behind the exit at which it leaves.

    Exits answer with WISE's weighted sums (`egokeras wise`), and every exit is judged. The thresholds are chosen on the artifact's own
    answers to the validation clips.
    """

    quantizations = (*QUANTIZATIONS[:1], *QUANTIZATIONS[2:])
    reference = "exits"

    @staticmethod
    def fits(run):
        """Whether a run can become this."""
        return not run.anticipates and all(any("_exit_" in name for name in network.output) for network in run.networks.values())

    @functools.cached_property
    def _weights(self):
        """Head to WISE's weights (exits, exits)."""
        run = self.run
        if run.weighed is None:
            raise InputError(f"{run.path}: its exits are not weighed yet; run `egokeras wise {run.path}` first.")
        heads = run.weighed["heads"]
        missing = [head for head in run.classes if head not in heads]
        if missing or run.weighed["exits"] != self._ensemble.names:
            raise InputError(f"{run.path}: its wise.json is of other exits; run `egokeras wise {run.path}` again.")
        return {head: np.array(heads[head]["weights"], np.float64) for head in run.classes}

    @functools.cached_property
    def _ensemble(self):
        return Ensemble(networks=self.run.networks, data=self.run.data, shards=self.run.shards, spaces=tuple(self.run.classes))

    def conversions(self, work):
        parts = early_exits.parts(self.run.networks, list(self._weights))
        return self._in_order(work, "exit", parts, self.export.quantization)

    def _in_order(self, work, name, parts, quantization):
        """The `Conversion`s of parts each of which goes on where those before it stopped."""
        calibrations: list = [None] * len(parts)
        if quantization == "int8":
            inside = work / f"{self.export.name}.inside"
            inside.mkdir()
            calibrations = early_exits.write_calibrations(parts, self._calibration(work), inside)
        return [
            self._conversion(work, f"{name}_{number}", part, part.output, quantization, calibration)
            for number, (part, calibration) in enumerate(zip(parts, calibrations, strict=True), 1)
        ]

    def describe(self):
        weights = {head: values.tolist() for head, values in self._weights.items()}
        return {**super().describe(), "exits": {"names": self._ensemble.names, "weights": weights}}

    def judged(self):
        exits = enumerate(self._ensemble.names)
        return [(f"{head} {name}", head, exit_output(head, number), np.s_[:]) for number, name in exits for head in self.run.classes]

    def expected(self, inputs):
        z: dict[str, list] = {head: [] for head in self.run.classes}
        for network in self.run.networks.values():
            outputs = network.predict_on_batch({name: inputs[name] for name in network.input})
            for names in exits_of(network, tuple(z)):
                for head, name in names.items():
                    z[head].append(outputs[name])
        combined = {head: wise.combined(self._weights[head], np.stack(found)) for head, found in z.items()}
        return {exit_output(head, number): values for head in z for number, values in enumerate(combined[head])}

    def decided(self, found):
        """Thresholds, and what leaving by them reaches on the clips that chose them."""
        costs, names = self._ensemble.costs(), self._ensemble.names
        wish, described = wise.Wish(lost=self.export.lost_by_leaving), self.describe()["exits"]
        answers = {head: np.stack([found[f"{head} {name}"] for name in names]) for head in self.run.classes}
        labels = {head: self.run.labels(head) for head in answers}
        for head in answers:
            known = labels[head] >= 0
            if not known.any():
                raise InputError(
                    f"{self.run.path}: no validation clip has a label of {head!r}, so no threshold can be chosen; give --data."
                )
            curve = wise.trade_off(answers[head][:, known], labels[head][known], costs)
            described.setdefault("thresholds", {})[head] = wish.threshold(curve)
        judged = np.all([labels[head] >= 0 for head in answers], axis=0)
        taken = wise.leave_together(answers, described["thresholds"])
        return {"exits": {**described, "chosen_on": self._reached(answers, labels, costs, taken, judged)}}

    def _reached(self, answers, labels, costs, taken, judged):
        """Accuracy by head of leaving and of all exits, the share of the cost, and of the clips that left at each exit."""
        rows = np.flatnonzero(judged)
        accuracy = {
            head: [100 * float((z[at, rows].argmax(axis=1) == labels[head][rows]).mean()) for at in (taken[rows], len(costs) - 1)]
            for head, z in answers.items()
        }
        left = wise.shares(taken[rows], len(costs))
        return {"clips": len(rows), "accuracy": accuracy, "cost": float(left @ costs / costs[-1]), "left": left.tolist()}


class StreamEarlyExits(EarlyExits):
    """`EarlyExits` of a stream: for each exit a file for a frame, which goes on where the one before stopped, and one for the last frames.

    Thresholds are chosen as for clips. What leaving saves in a stream depends on how its frames follow one another, and is not foretold.
    """

    quantizations = Stream.quantizations

    @staticmethod
    def fits(run):
        """Whether a run can become this."""
        if not EarlyExits.fits(run) or len(run.networks) > 1:
            return False
        try:
            streaming.exit_unfoldings(run.model, [tuple(names.values()) for names in exits_of(run.model, tuple(run.classes))])
        except InputError:
            return False
        return True

    @functools.cached_property
    def _parts(self):
        return early_exits.frame_parts(self.run.model, list(self._weights))

    def conversions(self, work):
        stages, heads = self._parts
        kinds = ("int8", "float32") if self.export.quantization == MIXED else (self.export.quantization,) * 2
        parts = self._in_order(work, "stage", stages, kinds[0]), self._in_order(work, "head", heads, kinds[1])
        return [each for pair in zip(*parts, strict=True) for each in pair]

    def _calibration(self, work, apart=True):
        return super()._calibration(work, apart)

    def describe(self):
        state = {name: _tensor(tensor) for head in self._parts[1] for name, tensor in head.input.items()}
        return {**_of_frames(super().describe()), "state": state, "memory": WINDOW}

    def _reached(self, *args):
        found = super()._reached(*args)
        del found["cost"]  # of clips that have no frames in common
        return found


KINDS = {CLIP: Clips, STREAM: Stream, STEP: Step, EARLY_EXIT: EarlyExits, STREAM_EARLY_EXIT: StreamEarlyExits}


def _of_frames(described):
    """What is said of clips, said of one frame of them."""
    pictures = described["inputs"][INPUT]
    frames = pictures["shape"].pop(1)
    return {"kind": STREAM, **described, "sampling": {**described["sampling"], "frames": frames}}


def _state(step):
    return [name for name in step.input if name in step.output]


def _tensors(step):
    return {name: _tensor(step.input[name]) for name in _state(step)}


def _tensor(tensor):
    return {"shape": [1, *tensor.shape[1:]], "dtype": tensor.dtype}
