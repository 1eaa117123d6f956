"""A SavedModel to one file that is a SavedModel of its own, for `egokeras.compress.conversion`: the weights are constants of its graph.

It has the layout of TensorFlow 1, which needs no files beside `saved_model.pb`, and which `tf.saved_model.load`, TF Serving and converters
read as they read that of TensorFlow 2 (https://github.com/tensorflow/tensorflow/blob/master/tensorflow/python/saved_model/README.md).
"""

from egokeras.compress.conversion import SIGNATURE

METHOD = "tensorflow/serving/predict"  # of signatures with any inputs and outputs


def content(saved_model, conversion):
    """The bytes of the `saved_model.pb`; its one signature has the names of the twin's inputs and outputs.

    Args:
        saved_model: folder of the inference twin with its one signature.
        conversion: the `egokeras.compress.conversion.Conversion`.
    """
    import tensorflow as tf
    from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2  # has no public name

    loaded = tf.saved_model.load(str(saved_model))  # its variables live no longer than this does
    answer = loaded.signatures[SIGNATURE]
    frozen = convert_variables_to_constants_v2(answer)

    def described(specs, tensors):  # functions keep dictionaries in the order of their names
        return {
            name: meta_graph_pb2.TensorInfo(name=tensor.name, dtype=spec.dtype.as_datatype_enum, tensor_shape=spec.shape.as_proto())
            for (name, spec), tensor in zip(sorted(specs.items()), tensors, strict=True)
        }

    signature = meta_graph_pb2.SignatureDef(
        inputs=described(answer.structured_input_signature[1], frozen.inputs),
        outputs=described(answer.structured_outputs, frozen.outputs),
        method_name=METHOD,
    )
    with frozen.graph.as_default():
        graph = tf.compat.v1.train.export_meta_graph()
    graph.graph_def.node.sort(key=lambda node: node.name)  # else they have the order of a table of hashes, another in every process
    graph.meta_info_def.tags.append(tf.saved_model.SERVING)
    graph.signature_def[SIGNATURE].CopyFrom(signature)
    return saved_model_pb2.SavedModel(saved_model_schema_version=1, meta_graphs=[graph]).SerializeToString(deterministic=True)
