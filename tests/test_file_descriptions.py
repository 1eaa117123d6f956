"""What the files of every kind of artifact say of their tensors, read back from files that have these and compute nothing."""

import pytest

from egokeras.file_descriptions import describe_files

OUTPUTS = {"verb": ["put, away", "čaj"], "noun": ["door", "cup", "tap"]}
PICTURES = {"dtype": "uint8", "channels": "RGB", "resize": "squash"}
PARENT = {"run": "kitchen", "model_sha256": "+".join(("ab" * 32, "cd" * 32)), "data_sha256": "0" * 64}
ABOUT = {"name": "small", "outputs": OUTPUTS, "parent": PARENT, "quantization": "mixed", "egokeras": "1.2.3"}
SAMPLING = {"rule": "uniform", "frames": 8, "clip_seconds": 2.0}
VERB, NOUN = ([(f"{head}_labels.txt", 2)] for head in OUTPUTS)


def file_of(inputs, outputs):
    """The bytes of a TFLite file with such tensors."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model, graph, signature = schema.ModelT(), schema.SubGraphT(), schema.SignatureDefT()
    names = [*inputs, *outputs]
    graph.tensors, graph.operators, model.buffers = [schema.TensorT() for _ in names], [], [schema.BufferT()]
    entries = [schema.TensorMapT() for _ in names]
    for index, (entry, name) in enumerate(zip(entries, names, strict=True)):
        entry.name, entry.tensorIndex = name, index
    signature.inputs, signature.outputs = entries[: len(inputs)], entries[len(inputs) :][::-1]
    graph.inputs, graph.outputs = list(range(len(inputs))), list(range(len(inputs), len(names)))
    model.subgraphs, model.signatureDefs = [graph], [signature]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.fixture
def said(tmp_path, tflite_metadata):
    """Function of files, name to (inputs, outputs), and a manifest: what these files then say, with their tensors by name."""

    def read(files, **manifest):
        paths = [tmp_path / name for name in files]
        for path, tensors in zip(paths, files.values(), strict=True):
            path.write_bytes(file_of(*tensors))
        describe_files(paths, {**ABOUT, **manifest})
        found = [tflite_metadata(path.read_bytes()) for path in paths]
        sides = ("inputs", "outputs")
        return [each | {side: {tensor["name"]: tensor for tensor in each[side]} for side in sides} for each in found]

    return read


def test_a_clip(said):
    inputs = {"rgb": {"shape": [1, 8, 24, 32, 3], **PICTURES, "cut_from": [30, 40]}, "flow": {"shape": [1, 8, 24, 32, 2], **PICTURES}}
    inputs["flow"] = {**inputs["flow"], "channels": "flow", "resize": "crop"}
    outputs = ["noun", "verb", "embedding"]
    (file,) = said({"model.tflite": (["rgb", "flow"], outputs)}, inputs=inputs, sampling=SAMPLING, embedding=96)
    assert (file["name"], file["version"]) == ("kitchen small", "abababababab+cdcdcdcdcdcd")
    what = "model.tflite, file 1 of 1 of the artifact small (clip, mixed), exported by egokeras 1.2.3 from the run kitchen"
    assert file["description"] == f"{what}; artifact.json says more."
    assert file["outputs"]["embedding"]["description"] == "The vector that the classifiers see, which an anticipator observes."
    rgb, flow = file["inputs"].values()
    when = "8 frames that span 2 s"
    assert rgb["description"] == f"{when}: RGB, numbers from 0 to 255 as they are, resized by squash to 30x40, the middle of them."
    assert flow["description"] == f"{when}: flow, numbers from 0 to 255 as they are, resized by crop to 24x32."
    assert (rgb["content"], rgb["range"], flow["content"]) == ("image", (2, 4), "feature")
    assert rgb["limits"] == flow["limits"] == ([0], [255]) and rgb["axes"] == ["batch", "time", "height", "width", "channels"]
    assert list(file["outputs"]) == outputs
    assert {name: tensor["files"] for name, tensor in file["outputs"].items()} == {"verb": VERB, "noun": NOUN, "embedding": []}
    assert (
        file["outputs"]["verb"]["description"] == "Logits of verb, one for each line of verb_labels.txt; their softmax are probabilities."
    )
    assert file["files"] == {f"{head}_labels.txt": names for head, names in OUTPUTS.items()}


def test_a_stream_of_two_files(said):
    features, head = said(
        {"features.tflite": (["rgb"], ["features"]), "head.tflite": (["features", "window"], ["verb", "window", "noun"])},
        kind="stream",
        inputs={"rgb": {"shape": [1, 24, 32, 3], **PICTURES}},
        state={"window": {"shape": [1, 7, 5], "dtype": "float32"}},
        sampling=SAMPLING,
    )
    rgb = features["inputs"]["rgb"]
    assert rgb["description"] == "One frame, every 0.25 s: RGB, numbers from 0 to 255 as they are, resized by squash to 24x32."
    assert (rgb["content"], rgb["range"], rgb["axes"]) == ("image", None, ["batch", "height", "width", "channels"])
    assert features["outputs"]["features"]["description"] == "For the input features of a file that runs after."
    assert head["inputs"]["features"]["description"] == "The output features of a file that runs before."
    assert head["inputs"]["window"]["description"].startswith("State: zeros at the beginning of a stream, then the output window")
    assert head["outputs"]["window"]["description"] == "The new state, for the input window of the next step."
    assert {name: tensor["files"] for name, tensor in head["outputs"].items()} == {"verb": VERB, "window": [], "noun": NOUN}
    assert "head.tflite, file 2 of 2 of the artifact small (stream, mixed)" in head["description"]
    assert set(head["files"]) == {"verb_labels.txt", "noun_labels.txt"} and features["files"] == {}


def test_early_exits_have_the_labels_of_their_heads(said):
    files = {"exit_1.tflite": (["rgb"], ["verb_1", "noun_1", "network_0_x"]), "exit_2.tflite": (["network_0_x"], ["noun_2", "verb_2"])}
    inputs = {"rgb": {"shape": [1, 8, 24, 32, 3], **PICTURES}}
    found = said(files, inputs=inputs, sampling=SAMPLING, exits={"names": ["early", "late"]})
    for number, file in enumerate(found, 1):
        assert file["files"] == {f"{head}_labels.txt": names for head, names in OUTPUTS.items()}
        assert (file["outputs"][f"verb_{number}"]["files"], file["outputs"][f"noun_{number}"]["files"]) == (VERB, NOUN)
    assert found[0]["outputs"]["network_0_x"]["files"] == []


def test_a_step_that_anticipates_names_past_actions_and_times(said):
    inputs = {"rgb_features": {"shape": [1, 5], "dtype": "float32"}, "labels": {"shape": [1, 9, 3], "dtype": "int32"}}
    (file,) = said(
        {"model.tflite": (["rgb_features", "labels", "labels_past"], ["verb", "noun", "labels_past"])},
        kind="anticipation_step",
        inputs=inputs,
        state={"labels_past": {"shape": [1, 9, 3], "dtype": "int32"}},
        anticipation={"step": 0.25, "steps": 14, "times": [0.5, 0.25]},
        vocabulary={"verb": ["open", "take"], "noun": ["lid"]},
    )
    assert file["inputs"]["rgb_features"]["description"] == "One observation of rgb_features, every 0.25 s."
    assert "verb id + 1, noun id + 1" in file["inputs"]["labels"]["description"]
    assert file["inputs"]["labels"]["files"] == [("verb_vocabulary.txt", 1), ("noun_vocabulary.txt", 1)]
    assert file["files"]["verb_vocabulary.txt"] == ["open", "take"] and file["files"]["noun_labels.txt"] == OUTPUTS["noun"]
    verb = file["outputs"]["verb"]
    assert verb["description"].startswith("Logits of verb for 0.5, 0.25 s from now, one for each line") and verb["files"] == VERB
    assert verb["axes"] == ["batch", "time", "class"]
