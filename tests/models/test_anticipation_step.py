"""On a stream, every tick gives what the trained model gives for the eight windows that this tick may be the last known one of."""

import keras
import numpy as np
import pytest

import egokeras
from egokeras.errors import InputError
from egokeras.models.anticipation import RULSTM, AnticipationLSTM, Vocabulary
from egokeras.models.anticipation_step import step_model
from egokeras.models.past_actions import PastActionsLSTM

TICKS, ACTIONS = 60, 20
CLASSES = {"action": 7, "verb": 3}
WORDS = Vocabulary(verbs=6, nouns=9, last=3, verb_size=2, noun_size=3)
RGB, OBJECTS, LABELS = {"rgb_features": (14, 5)}, {"objects": (14, 4)}, {"labels": (ACTIONS, 3)}
MODELS = {
    "lstm": (AnticipationLSTM(units=7, labels=WORDS), RGB | LABELS),
    "rulstm": (RULSTM(units=7), RGB),
    "matt": (RULSTM(units=7, labels=WORDS), OBJECTS | LABELS),  # the list must hold what each observation sees
    "matt of the paper": (RULSTM(units=7, fusion="matt", context="rolling_h+rolling_c"), RGB | OBJECTS),
    "list": (PastActionsLSTM(verbs=6, nouns=9, verb_size=2, noun_size=3, units=7, last=4), {"labels": (5, 3)}),
}


def built(name):
    """A model whose weights are all random and large enough to matter."""
    spec, shapes = MODELS[name]
    model, rng = spec.build(classes=CLASSES, shapes=shapes), np.random.default_rng(0)
    for weight in model.weights:
        if weight.dtype == "float32":
            weight.assign(rng.normal(0, 0.5, weight.shape))
    return model


def drawn(shapes):
    """A stream: modality to (ticks, F) features, and actions as (verb id + 1, noun id + 1, hundredths at which it becomes known)."""
    rng = np.random.default_rng(1)
    features = {name: rng.standard_normal((TICKS, shape[1])).astype("float32") for name, shape in shapes.items() if name != "labels"}
    since = np.sort(rng.integers(0, 25 * TICKS, ACTIONS))
    if not features:
        since[:2] = -32_700, -32_600  # so long ago that the data stops counting
    return features, [(int(rng.integers(1, 7)), int(rng.integers(1, 10)), int(moment)) for moment in since]


def windows(features, actions, past, row):
    """What the trained model sees for its prediction `row` at every tick: what is still to come is noise."""
    seen, rng = 7 + row, np.random.default_rng(2)
    found = {name: rng.standard_normal((TICKS, 14, value.shape[1])).astype("float32") for name, value in features.items()}
    labels = np.zeros((TICKS, past, 3), "int16")
    for tick in range(TICKS):
        for name, value in features.items():
            found[name][tick, :seen] = value[np.maximum(np.arange(tick - seen + 1, tick + 1), 0)]
        start = 25 * tick + 25 * (8 - row)
        known = [(verb, noun, min(start - since, 32_767)) for verb, noun, since in actions if since <= 25 * tick][-past:]
        labels[tick, past - len(known) :] = np.reshape(known, (-1, 3))
    return {**found, "labels": labels}


def stream(step, features, actions):
    """Outputs of the step function at every tick; the first observation is fed 14 times."""
    state = {name: np.zeros((1, *step.input[name].shape[1:]), step.input[name].dtype) for name in step.input if name in step.output}
    for tick in range(-13, TICKS):
        observation = {name: value[max(tick, 0)][None] for name, value in features.items()}
        if "labels" in step.input:
            before = 25 * (tick - 1) if tick else -40_000
            news = [(verb, noun, 25 * tick - since) for verb, noun, since in actions if before < since <= 25 * tick]
            observation["labels"] = np.zeros((1, *step.input["labels"].shape[1:]), "int32")
            observation["labels"][0, : len(news)] = np.reshape(news, (-1, 3))
        outputs = step.predict_on_batch({**observation, **state})
        state = {name: outputs[name] for name in state}
        yield outputs


@pytest.mark.parametrize("name", MODELS)
def test_a_stream_gives_the_predictions_of_the_windows(name):
    model, shapes = built(name), MODELS[name][1]
    step = step_model(model)
    features, actions = drawn(shapes)
    found = list(stream(step, features, actions))[13:]
    for row in range(8):
        inputs = windows(features, actions, shapes.get("labels", (1,))[0], row)
        expected = {space: np.array(logits) for space, logits in model({name: inputs[name] for name in shapes}).items()}
        for space in CLASSES:
            answers = np.concatenate([outputs[space][:, row] for outputs in found])
            assert np.ptp(expected[space][:, row], axis=0).min() > 1e-3  # the ticks do differ
            np.testing.assert_allclose(answers, expected[space][:, row], atol=1e-5)


@pytest.mark.parametrize("name", ["lstm", "matt", "list"])
def test_the_state_feeds_back_and_the_function_is_saved_whole(name, tmp_path):
    step = step_model(built(name))
    step.save(tmp_path / "step.keras")
    loaded = egokeras.load_model(tmp_path / "step.keras")
    state = set(step.input) - set(MODELS[name][1])
    assert state and set(step.output) == state | set(CLASSES)
    assert all(step.input[part].shape == step.output[part].shape and step.input[part].dtype == step.output[part].dtype for part in state)
    inputs = {part: np.ones((2, *tensor.shape[1:]), tensor.dtype) for part, tensor in step.input.items()}
    expected, found = step(inputs), loaded(inputs)
    assert all(np.isfinite(expected[part]).all() for part in expected)
    for part in expected:
        np.testing.assert_array_equal(found[part], expected[part])


def test_a_model_that_reads_the_future_or_does_not_anticipate_has_no_step():
    with pytest.raises(InputError, match="rgb_features_unrolling reads the observations to come"):
        step_model(RULSTM(units=3, completion=True).build(classes=CLASSES, shapes=RGB))
    clip = keras.Input((4, 8, 8, 3), name="rgb")
    with pytest.raises(InputError, match="no recurrent branch over 'rgb'"):
        step_model(keras.Model({"rgb": clip}, {"action": keras.layers.Dense(3)(keras.layers.Flatten()(clip))}))
