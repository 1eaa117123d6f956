"""Which channels go: the least important for what they cost, until the cost is what was asked for."""

import json

import keras
import numpy as np
import pytest
from keras import layers

from egokeras import models
from egokeras.compress import pruned
from egokeras.compress.channels import channels_of
from egokeras.compress.cost import cost, walk
from egokeras.compress.narrowing import narrowed
from egokeras.compress.pruned import Pruned, Work
from egokeras.errors import InputError


@pytest.fixture(scope="module")
def small():
    keras.utils.set_random_seed(0)
    return models.FrameModel(backbone=models.SmallBackbone(channels=(16, 24)), head=models.LSTMHead(units=3)).build(
        classes={"verb": 3}, frames=5, size=16
    )


def macs(model):
    return cost(model)["macs"]["whole"]


def widths(model):
    return {path[-1]: layer.kernel.shape[-1] for path, layer in walk(model) if hasattr(layer, "kernel")}


def test_work_foretells_the_cost_of_the_smaller_model(small):
    channels, random = channels_of(small), np.random.default_rng(0)
    work = Work(channels, pruned._macs(small))
    assert work.whole == pytest.approx(macs(small))
    gone = [random.integers(1, len(group.roots)) for group in channels.groups]
    left = np.array([1 - count / len(group.roots) for group, count in zip(channels.groups, gone, strict=True)])
    removed = np.concatenate([group.roots[:count] for group, count in zip(channels.groups, gone, strict=True)])
    assert work.at(left) == pytest.approx(macs(narrowed(small, channels, removed)))
    one = np.ones(len(gone))
    one[1] = left[1]
    assert work.saved(np.ones(len(gone)), 1, left[1]) == pytest.approx(work.whole - work.at(one))


def two_layers(first=4, second=4):
    """`wide` costs 16 positions x 27 x first, `deep` 1 position x first x second and the answer second x 3."""
    image = keras.Input((6, 6, 3), name="rgb")
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="bn")(layers.Conv2D(first, 3, name="wide")(image)))
    x = layers.Dense(second, name="deep")(layers.GlobalAveragePooling2D(name="pool")(x))
    return keras.Model({"rgb": image}, {"action": layers.Dense(3, name="action")(x)})


def test_importance_by_hand():
    model = two_layers()
    wide, deep = model.get_layer("wide"), model.get_layer("deep")
    norms, rows, gamma = np.array([1.0, 2, 3, 2]), np.array([4.0, 1, 2, 1]), np.array([-3.0, 1, 1, 3])
    wide.kernel.assign(np.concatenate([norms[None], np.zeros((26, 4))]).reshape(3, 3, 3, 4))
    deep.kernel.assign(np.diag(rows))
    model.get_layer("bn").gamma.assign(gamma)
    channels = channels_of(model)
    by_norm, by_scale = (pruned._importance(model, channels, 0, kind) for kind in ("magnitude", "bn_scale"))
    np.testing.assert_allclose(by_norm, (norms / 2 + rows / 2) / 2, rtol=1e-6)
    np.testing.assert_allclose(by_scale, [1.5, 0.5, 0.5, 1.5], rtol=1e-6)
    answer = np.linalg.norm(model.get_layer("action").kernel.numpy(), axis=1)
    np.testing.assert_allclose(pruned._importance(model, channels, 1, "bn_scale"), (rows / 2 + answer / answer.mean()) / 2, rtol=1e-6)
    smaller = Pruned(macs=0.55, importance="bn_scale", multiple_of=1).prune(model)
    assert widths(smaller) == {"wide": 2, "deep": 4, "action": 3}
    np.testing.assert_allclose(smaller.get_layer("bn").gamma, [-3, 3])


@pytest.mark.parametrize("multiple_of", [1, 4])
def test_as_much_is_left_as_was_asked_for(small, multiple_of):
    smaller = Pruned(macs=0.6, multiple_of=multiple_of).prune(small)
    assert (0.55 if multiple_of == 1 else 0.5) < macs(smaller) / macs(small) <= 0.6
    before, after = widths(small), widths(smaller)
    assert all(after[name] in (before[name], *range(multiple_of, before[name], multiple_of)) for name in before)
    assert after["verb"] == 3


def table(path, **milliseconds):
    """Of `two_layers`: what each layer takes, and half of it with half of the work."""
    rows = [{"layer": name, "share": 0.5, "whole_ms": ms, "part_ms": ms / 2} for name, ms in milliseconds.items()]
    path.write_text(json.dumps({"kind": "int8", "threads": 1, "layers": rows}))
    return str(path)


def test_channels_that_cost_time_go_first(tmp_path):
    """By multiply-accumulates `wide` (8 x 432) goes, by the clock `deep`, 11 for each of its channels."""
    model = two_layers(8, 64)
    assert widths(Pruned(macs=0.8, multiple_of=2).prune(model)) == {"wide": 6, "deep": 64, "action": 3}
    file = table(tmp_path / "latencies.json", wide=0.001, deep=5.0, action=0.001)
    assert widths(Pruned(macs=0.95, multiple_of=2, latencies=file).prune(model)) == {"wide": 8, "deep": 44, "action": 3}


def test_time_is_a_line_between_whole_and_part(tmp_path):
    channels = channels_of(two_layers())
    slopes, fixed = pruned._measured(table(tmp_path / "a.json", wide=3.0, deep=1.0, action=0.5), channels)
    assert slopes == {("wide",): 3.0, ("deep",): 1.0, ("action",): 0.5} and fixed == 0
    (tmp_path / "b.json").write_text(
        json.dumps({"layers": [{"layer": name, "share": 0.25, "whole_ms": 4, "part_ms": 2.5} for name in ("wide", "deep", "action")]})
    )
    slopes, fixed = pruned._measured(tmp_path / "b.json", channels)
    assert slopes["wide",] == pytest.approx(2.0) and fixed == pytest.approx(6.0)


def test_what_is_refused(tmp_path):
    for fields, said in (
        ({"macs": 1.5}, "model.macs is 1.5; give the share"),
        ({"importance": "luck"}, "model.importance is 'luck'; it must be one of magnitude, bn_scale"),
        ({"multiple_of": 0}, "model.multiple_of is 0; give at least 1"),
    ):
        with pytest.raises(InputError, match=said):
            Pruned(**fields)
    model = two_layers()
    with pytest.raises(
        InputError, match=r"model.macs is 0.1, but 1.00 is left where no layer can lose 4 channels more; give more, or a sm"
    ):
        Pruned(macs=0.1, multiple_of=4).prune(model)
    with pytest.raises(InputError, match="lacks the layer 'deep'; measure the layers of this model"):
        Pruned(latencies=table(tmp_path / "a.json", wide=1.0)).prune(model)
    (tmp_path / "b.json").write_text("[]")
    with pytest.raises(InputError, match=r"b.json is no table of layers .*; make one with `egokeras layers`"):
        Pruned(latencies=str(tmp_path / "b.json")).prune(model)
