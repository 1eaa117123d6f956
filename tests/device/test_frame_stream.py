"""Frame by frame on the device: the answers of the clips of the last frames, whatever other streams do, at the artifact's pace."""

import numpy as np
import pytest

from egokeras.device.artifact import Artifact
from egokeras.device.frame_stream import FrameStream, SteppedStream
from egokeras.errors import InputError

FRAMES, SIZE = 4, 8
CLASSES = {"verb": ["red", "green", "blue"]}


def build(folder, write_stream):
    """An artifact of two files: a frame's mean colours, and the means of the last four frames' as logits."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((1, SIZE, SIZE, 3), tf.uint8, name="rgb")])
    def features(rgb):
        return {"features": tf.reduce_mean(tf.cast(rgb, tf.float32), (1, 2))[:, None]}

    window = tf.TensorSpec((1, FRAMES - 1, 3), tf.float32, name="features_window")

    @tf.function(input_signature=[tf.TensorSpec((1, 1, 3), tf.float32, name="features"), window])
    def head(features, features_window):
        known = tf.concat([features_window, features], 1)
        return {"verb": tf.reduce_mean(known, 1), "features_window": known[:, 1:]}

    return write_stream(
        folder,
        {"features": features, "head": head},
        inputs={"rgb": {"shape": [1, SIZE, SIZE, 3], "dtype": "uint8", "channels": "RGB", "resize": "squash"}},
        state={"features_window": {"shape": [1, FRAMES - 1, 3], "dtype": "float32"}},
        outputs=CLASSES,
        sampling={"rule": "uniform", "frames": FRAMES, "clip_seconds": 1.0},
    )


@pytest.fixture(scope="module")
def colours(tmp_path_factory, write_stream):
    return build(tmp_path_factory.mktemp("stream") / "colours", write_stream)


def pictures(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)


def means(frames):
    return frames.mean((0, 1, 2))


def test_every_answer_is_that_of_the_last_frames(colours):
    stream, frames = FrameStream.open(colours), pictures(9)
    state = stream.open_stream()
    for number, frame in enumerate(frames, 1):
        logits, state = stream.step(frame, state)
        if number < FRAMES:
            assert logits is None
        else:
            np.testing.assert_allclose(logits["verb"], means(frames[number - FRAMES : number]), rtol=1e-5)
    assert (stream.frames, stream.seconds) == (FRAMES, 0.25)
    np.testing.assert_allclose(stream.clip(frames[:FRAMES])["verb"], means(frames[:FRAMES]), rtol=1e-5)


def test_two_streams_do_not_mix_and_an_old_state_can_be_gone_back_to(colours):
    stream, ours, theirs = FrameStream.open(colours), pictures(6, 1), pictures(6, 2)
    states = [stream.open_stream()] * 2
    for number in range(6):
        before = states[0]
        found = [stream.step(frames[number], state) for frames, state in zip((ours, theirs), states, strict=True)]
        again, _ = stream.step(ours[number], before)
        states = [state for _, state in found]
        if number >= FRAMES - 1:
            np.testing.assert_array_equal(again["verb"], found[0][0]["verb"])
            for frames, (logits, _) in zip((ours, theirs), found, strict=True):
                np.testing.assert_allclose(logits["verb"], means(frames[number + 1 - FRAMES : number + 1]), rtol=1e-5)


def test_the_memory_begins_anew_where_the_artifact_says_so(change):
    stream, frames = FrameStream.open(change(memory="carried", reset_frames=5)), pictures(10)
    state, answered = stream.open_stream(), []
    for number, frame in enumerate(frames, 1):
        logits, state = stream.step(frame, state)
        answered += [number] if logits else []
    assert answered == [4, 5, 9, 10]
    np.testing.assert_allclose(logits["verb"], means(frames[6:]), rtol=1e-5)


def test_a_camera_of_any_rate_gives_frames_at_the_artifacts_pace(colours):
    """At 8 frames/s every second frame is taken; answers come with the fourth one, then every half second."""
    stream, frames = SteppedStream(Artifact.open(colours), stride=0.5), pictures(17)
    answers = {number: stream.add(number / 8, frame) for number, frame in enumerate(frames)}
    found = {number: logits for number, logits in answers.items() if logits}
    assert list(found) == [6, 10, 14] and stream.finish() is None
    for number, logits in found.items():
        np.testing.assert_allclose(logits["verb"], means(frames[number - 6 : number + 1 : 2]), rtol=1e-5)
    assert stream.span == (1.0, 2.0)


def test_a_camera_that_stalls_is_taken_up_where_it_is(colours):
    stream = SteppedStream(Artifact.open(colours), stride=0.25)
    times = [0, 0.25, 0.5, 0.75, 5.1, 5.25]
    answered = [time for time, frame in zip(times, pictures(6), strict=True) if stream.add(time, frame)]
    assert answered == [0.75, 5.1, 5.25]


def test_a_stream_that_ends_early_answers_with_its_last_frame_standing_still(colours):
    stream, frames = SteppedStream(Artifact.open(colours), stride=0.5), pictures(2)
    assert stream.finish() is None
    assert [stream.add(time, frame) for time, frame in zip((0, 0.3), frames, strict=True)] == [None, None]
    np.testing.assert_allclose(stream.finish()["verb"], means(frames[[0, 1, 1, 1]]), rtol=1e-5)


def test_other_frames_states_and_artifacts_are_refused(colours, tiny):
    stream = FrameStream.open(colours)
    for wrong in (pictures(1), pictures(1)[0].astype(np.float32), np.zeros((4, 4, 3), np.uint8)):
        with pytest.raises(InputError, match=r"takes frames \(8, 8, 3\) uint8"):
            stream.step(wrong, stream.open_stream())
    with pytest.raises(InputError, match=r"takes frames, .*one of the kind 'stream'"):
        FrameStream.open(tiny)
    state = stream.open_stream()
    with pytest.raises(InputError, match="this state is not one of"):
        stream.step(pictures(1)[0], type(state)(tensors={"h": np.zeros(3)}))
    with pytest.raises(InputError, match="stride is 0"):
        SteppedStream(Artifact.open(colours), stride=0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"memory": "none"}, "memory is 'none'"),
        ({"reset_frames": 3}, "reset_frames is 3"),
        ({"state": {}}, "state is {}"),
        ({"sampling": {"frames": 0, "clip_seconds": 1.0}}, r"sampling\.frames is 0"),
        ({"inputs": {"flow": {}}}, "inputs is"),
        ({"state": {"window": {"shape": [1, 3, 3], "dtype": "float32"}}}, "'features_window'"),
        ({"outputs": {"noun": ["cup"]}}, "0 outputs for 'noun'"),
        ({"parts": [{"file": "head.tflite", "signature": "serving_default", "quantization": "float32"}]}, "'features'"),
    ],
)
def test_a_wrong_description_is_refused(change, fields, message):
    with pytest.raises(InputError, match=message):
        assert FrameStream.open(change(**fields)).artifact.parts is None
