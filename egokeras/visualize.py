"""Feature visualisation by activation maximisation: the picture that a filter of the backbone responds to most."""

import difflib

import keras
import numpy as np
import tensorflow as tf

from egokeras.errors import InputError
from egokeras.files import atomic
from egokeras.progress import track

RATE = 12.0  # pixel values (root mean square) that the first step moves; later ones move less, the last almost none
LEAK = 0.1  # weight of negative responses: an edge and its negative would cancel in a plain mean
LOWEST = 4  # cycles per picture, below which the gradient is not raised further: a flat colour would win over any pattern
DECAY = 0.01  # share of the distance to grey that every step takes back: what the filter does not ask for fades
JITTER = 1 / 16  # of the size: shifting the picture between steps stops it from fitting the grid of the strides
PIXELS_AT_ONCE = 16 * 128 * 128  # pictures climb in batches of this many pixels, about 1 GB for MobileNetV2


def image_model(student):
    """A copy of the per-frame part of a trained student, for frames of any size: pixel values 0..255 -> maps or a pooled vector.

    Raises:
        InputError: the student has no nested model `backbone` that works frame by frame.
    """
    backbone = next((layer for layer in student.layers if layer.name == "backbone"), student)
    ends = {layer.name: layer for layer in getattr(backbone, "layers", ())}
    if not {"fold_time", "unfold_time"} <= set(ends):
        raise InputError(f"model {student.name!r} has no per-frame backbone to visualise; give a run with one, or --backbone WEIGHTS.h5.")
    part = keras.Model(ends["fold_time"].output, ends["unfold_time"].input)
    model = keras.models.clone_model(part, input_tensors=keras.Input((None, None, 3), name="pixels"))
    for layer in model.layers[1:]:
        layer.set_weights(ends[layer.name].get_weights())
    return model


def layers_of(model):
    """Layer name to number of filters, for every layer that can be visualised, in the order of the network."""
    shapes = {layer.name: layer.output.shape for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)}
    # None: a flattened map, whose length depends on the size of the frame
    return {name: shape[-1] for name, shape in shapes.items() if len(shape) in (2, 4) and shape[-1] is not None}


def spread(model, count=4):
    """Names of `count` layers from shallow to deep: activations if the network has them, else any layers."""
    names = [layer.name for layer in model.layers if isinstance(layer, (keras.layers.ReLU, keras.layers.Activation))]
    names = names or list(layers_of(model))
    return [names[i] for i in np.unique(np.linspace(0, len(names) - 1, count).round().astype(int))]


def maximise(model, layer, filters, size=128, steps=120, seed=0):
    """Pictures that maximise the activation of filters, summed over the map, by gradient ascent from noise.

    The gradient is divided by spatial frequency before each step: natural pictures have such a spectrum, and without
    it the pictures end as fine noise that excites the filter but shows nothing. All filters start from the same
    noise, so a picture does not depend on which others are asked for. A filter that no gradient reaches (MobileNetV2 has some) stays noise.

    Args:
        model: `(batch, height, width, 3)` pixel values 0..255 to anything, for frames of any size or of `size`; used in
            inference mode, its weights stay.
        layer: name of a layer with output `(batch, height, width, filters)` or `(batch, filters)`.
        filters: numbers of the filters, from 0.
        size: height and width of the pictures in pixels.
        steps: of the ascent.
        seed: of the noise and the jitter.

    Returns:
        `(len(filters), size, size, 3)` uint8, RGB.

    Raises:
        InputError: no such layer or filter.
    """
    count = _filter_count(model, layer)
    if wrong := [number for number in filters if not 0 <= number < count]:
        raise InputError(f"layer {layer!r} has filters 0 to {count - 1}, not {wrong[0]}.")
    step = _ascent(keras.Model(model.inputs[0], _target(model.get_layer(layer))), size)
    batch = max(1, PIXELS_AT_ONCE // size**2)
    batches = [filters[i : i + batch] for i in range(0, len(filters), batch)]
    return np.concatenate([_climb(step, layer, numbers, size, steps, seed) for numbers in batches])


def _filter_count(model, layer):
    counts = layers_of(model)
    if layer not in counts:
        nearest = difflib.get_close_matches(layer, counts, n=3)
        hint = f"nearest: {', '.join(nearest)}; " if nearest else ""
        raise InputError(f"layer {layer!r} is not in the network; {hint}--list-layers lists all {len(counts)}.")
    return counts[layer]


def _target(layer):
    # a ReLU passes no gradient where it is zero or saturated; what goes into it rises and falls with it
    return layer.input if isinstance(layer, keras.layers.ReLU) else layer.output


def _ascent(network, size):
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    gain = tf.constant(1 / np.maximum(frequency, LOWEST / size), tf.complex64)

    @tf.function
    def step(pictures, filters, shift, rate):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(pictures)
            maps = tf.cast(network(tf.ensure_shape(tf.roll(pictures, shift, (1, 2)), (None, size, size, 3)), training=False), tf.float32)
            own = tf.gather(maps, filters, axis=-1, batch_dims=1)
            response = tf.nn.leaky_relu(own, LEAK)
        gradient = _filtered(tape.gradient(response, pictures), gain, size)
        rms = tf.sqrt(tf.reduce_mean(gradient**2, axis=(1, 2, 3), keepdims=True))
        moved = pictures + rate * tf.math.divide_no_nan(gradient, rms)
        return tf.clip_by_value(127.5 + (moved - 127.5) * (1 - DECAY), 0.0, 255.0)

    return step


def _filtered(images, gain, size):
    planes = tf.transpose(images, (0, 3, 1, 2))
    planes = tf.signal.irfft2d(tf.signal.rfft2d(planes) * gain, (size, size))
    return tf.transpose(planes, (0, 2, 3, 1))


def _climb(step, layer, filters, size, steps, seed):
    rng, reach = np.random.default_rng(seed), int(size * JITTER)
    noise, shifts = rng.normal(127.5, 10, (1, size, size, 3)), rng.integers(-reach, reach + 1, (steps, 2))
    pictures, numbers = tf.constant(noise.repeat(len(filters), axis=0), tf.float32), tf.constant(filters, tf.int32)
    for k in track(range(steps), f"{layer}, {len(filters)} filters", unit="step"):
        pictures = step(pictures, numbers, tf.constant(shifts[k], tf.int32), tf.constant(RATE * (1 - k / steps), tf.float32))
    return np.rint(pictures.numpy()).astype(np.uint8)


def save_grid(path, pictures, columns=8):
    """Write a PNG with a block of titled pictures per layer.

    Args:
        path: of the PNG.
        pictures: layer name to `{filter number: (size, size, 3) uint8}`.
        columns: pictures in a row.
    """
    from matplotlib.figure import Figure

    columns = min(columns, max(len(block) for block in pictures.values()))
    rows = [-(-len(block) // columns) for block in pictures.values()]
    figure = Figure(figsize=(1.5 * columns, sum(1.75 * count + 0.4 for count in rows)), layout="constrained")
    parts = figure.subfigures(len(rows), 1, height_ratios=[1.75 * count + 0.4 for count in rows], squeeze=False)[:, 0]
    for part, count, (layer, block) in zip(parts, rows, pictures.items(), strict=True):
        part.suptitle(layer, fontsize=11, fontweight="bold", x=0.01, ha="left")
        axes = part.subplots(count, columns, squeeze=False).ravel()
        for axis in axes:
            axis.axis("off")
        for axis, (number, picture) in zip(axes, block.items(), strict=False):
            axis.imshow(picture)
            axis.set_title(f"filter {number}", fontsize=8)
    with atomic(path) as file:
        figure.savefig(file, format="png", dpi=110)
