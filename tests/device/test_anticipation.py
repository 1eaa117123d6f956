"""On the device, a stream of observations gives what the trained model gives for windows, whatever other streams do."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egokeras import cli
from egokeras.device.anticipation import Anticipator
from egokeras.device.artifact import Artifact
from egokeras.errors import InputError
from egokeras.files import sha256, write_json

TICKS, PAST, CLASSES = 60, 20, {"action": [f"action {number}" for number in range(7)]}
TIMES = [2.0, 1.75, 1.5, 1.25, 1.0, 0.75, 0.5, 0.25]
VOCABULARY = {"verb": [f"verb {number}" for number in range(6)], "noun": [f"noun {number}" for number in range(9)]}


def models():
    """A fusion of two branches, one of them over past actions, and the model of past actions alone; all weights random."""
    from egokeras.models.anticipation import RULSTM, Vocabulary
    from egokeras.models.past_actions import PastActionsLSTM

    words = Vocabulary(verbs=6, nouns=9, last=3, verb_size=2, noun_size=3)
    specs = {
        "fusion": (RULSTM(units=7, fusion="matt", labels=words), {"rgb_features": (14, 5), "labels": (PAST, 3)}),
        "list": (PastActionsLSTM(verbs=6, nouns=9, verb_size=2, noun_size=3, units=7), {"labels": (PAST, 3)}),
    }
    for name, (spec, shapes) in specs.items():
        model, random = spec.build(classes={"action": 7}, shapes=shapes), np.random.default_rng(0)
        for weight in model.weights:
            if weight.dtype == "float32":
                weight.assign(random.normal(0, 0.5, weight.shape))
        yield name, model


def manifest(file, step, modalities):
    """What artifact.json must say about a step function."""
    tensors = {name: {"shape": [1, *tensor.shape[1:]], "dtype": tensor.dtype} for name, tensor in step.input.items()}
    return {
        "format": 2,
        "kind": "anticipation_step",
        "name": file.parent.name,
        "files": {file.name: {"sha256": sha256(file), "bytes": file.stat().st_size}},
        "parts": [{"file": file.name, "signature": "serving_default", "quantization": "float32"}],
        "inputs": {name: tensor for name, tensor in tensors.items() if name in modalities},
        "state": {name: tensor for name, tensor in tensors.items() if name not in modalities},
        "outputs": CLASSES,
        "vocabulary": VOCABULARY,
        "anticipation": {"step": 0.25, "steps": 14, "times": TIMES},
        "quantization": "float32",
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Name to (trained model, folder of its artifact)."""
    from egokeras.compress import conversion
    from egokeras.models.anticipation_step import step_model

    folder, found = tmp_path_factory.mktemp("steps"), {}
    for name, model in models():
        step, file = step_model(model), folder / name / "model.tflite"
        file.parent.mkdir()
        step.save(folder / "step.keras")
        job = {"model": str(folder / "step.keras"), "outputs": list(step.output), "kind": "float32", "file": str(file)}
        write_json(folder / "job.json", [job])
        conversion.main(folder / "job.json")
        write_json(file.parent / "artifact.json", manifest(file, step, set(model.input)))
        found[name] = model, file.parent
    return found


@pytest.fixture(params=["fusion", "list"])
def pair(request, made):
    """A trained model and its `Anticipator`."""
    model, folder = made[request.param]
    return model, Anticipator.open(folder)


def drawn(seed):
    """Features (ticks, 5), and actions as (verb id, noun id, hundredths of a second at which it becomes known)."""
    random = np.random.default_rng(seed)
    since = [0, *np.sort(random.integers(0, 25 * TICKS, 19)).tolist()]
    return random.standard_normal((TICKS, 5)).astype("float32"), [(int(random.integers(6)), int(random.integers(9)), at) for at in since]


def observation(anticipator, features, actions, tick):
    """What a device sees at a tick; ages are whole hundredths in the data, so parts of them are cut off."""
    news = [(verb, noun, (25 * tick - at) / 100 + 0.007) for verb, noun, at in actions if 25 * (tick - 1) < at <= 25 * tick]
    seen = {"rgb_features": features[tick], "labels": news}
    return {name: seen[name] for name in anticipator.artifact.manifest["inputs"]}


def window(features, actions, tick, row, noise):
    """What the trained model sees for its prediction `row` at a tick: what is still to come is noise."""
    seen = 7 + row
    rgb, labels = noise.standard_normal((14, 5)).astype("float32"), np.zeros((PAST, 3), "int16")
    rgb[:seen] = features[np.maximum(np.arange(tick - seen + 1, tick + 1), 0)]
    known = [(verb + 1, noun + 1, 25 * tick + 25 * (8 - row) - at) for verb, noun, at in actions if at <= 25 * tick]
    labels[PAST - len(known) :] = np.reshape(known, (-1, 3))
    return {"rgb_features": rgb, "labels": labels}


def test_a_stream_equals_the_trained_model(pair):
    model, anticipator = pair
    features, actions = drawn(0)
    state, found, noise = anticipator.open_stream(), [], np.random.default_rng(9)
    for tick in range(TICKS):
        logits, state = anticipator.step(observation(anticipator, features, actions, tick), state)
        found.append(logits["action"])
    places = [(tick, row) for tick in range(TICKS) for row in range(8)]
    seen = [window(features, actions, tick, row, noise) for tick, row in places]
    inputs = {name: np.stack([each[name] for each in seen]) for name in model.input}
    expected = np.array(model(inputs)["action"])[np.arange(len(places)), [row for _, row in places]].reshape(TICKS, 8, 7)
    assert found[0].dtype == np.float32 and np.ptp(expected, axis=0).min() > 1e-3
    np.testing.assert_allclose(np.stack(found), expected, atol=1e-5)


def test_interleaved_streams_do_not_mix_and_states_are_never_written_to(pair):
    _, anticipator = pair
    streams = [drawn(seed) for seed in (1, 2)]

    def answers(order):
        states, found = [anticipator.open_stream()] * 2, ([], [])
        ticks = [0, 0]
        for number in order:
            seen = observation(anticipator, *streams[number], ticks[number])
            logits, states[number] = anticipator.step(seen, states[number])
            found[number].append(logits["action"])
            ticks[number] += 1
        return found, states

    alone, _ = answers([0] * 12 + [1] * 12)
    mixed, states = answers([0, 1, 1, 0, 0, 0, 1, 1] * 3)
    assert np.abs(np.stack(alone[0]) - np.stack(alone[1])).max() > 1e-3
    for expected, found in zip(alone, mixed, strict=True):
        np.testing.assert_array_equal(np.stack(found), np.stack(expected))
    before = {name: value.copy() for name, value in states[0].tensors.items()}
    seen = observation(anticipator, *streams[0], 12)
    first, again = (anticipator.step(seen, states[0])[0]["action"] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert all(np.array_equal(before[name], states[0].tensors[name]) for name in before)


def test_a_window_step_by_step_is_the_window(pair):
    model, anticipator = pair
    features, actions = drawn(3)
    ages = [32_000, 700, 350, 349, 326, 325, 300, 200, 199, 51, 50, 25]  # known before the window, and from one observation to another
    labels = [(verb + 1, noun + 1, age) for (verb, noun, _), age in zip(actions, ages, strict=False)]
    inputs = {"rgb_features": features[:14], "labels": np.array([(0, 0, 0)] * (PAST - len(labels)) + labels, "int16")}
    inputs = {name: inputs[name] for name in model.input}
    expected = np.array(model({name: value[None] for name, value in inputs.items()})["action"])[0]
    np.testing.assert_allclose(anticipator.window(inputs)["action"], expected, atol=1e-5)


def test_nothing_to_see_gives_numbers(pair):
    _, anticipator = pair
    seen = {"rgb_features": np.zeros(5)} if "rgb_features" in anticipator.artifact.manifest["inputs"] else {}
    logits, state = anticipator.step(seen, anticipator.open_stream())
    assert np.isfinite(logits["action"]).all() and all(np.isfinite(value).all() for value in state.tensors.values())


def test_the_answers_have_names_and_times(pair):
    _, anticipator = pair
    logits = {"action": np.arange(56, dtype=np.float32).reshape(8, 7) * np.array([1, -1] * 4)[:, None]}
    found = anticipator.top(logits, 2)
    assert [seconds for seconds, _ in found] == TIMES
    assert [[name for name, _ in answers] for _, answers in found[:2]] == [["action 6", "action 5"], ["action 0", "action 1"]]
    assert found[0][1][0][1] == pytest.approx(1 / sum(np.exp(-np.arange(7.0))))


BAD = [
    ({"rgb_features": np.zeros(4)}, r"takes rgb_features of the shape \(5,\), this observation is \(4,\)"),
    ({"rgb_features": [0, 1, 2, np.nan, 4]}, "rgb_features: the observation is not finite"),
    ({}, "takes rgb_features, labels, this observation has labels"),
    ({"rgb_features": np.zeros(5), "flow": np.zeros(5)}, "this observation has labels, rgb_features, flow"),
    ({"rgb_features": np.zeros(5), "labels": [(6, 0, 0)]}, r"labels has the action \(6, 0, 0\); give a verb id under 6"),
    ({"rgb_features": np.zeros(5), "labels": [(0, 9, 0)]}, "a noun id under 9"),
    ({"rgb_features": np.zeros(5), "labels": [(0, 0, -0.1)]}, r"\(0, 0, -0.1\)"),
    ({"rgb_features": np.zeros(5), "labels": [(0, 0)]}, r"labels has the action \(0, 0\); give a verb id under 6"),
    ({"rgb_features": np.zeros(5), "labels": [3]}, "labels has the action 3; give a verb id under 6"),
    ({"rgb_features": np.zeros(5), "labels": [("open", 0, 0)]}, r"labels has the action \('open', 0, 0\); give a verb id under 6"),
]


@pytest.mark.parametrize(("seen", "message"), BAD)
def test_a_wrong_observation_is_named(made, seen, message):
    anticipator = Anticipator.open(made["fusion"][1])
    with pytest.raises(InputError, match=message):
        anticipator.step(seen, anticipator.open_stream())


def test_a_state_of_another_model_is_refused(made):
    first, second = (Anticipator.open(made[name][1]) for name in ("fusion", "list"))
    with pytest.raises(InputError, match="this state is not one of"):
        first.step({"rgb_features": np.zeros(5)}, second.open_stream())


def test_artifacts_are_not_taken_for_one_another(made, tiny, capsys):
    folder = made["list"][1]
    with pytest.raises(InputError, match="kind 'clip', which takes frames, for"):
        Anticipator.open(tiny)
    for use in (lambda artifact: artifact.shape, lambda artifact: artifact.predict(np.zeros((1, 2, 3, 3), np.uint8))):
        with pytest.raises(InputError, match="Anticipator"):
            use(Artifact.open(folder))
    assert cli.main(["predict", str(folder), "no.mp4"]) == 1
    assert "kind 'anticipation_step'" in capsys.readouterr().err


def test_a_step_is_measured_and_verified_like_any_artifact(made, capsys):
    folder = made["fusion"][1]
    assert cli.main(["benchmark", str(folder), "--seconds", "0.02", "--json", "-"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert result["artifact"] == "fusion" and result["runs"] >= 20 and 0 < result["p50_ms"] <= result["p95_ms"]
    assert cli.main(["verify", str(folder)]) == 0


def changed(made, folder, path, value):
    """A copy of the artifact with another value in artifact.json."""
    shutil.copytree(made["fusion"][1], folder)
    content = json.loads((folder / "artifact.json").read_text())
    *parents, last = path.split("/")
    record = content
    for parent in parents:
        record = record[parent]
    record[last] = value
    write_json(folder / "artifact.json", content)
    return folder


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("kind", "step", "kind is 'step'"),
        ("state", {}, "state is"),
        ("state/labels", {"shape": [1, 2], "dtype": "int32"}, "state is"),
        ("state/labels_h/shape", [2, 14, 7], r"state\.labels_h\.shape"),
        ("state/labels_h/shape", [1, 1 << 20, 1 << 20], r"state\.labels_h\.shape"),
        ("state/labels_h/dtype", "float64", r"state\.labels_h"),
        ("outputs/labels_h", ["a"], "outputs is"),
        ("anticipation/times", [1.0, "2"], r"anticipation\.times"),
        ("anticipation/steps", 7, r"anticipation\.steps is 7"),
        ("anticipation/step", 0, r"anticipation\.step is 0"),
        ("vocabulary", {"verb": ["a"]}, r"vocabulary\.noun is missing"),
    ],
)
def test_a_wrong_description_is_named(made, tmp_path, path, value, message):
    with pytest.raises(InputError, match=message):
        Artifact.open(changed(made, tmp_path / "copy", path, value))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("state/labels_h/shape", [1, 14, 8], "takes"),
        ("anticipation/times", TIMES[1:], "gives"),
        ("outputs/action", ["a", "b"], "7 outputs for 'action'"),
    ],
)
def test_a_description_of_another_file_is_refused(made, tmp_path, path, value, message):
    with pytest.raises(InputError, match=message):
        Anticipator.open(changed(made, tmp_path / "copy", path, value))


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)
FIELDS = ["kind", "inputs", "inputs/labels", "state", "state/labels_h/shape", "vocabulary", "anticipation", "anticipation/times"]


@settings(max_examples=30)
@given(path=st.sampled_from(FIELDS), value=ANY_JSON)
def test_any_other_json_is_refused_in_one_sentence(made, tmp_path_factory, path, value):
    folder = tmp_path_factory.mktemp("any") / "copy"
    with pytest.raises(InputError, match=str(folder)):
        Anticipator.open(changed(made, folder, path, value))
