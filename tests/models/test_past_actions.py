"""The LSTM over past actions against a loop in plain NumPy; what is not known at a time changes nothing at it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import egokeras
from egokeras.distill import Distiller
from egokeras.errors import InputError
from egokeras.models.past_actions import PastActionsLSTM
from egokeras.protocol import ANTICIPATION

VERBS, NOUNS, ACTIONS, PAST, LAST, UNITS = 5, 7, 11, 6, 3, 4


def built(seed=0, **fields):
    keras.utils.set_random_seed(seed)
    sizes = {"verbs": VERBS, "nouns": NOUNS, "verb_size": 2, "noun_size": 3, "last": LAST, "units": UNITS}
    return PastActionsLSTM(**sizes | fields).build(classes={"action": ACTIONS}, shapes={"labels": (PAST, 3)})


def lists(count, seed=0):
    """Random lists of 0 to 6 past actions, of which some are known at 2 s, some at 0.25 s and some never."""
    random = np.random.default_rng(seed)
    labels = np.zeros((count, PAST, 3), np.int16)
    for clip in labels:
        length = random.integers(PAST + 1)
        actions = [random.integers(1, VERBS + 1, length), random.integers(1, NOUNS + 1, length)]
        clip[PAST - length :] = np.stack([*actions, np.sort(random.integers(5, 600, length))[::-1]], axis=1)
    return labels


@pytest.fixture(scope="module")
def model():
    return built()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def slow_logits(model, clip, time):
    """Logits for one list at one time: the known actions, one after the other, in float64."""
    weights = {weight.path.removeprefix(f"{model.name}/"): np.float64(weight.numpy()) for weight in model.weights}
    kernel, recurrent, bias = (weights[f"labels_rolling/lstm_cell/{name}"] for name in ("kernel", "recurrent_kernel", "bias"))
    h, c, before, elapsed = np.zeros(UNITS), np.zeros(UNITS), None, 0.0
    actions = [action for action in clip.tolist() if action[0]]
    early = sum(age >= 200 for _, _, age in actions)
    for verb, noun, age in actions[max(0, early - LAST) :]:
        if age < 100 * time:
            break
        gap = 0.0 if before is None else np.log1p((before - age) / 100)
        x = np.concatenate([weights["labels_embedding/verbs/embeddings"][verb], weights["labels_embedding/nouns/embeddings"][noun], [gap]])
        i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h, before, elapsed = sigmoid(o) * np.tanh(c), age, np.log1p(age / 100 - time)
    known = np.concatenate([h, [elapsed], np.float64(np.equal(ANTICIPATION, time))])
    return known @ weights["labels_action/kernel"] + weights["labels_action/bias"]


def test_logits_are_those_of_a_loop(model):
    labels = lists(40)
    found = model({"labels": labels}, training=False)["action"]
    assert found.shape == (40, 8, ACTIONS) and found.dtype == "float32"
    expected = [[slow_logits(model, clip, time) for time in ANTICIPATION] for clip in labels]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_an_action_becomes_known_at_the_hundredth(model):
    """Of two actions, aged 5 s and exactly 1 s, the second counts from 1 s on; a hundredth later it does from 0.75 s on."""
    labels = np.zeros((3, PAST, 3), np.int16)
    labels[:, -2] = (1, 1, 500)
    labels[:2, -1] = [(2, 3, 100), (2, 3, 99)]
    labels[2, -2:] = labels[2, [-1, -2]]  # the first action alone
    known, later, alone = model({"labels": labels}, training=False)["action"].numpy()
    differs = [(np.abs(logits - alone) > 1e-6).any(-1).tolist() for logits in (known, later)]
    assert differs == [[False] * 4 + [True] * 4, [False] * 5 + [True] * 3]


@pytest.mark.parametrize("at", range(8))
def test_what_is_not_known_changes_nothing(model, at):
    """Other actions, other ages and none at all in the place of those not known at a time: the same logits then and earlier."""
    labels, random = lists(100, seed=at), np.random.default_rng(at)
    unknown = (labels[..., 0] > 0) & (labels[..., 2] < 100 * ANTICIPATION[at])
    others = random.integers(0, (VERBS + 1, NOUNS + 1, 100 * ANTICIPATION[at]), labels.shape)
    changed = np.where(unknown[..., None], others, labels).astype(np.int16)
    found, other = (model({"labels": some}, training=False)["action"].numpy() for some in (labels, changed))
    assert unknown.any(1).sum() > 3
    np.testing.assert_allclose(found[:, : at + 1], other[:, : at + 1], rtol=0, atol=1e-6)
    if at < 7:
        assert np.abs(found[:, at + 1 :] - other[:, at + 1 :]).max() > 0.01  # some of them are known later


def test_how_far_back_the_list_goes_tells_nothing(model):
    """Actions that are not known yet push the oldest out of the list, which changes nothing at the times before them."""
    history = np.array([(1 + i % VERBS, 1 + i % NOUNS, 2000 - 150 * i) for i in range(PAST)], np.int16)
    new = np.array([(2, 5, 160), (3, 1, 110), (1, 2, 40)], np.int16)
    pushed = np.stack([np.concatenate([history, new[:count]])[-PAST:] for count in range(4)])
    logits = model({"labels": pushed}, training=False)["action"].numpy()
    for count, first in ((1, 2), (2, 2), (3, 2)):  # the first of the new is known from 1.5 s on
        np.testing.assert_allclose(logits[count, :first], logits[0, :first], rtol=0, atol=1e-6)
        assert np.abs(logits[count, first:] - logits[0, first:]).max(-1).min() > 1e-4


def test_what_is_known_counts(model):
    """Verb, noun, age and place of the last known action all change the logits, at every time at which it is known."""
    base = np.zeros((5, PAST, 3), np.int16)
    base[:, -2:] = [(1, 2, 400), (3, 4, 210)]
    base[1, -1, 0], base[2, -1, 1], base[3, -1, 2] = 4, 5, 300
    base[4, -2:] = base[4, [-1, -2]]
    logits = model({"labels": base}, training=False)["action"].numpy()
    assert (np.abs(logits[1:] - logits[0]).max(-1) > 1e-6).all()


def test_empty_places_before_the_list_do_not_matter(model):
    longer = PastActionsLSTM(verbs=VERBS, nouns=NOUNS, verb_size=2, noun_size=3, last=LAST, units=UNITS)
    longer = longer.build(classes={"action": ACTIONS}, shapes={"labels": (PAST + 3, 3)})
    longer.set_weights(model.get_weights())
    labels = lists(20)
    padded = np.concatenate([np.zeros((20, 3, 3), np.int16), labels], axis=1)
    np.testing.assert_allclose(
        longer({"labels": padded}, training=False)["action"], model({"labels": labels}, training=False)["action"], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("count", [1, 3, 8])
def test_training_learns_of_some_times_of_each_clip(count):
    """Without Dropout a training step sees `count` of the eight predictions of each clip, each as often as the others."""
    model = built(times_per_step=count, input_dropout=0.0, dropout=0.0)
    labels = lists(2000)
    labels[:, -1] = (1, 1, 25)
    every = model({"labels": labels}, training=False)["action"].numpy()
    drawn = model({"labels": labels}, training=True)["action"].numpy()
    assert drawn.shape == (2000, count, ACTIONS)
    which = (np.abs(drawn[:, :, None] - every[:, None]).max(-1) < 1e-6).argmax(-1)
    np.testing.assert_allclose(np.take_along_axis(every, which[..., None], 1), drawn, atol=1e-6)
    assert all(len(set(times)) == count for times in which)
    np.testing.assert_allclose(np.bincount(which.ravel(), minlength=8) / 2000, count / 8, atol=4 * np.sqrt(1 / 8 / 2000))


def test_draws_go_on_from_the_stored_state(model):
    """The state of the draws is a variable of the model: another model with the same values draws the same times next."""
    labels = {"labels": lists(50)}
    model(labels, training=True)
    again = built(seed=1)
    for own, stored in zip(again.variables, model.variables, strict=True):
        own.assign(stored)
    assert any(variable is model.get_layer("labels_times").seed_generator.state for variable in model.variables)
    first, second, other = (net(labels, training=True)["action"].numpy() for net in (model, model, again))
    np.testing.assert_array_equal(first, other)
    assert not np.array_equal(first, second)


def test_it_comes_back_from_a_file(model, tmp_path):
    model.save(tmp_path / "model.keras")
    again = egokeras.load_model(tmp_path / "model.keras")
    labels = {"labels": lists(8)}
    np.testing.assert_array_equal(again(labels)["action"], model(labels)["action"])


def test_it_learns_what_follows_what():
    """Action v is done with noun v, and is followed by (v + 1) % 5: learned at all times at which the last action is known."""
    random = np.random.default_rng(0)
    last = random.integers(5, size=512)
    labels = np.zeros((512, PAST, 3), np.int16)
    labels[:, -1] = np.stack([last + 1, last + 1, random.integers(220, 900, 512)], axis=1)
    distiller = Distiller(built(input_dropout=0.0, dropout=0.1))
    distiller.compile(keras.optimizers.Adam(0.05))
    data = tf.data.Dataset.from_tensor_slices(({"labels": labels}, {"action": (last + 1) % 5})).batch(64)
    distiller.fit(data, epochs=8, verbose=0)
    scores = distiller.evaluate(data, return_dict=True, verbose=0)
    assert scores["action_top1"] == 1.0


@pytest.mark.parametrize(
    ("shapes", "found"),
    [({}, "only nothing"), ({"rgb_features": (14, 9)}, "only rgb_features"), ({"labels": (14, 9)}, r"labels of the shape \(14, 9\)")],
)
def test_other_data_is_refused(shapes, found):
    with pytest.raises(InputError, match=rf"needs the modality 'labels', \(past actions, 3\); the data has {found}"):
        PastActionsLSTM().build(classes={"action": 3}, shapes=shapes)


def test_the_list_must_be_longer_than_what_is_read():
    for last in (PAST, PAST + 1):
        with pytest.raises(InputError, match=f"model.last is {last}, the data lists {PAST} past actions; give fewer than {PAST}"):
            built(last=last)
    built(last=PAST - 1)


def test_times_per_step_are_1_to_8():
    for times in (0, 9):
        with pytest.raises(InputError, match=f"model.times_per_step is {times}; give 1 to 8"):
            PastActionsLSTM(times_per_step=times)
