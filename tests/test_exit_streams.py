"""A stream with early exits: the answers of the clips of the last frames at the exits where these leave, and no stage twice of a frame."""

import collections
import dataclasses
import io
import json
import pathlib
import shutil
import sys
import types

import keras
import numpy as np
import pytest

from egokeras import artifact_kinds, cli, export
from egokeras.device import latency, selftest
from egokeras.device.artifact import Artifact
from egokeras.device.exit_stream import ExitStream
from egokeras.errors import InputError
from egokeras.export import Export, load, ship_all
from egokeras.files import read_json, write_json
from egokeras.gated_run import open_run
from egokeras.models import ConvNet1DHead, FrameModel, LSTMHead, SmallBackbone, WithExits

FRAMES, SIZE = 4, 24
CLASSES = {"verb": ["a", "b"], "noun": ["x", "y", "z"]}
NAMES = ["rgb 1", "rgb 2", "rgb 3"]
LENIENT = {"max_lost_points": 100.0, "min_agreement": 0.0, "calibration_clips": 6, "lost_by_leaving": 5.0}
EXPORTS = ("stream_early_exit_float32", "stream_early_exit")


def shades(count, seed=0):
    """Frames of noise, each around a colour of its own."""
    random = np.random.default_rng(seed)
    return (random.integers(0, 50, (count, SIZE, SIZE, 3)) + random.integers(0, 200, (count, 1, 1, 3))).astype("uint8")


def labelled_clips():
    for row, pixels in enumerate(shades(30 * FRAMES).reshape(30, FRAMES, SIZE, SIZE, 3)):
        labels = {space: names[row % len(names)] for space, names in CLASSES.items()}
        yield pixels, "train" if row < 6 else "validation", f"v{row}", "", labels


@pytest.fixture(scope="module")
def run_dir(write_clips, tmp_path_factory):
    """A run of one network with three exits that see the frames in their order, as it was drawn, with weights as if it were weighed."""
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("exits")
    (folder / "rgb").mkdir()
    write_clips(folder / "rgb", labelled_clips(), CLASSES)
    head = ConvNet1DHead(blocks=0, last_filters=6, dropout=0.0)
    spec = FrameModel(backbone=SmallBackbone(channels=(6, 8, 8)), head=head)
    model = WithExits(model=spec, at=("conv_1_relu", "conv_2_relu"), channels=2, head=head).build(
        classes={space: len(names) for space, names in CLASSES.items()}, frames=FRAMES, size=SIZE
    )
    (folder / "run").mkdir()
    model.save(folder / "run" / "model.keras")
    write_json(folder / "run" / "recipe.json", {"data": {"shards": str(folder / "rgb")}})
    write_json(folder / "run" / "classes.json", CLASSES)
    weights = {"verb": [[1, 0, 0], [0.5, 1, 0], [0.2, 0.3, 1]], "noun": [[1, 0, 0], [-0.5, 2, 0], [0, 1, 0.5]]}
    heads = {space: {"weights": rows} for space, rows in weights.items()}
    write_json(folder / "run" / "wise.json", {"order": ["rgb"], "exits": NAMES, "heads": heads})
    return folder / "run"


@pytest.fixture(scope="module")
def shipped(run_dir, convert_here):
    """Export name to its shipment; heads are float32 in both, and are made once."""

    def convert(conversions):
        made = {
            pathlib.Path(each.file).name: each.file
            for each in conversions
            if each.file.endswith(f"{EXPORTS[0]}/{pathlib.Path(each.file).name}")
        }
        copies = [each for each in conversions if each.kind == "float32" and each.file not in made.values()]
        convert_here([each for each in conversions if each not in copies])
        for each in copies:
            shutil.copy(made[pathlib.Path(each.file).name], each.file)
        return [None] * len(conversions)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "convert", convert)
        return dict(zip(EXPORTS, ship_all([dataclasses.replace(load(name), **LENIENT) for name in EXPORTS], run_dir), strict=True))


@pytest.fixture(scope="module")
def stream():
    return shades(40, seed=1)


@pytest.fixture(scope="module")
def reference(run_dir, stream):
    """Head to Z (steps, exits, classes) by Keras, clip by clip of the last frames."""
    windows = np.stack([stream[last - FRAMES : last] for last in range(FRAMES, len(stream) + 1)])
    outputs, found = keras.models.load_model(run_dir / "model.keras")({"rgb": windows}), {}
    for head, about in read_json(run_dir / "wise.json")["heads"].items():
        z = [np.array(outputs[name]) for name in (f"{head}_exit_1", f"{head}_exit_2", head)]
        found[head] = np.stack([sum(w * each for w, each in zip(row, z, strict=True)) for row in about["weights"]], axis=1)
    return found


def left_at(reference, thresholds):
    """The exit of every step, written out."""
    exits = []
    for step in range(len(reference["verb"])):
        for number in range(3):
            p = {head: np.exp(z[step, number]) / np.exp(z[step, number]).sum() for head, z in reference.items()}
            if number == 2 or all(p[head].max() > thresholds[head] for head in p):
                break
        exits.append(number)
    return exits


def between(reference):
    """Thresholds that most answers of the first two exits pass, none by a hair."""
    found = {}
    for head, z in reference.items():
        sure = np.sort((np.exp(z) / np.exp(z).sum(axis=2, keepdims=True)).max(axis=2)[:, :2].ravel())
        low = sure[len(sure) // 8 : len(sure) // 4]
        gap = int(np.argmax(np.diff(low)))
        assert low[gap + 1] - low[gap] > 1e-4
        found[head] = float(low[gap : gap + 2].mean())
    return found


def counted(monkeypatch, artifact):
    """(part, what it was given) of every run of a part from now on."""
    ran = []

    def counting(number, runner):
        return lambda **inputs: ran.append((number, *(value.tobytes() for value in inputs.values()))) or runner(**inputs)

    monkeypatch.setattr(artifact.parts, "_runners", [counting(*each) for each in enumerate(artifact.parts._runners)])
    return ran


def test_every_answer_is_that_of_the_clip_at_its_exit_and_no_stage_runs_twice(shipped, stream, reference, monkeypatch):
    artifact, thresholds = Artifact.open(shipped["stream_early_exit_float32"].path), between(reference)
    expected = left_at(reference, thresholds)
    assert len(stream) > 3 * FRAMES and set(expected) == {0, 1, 2}
    ran, found = counted(monkeypatch, artifact), ExitStream(artifact, thresholds)
    state, exits = found.open_stream(), []
    for number, picture in enumerate(stream, 1):
        answer, state = found.answer(picture, state)
        if number < FRAMES:
            assert answer is None
            continue
        exits.append(answer.exit)
        assert answer.name == NAMES[answer.exit]
        for head, logits in answer.logits.items():
            np.testing.assert_allclose(logits, reference[head][number - FRAMES, answer.exit], rtol=1e-4, atol=1e-4)
    assert exits == expected
    runs = collections.Counter(number for number, *_ in ran)
    stages = [each for each in ran if each[0] % 2 == 0]
    assert len(stages) == len(set(stages)) and runs[0] == len(stream)
    for exit_, at in ((1, 2), (2, 4)):  # the frames of the windows that went so far
        asked = {frame for step, taken in enumerate(exits) if taken >= exit_ for frame in range(step, step + FRAMES)}
        assert runs[at] == len(asked) < len(stream)
        assert runs[at + 1] == sum(taken >= exit_ for taken in exits)


def test_a_bound_is_one_of_all_stages_together(shipped, stream, reference, monkeypatch):
    """Four frames wait for both stages behind the first when the stream begins to answer; three stages a step bring it to the last exit."""
    artifact = Artifact.open(shipped["stream_early_exit_float32"].path)
    ran, found = counted(monkeypatch, artifact), ExitStream(artifact, dict.fromkeys(CLASSES, 1.0), most=3)
    state, exits = found.open_stream(), []
    for number, picture in enumerate(stream[:10], 1):
        ran.clear()
        answer, state = found.answer(picture, state)
        stages = [part for part, *_ in ran if part in (2, 4)]
        if answer:
            exits.append((answer.exit, stages))
            for head, logits in answer.logits.items():
                np.testing.assert_allclose(logits, reference[head][number - FRAMES, answer.exit], rtol=1e-4, atol=1e-4)
    assert exits == [(0, [2, 2, 2]), (1, [2, 4, 4]), (2, [2, 4, 4]), *[(2, [2, 4])] * 4]


def test_the_artifact_says_what_it_is(shipped, run_dir):
    shipment = shipped["stream_early_exit_float32"]
    assert shipment.gate["answer"] == "pass" and shipment.gate["max_relative_difference"] <= 1e-5
    assert list(shipment.gate["heads"]) == [f"{head} {name}" for name in NAMES for head in CLASSES]
    about = read_json(shipment.path / "artifact.json")
    assert about["exits"]["chosen_on"]["clips"] == 24 and "cost" not in about["exits"]["chosen_on"]
    assert [part["file"] for part in about["parts"]] == [f"{name}_{number}.tflite" for number in (1, 2, 3) for name in ("stage", "head")]
    assert {name: entry["shape"] for name, entry in about["state"].items()} == {
        **{f"features_{number}_window": [1, FRAMES, 32] for number in (1, 2)},  # 4x4 cells of 2 channels
        "features_3_window": [1, FRAMES, 72],  # 3x3 cells of 8 channels
    }
    assert about["inputs"]["rgb"]["shape"] == [1, SIZE, SIZE, 3] and about["kind"] == "stream"


def test_its_files_carry_the_labels_of_their_exit(shipped, tflite_metadata):
    files = Artifact.open(shipped["stream_early_exit"].path).files
    for number, (stage, head) in enumerate(zip(files[::2], files[1::2], strict=True), 1):
        said = tflite_metadata(head.read_bytes())
        labels = {tensor["name"]: said["files"][tensor["files"][0][0]] for tensor in said["outputs"] if tensor["files"]}
        assert labels == {f"{name}_{number}": names for name, names in CLASSES.items()}
        assert said["inputs"][0]["description"] == f"What features_{number} was for the last 4 frames, oldest first."
        assert not tflite_metadata(stage.read_bytes())["files"]


def test_mixed_computes_frames_in_int8_and_answers_nearly_the_same(shipped, stream, reference):
    artifact = Artifact.open(shipped["stream_early_exit"].path)
    assert [part["quantization"] for part in artifact.manifest["parts"]] == ["int8", "float32"] * 3
    found = ExitStream(artifact)
    for step in range(0, 20, 6):
        answers = list(found.steps(stream[step : step + FRAMES]))
        for head, z in reference.items():
            np.testing.assert_allclose([answer[head] for answer in answers], z[step], atol=0.15 * np.abs(z).max())


@pytest.mark.parametrize("name", EXPORTS)
def test_what_uses_artifacts_uses_it(shipped, stream, name, monkeypatch, capsys):
    path = shipped[name].path
    assert (tested := selftest.replay(Artifact.open(path))).passed and tested.pairs == 8, tested.sentence
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(stream.tobytes())))
    monkeypatch.setattr(cli.sys, "argv", ["egokeras"])
    assert cli.main(["predict", str(path), "-", "--size", f"{SIZE}x{SIZE}", "--fps", str(FRAMES), "--stride", "0.25", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["stop"] for line in lines] == pytest.approx(np.arange(FRAMES - 1, 40) / FRAMES)
    found, state, expected = ExitStream.open(path), None, []
    state = found.open_stream()
    for picture in stream:
        logits, state = found.step(picture, state)
        expected += [found.artifact.top(logits)[0][0]] if logits else []
    assert [line["top"][0]["name"] for line in lines] == expected


def test_its_time_is_that_of_a_frame_through_all_exits(shipped):
    found = latency.measure(shipped["stream_early_exit_float32"].path, seconds=0.1)
    assert found["p50_ms"] > 0 and found["artifact"] == "stream_early_exit_float32"


def test_other_runs_have_no_such_stream(run_dir, monkeypatch):
    assert artifact_kinds.made_of(open_run(run_dir)) == ("clip", "early_exit", "stream_early_exit")
    with pytest.raises(InputError, match=r"'int8' is not made in tflite; give one of mixed, dynamic_range, weight_only, float16, float32"):
        Export(name="x", kind="stream_early_exit", quantization="int8")
    run = open_run(run_dir)
    over_time = WithExits(model=FrameModel(backbone=SmallBackbone(channels=(6,)), head=LSTMHead(units=4)), at=("unfold_time",))
    model = over_time.build(classes={"verb": 2, "noun": 3}, frames=FRAMES, size=SIZE)
    monkeypatch.setitem(run.networks, next(iter(run.networks)), model)
    assert artifact_kinds.made_of(run) == ("clip", "early_exit")
