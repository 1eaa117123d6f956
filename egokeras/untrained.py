"""A recipe's model before any training: random weights at the recipe's sizes, to be looked at, counted and timed."""

import dataclasses
import fractions
import pathlib

import numpy as np

import egokeras
from egokeras import students, train
from egokeras.compress.conversion import Conversion, convert
from egokeras.compress.pruned import Pruned
from egokeras.data import synthetic

FEATURES = (14, 1024)  # RU-LSTM's
SHAPES: dict[str, tuple[int, ...]] = {"objects": (14, 352), "labels": (10, 3)}
SHAPES |= {name: (3, 224, 224, 2 if name == "motion_vector" else 3) for name in ("iframe", "residual", "motion_vector")}  # CoViAR's
SHAPES |= {"rgb": (3, 224, 224, 3), "flow": (3, 224, 224, 10), "rgb_difference": (3, 224, 224, 15)}  # TSN's
VIDEO_SECONDS = 6.0
CALIBRATION_CLIPS = 2  # of noise: ranges change what int8 answers, not how long it takes


def build(stage, stages=()):
    """The Keras model of a `Recipe`, for its data or, without any, for the sizes that it expects.

    Args:
        stages: those of its file: a model that is `Pruned` is what is left of an earlier one, or of a run's.

    Returns:
        (`keras.Model`, what only data could tell and was assumed, as a list of words).

    Raises:
        InputError: the data cannot be read or does not fit.
    """
    built, _, assumed = _build(stage, stages)
    return built, assumed


def _build(stage, stages=()):
    """As `build`, with the classes of each head in the middle."""
    if isinstance(stage.model, Pruned):
        whole, classes, assumed = _whole(stage, stages)
        return stage.model.prune(whole), classes, assumed
    shards = stage.data.open() if stage.data.shards else None
    classes = train.class_counts(stage, shards) if shards else _expected_classes(stage)
    model = _untrained(stage.model)
    shapes, assumed = (shards.modalities, []) if shards else _expected_shapes(getattr(model, "model", model), stage.data.crop)
    assumed += [] if shards else [f"{count} classes of {head}" for head, count in classes.items() if head not in stage.data.classes]
    return students.build(model, classes, shapes), classes, assumed


def _whole(stage, stages):
    """What a stage prunes, as `_build` gives it."""
    for earlier in stages:
        if earlier.name == stage.model.of:
            return _build(earlier, stages)
    model = egokeras.load_model(students.earlier(stage.model.of, pathlib.Path(stage.name), "model.of"))
    return model, {head: logits.shape[-1] for head, logits in model.output.items() if head != "features"}, []


def write_tflite(stage, folder, kinds=("float32", "int8")):
    """Convert what `build` gives to TFLite, as `egokeras export` would: a model of clips as it is, one that anticipates as its step.

    Args:
        kinds: of `egokeras.compress.tflite.KINDS`; the step of one that anticipates has no int8 and becomes `dynamic_range` instead.

    Returns:
        (paths of the files `folder/NAME-KIND.tflite`, what was assumed).

    Raises:
        InputError: a file could not be made.
    """
    model, classes, assumed = _build(stage)
    folder = pathlib.Path(folder)
    if any(len(tensor.shape) == 3 for tensor in model.output.values()):
        from egokeras.models.anticipation_step import step_model

        model = step_model(model)
    clips = all(tensor.dtype == "uint8" for tensor in model.input.values())
    kinds = [kind if clips or kind != "int8" else "dynamic_range" for kind in kinds]
    calibration = {name: str(folder / f"{stage.name}.{name}.npy") for name in model.input} if "int8" in kinds else None
    for name, file in (calibration or {}).items():
        shape = (CALIBRATION_CLIPS, *model.input[name].shape[1:])
        np.save(file, np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    model.save(folder / f"{stage.name}.keras")
    files = [folder / f"{stage.name}-{kind}.tflite" for kind in kinds]
    outputs = tuple(name for name in model.output if name in classes or name in model.input)  # a step's state has the names of its inputs
    source = str(folder / f"{stage.name}.keras")
    conversions = [
        Conversion(model=source, outputs=outputs, kind=kind, file=str(file), calibration=calibration)
        for kind, file in zip(kinds, files, strict=True)
    ]
    for error in convert(conversions):
        if error is not None:
            raise error
    return files, assumed


def _untrained(spec):
    """A model's dataclass without files of weights."""
    parts = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
    changed = {name: _untrained(part) for name, part in parts.items() if dataclasses.is_dataclass(part)}
    return dataclasses.replace(spec, **changed, **({"weights": None} if "weights" in parts else {}))


def write_video(path, fps, height, width):
    """Render a kitchen video of a few seconds to `path`, which is returned.

    Raises:
        InputError: H.264 has no such size.
    """
    world = synthetic.World(
        participants=1, held_out=0, videos_per_participant=1, seconds=(VIDEO_SECONDS, VIDEO_SECONDS), size=(width, height)
    )
    (video,) = world.videos()
    synthetic.write_video(path, dataclasses.replace(video, fps=fractions.Fraction(fps).limit_denominator(1001)))
    return path


def _expected_classes(stage):
    classes = stage.data.classes
    heads = stage.data.heads or tuple(space for space in ("verb", "noun") if space in classes)
    return {head: classes.get(head, 10) for head in heads or classes} or {"action": 10}


def _expected_shapes(model, crop):
    """Modality to the shape of a clip where there is no data, and what only the data can tell and was assumed."""
    if hasattr(model, "modalities"):
        shapes = {modality: _seen(SHAPES.get(modality, FEATURES), model, crop) for modality in model.modalities or ("rgb_features",)}
        return shapes, [f"{modality} of {' x '.join(map(str, shape))}" for modality, shape in shapes.items()]
    if not hasattr(model, "frames"):
        return {"labels": SHAPES["labels"]}, [f"labels of {' x '.join(map(str, SHAPES['labels']))}"]
    known = {name: getattr(model, name) or getattr(crop, name, None) for name in ("frames", "size")}
    frames, size = known["frames"] or 20, known["size"] or 224
    return {"rgb": (frames, size, size, 3)}, [f"{frames} frames"] * (not known["frames"]) + [f"{size} px"] * (not known["size"])


def _seen(shape, model, crop):
    """The shape of a clip of pictures with the segments and the size that the recipe's model or crop has."""
    if len(shape) != 4:
        return shape
    segments, size = (getattr(model, name) or getattr(crop, name, None) for name in ("segments", "size"))
    return (segments or shape[0], size or shape[1], size or shape[2], shape[3])
