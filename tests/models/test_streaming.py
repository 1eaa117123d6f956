"""The step functions of a stream give what the model of clips gives."""

import numpy as np
import pytest

from egokeras import models
from egokeras.errors import InputError
from egokeras.models import streaming

FRAMES, CLASSES = 5, {"verb": 3, "noun": 4}
HEADS = [
    models.LSTMHead(units=6),
    models.ConvLSTMHead(kernel=3, strides=1),
    models.ConvNet1DHead(filters=4, last_filters=6),
    models.AverageHead(),
    models.ConsensusHead(),
]
LONG = np.random.default_rng(1).integers(0, 256, (2, FRAMES + 3, 16, 16, 3), np.uint8)


@pytest.fixture(scope="module", params=HEADS, ids=lambda head: type(head).__name__)
def model(request):
    return build(request.param)


def build(head):
    import keras

    keras.utils.set_random_seed(0)
    backbone = models.SmallBackbone(channels=(8, 12))
    return models.FrameModel(backbone=backbone, head=head).build(classes=CLASSES, frames=FRAMES, size=16)


def rolled(model, step, frames):
    """Logits after every frame of `frames` (2, time, ...), step by step from zeros."""
    import keras

    features = streaming.features_step(model)
    state = {name: keras.ops.zeros((2, *tensor.shape[1:])) for name, tensor in step.input.items() if name != "features"}
    for time in range(frames.shape[1]):
        outputs = step({"features": features({"rgb": frames[:, time]})["features"], **state})
        state = {name: outputs[name] for name in state}
        yield {name: np.array(outputs[name]) for name in (*CLASSES, "embedding")}


def test_a_window_gives_what_the_clip_of_the_last_frames_gives(model):
    found = list(rolled(model, streaming.window_step(model), LONG))
    for last in range(FRAMES, LONG.shape[1] + 1):
        expected = model({"rgb": LONG[:, last - FRAMES : last]})
        for space in CLASSES:
            np.testing.assert_allclose(found[last - 1][space], expected[space], atol=1e-5)
        np.testing.assert_allclose(found[last - 1]["embedding"], expected["features"], atol=1e-5)
    assert np.ptp([each["verb"] for each in found[FRAMES - 1 :]], axis=0).max() > 1e-3


@pytest.mark.parametrize("head", HEADS[:2], ids=lambda head: type(head).__name__)
def test_a_carried_state_gives_what_the_clip_since_the_start_gives(head):
    model = build(head)
    *_, found = rolled(model, streaming.carried_step(model), LONG[:, :FRAMES])
    expected = model({"rgb": LONG[:, :FRAMES]})
    for space in CLASSES:
        np.testing.assert_allclose(found[space], expected[space], atol=1e-5)
    np.testing.assert_allclose(found["embedding"], expected["features"], atol=1e-5)


def test_a_carried_state_goes_on_beyond_a_clip():
    """The same weights in a model of longer clips are the reference."""
    head = models.LSTMHead(units=6)
    model = build(head)
    longer = models.FrameModel(backbone=models.SmallBackbone(channels=(8, 12)), head=head).build(
        classes=CLASSES, frames=LONG.shape[1], size=16
    )
    longer.set_weights(model.get_weights())
    *_, found = rolled(model, streaming.carried_step(model), LONG)
    np.testing.assert_allclose(found["verb"], longer({"rgb": LONG})["verb"], atol=1e-5)
    *_, window = rolled(model, streaming.window_step(model), LONG)
    assert np.abs(window["verb"] - found["verb"]).max() > 1e-4


@pytest.mark.parametrize("head", [models.ConvNet1DHead(blocks=0, last_filters=4), None], ids=["head", "mean"])
def test_exits_see_the_frames_of_a_stream_as_those_of_a_clip(head):
    """With a head an exit sees one vector of a frame; without, the frame's logits of each label space, of which the mean is taken."""
    import keras

    inside = models.FrameModel(backbone=models.SmallBackbone(channels=(4, 6, 6)), head=models.LSTMHead(units=5))
    model = models.WithExits(model=inside, at=("conv_1_relu", "conv_2_relu"), channels=3, head=head).build(
        classes=CLASSES, frames=FRAMES, size=24
    )
    clip = np.random.default_rng(0).integers(0, 256, (2, FRAMES, 24, 24, 3), np.uint8)
    exits = [tuple(f"{space}{end}" for space in CLASSES) for end in ("_exit_1", "_exit_2", "")]
    keras.utils.clear_session()  # names are given anew, as where the model was loaded from a file
    frame, over_time = streaming.exit_steps(model, exits)
    seen = [frame({"rgb": clip[:, time]}) for time in range(FRAMES)]
    expected = model({"rgb": clip})
    for names, exit_model in zip(exits, over_time, strict=True):
        assert len(exit_model.input) == (2 if head is None and names != tuple(CLASSES) else 1)
        found = exit_model({name: np.concatenate([each[name] for each in seen], 1) for name in exit_model.input})
        assert set(found) == set(names)
        for name in names:
            np.testing.assert_allclose(found[name], expected[name], atol=1e-5)
            assert np.ptp(found[name]) > 1e-3
    assert not {id(weight) for weight in frame.weights} & {id(weight) for each in over_time for weight in each.weights}


def test_halves_are_the_whole(model):
    features, head = streaming.halves(model)
    found = head({"features": features({"rgb": LONG[:, :FRAMES]})["features"]})
    expected = model({"rgb": LONG[:, :FRAMES]})
    np.testing.assert_allclose(found["noun"], expected["noun"], atol=1e-6)
    np.testing.assert_allclose(found["embedding"], expected["features"], atol=1e-6)


def test_what_has_no_stream_is_named():
    with pytest.raises(InputError, match="no recurrent layer whose state could be carried"):
        streaming.carried_step(build(models.AverageHead()))
    volume = models.ResNet3D(width=4).build(classes=CLASSES, frames=8, size=32)
    with pytest.raises(InputError, match="does not compute one frame of RGB after another"):
        streaming.features_step(volume)
    heads = [tuple(CLASSES)]
    with pytest.raises(InputError, match="does not compute one frame of RGB after another"):
        streaming.exit_steps(volume, heads)
    inside = models.FrameModel(backbone=models.SmallBackbone(channels=(8,)), head=models.LSTMHead(units=4))
    over_time = models.WithExits(model=inside, at=("unfold_time",)).build(classes=CLASSES, frames=3, size=16)
    with pytest.raises(InputError, match="exit 2 sits on what the model computes over time"):
        streaming.exit_steps(over_time, [tuple(f"{space}_exit_1" for space in CLASSES), *heads])
    single = models.FrameModel(backbone=models.SmallBackbone(channels=(8,)), head=models.AverageHead()).build(
        classes=CLASSES, frames=1, size=16
    )
    with pytest.raises(InputError, match="clips have one frame"):
        streaming.window_step(single)
    with pytest.raises(InputError, match="no nested models `backbone` and `head`"):
        streaming.halves(models.EarlyExitResNet(width=8).build(classes=CLASSES, shapes={"iframe": (3, 64, 64, 3)}))
