"""Parameter counts of the report, and what the parts promise."""

import warnings

import keras
import numpy as np
import pytest

import egokeras
from egokeras import models
from egokeras.errors import InputError

VERB_CATEGORIES = {"verb_category": 13}
VERBS_NOUNS = {"verb": 97, "noun": 300}


def trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def head_of(head, classes, channels=1280, maps=8):
    shape = (20, channels) if head.pool else (20, maps, maps, channels)
    return head.build(feature_shape=shape, classes=classes)


def test_parameters_of_the_reports_heads():
    assert trainable(head_of(models.LSTMHead(), VERB_CATEGORIES)) == 266_963
    assert trainable(head_of(models.LSTMHead(), VERBS_NOUNS)) == 286_547
    assert trainable(head_of(models.ConvNet1DHead(), VERBS_NOUNS)) == 85_137
    assert trainable(head_of(models.ConvNet1DHead(), VERB_CATEGORIES)) == 46_353
    assert trainable(head_of(models.ConvLSTMHead(), VERB_CATEGORIES)) == 659_621
    assert trainable(head_of(models.ConvLSTMHead(), VERBS_NOUNS)) == 663_077
    assert trainable(head_of(models.ConvLSTMHead.table1(), VERB_CATEGORIES, channels=96, maps=16)) == 446_909


def test_parameters_of_whole_models():
    backbone = models.Backbone(weights=None).build(frames=20, size=256, pool=True)
    assert backbone.count_params() == 2_257_984
    cut = models.Backbone(weights=None, cut="block_12_add")
    assert cut.build(frames=20, size=256, pool=False).count_params() == 558_656
    table1 = models.MobileNetV2ConvLSTM(13, size=256, backbone=cut, head=models.ConvLSTMHead.table1())
    assert trainable(table1) == 446_909
    assert table1.count_params() == 1_005_565


@pytest.mark.parametrize(
    "head", [models.LSTMHead(), models.ConvLSTMHead(kernel=1, strides=1), models.ConvNet1DHead(), models.AverageHead()]
)
def test_saved_model_predicts_the_same(tmp_path, head):
    model = models.FrameModel(backbone=models.SmallBackbone(channels=(4, 8)), head=head).build(
        classes={"verb": 5, "noun": 3}, frames=6, size=16
    )
    clips = np.random.default_rng(0).integers(0, 256, (2, 6, 16, 16, 3), np.uint8)
    expected = model({"rgb": clips}, training=False)
    assert set(expected) == {"verb", "noun", "features"}
    assert expected["verb"].shape == (2, 5)
    model.save(tmp_path / "model.keras")
    again = egokeras.load_model(tmp_path / "model.keras")({"rgb": clips}, training=False)
    for name, value in expected.items():
        np.testing.assert_allclose(again[name], value, atol=1e-6)


def test_backbone_sees_frames_one_by_one():
    backbone = models.SmallBackbone(channels=(4, 8)).build(frames=3, size=16, pool=True)
    clip = np.random.default_rng(0).integers(0, 256, (2, 3, 16, 16, 3), np.uint8)
    whole = backbone({"rgb": clip}, training=False)
    single = models.SmallBackbone(channels=(4, 8)).build(frames=1, size=16, pool=True)
    single.set_weights(backbone.get_weights())
    for b in range(2):
        for t in range(3):
            np.testing.assert_allclose(whole[b, t], single({"rgb": clip[b : b + 1, t : t + 1]}, training=False)[0, 0], atol=1e-5)


def test_pretrained_weights_and_freezing(shared_data):
    weights = str(next((shared_data / "weights").glob("*0.35*.h5")))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        pretrained = models.Backbone(alpha=0.35, weights=weights).build(frames=1, size=96, pool=True)
    reference = keras.applications.MobileNetV2(alpha=0.35, weights=weights, include_top=False, input_shape=(96, 96, 3), pooling="avg")
    image = np.random.default_rng(0).integers(0, 256, (1, 96, 96, 3)).astype("uint8")
    expected = reference(keras.applications.mobilenet_v2.preprocess_input(image.astype("float32")), training=False)
    found = pretrained({"rgb": image[None]}, training=False)
    assert found.dtype == "float16"  # as in a cache of features
    np.testing.assert_allclose(found[0], expected, rtol=1e-3, atol=1e-4)
    assert not pretrained.trainable_weights
    partly = models.Backbone(alpha=0.35, weights=None, trainable_from="block_15_expand").build(frames=1, size=96, pool=True)
    names = {weight.path.split("/")[0] for weight in partly.trainable_weights}
    assert "block_15_expand" in names and "block_16_project" in names and "block_14_expand" not in names


@pytest.mark.parametrize(("given", "share"), [({}, 0.1), ({"momentum": None}, 0.001)])
def test_statistics_follow_the_batches_of_a_short_training(given, share):
    backbone = models.Backbone(weights=None, alpha=0.35, trainable_from="", **given).build(frames=2, size=32, pool=True)
    norm = backbone.get_layer("bn_Conv1")
    clips = np.random.default_rng(0).integers(0, 256, (3, 2, 32, 32, 3), np.uint8)
    maps = np.asarray(keras.Model(backbone.input, norm.input)({"rgb": clips}))
    backbone({"rgb": clips}, training=True)
    np.testing.assert_allclose(norm.moving_mean, share * maps.mean(axis=(0, 1, 2)), atol=1e-6)


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda: models.Backbone(name="MobilNetV2", weights=None).build(frames=1, size=32, pool=True), "MobileNetV2"),
        (lambda: models.Backbone(momentum=1.0), "backbone.momentum is 1.0"),
        (lambda: models.Backbone(weights="absent.h5").build(frames=1, size=32, pool=True), "absent.h5"),
        (lambda: models.Backbone(weights=None, cut="block_12_ad").build(frames=1, size=32, pool=True), "block_12_add"),
        (lambda: models.ConvNet1DHead(blocks=4).build(feature_shape=(16, 8), classes={"verb": 2}), "head.blocks 4"),
        (lambda: models.ConvLSTMHead().build(feature_shape=(5, 3, 3, 8), classes={"verb": 2}), "head.kernel 4"),
        (lambda: models.FrameModel(frames=20).build(classes={"verb": 2}, frames=16, size=64), "model.frames is 20"),
        (lambda: models.FrameModel(size=-3).build(classes={"verb": 2}, frames=16), "model.size is -3; give at least 1"),
    ],
)
def test_errors_name_the_field_and_the_cure(build, named):
    with pytest.raises(InputError, match=named):
        build()


def test_short_clips_get_fewer_blocks():
    for time in (5, 8, 16, 20, 32):
        assert models.ConvNet1DHead().build(feature_shape=(time, 8), classes={"verb": 2}).output["verb"].shape == (None, 2)
