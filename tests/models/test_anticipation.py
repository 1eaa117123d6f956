"""Anticipation models: parameter counts, loops with the same weights, what may be seen when, and what stages hand on."""

import itertools

import keras
import numpy as np
import pytest

import egokeras
from egokeras import models
from egokeras.distill import Distiller
from egokeras.errors import InputError
from egokeras.models import RULSTM, AnticipationLSTM, Vocabulary

RANDOM = np.random.default_rng(0)
UNITS, ACTIONS = 4, 5
SHAPES = {"rgb_features": (14, 6), "objects": (14, 3), "labels": (4, 3)}
FEATURES = ("rgb_features", "objects")
BATCH = {
    "rgb_features": RANDOM.normal(size=(2, 14, 6)).astype("float16"),
    "objects": RANDOM.normal(size=(2, 14, 3)).astype("float16"),
    "labels": np.concatenate([RANDOM.integers(0, 9, (2, 4, 2)), np.sort(RANDOM.integers(0, 500, (2, 4, 1)))[:, ::-1]], axis=-1).astype(
        "int16"
    ),
}
LABELS = Vocabulary(verbs=9, nouns=9, last=2, verb_size=2, noun_size=3)
ALL = [
    AnticipationLSTM(units=UNITS, labels=LABELS),
    RULSTM(units=UNITS, labels=LABELS, fusion="late"),
    RULSTM(units=UNITS, labels=LABELS, completion=True, modalities=("objects",)),
    RULSTM(units=UNITS, labels=LABELS),
]


def build(spec, classes=None):
    keras.utils.set_random_seed(0)
    model = spec.build(classes=classes or {"action": ACTIONS}, shapes=SHAPES)
    model.set_weights([RANDOM.normal(size=weight.shape) for weight in model.get_weights()])  # biases too
    return model


def batch(model):
    return {modality: BATCH[modality] for modality in model.input}


def trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


@pytest.fixture
def quick_start(monkeypatch):
    """Orthogonal matrices of 1024 x 4096 take seconds each, and do not count."""
    for kind in (keras.initializers.Orthogonal, keras.initializers.GlorotUniform):
        monkeypatch.setattr(kind, "__call__", lambda self, shape, dtype=None: keras.ops.zeros(shape, dtype))


@pytest.mark.parametrize(
    ("classes", "rgb", "objects"), [(2513, 19_361_233, 13_856_209), (3806, 20_686_558, 15_181_534), (106, 16_894_058, 11_389_034)]
)
def test_parameters_of_a_branch(quick_start, classes, rgb, objects):
    """The published ones less the second bias of every LSTM, 8,192 in all."""
    for width, expected in ((1024, rgb), (352, objects)):
        model = RULSTM().build(classes={"action": classes}, shapes={"x": (14, width)})
        assert trainable(model) == model.count_params() == expected


def test_parameters_of_the_fusion(quick_start):
    shapes = {"rgb_features": (14, 1024), "flow_features": (14, 1024), "objects": (14, 352)}
    model = RULSTM(fusion="matt").build(classes={"action": 2513}, shapes=shapes)
    assert trainable(model) - 2 * 19_361_233 - 13_856_209 == 10_621_443
    assert [model.get_layer(name).units for name in ("matt_1", "matt_2", "matt_weights")] == [1536, 768, 3]


def test_parameters_of_the_baseline(quick_start):
    model = AnticipationLSTM().build(classes={"action": 2513}, shapes={"rgb_features": (14, 1024)})
    assert trainable(model) == 19_361_233  # two LSTMs and a Dense, as the branch


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(layer, x, h=None, c=None):
    """Hidden and cell state after every step `(steps, units)` of one clip `(steps, F)`."""
    kernel, recurrent, bias = layer.get_weights()
    h, c, states = np.zeros(UNITS) if h is None else h, np.zeros(UNITS) if c is None else c, []
    for frame in x:
        i, f, g, o = np.split(frame @ kernel + h @ recurrent + bias, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        states.append((h, c))
    return [np.array(part) for part in zip(*states, strict=True)]


def dense(layer, x):
    kernel, bias = layer.get_weights()
    return x @ kernel + bias


def observed(model, modality, clip):
    if modality != "labels":
        return BATCH[modality][clip].astype(float)
    return np.array(model.get_layer("labels_embedding")(BATCH["labels"][clip : clip + 1])[0], float)


def baseline(model, modality, clip):
    x = observed(model, modality, clip)
    h, c = lstm(model.get_layer(f"{modality}_encoder"), x[:6])
    return lstm(model.get_layer(f"{modality}_decoder"), x[6:], h[-1], c[-1])[0]


def branch(model, modality, clip, completion=False):
    """Last unrolled hidden states, rolling hidden states and rolling cell states `(8, units)` of one clip."""
    x, unrolled = observed(model, modality, clip), []
    h, c = lstm(model.get_layer(f"{modality}_rolling"), x)
    for t in range(6, 14):
        fed = [x[i] for i in range(t, 14)] if completion else [x[t]] * (14 - t + 1)
        unrolled.append(lstm(model.get_layer(f"{modality}_unrolling"), fed, h[t], c[t])[0][-1])
    return np.array(unrolled), h[6:], c[6:]


def attention(model, context):
    """Weights of the branches from the contexts of one clip at one time."""
    for name in ("matt_1", "matt_2"):
        context = np.maximum(dense(model.get_layer(name), context), 0)
    powers = np.exp(dense(model.get_layer("matt_weights"), context))
    return powers / powers.sum()


def test_baseline_equals_the_loop():
    model = build(AnticipationLSTM(units=UNITS, labels=LABELS))
    found = model(batch(model))["action"]
    assert found.shape == (2, 8, ACTIONS)
    for clip in range(2):
        scores = [dense(model.get_layer(f"{modality}_action"), baseline(model, modality, clip)) for modality in SHAPES]
        np.testing.assert_allclose(found[clip], np.mean(scores, axis=0), atol=1e-4)


@pytest.mark.parametrize("completion", [False, True])
@pytest.mark.parametrize("modality", SHAPES)
def test_branch_equals_the_loop(modality, completion):
    model = build(RULSTM(units=UNITS, labels=LABELS, modalities=(modality,), completion=completion), {"action": ACTIONS, "verb": 3})
    found = model(batch(model))
    for clip in range(2):
        unrolled, _, _ = branch(model, modality, clip, completion)
        for head in ("action", "verb"):
            np.testing.assert_allclose(found[head][clip], dense(model.get_layer(f"{modality}_{head}"), unrolled), atol=1e-4)


def test_late_fusion_equals_the_loop():
    model = build(RULSTM(units=UNITS, modalities=FEATURES, fusion="late"))
    found = model(batch(model))["action"]
    for clip in range(2):
        scores = [dense(model.get_layer(f"{modality}_action"), branch(model, modality, clip)[0]) for modality in FEATURES]
        np.testing.assert_allclose(found[clip], (scores[0] + scores[1]) / 2, atol=1e-4)


@pytest.mark.parametrize("context", ["unrolled_h+rolling_c", "rolling_h+rolling_c"])
@pytest.mark.parametrize("modalities", [FEATURES, tuple(SHAPES)])
def test_attention_equals_the_loop(modalities, context):
    model = build(RULSTM(units=UNITS, labels=LABELS, modalities=modalities, fusion="matt", context=context), {"action": ACTIONS, "noun": 3})
    found = model(batch(model))
    weights = keras.Model(model.input, model.get_layer("matt_weights").output)(batch(model))
    for clip in range(2):
        states = [branch(model, modality, clip) for modality in modalities]
        for t in range(8):
            seen = [np.concatenate([unrolled[t] if context.startswith("un") else h[t], c[t]]) for unrolled, h, c in states]
            expected = attention(model, np.concatenate(seen))
            np.testing.assert_allclose(weights[clip, t], expected, atol=1e-4)
            for head in ("action", "noun"):
                scores = [dense(model.get_layer(f"{m}_{head}"), state[0][t]) for m, state in zip(modalities, states, strict=True)]
                fused = sum(weight * score for weight, score in zip(expected, scores, strict=True))
                np.testing.assert_allclose(found[head][clip, t], fused, atol=1e-4)


def changed_from(modality, observation):
    """The batch with everything from an observation on, or known only from there on, replaced."""
    other = BATCH[modality].copy()
    if modality == "labels":
        other[other[..., 2] < 25 * (14 - observation + 1)] = 7, 7, 24  # not known at the observation before, and never
    else:
        other[:, observation:] = RANDOM.normal(size=other[:, observation:].shape)
    return {**BATCH, modality: other}


@pytest.mark.parametrize("spec", ALL, ids=["lstm", "late", "completion", "matt"])
def test_predictions_see_nothing_that_comes_after_them(spec):
    model = build(spec)
    before = model(batch(model))["action"]
    for modality, observation in itertools.product(model.input, (7, 13)):
        other = changed_from(modality, observation)
        after = model({name: other[name] for name in model.input})["action"]
        same = np.abs(before - after).max(axis=(0, 2)) == 0
        known = observation - 6  # predictions after the observations before it
        assert same[:known].all() != (isinstance(spec, RULSTM) and spec.completion)
        assert modality == "labels" or not same[known:].any()


@pytest.mark.parametrize("spec", ALL, ids=["lstm", "late", "completion", "matt"])
def test_saved_model_predicts_the_same(spec, tmp_path):
    model = build(spec, {"action": ACTIONS, "verb": 2})
    model.save(tmp_path / "model.keras")
    again = egokeras.load_model(tmp_path / "model.keras")
    for space, logits in model(batch(model)).items():
        np.testing.assert_array_equal(again(batch(model))[space], logits)


def layers_of(model):
    return {layer.name: [weight.shape for weight in layer.get_weights()] for layer in model.layers if layer.weights}


def test_stages_share_names_and_shapes():
    """What a later stage takes over by layer name."""

    def made(**fields):
        return layers_of(RULSTM(units=UNITS, labels=LABELS, **fields).build(classes={"action": ACTIONS}, shapes=SHAPES))

    fused, branches = made(), {}
    for modality in SHAPES:
        alone = made(modalities=(modality,))
        assert alone == made(modalities=(modality,), completion=True)
        assert {f"{modality}_{part}" for part in ("rolling", "unrolling", "action")} == alone.keys() - {"labels_embedding"}
        branches |= alone
    assert made(fusion="late") == branches
    assert {name: shapes for name, shapes in fused.items() if not name.startswith("matt_")} == branches
    baseline = layers_of(AnticipationLSTM(units=UNITS).build(classes={"action": ACTIONS}, shapes={"objects": (14, 3)}))
    assert set(baseline) == {"objects_encoder", "objects_decoder", "objects_action"}


def test_mixed_precision_keeps_weights_and_logits_exact():
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        half = build(RULSTM(units=UNITS, labels=LABELS, fusion="matt"))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    whole = build(RULSTM(units=UNITS, labels=LABELS, fusion="matt"))
    whole.set_weights(half.get_weights())
    found = half(batch(half))["action"]
    assert found.dtype == "float32" and {weight.dtype for weight in half.weights} == {"float32"}
    assert half.get_layer("objects_rolling").compute_dtype == "float16" and half.get_layer("objects_action").compute_dtype == "float32"
    np.testing.assert_allclose(found, whole(batch(whole))["action"], atol=0.05)


def test_all_noise_comes_from_the_models_own_seeds():
    """What a snapshot holds decides what Dropout drops: the weights and the seeds, all of them variables."""
    model = build(RULSTM(units=UNITS, labels=LABELS, fusion="matt", dropout=0.5))
    state = [keras.ops.convert_to_numpy(variable) for variable in model.variables]
    first, second = (model(batch(model), training=True)["action"] for _ in range(2))
    assert np.abs(first - second).min() > 0
    for variable, value in zip(model.variables, state, strict=True):
        variable.assign(value)
    np.testing.assert_array_equal(model(batch(model), training=True)["action"], first)


def test_it_learns():
    """One observation, the ninth, shows the action: before it nobody can know, from there on the model does."""
    keras.utils.set_random_seed(0)
    labels = RANDOM.integers(0, 3, 120).astype("int32")
    x = np.zeros((120, 14, 3), "float16")
    x[np.arange(120), 8, labels] = 3
    model = RULSTM(units=8, dropout=0.0).build(classes={"action": 3}, shapes={"objects": (14, 3)})
    distiller = Distiller(model)
    distiller.compile(keras.optimizers.Adam(0.05), top=(1,))
    distiller.fit({"objects": x}, {"action": labels}, epochs=20, batch_size=120, verbose=0)
    right = (np.argmax(model({"objects": x})["action"], axis=-1) == labels[:, None]).mean(axis=0)
    assert right[:2].max() < 0.5 and right[2:].min() > 0.95


@pytest.mark.parametrize("name", ["EncoderDecoderLSTM", "RollingUnrollingLSTM"])
def test_plain_constructors(name):
    model = getattr(models, name)(7, {"rgb_features": 6, "labels": (10, 3)}, units=UNITS)
    assert isinstance(model, keras.Model) and model.output["action"].shape == (None, 8, 7)
    assert model.input["rgb_features"].shape == (None, 14, 6) and model.input["labels"].dtype == "int16"


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: build(RULSTM(modalities=("flow_features",))), "no 'flow_features'; it has rgb_features, objects, labels"),
        (lambda: RULSTM(modalities=("objects", "objects")), "names one twice: objects, objects"),
        (lambda: RULSTM(units=0), "model.units is 0"),
        (lambda: AnticipationLSTM(dropout=1.0), "model.dropout 1"),
        (lambda: RULSTM(fusion="mat"), "model.fusion is 'mat'; it must be one of late, matt"),
        (lambda: RULSTM(context="h+c"), "model.context is 'h\\+c'"),
        (lambda: Vocabulary(last=0), "model.labels.last is 0"),
        (lambda: RULSTM().build(classes={"action": 2}, shapes={"x": (13, 4)}), r"'x' has the shape \(13, 4\) and not \(14, features\)"),
        (lambda: AnticipationLSTM().build(classes={"action": 2}, shapes={"labels": (10, 2)}), r"\(10, 2\) and not \(past actions, 3\)"),
        (lambda: RULSTM().build(classes={"action": 2}, shapes={"rgb_features": (8, 112, 112, 3)}), r"\(8, 112, 112, 3\) and not"),
        (lambda: AnticipationLSTM().build(classes={"action": 2}, shapes={}), "no modality"),
        (
            lambda: AnticipationLSTM(units=4).build(classes={"action": 2}, shapes={"labels": (5, 3)}),
            "labels.last is 5, the data lists 5 past",
        ),
        (lambda: RULSTM(labels=Vocabulary(last=9)).build(classes={"action": 2}, shapes={"labels": (5, 3)}), "last is 9, .* fewer than 5"),
    ],
)
def test_errors_name_the_field_and_the_cure(make, named):
    with pytest.raises(InputError, match=named):
        make()
