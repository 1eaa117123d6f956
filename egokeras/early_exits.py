"""The networks of a run cut behind each of their exits, as models that TFLite takes one by one."""

import contextlib

import keras
import numpy as np

from egokeras.compress.quantize import npy_writer
from egokeras.compress.twin import inference_twin
from egokeras.device.manifest import INPUT, exit_output, window_of
from egokeras.models import streaming
from egokeras.staged import exits_of, segments


def parts(networks, heads):
    """Cut networks behind their exits.

    Args:
        networks: name to `keras.Model` with exits, in the order in which they are computed.
        heads: names of the heads that all of them answer.

    Returns:
        A `keras.Model` for each exit, for a batch of one: from inputs of its network, and what parts before it hand on, to the exit's
        logits (`exit_output`) and to what it hands on, all under names that no other part uses.
    """
    found: list[keras.Model] = []
    for place, network in enumerate(networks.values()):
        exits = exits_of(network, tuple(heads))
        twin = inference_twin(network, [each for names in exits for each in names.values()])
        for part, names in zip(segments(twin, [tuple(names.values()) for names in exits]), exits, strict=True):
            called = {each: exit_output(head, len(found)) for head, each in names.items()}
            found.append(
                _renamed(part, lambda each, called=called, place=place: called.get(each, f"network_{place}_{each}"), set(twin.input))
            )
    return found


def frame_parts(network, heads):
    """Cut a network whose exits see one frame after another, as a stream computes it.

    Args:
        network: see `egokeras.models.streaming.exit_steps`.
        heads: names of its heads.

    Returns:
        Two lists of a `keras.Model` for each exit: the stage, from one frame `rgb`, or maps that stages before it hand on, to the frame's
        features for the exit and to the maps that it hands on, for a batch of one; and the head, from windows (`window_of`) of these
        features to the exit's logits (`exit_output`).

    Raises:
        InputError: the network has no such exits.
    """
    exits = exits_of(network, tuple(heads))
    frame, over_time = streaming.exit_steps(network, [tuple(names.values()) for names in exits])
    stages = segments(inference_twin(frame), [tuple(model.input) for model in over_time])
    maps = [name for stage in stages for name in stage.output if name not in frame.output]
    called = {**{name: name for name in frame.output}, **{name: f"maps_{number}" for number, name in enumerate(maps, 1)}}
    answers = [
        {**{name: window_of(name) for name in model.input}, **{each: exit_output(head, number) for head, each in names.items()}}
        for number, (model, names) in enumerate(zip(over_time, exits, strict=True))
    ]
    return (
        [_renamed(stage, called.__getitem__, {INPUT}) for stage in stages],
        [_renamed(model, names.__getitem__, ()) for model, names in zip(over_time, answers, strict=True)],
    )


def _renamed(model, rename, kept):
    """A copy whose inputs, but those in `kept`, and outputs have other names."""
    inputs = {
        name: keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=name if name in kept else rename(name))
        for name, tensor in model.input.items()
    }
    outputs = model(inputs)
    return keras.Model({tensor.name: tensor for tensor in inputs.values()}, {rename(name): value for name, value in outputs.items()})


def write_calibrations(parts, clips, folder):
    """Write what int8 is calibrated on, for each part: float32 examples of what it takes from the parts before it, beside the clips.

    Args:
        parts: see `parts`.
        clips: input to the `.npy` of its uint8 clips.
        folder: where the files are written.

    Returns:
        For each part its inputs by name to their files.
    """
    files = [{name: clips.get(name, str(folder / f"{name}.npy")) for name in part.input} for part in parts]
    stored = {name: np.load(path, mmap_mode="r", allow_pickle=False) for name, path in clips.items()}
    count = len(next(iter(stored.values())))
    shapes = {name: tensor.shape for part in parts for name, tensor in part.input.items() if name not in clips}
    with contextlib.ExitStack() as stack:
        writers = {
            name: stack.enter_context(npy_writer(folder / f"{name}.npy", (count, *shape), "float32")) for name, shape in shapes.items()
        }
        for number in range(count):
            made = {name: values[number][None] for name, values in stored.items()}
            for part in parts:
                made |= {name: np.array(value) for name, value in part({each: made[each] for each in part.input}).items()}
            for name, write in writers.items():
                write(made[name])
    return files
