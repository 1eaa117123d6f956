"""Layers of a model as TFLite files of their own: a device measures them, whole and with fewer channels, and so says what a channel costs.

Written by `python -m egokeras.compress.layer_files JOB.json`, a child process, because the converter may crash.
"""

import math
import pathlib
import shutil
import sys

import egokeras
from egokeras.compress import child
from egokeras.compress.conversion import CONVERTER, ConversionError
from egokeras.errors import InputError
from egokeras.files import LAYERS, read_json, write_json

KINDS = ("int8", "float32")
SECONDS = 1800.0  # 126 files of MobileNetV2 take about 40 s on a busy core
KEPT = 0.5  # of the channels of every group, in the part of a layer


def write_layers(model, folder, kind="int8"):
    """Write the layers on whose channels the time of a saved model depends: convolutions, dense layers, additions and the like.

    Args:
        model: path of `model.keras`.
        folder: is made; `egokeras benchmark FOLDER --layers` measures it.
        kind: one of `KINDS`.

    Returns:
        How many layers there are.

    Raises:
        InputError: the folder exists.
        ConversionError: one cannot be converted to this kind.
    """
    folder = pathlib.Path(folder)
    if folder.exists():
        raise InputError(f"{folder} exists; remove it, or give another folder.")
    folder.mkdir(parents=True)
    job = {"model": str(model), "folder": str(folder), "kind": kind}
    reason = child.run("egokeras.compress.layer_files", job, folder / LAYERS, SECONDS, **CONVERTER)
    if not (folder / LAYERS).exists():
        shutil.rmtree(folder)
        raise ConversionError(f"the layers of {model} could not be converted to {kind}: {reason}")
    return len(read_json(folder / LAYERS)["layers"])


def main(job):
    """The child: make the files, and say at the end what is in them."""
    import numpy as np

    from egokeras.compress.channels import channels_of
    from egokeras.compress.cost import for_one_clip, walk
    from egokeras.compress.narrowing import narrowed
    from egokeras.compress.pruned import Work
    from egokeras.compress.twin import inference_twin

    job = read_json(job)
    folder, model = pathlib.Path(job["folder"]), inference_twin(egokeras.load_model(job["model"]))
    channels = channels_of(model)
    removed = np.concatenate([group.roots[math.ceil(KEPT * len(group.roots)) :] for group in channels.groups])
    whole, part = (dict(walk(for_one_clip(one))) for one in (model, narrowed(model, channels, removed)))
    left = np.array([math.ceil(KEPT * len(group.roots)) / len(group.roots) for group in channels.groups])
    rows = []
    for number, path in enumerate(path for path, layer in whole.items() if _takes_time(layer)):
        share = Work(channels, {path: 1.0}).at(left)
        if share < 1:
            rows.append({"layer": "/".join(path), "share": share, "whole": f"{number}.tflite", "part": f"{number}.part.tflite"})
            for key, layers in (("whole", whole), ("part", part)):
                (folder / rows[-1][key]).write_bytes(_converted(layers[path], job["kind"]))
    write_json(folder / LAYERS, {"kind": job["kind"], "layers": rows})


def _takes_time(layer):
    """Whether it is one of its own in TFLite: BatchNorm and activations melt into the convolution before them."""
    from egokeras.compress.channels import CONVOLUTIONS, DEPTHWISE, MERGING, layers

    return isinstance(layer, (*CONVOLUTIONS, *DEPTHWISE, *MERGING, layers.Dense))


def _converted(layer, kind):
    """The bytes of its TFLite file; its weights are constants, for variables of Keras are lost on this road."""
    import keras
    import numpy as np
    import tensorflow as tf

    weights = [[tf.constant(weight.numpy()) for weight in some] for some in (layer.trainable_variables, layer.non_trainable_variables)]
    inputs = keras.tree.flatten(layer.input)

    def compute(*values):
        results, _ = layer.stateless_call(*weights, list(values) if len(values) > 1 else values[0])
        return results

    traced = tf.function(compute, input_signature=[tf.TensorSpec(tensor.shape, "float32") for tensor in inputs]).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced])
    if kind == "int8":
        random = np.random.default_rng(0)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        converter.representative_dataset = lambda: ([random.normal(size=tensor.shape).astype("float32") for tensor in inputs],)
    return converter.convert()


if __name__ == "__main__":
    main(sys.argv[1])
