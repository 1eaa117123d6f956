"""Quantization-aware training: the features learn to answer in int8 as they did in float32.

Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference" (CVPR 2018),
https://arxiv.org/abs/1712.05877, through tensorflow-model-optimization. What one frame shows is trained with rounded weights and
activations; the head over time stays as it is. No labels are needed: the targets are the logits of the float model, softened as in
distillation. BatchNorm keeps its statistics, and the ranges of the activations begin where they are on the clips.

Importing tensorflow-model-optimization turns `tf.keras` into tf_keras for the whole process, so `egokeras.compress.conversion`
runs `python -m egokeras.compress.qat JOB.json`.
"""

import contextlib
import dataclasses
import math
import os
import sys
import tempfile
import traceback
from collections.abc import Mapping

import numpy as np

from egokeras.compress import child
from egokeras.errors import InputError
from egokeras.files import atomic, read_json, write_json

NEEDED = ("tf_keras", "tensorflow_model_optimization")  # installed by the extra `compress`


@dataclasses.dataclass(frozen=True, kw_only=True)
class QAT:
    """Quantization-aware training of the features, taught by the float model.

    Attributes:
        clips: training clips to learn from; they are copied beside the artifact for as long as it is made.
        epochs: passes over them.
        batch_size: clips of a step.
        learning_rate: of Adam; it falls to zero along a cosine. A trained network bears little: where it is too high, the loss rises first.
        temperature: of the softened logits.
        preserve_sparsity: weights that are zero stay zero, but those of depthwise convolutions.
        hours: time that the training may take; then it is stopped.
    """

    clips: int = 1000
    epochs: int = 3
    batch_size: int = 8
    learning_rate: float = 1e-5
    temperature: float = 2.0
    preserve_sparsity: bool = False
    hours: float = 12.0

    def __post_init__(self):
        for field in ("clips", "epochs", "batch_size", "learning_rate", "temperature", "hours"):
            if not getattr(self, field) > 0:
                raise InputError(f"qat.{field} is {getattr(self, field):g}; give more than 0.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """What a conversion needs to train before.

    Attributes:
        qat: the `QAT`.
        frames: path of the saved network of one frame, pictures (batch, height, width, channels) to features (batch, ...).
        head: path of the saved head, `features` (batch, time, ...) to logits by name.
        clips: path of a `.npy` of (clips, time, height, width, channels) uint8.
        targets: head to the path of a `.npy` of the float model's logits, (clips, classes) float32.
        time: frames that the file takes at once.
        seed: of the order of the clips.
        report: path of the JSON that says what was trained: `losses` (mean over the steps of each epoch), `float_layers` (names of the
            features' layers that compute in float32, because tensorflow-model-optimization refuses them), and the fields of `qat`.
    """

    qat: QAT
    frames: str
    head: str
    clips: str
    targets: Mapping[str, str]
    time: int | None
    seed: int
    report: str

    @property
    def steps(self):
        """Steps of all epochs."""
        count = len(np.load(self.clips, mmap_mode="r", allow_pickle=False))
        return self.qat.epochs * math.ceil(count / self.qat.batch_size)


def main(job):
    """The child: train, and write the TFLite file and the report of a job."""
    (fields,) = read_json(job)
    given = fields["training"]
    training = Training(**{**given, "qat": QAT(**given["qat"])})
    clips = np.load(training.clips, mmap_mode="r", allow_pickle=False)
    features, head = _twins(training, clips)
    quantized, left = _quantized(features, training.qat.preserve_sparsity)
    _begin_ranges(quantized, features, clips, training.qat.batch_size)
    losses = _train(quantized, head, clips, training)
    content = _file(quantized, clips.shape[1:], training.time, fields["outputs"])
    write_json(training.report, {**dataclasses.asdict(training.qat), "losses": losses, "float_layers": left})
    with atomic(fields["file"]) as file:
        file.write(content)


def _twins(training, clips):
    """The features and the head in tf_keras, checked on the first clips."""
    import egokeras
    from egokeras.compress.legacy_twin import check_equal, legacy_twin

    frames, head = egokeras.load_model(training.frames), egokeras.load_model(training.head)
    twins = legacy_twin(frames), legacy_twin(head)
    some = _pictures(clips[:4])
    expected = np.array(frames(some))
    check_equal("features", expected, twins[0](some))
    unfolded = {"features": expected.reshape(-1, clips.shape[1], *expected.shape[1:])}
    for name, values in head(unfolded).items():
        check_equal(name, np.array(values), twins[1](unfolded)[name])
    return twins


def _pictures(clips):
    """Clips (clips, time, height, width, channels) as a float32 batch of pictures."""
    return np.asarray(clips, np.float32).reshape(-1, *clips.shape[2:])


def _quantized(features, preserve_sparsity):
    """The features with quantization emulated, ready to train, and the names of the layers that are not quantized."""
    import tensorflow_model_optimization as tfmot
    import tf_keras

    layers = [layer for layer in features.layers if not isinstance(layer, tf_keras.layers.InputLayer)]
    names = {layer.name for layer in layers if _supported(layer)}

    def annotated(layer):
        copy = type(layer).from_config(layer.get_config())
        return tfmot.quantization.keras.quantize_annotate_layer(copy) if layer.name in names else copy

    for layer in layers:
        layer.trainable = not isinstance(layer, tf_keras.layers.BatchNormalization)
    copy = tf_keras.models.clone_model(features, clone_function=annotated)
    copy.set_weights(features.get_weights())
    scheme = {"scheme": _preserving()} if preserve_sparsity else {}
    with tfmot.quantization.keras.quantize_scope():
        return tfmot.quantization.keras.quantize_apply(copy, **scheme), [layer.name for layer in layers if layer.name not in names]


def _preserving():
    """The scheme that keeps zeros, which by itself stumbles over layers without weights that are not quantized."""
    import tensorflow_model_optimization as tfmot

    scheme = tfmot.experimental.combine.Default8BitPrunePreserveQuantizeScheme()
    registry = scheme.get_quantize_registry()
    registry.supports = tfmot.quantization.keras.default_8bit.Default8BitQuantizeRegistry().supports
    scheme.get_quantize_registry = lambda: registry
    return scheme


def _supported(layer):
    """Whether tensorflow-model-optimization quantizes a layer: BatchNorm only where it melts into the convolution before it."""
    import tensorflow_model_optimization as tfmot
    import tf_keras

    if isinstance(layer, tf_keras.layers.BatchNormalization):
        before = layer.inbound_nodes[0].inbound_layers
        return isinstance(before, tf_keras.layers.Conv2D | tf_keras.layers.DepthwiseConv2D) and len(before.outbound_nodes) == 1
    try:
        registry = tfmot.quantization.keras.default_8bit.Default8BitQuantizeRegistry()
        registry.get_quantize_config(layer).get_output_quantizers(layer)
    except ValueError:  # also for an activation that it does not know
        return False
    return True


def _begin_ranges(quantized, features, clips, batch_size):
    """Put the range of every activation where the float features have it: the mean over batches of their smallest and largest values.

    Left alone, it would begin with -6..6 and forget that within thousands of steps. Pixels are 0..255 for good.
    """
    import tf_keras

    wrapped = {layer.layer.name: layer for layer in quantized.layers if hasattr(layer, "layer")}
    observed = tf_keras.Model(features.inputs, {name: features.get_layer(name).output for name in wrapped})
    ends: dict[str, list] = {name: [] for name in wrapped}
    for start in range(0, min(len(clips), 100), batch_size):
        for name, values in observed(_pictures(clips[start : start + batch_size])).items():
            ends[name].append((min(0.0, float(values.numpy().min())), max(0.0, float(values.numpy().max()))))
    for name, layer in wrapped.items():
        _assign(layer, ("output", "post_activation"), np.mean(ends[name], axis=0))
    _assign(next(layer for layer in quantized.layers if layer.name.startswith("quantize_layer")), ("quantize_layer",), (0.0, 255.0))


def _assign(layer, kinds, ends):
    """Set the variables `KIND_min` and `KIND_max` of a layer."""
    for variable in layer.weights:
        for end, value in zip(("min", "max"), ends, strict=True):
            if variable.name.split("/")[-1].split(":")[0] in {f"{kind}_{end}" for kind in kinds}:
                variable.assign(value)


def _train(quantized, head, clips, training):
    """The mean loss of each epoch."""
    import tensorflow as tf
    import tf_keras

    qat, rng = training.qat, np.random.default_rng(training.seed)
    schedule = tf_keras.optimizers.schedules.CosineDecay(qat.learning_rate, training.steps)
    optimizer = tf_keras.optimizers.Adam(schedule)
    targets = {name: np.load(path, allow_pickle=False) for name, path in training.targets.items()}
    # tfmot's wrapper frees what is frozen
    weights = [weight for weight in quantized.trainable_variables if not weight.name.startswith("normalize/")]

    @tf.function(reduce_retracing=True)
    def step(pictures, wanted):
        with tf.GradientTape() as tape:
            features = quantized(pictures, training=True)
            answers = head({"features": tf.reshape(features, (-1, clips.shape[1], *features.shape[1:]))}, training=False)
            loss = tf.add_n([_distance(wanted[name], answers[name], qat.temperature) for name in wanted])
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return loss

    means = []
    for _ in range(qat.epochs):
        order, losses = rng.permutation(len(clips)), []
        for start in range(0, len(clips), qat.batch_size):
            rows = np.sort(order[start : start + qat.batch_size])
            losses.append(float(step(_pictures(clips[rows]), {name: values[rows] for name, values in targets.items()})))
            sys.stdout.buffer.write(child.STEP)
            sys.stdout.buffer.flush()
        means.append(float(np.mean(losses)))
    quantized(_pictures(clips[:1]), training=True)  # the ranges of the weights are those of the last step
    return means


def _distance(wanted, found, temperature):
    """Mean over clips of KL(softmax(wanted / tau) || softmax(found / tau)) tau^2."""
    import tensorflow as tf

    log_wanted, log_found = tf.nn.log_softmax(wanted / temperature), tf.nn.log_softmax(found / temperature)
    return temperature**2 * tf.reduce_mean(tf.reduce_sum(tf.exp(log_wanted) * (log_wanted - log_found), axis=-1))


def _file(quantized, shape, time, outputs):
    """The bytes of a TFLite file: of a clip if it takes `time` frames at once, else of a frame.

    Args:
        quantized: the trained features.
        shape: of a clip.
        time: see `Training`.
        outputs: the name of the one output.
    """
    import tensorflow as tf

    from egokeras.compress.conversion import SIGNATURE
    from egokeras.compress.tflite import check_builtin, check_pixels

    picture = shape[1:]
    taken = tf.TensorSpec((1, *picture) if time is None else (1, time, *picture), tf.float32, name="rgb")

    @tf.function(input_signature=[taken])
    def answer(rgb):
        features = quantized(tf.reshape(rgb, (time or 1, *picture)), training=False)
        return {outputs[0]: tf.reshape(features, (1, time or 1, *features.shape[1:]))}

    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(quantized, folder, signatures={SIGNATURE: answer})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        converter.inference_input_type = tf.uint8
        content = converter.convert()
    check_builtin(content)
    check_pixels(content)
    return content


if __name__ == "__main__":
    code = 0
    try:
        main(sys.argv[1])
    except InputError as error:
        print(error, file=sys.stderr)
        code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)  # such a process once did not exit after its work was done
