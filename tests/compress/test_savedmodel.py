"""A frozen SavedModel is one file, answers as Keras does to any number of clips, and is what TensorFlow itself reads."""

import numpy as np
import pytest

from egokeras.compress import conversion
from egokeras.files import write_json

HEADS = {"verb": 3, "noun": 4}


def made(model, folder, outputs):
    """Convert a model in this process; returns the folder of the SavedModel."""
    model.save(folder / "model.keras")
    (folder / "saved").mkdir()
    file = folder / "saved" / "saved_model.pb"
    write_json(
        folder / "job.json", [{"model": str(folder / "model.keras"), "outputs": list(outputs), "kind": "float32", "file": str(file)}]
    )
    conversion.main(folder / "job.json")
    assert [path.name for path in file.parent.iterdir()] == ["saved_model.pb"]
    return file.parent


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A network with a recurrent head, and its SavedModel."""
    import keras

    from egokeras import models

    keras.utils.set_random_seed(0)
    network = models.FrameModel(backbone=models.SmallBackbone(channels=(8,)), head=models.LSTMHead(units=8))
    model = network.build(classes=HEADS, frames=3, size=16)
    model.set_weights([weight * 2 for weight in model.get_weights()])
    return model, made(model, tmp_path_factory.mktemp("clips"), HEADS)


@pytest.mark.parametrize("count", [1, 6])
def test_tensorflow_loads_it_and_answers_by_name(clips, count):
    import tensorflow as tf

    model, folder = clips
    pixels = np.random.default_rng(0).integers(0, 256, (count, 3, 16, 16, 3), np.uint8)
    loaded = tf.saved_model.load(str(folder))
    assert list(loaded.signatures) == ["serving_default"]
    answer = loaded.signatures["serving_default"]
    (taken,) = answer.structured_input_signature[1].values()
    assert (taken.name, taken.dtype, taken.shape.as_list()) == ("rgb", tf.uint8, [None, 3, 16, 16, 3])
    found, expected = answer(rgb=tf.constant(pixels)), model.predict({"rgb": pixels}, verbose=0)
    assert set(found) == set(HEADS)
    for head in HEADS:
        np.testing.assert_allclose(found[head], expected[head], atol=1e-5)


def test_other_programs_find_what_they_look_for(clips):
    """The tag and the method of TF Serving, weights that need no second file, and no folder of ours."""
    from tensorflow.core.protobuf import saved_model_pb2

    folder = clips[1]
    content = (folder / "saved_model.pb").read_bytes()
    (graph,) = saved_model_pb2.SavedModel.FromString(content).meta_graphs
    assert list(graph.meta_info_def.tags) == ["serve"]
    assert graph.signature_def["serving_default"].method_name == "tensorflow/serving/predict"
    assert not {"VarHandleOp", "VariableV2", "StatefulPartitionedCall"} & {node.op for node in graph.graph_def.node}
    assert str(folder.parent).encode() not in content
    names = [node.name for node in graph.graph_def.node]
    assert names == sorted(names)


def test_several_inputs_and_outputs_keep_their_names(tmp_path):
    import keras
    import tensorflow as tf

    second, first = (keras.Input((2,), name=name) for name in ("z", "a"))
    model = keras.Model({"z": second, "a": first}, {"sum": first + 2 * second, "difference": first - second, "unwanted": first})
    folder = made(model, tmp_path, ["sum", "difference"])
    answer = tf.saved_model.load(str(folder)).signatures["serving_default"]
    found = answer(a=tf.constant([[1.0, 2.0]]), z=tf.constant([[10.0, 20.0]]))
    assert {name: values.numpy().tolist() for name, values in found.items()} == {"sum": [[21, 42]], "difference": [[-9, -18]]}
