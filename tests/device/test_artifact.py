"""An artifact opens only whole, gives what its file computes, and names what is wrong with it."""

import json
import shutil

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given, settings
from hypothesis import strategies as st

from egokeras.device.artifact import Artifact, _check_file
from egokeras.errors import InputError


@pytest.fixture
def copy(tiny, tmp_path):
    return shutil.copytree(tiny, tmp_path / "copy")


def change(folder, path, value):
    """Set (or, with KeyError, remove) a field of artifact.json, `path` as in a.b.c."""
    file = folder / "artifact.json"
    manifest = json.loads(file.read_text())
    *parents, last = path.split("/")
    record = manifest
    for parent in parents:
        record = record[parent]
    if value is KeyError:
        del record[last]
    else:
        record[last] = value
    file.write_text(json.dumps(manifest))


def softmax(logits):
    return [np.exp(value) / sum(np.exp(other) for other in logits) for value in logits]


@pytest.mark.parametrize("given", ["", "artifact.json", "model.tflite"])
def test_opens_by_folder_json_or_model(tiny, given):
    artifact = Artifact.open(tiny / given)
    assert (artifact.name, artifact.shape, artifact.resize, artifact.clip_seconds) == ("tiny", (4, 12, 16, 3), "squash", 1.0)
    assert artifact.files == [tiny / "model.tflite"]


def test_predicts_what_the_model_computes(tiny):
    clip = np.random.default_rng(0).integers(0, 256, (4, 12, 16, 3), np.uint8)
    logits = Artifact.open(tiny, threads=2).predict(clip)
    np.testing.assert_allclose(logits["verb"], clip.mean((0, 1, 2)) / 16, rtol=1e-5)
    np.testing.assert_allclose(logits["noun"], clip[[0, 3]].mean((1, 2, 3)) / 16, rtol=1e-5)


def test_threads_reach_the_interpreter(tiny, monkeypatch):
    class Counting(Interpreter):
        def __init__(self, path, num_threads):
            asked.append(num_threads)
            super().__init__(path, num_threads=num_threads)

    asked = []
    monkeypatch.setattr("ai_edge_litert.interpreter.Interpreter", Counting)
    artifact = Artifact.open(tiny, threads=3)
    artifact.predict(np.zeros(artifact.shape, np.uint8))
    artifact.predict(np.zeros(artifact.shape, np.uint8))
    assert asked == [3]


def test_predicts_a_batch_of_one_and_a_view_the_same(tiny):
    artifact = Artifact.open(tiny)
    clip = np.random.default_rng(0).integers(0, 256, (4, 12, 16, 3), np.uint8)
    mirrored = np.ascontiguousarray(clip[:, :, :, ::-1])[:, :, :, ::-1]
    for same in (clip[None], mirrored):
        np.testing.assert_array_equal(artifact.predict(same)["noun"], artifact.predict(clip)["noun"])


@pytest.mark.parametrize(
    "clip", [np.zeros((4, 12, 16, 3), np.float32), np.zeros((3, 12, 16, 3), np.uint8), np.zeros((2, 4, 12, 16, 3), np.uint8)]
)
def test_refuses_another_clip(tiny, clip):
    with pytest.raises(InputError, match=r"takes a clip \(4, 12, 16, 3\) uint8"):
        Artifact.open(tiny).predict(clip)


def test_top_is_the_product_rule(tiny):
    logits = {"verb": np.array([2.5, 0.0, 1.0]), "noun": np.array([0.0, 1.0])}
    verbs, nouns = softmax(logits["verb"]), softmax(logits["noun"])
    expected = [("open cup", verbs[0] * nouns[1]), ("open fridge", verbs[0] * nouns[0]), ("pour cup", verbs[2] * nouns[1])]
    found = Artifact.open(tiny).top(logits, 3)
    assert [name for name, _ in found] == [name for name, _ in expected]
    np.testing.assert_allclose([value for _, value in found], [value for _, value in expected])


def test_top_gives_all_there_are_and_survives_large_logits(tiny):
    found = Artifact.open(tiny).top({"verb": np.array([3e4, 0, 0], np.float32), "noun": np.zeros(2, np.float32)}, 99)
    assert len(found) == 6
    assert sum(value for _, value in found) == pytest.approx(1)


def test_top_prefers_the_action_head_to_the_product(copy):
    change(copy, "outputs/action", ["run", "sit"])
    artifact = Artifact.open(copy)
    logits = {"verb": np.zeros(3), "noun": np.zeros(2), "action": np.array([0.0, 1.0])}
    assert artifact.top(logits)[0] == ("sit", pytest.approx(softmax([0, 1])[1]))
    assert artifact.top({"verb": np.array([0, 1.0, 0])})[0][0] == "close"


PART = {"file": "model.tflite", "signature": "serving_default", "quantization": "float32"}
PIXELS = {"shape": [1, 4, 12, 16, 3], "dtype": "uint8", "resize": "squash"}
REQUIRED = ["format", "name", "parts", "files", "inputs", "outputs", "sampling", "quantization"]


@pytest.mark.parametrize("field", [*REQUIRED, "inputs/rgb", "inputs/rgb/shape"])
def test_names_a_missing_field(copy, field):
    change(copy, field, KeyError)
    with pytest.raises(InputError, match=rf"artifact\.json: {field.replace('/', '.')} is missing"):
        Artifact.open(copy)


WRONG = [
    ("format", 1, "format is 1"),
    ("format", True, "format is True"),
    ("name", 3, "name is 3"),
    ("parts", [], r"parts is \[\]"),
    ("parts", ["model.tflite"], r"parts\.0\.file"),
    ("parts", [{"file": "model.tflite", "signature": "serving_default"}], r"parts\.0\.quantization"),
    ("parts", [{**PART, "file": "other.tflite"}], "no entry for 'other.tflite' of parts"),
    ("inputs/rgb/shape", [2, 4, 12, 16, 3], r"inputs\.rgb\.shape"),
    ("inputs/rgb/shape", [1, 4, 0, 16, 3], r"inputs\.rgb\.shape"),
    ("inputs/rgb/dtype", "float32", r"inputs\.rgb\.dtype"),
    ("inputs/rgb/channels", "BGR", r"inputs\.rgb\.channels"),
    ("inputs/rgb/resize", "letterbox", r"inputs\.rgb\.resize"),
    ("inputs/rgb/cut_from", [12, 15], r"inputs\.rgb\.cut_from"),
    ("inputs/rgb/cut_from", [12], r"inputs\.rgb\.cut_from"),
    ("inputs/rgb/cut_from", "12x16", r"inputs\.rgb\.cut_from"),
    ("sampling/frames", 5, r"sampling\.frames is 5"),
    ("sampling/clip_seconds", 0, r"sampling\.clip_seconds is 0"),
    ("sampling/clip_seconds", "1", r"sampling\.clip_seconds is '1'"),
    ("outputs", {}, "outputs is {}"),
    ("outputs/verb", [], r"outputs\.verb"),
    ("outputs/verb", ["open", 2, "pour"], r"outputs\.verb"),
    ("files/model.tflite/sha256", "0", r"files\.model\.tflite\.sha256"),
    ("files/model.tflite/bytes", None, r"files\.model\.tflite\.bytes"),
]


def test_frames_are_resized_to_what_the_clip_is_cut_from(copy):
    assert Artifact.open(copy).stored == (12, 16)
    change(copy, "inputs/rgb/cut_from", [14, 20])
    artifact = Artifact.open(copy)
    assert artifact.stored == (14, 20) and artifact.shape == (4, 12, 16, 3)


@pytest.mark.parametrize(("field", "value", "message"), WRONG)
def test_names_a_wrong_field(copy, field, value, message):
    change(copy, field, value)
    with pytest.raises(InputError, match=message):
        Artifact.open(copy)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "a/../b", "..", "a\\b", "c:d"])
def test_refuses_names_that_lead_outside(copy, name):
    (copy.parent / "outside").write_bytes(b"")
    change(copy, f"files/{'x'}", {"sha256": "0" * 64, "bytes": 0})
    manifest = json.loads((copy / "artifact.json").read_text())
    manifest["files"][name] = manifest["files"].pop("x")
    (copy / "artifact.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="outside the artifact's folder"):
        Artifact.open(copy)


NAMES = st.lists(
    st.sampled_from(["a", "b.pb", " ", "...", "", ".", "..", "c:", "d\\e", "\0", "link", "\ud800", "~"]), min_size=1, max_size=4
)


@given(parts=NAMES)
def test_a_name_is_a_plain_path_inside_or_refused(tmp_path_factory, parts):
    folder = tmp_path_factory.getbasetemp() / "names"
    if not folder.exists():
        folder.mkdir()
        (folder / "link").symlink_to(folder.parent)
    inside = set(parts) <= {"a", "b.pb", " ", "...", "~", "link"} and parts[0] != "link"
    with pytest.raises(InputError, match="is missing" if inside else "outside the artifact's folder"):
        _check_file(folder, "/".join(parts), {"bytes": 0}, True)


def test_refuses_a_link_that_leads_outside(copy):
    (copy / "model.tflite").rename(copy.parent / "elsewhere")
    (copy / "model.tflite").symlink_to(copy.parent / "elsewhere")
    with pytest.raises(InputError, match="outside the artifact's folder"):
        Artifact.open(copy)


def test_tells_missing_shortened_and_altered_files_apart(copy):
    model = copy / "model.tflite"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.tflite was altered"):
        Artifact.open(copy)
    Artifact.open(copy, verify=False)
    model.write_bytes(content[:-1])
    with pytest.raises(InputError, match="bytes"):
        Artifact.open(copy, verify=False)
    model.unlink()
    with pytest.raises(InputError, match="is missing"):
        Artifact.open(copy)


def test_refuses_what_is_no_artifact(tmp_path, bare):
    with pytest.raises(InputError, match="does not exist"):
        Artifact.open(tmp_path / "nowhere")
    for path in (tmp_path, bare):
        with pytest.raises(InputError, match=r"no artifact\.json"):
            Artifact.open(path)


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@settings(max_examples=30)
@given(where=st.sampled_from(["", *REQUIRED, "inputs/rgb", "inputs/rgb/shape", "sampling/clip_seconds", "outputs/verb"]), content=ANY_JSON)
def test_any_other_json_is_refused_in_one_sentence(tiny, tmp_path_factory, where, content):
    folder = tmp_path_factory.getbasetemp() / "any_json"
    folder.mkdir(exist_ok=True)
    shutil.copy(tiny / "artifact.json", folder)
    if where:
        change(folder, where, content)
    else:
        (folder / "artifact.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=str(folder)):
        Artifact.open(folder)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("parts", [{**PART, "signature": "serve"}], "no signature 'serve'"),
        ("inputs/flow", {**PIXELS, "channels": "flow"}, "no file takes flow"),
        ("outputs/verb", ["open", "close"], "3 outputs for 'verb'"),
        ("outputs/action", ["run"], "0 outputs for 'action'"),
        ("inputs/rgb/shape", [1, 4, 16, 16, 3], "takes"),
    ],
)
def test_a_file_that_disagrees_with_its_description_is_refused(copy, field, value, message):
    change(copy, field, value)
    with pytest.raises(InputError, match=message):
        assert Artifact.open(copy).parts is None
