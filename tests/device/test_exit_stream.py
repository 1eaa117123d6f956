"""A stream with early exits on the device: frames that wait are caught up, bursts are bounded, and what does not fit is refused."""

import json

import numpy as np
import pytest

from egokeras.device.artifact import Artifact
from egokeras.device.early_exit import StagedArtifact
from egokeras.device.exit_stream import ExitState, ExitStream
from egokeras.device.frame_stream import FrameStream, SteppedStream
from egokeras.errors import InputError
from egokeras.files import write_json

FRAMES, SIZE = 3, 4
CLASSES = {"verb": ["red", "green", "blue"]}
WEIGHTS = [[1.0, 0.0], [0.5, 2.0]]
LAST = {"verb": 1.0}  # a threshold that nothing passes


def build(folder, write_stream):
    """An artifact of two exits. Stage 1 hands on the colours of the first row, and shows their mean to head 1, which has its mean over the
    frames as logits; stage 2 shows their squares' mean to head 2, which weighs the last frames by 1, 2, 3."""
    import tensorflow as tf

    def mean(x):
        return tf.reduce_mean(x, (1, 2))[:, None]

    functions = {}

    def part(name, function, **inputs):
        specs = {each: tf.TensorSpec(shape, dtype, name=each) for each, (shape, dtype) in inputs.items()}
        functions[name] = tf.function(lambda **given: function(**given)).get_concrete_function(**specs)

    window = ((1, FRAMES, 3), tf.float32)

    def first(rgb):
        row = tf.cast(rgb[:, :1], tf.float32) / 100
        return {"features_1": mean(row), "maps_1": row}

    part("stage_1", first, rgb=((1, SIZE, SIZE, 3), tf.uint8))
    part("head_1", lambda features_1_window: {"verb_1": tf.reduce_mean(features_1_window, 1)}, features_1_window=window)
    part("stage_2", lambda maps_1: {"features_2": mean(maps_1**2)}, maps_1=((1, 1, SIZE, 3), tf.float32))
    by_age = tf.constant([1.0, 2.0, 3.0])[:, None]
    part("head_2", lambda features_2_window: {"verb_2": tf.reduce_sum(features_2_window * by_age, 1)}, features_2_window=window)
    entry = {"shape": [1, FRAMES, 3], "dtype": "float32"}
    return write_stream(
        folder,
        functions,
        inputs={"rgb": {"shape": [1, SIZE, SIZE, 3], "dtype": "uint8", "channels": "RGB", "resize": "squash"}},
        state={"features_1_window": entry, "features_2_window": entry},
        exits={"names": ["rgb 1", "rgb 2"], "weights": {"verb": WEIGHTS}, "thresholds": {"verb": 0.5}},
        outputs=CLASSES,
        sampling={"rule": "uniform", "frames": FRAMES, "clip_seconds": 1.5},
    )


@pytest.fixture(scope="module")
def colours(tmp_path_factory, write_stream):
    return build(tmp_path_factory.mktemp("stream") / "colours", write_stream)


def pictures(count, seed=0):
    random = np.random.default_rng(seed)
    return random.integers(0, 50, (count, SIZE, SIZE, 3), np.uint8) + random.integers(0, 200, (count, 1, 1, 3), np.uint8)


def answers(frames):
    """Z of both exits of a clip."""
    rows = frames[:, 0] / 100
    z = rows.mean((0, 1)), ((rows**2).mean(1) * [[1], [2], [3]]).sum(0)
    return [sum(w * each for w, each in zip(weights, z, strict=True)) for weights in WEIGHTS]


def sure(z):
    return (np.exp(z) / np.exp(z).sum()).max()


@pytest.fixture
def watched(colours, monkeypatch):
    """An artifact, and the list of the parts that it has run."""
    artifact, ran = Artifact.open(colours), []
    part = artifact.parts.part
    monkeypatch.setattr(artifact.parts, "part", lambda number, known: ran.append(number) or part(number, known))
    return artifact, ran


def test_exits_are_those_of_the_clip_and_what_was_left_out_is_caught_up(watched):
    artifact, ran = watched
    frames = pictures(14)
    expected = [answers(frames[last - FRAMES : last]) for last in range(FRAMES, 15)]
    threshold = float(np.median([sure(first) for first, _ in expected])) + 1e-4
    found, missing = ExitStream(artifact, {"verb": threshold}), 0
    assert (found.frames, found.seconds) == (FRAMES, 0.5)
    state, exits = found.open_stream(), []
    for number, frame in enumerate(frames, 1):
        ran.clear()
        answer, state = found.answer(frame, state)
        missing = min(missing + 1, FRAMES)
        if number < FRAMES:
            assert answer is None and ran == [0]
            continue
        z = expected[number - FRAMES]
        exits.append(0 if sure(z[0]) > threshold else 1)
        assert (answer.exit, answer.name) == (exits[-1], f"rgb {exits[-1] + 1}")
        np.testing.assert_allclose(answer.logits["verb"], z[exits[-1]], rtol=1e-5)
        assert ran == [0, 1] + [2] * missing * exits[-1] + [3] * exits[-1]
        missing *= 1 - exits[-1]
    assert exits.count(0) > 2 < exits.count(1)
    assert [{*frame} for frame in state.frames[:1]] in ([{"features_1", "features_2"}], [{"features_1", "maps_1"}])
    np.testing.assert_allclose([step["verb"] for step in found.steps(frames[:FRAMES])], expected[0], rtol=1e-5)


@pytest.mark.parametrize("most", [0, 1, 2])
def test_a_burst_is_bounded_and_what_waits_is_caught_up_the_newest_first(watched, most):
    """The stream answers at its first exit until the window has caught up; with as many stages as frames that takes no time any more."""
    artifact, ran = watched
    frames = pictures(8)
    leaving, bounded = ExitStream(artifact, {"verb": 0.0}), ExitStream(artifact, LAST, most)
    state = leaving.open_stream()
    for frame in frames[:FRAMES]:
        _, state = leaving.answer(frame, state)
    exits = []
    for number, frame in enumerate(frames[FRAMES:], FRAMES + 1):
        ran.clear()
        answer, state = bounded.answer(frame, state)
        exits.append(answer.exit)
        assert ran.count(2) <= most
        np.testing.assert_allclose(answer.logits["verb"], answers(frames[number - FRAMES : number])[answer.exit], rtol=1e-5)
    assert exits == {0: [0, 0, 0, 0, 0], 1: [0, 0, 1, 1, 1], 2: [0, 1, 1, 1, 1]}[most]
    assert ran.count(2) == min(most, 1)


def test_two_streams_do_not_mix_and_an_old_state_can_be_gone_back_to(colours):
    stream, ours, theirs = ExitStream.open(colours, thresholds=LAST), pictures(6, 1), pictures(6, 2)
    lazy = ExitStream(stream.artifact, {"verb": 0.0})
    states = [stream.open_stream()] * 2
    for number in range(6):
        before = states[0]
        _, after = lazy.step(ours[number], before)
        found = [stream.step(frames[number], state) for frames, state in zip((ours, theirs), states, strict=True)]
        again, _ = stream.step(ours[number], before)
        states = [state if number % 2 else after for (_, state), after in zip(found, (after, found[1][1]), strict=True)]
        if number >= FRAMES - 1:
            np.testing.assert_array_equal(again["verb"], found[0][0]["verb"])
            for frames, (logits, _) in zip((ours, theirs), found, strict=True):
                np.testing.assert_allclose(logits["verb"], answers(frames[number + 1 - FRAMES : number + 1])[1], rtol=1e-5)


def test_a_camera_is_taken_at_the_artifacts_pace(colours):
    """At 4 frames/s every second frame is taken; a stream that ends early answers with its last frame standing still."""
    frames = pictures(7)
    stream = SteppedStream(Artifact.open(colours), stride=0.5)
    found = [stream.add(number / 4, frame) for number, frame in enumerate(frames)]
    assert [number for number, logits in enumerate(found) if logits] == [4, 6] and stream.span == (0.0, 1.5)
    z = answers(frames[2::2])
    np.testing.assert_allclose(found[6]["verb"], z[0 if sure(z[0]) > 0.5 else 1], rtol=1e-5)
    stream = SteppedStream(Artifact.open(colours), stride=0.5)
    stream.add(0, frames[0])
    z = answers(frames[[0, 0, 0]])
    np.testing.assert_allclose(stream.finish()["verb"], z[0 if sure(z[0]) > 0.5 else 1], rtol=1e-5)


def test_what_does_not_fit_is_refused(colours, tiny):
    stream = ExitStream.open(colours)
    for wrong in (pictures(1), pictures(1)[0].astype(np.float32)):
        with pytest.raises(InputError, match=r"takes frames \(4, 4, 3\) uint8"):
            stream.step(wrong, stream.open_stream())
    _, state = stream.step(pictures(1)[0], stream.open_stream())
    for other in (ExitState(frames=({"features_1": np.zeros((1, 1, 2))},)), ExitState(frames=state.frames * 4), {}, None):
        with pytest.raises(InputError, match="this state is not one of"):
            stream.step(pictures(1)[0], other)
    with pytest.raises(InputError, match="most is -1; give at least 0"):
        ExitStream.open(colours, most=-1)
    with pytest.raises(InputError, match=r"has early exits; open it with egokeras\.device\.exit_stream\.ExitStream"):
        FrameStream.open(colours)
    for use in (StagedArtifact, lambda artifact: artifact.predict(pictures(FRAMES))):
        with pytest.raises(InputError, match=r"is of the kind 'stream', which takes frames.*give one of the kind 'clip'"):
            use(Artifact.open(colours))
    with pytest.raises(InputError, match="give one of the kind 'stream'"):
        ExitStream.open(tiny)


def test_a_stream_without_exits_is_said_how_to_open(change):
    path = change()
    about = json.loads((path / "artifact.json").read_text())
    del about["exits"]
    write_json(path / "artifact.json", about)
    with pytest.raises(InputError, match=r"has no early exits; open it with egokeras\.device\.frame_stream\.FrameStream"):
        ExitStream.open(path)


def part(name):
    return {"file": f"{name}.tflite", "signature": "serving_default", "quantization": "float32"}


EXITS = {"names": ["1", "2"], "weights": {"verb": WEIGHTS}, "thresholds": {"verb": 0.5}}
SEEN = {"shape": [1, FRAMES, 3], "dtype": "float32"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"memory": "carried"}, "memory is 'carried'"),
        ({"reset_frames": 9}, "memory is 'window'"),
        ({"state": {}}, "state is {}"),
        ({"state": {"features_1": SEEN, "features_2_window": SEEN}}, r"state\.features_1 is"),
        ({"state": {"features_1_window": {**SEEN, "shape": [1, 2, 3]}, "features_2_window": SEEN}}, r"state\.features_1_window is"),
        ({"state": {"features_1_window": {**SEEN, "shape": [1, 3, 4]}, "features_2_window": SEEN}}, "takes 'features_1_window' as"),
        ({"state": {"features_1_window": SEEN, "features_2_window": SEEN, "x_window": SEEN}}, "no file takes x_window"),
        ({"exits": {**EXITS, "names": ["1"]}}, r"exits\.names is \['1'\]"),
        ({"exits": {**EXITS, "thresholds": {"verb": 2}}}, r"exits\.thresholds\.verb is 2"),
        ({"exits": {**EXITS, "weights": {"verb": [[1]]}}}, r"exits\.weights\.verb is"),
        ({"parts": [part("stage_1"), part("head_1")]}, r"exits\.names is"),
        ({"parts": [part("stage_1"), part("head_1"), part("head_2"), part("stage_2")]}, "parts 2 and 3 are not an exit's"),
        ({"parts": [part("head_1"), part("stage_1"), part("stage_2"), part("head_2")]}, "parts 0 and 1 are not an exit's"),
        ({"parts": [part("stage_1"), part("head_2"), part("stage_2"), part("head_1")]}, "parts 0 and 1 are not an exit's"),
        ({"outputs": {"noun": ["cup"]}}, r"exits\.weights is \['verb'\]"),
        ({"kind": "clip"}, "inputs.rgb.shape is"),
    ],
)
def test_a_wrong_description_is_refused(change, fields, message):
    with pytest.raises(InputError, match=message):
        ExitStream.open(change(**fields))
