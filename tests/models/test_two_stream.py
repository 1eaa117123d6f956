"""Two streams: sizes by arithmetic, the consensus against loops, and modalities that never take each other's place."""

import keras
import numpy as np
import pytest

import egokeras
from egokeras import models, students
from egokeras.errors import InputError
from egokeras.models import Backbone, ConsensusHead, ConvLSTMHead, ResNet2D, SmallBackbone, TwoStream

VERBS_NOUNS = {"verb": 97, "noun": 300}
SMALL = SmallBackbone(channels=(4, 8))


def built(classes=None, segments=3, size=32, flow=10, **fields):
    shapes = {"rgb": (segments, size, size, 3), "flow": (segments, size, size, flow), "rgb_difference": (segments, size, size, 3)}
    return TwoStream(**fields).build(classes=classes or {"verb": 5, "noun": 4}, shapes=shapes)


def clips_of(model, seed=0):
    random = np.random.default_rng(seed)
    return {name: random.integers(0, 256, (2, *tensor.shape[1:]), np.uint8) for name, tensor in model.input.items()}


def trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


RESNET18 = 11_689_512 - 1000 * 513  # the published network without its classifier
STEM, EXPANDED = 7 * 7 * 64, 3 * 3 * 32  # weights of the first convolution for each channel of the input
MOBILENET = 2_257_984


@pytest.mark.parametrize(
    ("backbone", "head", "expected"),
    [
        (ResNet2D(), ConsensusHead(), 2 * RESNET18 + 7 * STEM + (2 * 512 + 1) * 397),
        (
            ResNet2D(),
            ConvLSTMHead(filters=64, kernel=3, strides=1, padding="same", batch_norm=False),
            2 * RESNET18 + 7 * STEM + 4 * (9 * 1024 * 64 + 9 * 64 * 64 + 64) + 65 * 397,
        ),
        (Backbone(weights=None), ConsensusHead(), 2 * MOBILENET + 7 * EXPANDED + (2 * 1280 + 1) * 397),
    ],
    ids=["resnet18", "convlstm", "mobilenet"],
)
def test_sizes_by_arithmetic(backbone, head, expected):
    model = built(VERBS_NOUNS, size=64, backbone=backbone, head=head)
    assert (model.count_params() if isinstance(backbone, Backbone) else trainable(model)) == expected
    assert isinstance(backbone, ResNet2D) or trainable(model) == (2 * 1280 + 1) * 397  # frozen, as it is made for ImageNet's weights


def test_consensus_is_the_mean_of_the_segments_scores():
    """Against loops over clips, segments and classes."""
    head = ConsensusHead().build(feature_shape=(3, 6), classes={"verb": 4, "noun": 2})
    features = np.random.default_rng(0).normal(size=(5, 3, 6)).astype("float32")
    found = head.predict({"features": features}, verbose=0)
    for space, classes in (("verb", 4), ("noun", 2)):
        kernel, bias = head.get_layer(f"{space}_scores").get_weights()
        for clip in range(5):
            for label in range(classes):
                scores = [sum(features[clip, k, i] * kernel[i, label] for i in range(6)) + bias[label] for k in range(3)]
                assert found[space][clip, label] == pytest.approx(sum(scores) / 3, abs=1e-5)
    np.testing.assert_allclose(found["features"], features.mean(axis=1), atol=1e-6)


def test_consensus_drops_features_of_each_segment_anew():
    keras.utils.set_random_seed(0)
    head = ConsensusHead(dropout=0.5).build(feature_shape=(64, 1), classes={"verb": 1})
    head.get_layer("verb_scores").set_weights([np.ones((1, 1)), np.zeros(1)])
    found = np.asarray(head({"features": np.ones((1, 64, 1))}, training=True)["verb"]).item()
    assert 0.5 < found < 1.5 and found not in (0.0, 1.0, 2.0)  # kept ones count twice; one draw for all would give 0 or 2


@pytest.mark.parametrize("fusion", ["features", "logits"])
def test_a_clip_scores_as_its_segments_do_alone(fusion):
    keras.utils.set_random_seed(0)
    several, one = (built(segments=segments, fusion=fusion, backbone=SMALL) for segments in (3, 1))
    one.set_weights(several.get_weights())
    clips = clips_of(several)
    alone = [one({name: clip[:, k : k + 1] for name, clip in clips.items()}, training=False) for k in range(3)]
    for name, values in several(clips, training=False).items():
        np.testing.assert_allclose(values, np.mean([each[name] for each in alone], axis=0), atol=1e-4)


def test_features_are_side_by_side_and_logits_are_averaged(tmp_path):
    """Streams that were trained alone, taken over by name."""
    keras.utils.set_random_seed(0)
    streams = {name: built(modalities=(name,), backbone=SMALL) for name in ("rgb", "flow")}
    for name, stream in streams.items():
        stream.save(tmp_path / f"{name}.keras")
    files, late = [tmp_path / "rgb.keras", tmp_path / "flow.keras"], built(backbone=SMALL, fusion="logits")
    students.take_weights(late, files)
    clips = clips_of(late)
    alone = {name: stream({name: clips[name]}, training=False) for name, stream in streams.items()}
    found = late(clips, training=False)
    np.testing.assert_allclose(found["verb"], (alone["rgb"]["verb"] + alone["flow"]["verb"]) / 2, atol=1e-5)
    fused = built(backbone=SMALL)
    students.take_weights(fused, files)
    side_by_side = np.concatenate([alone["rgb"]["features"], alone["flow"]["features"]], axis=1)
    for features in (found["features"], fused(clips, training=False)["features"]):
        np.testing.assert_allclose(features, side_by_side, atol=1e-5)


@pytest.mark.parametrize("head", [ConsensusHead(), ConvLSTMHead(kernel=2, strides=1)], ids=["consensus", "convlstm"])
def test_a_modality_never_takes_the_place_of_another(head, tmp_path):
    model = built(modalities=("rgb", "rgb_difference"), backbone=SMALL, head=head)
    model.save(tmp_path / "model.keras")
    again, clips = egokeras.load_model(tmp_path / "model.keras"), clips_of(model)
    expected = model(clips, training=False)
    for name, values in again(dict(reversed(clips.items())), training=False).items():
        np.testing.assert_allclose(values, expected[name], atol=1e-5)
    swapped = model({"rgb": clips["rgb_difference"], "rgb_difference": clips["rgb"]}, training=False)
    assert np.abs(swapped["verb"] - expected["verb"]).max() > 1e-3


def test_flow_begins_with_the_mean_of_pretrained_colours(shared_data):
    weights = str(next((shared_data / "weights").glob("*0.35*.h5")))
    flow = built(segments=1, modalities=("flow",), backbone=Backbone(alpha=0.35, weights=weights)).get_layer("flow_backbone")
    reference = keras.applications.MobileNetV2(alpha=0.35, weights=weights, include_top=False, input_shape=(96, 96, 3))
    colours, inside = (reference.get_layer(name).get_weights()[0] for name in ("Conv1", "block_3_project"))
    np.testing.assert_allclose(flow.get_layer("Conv1").get_weights()[0], np.repeat(colours.mean(2, keepdims=True), 10, 2), atol=1e-7)
    np.testing.assert_array_equal(flow.get_layer("block_3_project").get_weights()[0], inside)


@pytest.mark.parametrize(
    ("fields", "shapes", "said"),
    [
        ({"modalities": ("rgb", "rgb")}, {}, "each once"),
        ({"modalities": ("rgb", "sound")}, {}, r"model.modalities is \('rgb', 'sound'\); give some of rgb, iframe, flow"),
        ({"fusion": "late"}, {}, "model.fusion is 'late'; it must be features or logits"),
        ({}, {"rgb": (3, 32, 32, 3)}, "the data has no flow; it has rgb"),
        ({}, {"rgb": (3, 32, 32, 3), "flow": (5, 32, 32, 10)}, "the clips have rgb 3 x 32 x 32, flow 5 x 32 x 32; prepare all of one"),
        ({}, {"rgb": (3, 32, 40, 3), "flow": (3, 32, 40, 10)}, "one square size"),
        ({"segments": 8}, {"rgb": (3, 32, 32, 3), "flow": (3, 32, 32, 10)}, "model.segments is 8, the data has 3"),
    ],
)
def test_what_does_not_fit(fields, shapes, said):
    with pytest.raises(InputError, match=said):
        TwoStream(**fields).build(classes={"verb": 2}, shapes=shapes)
    with pytest.raises(InputError, match="backbone.depth is 101; it must be one of 18, 34, 50"):
        ResNet2D(depth=101)


def test_a_model_of_frames_takes_the_consensus_too():
    model = models.FrameModel(backbone=ResNet2D(width=2), head=ConsensusHead()).build(classes={"verb": 3}, frames=2, size=32)
    assert model.input.keys() == {"rgb"} and model.output["verb"].shape == (None, 3)
