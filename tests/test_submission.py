"""Challenge files: read back, compared with a slow ranking, held against the official rules, and refused when they would be wrong."""

import json
import math
import re
import zipfile

import numpy as np
import pytest

from egokeras import submission
from egokeras.errors import InputError


@pytest.fixture
def predictions():
    rng = np.random.default_rng(1)
    return {
        "uid": np.array(["P01_01_0", "P01_01_1"]),
        "logits_verb": rng.normal(size=(2, 97)).astype("float32"),
        "logits_noun": rng.normal(size=(2, 300)).astype("float32"),
    }


def test_a_file_names_every_segment_once_with_all_scores(tmp_path, predictions):
    submission.write(tmp_path / "test.json", predictions, submission.Supervision(pretraining=1, labels=3, data=4))
    content = json.loads((tmp_path / "test.json").read_text())
    results = content.pop("results")
    assert content == {"version": "0.2", "challenge": "action_recognition", "sls_pt": 1, "sls_tl": 3, "sls_td": 4}
    assert list(results) == ["P01_01_0", "P01_01_1"]
    entry = results["P01_01_1"]
    assert list(entry["verb"]) == [str(number) for number in range(97)]
    assert len(entry["noun"]) == 300
    assert entry["noun"]["299"] == pytest.approx(predictions["logits_noun"][1, 299], rel=1e-6)


def test_actions_are_the_hundred_best_products(predictions):
    verb_logits, noun_logits = predictions["logits_verb"][0].astype("float64"), predictions["logits_noun"][0].astype("float64")
    nouns = sorted(range(300), key=lambda noun: -noun_logits[noun])[:100]
    noun_p = np.exp(noun_logits) / np.exp(noun_logits[nouns]).sum()
    verb_p = np.exp(verb_logits) / np.exp(verb_logits).sum()
    products = {f"{verb},{noun}": verb_p[verb] * noun_p[noun] for verb in range(97) for noun in nouns}
    best = sorted(products, key=products.get, reverse=True)[:100]
    entry = submission.segment_scores(predictions["logits_verb"][0], predictions["logits_noun"][0])["action"]
    assert list(entry) == best
    assert list(entry.values()) == pytest.approx([products[key] for key in best], rel=1e-5)


def test_few_classes_give_all_their_pairs():
    entry = submission.segment_scores(np.array([1.0, 0.0]), np.array([0.0, 2.0, 1.0]))
    assert set(entry["action"]) == {f"{verb},{noun}" for verb in range(2) for noun in range(3)}
    assert sum(entry["action"].values()) == pytest.approx(1)


def test_a_zip_holds_what_the_server_looks_for(tmp_path, predictions):
    submission.write(tmp_path / "out.zip", predictions)
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert set(json.loads(archive.read("test.json"))["results"]) == {"P01_01_0", "P01_01_1"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"uid": np.array(["a", "a"])}, "segment a appears twice"),
        ({"logits_noun": None}, "heads verb and noun"),
        ({"logits_verb": np.array([[0.0, 1.0], [np.nan, 1.0]])}, "P01_01_1 are not finite"),
    ],
)
def test_a_wrong_file_is_not_written(tmp_path, predictions, change, message):
    with pytest.raises(InputError, match=message):
        submission.write(tmp_path / "test.json", predictions | change)
    assert list(tmp_path.iterdir()) == []


def test_supervision_levels_are_checked():
    with pytest.raises(InputError, match="labels is 6"):
        submission.Supervision(labels=6)


def refusals(text, expected, verbs, nouns, version):
    """What the rules of the challenge server have against a file, written from its published format and not from our writer.

    The object has version, challenge, three supervision levels from 0 to 5 and results; results has the expected segments and no
    other; a segment has a number for every verb and every noun, by id, and exactly 100 pairs `verb,noun` of existing ids.
    """
    pairs_of = {}

    def unique(pairs):
        names = [name for name, _ in pairs]
        pairs_of[len(pairs_of)] = len(names) == len(set(names))
        return dict(pairs)

    content = json.loads(text, object_pairs_hook=unique, parse_constant=lambda name: math.nan)
    if not all(pairs_of.values()):
        yield "a key is there twice"
    if content["version"] != version or content["challenge"] != "action_anticipation":
        yield "version or challenge"
    if not all(content[name] in range(6) for name in ("sls_pt", "sls_tl", "sls_td")):
        yield "supervision level"
    if set(content["results"]) != set(expected):
        yield f"segments {set(content['results']) ^ set(expected)}"
    for uid, entry in content["results"].items():
        ids = {"verb": {str(number) for number in range(verbs)}, "noun": {str(number) for number in range(nouns)}}
        for space, wanted in ids.items():
            if set(entry[space]) != wanted:
                yield f"{uid}: {space} ids"
        pairs = [key.split(",") for key in entry["action"]]
        if len(pairs) != 100 or not all(len(pair) == 2 and pair[0] in ids["verb"] and pair[1] in ids["noun"] for pair in pairs):
            yield f"{uid}: actions"
        scores = [*entry["verb"].values(), *entry["noun"].values(), *entry["action"].values()]
        if not all(type(score) in (int, float) and math.isfinite(score) for score in scores):
            yield f"{uid}: scores"


@pytest.fixture(params=[(97, 300, "0.2"), (125, 352, "0.1")], ids=["EPIC-100", "EPIC-55"])
def anticipated(request):
    """Predictions of three segments by a model of 150 actions, in the sizes of a dataset: verbs, nouns, version, pairs, predictions."""
    from egokeras.anticipation_scores import with_marginals

    verbs, nouns, version = request.param
    rng = np.random.default_rng(2)
    actions = np.stack(np.divmod(np.sort(rng.choice(verbs * nouns, 150, replace=False)), nouns), axis=1)
    logits = {"action": (4 * rng.normal(size=(3, 150))).astype("float32")}
    heads = with_marginals(logits, actions, {"verb": verbs, "noun": nouns})
    predictions = {"uid": np.array(["P01_11_0", "P01_11_1", "P01_11_10"]), **{f"logits_{head}": heads[head] for head in heads}}
    return verbs, nouns, version, actions, predictions


def test_anticipations_satisfy_the_rules_of_the_server(tmp_path, anticipated):
    verbs, nouns, version, actions, predictions = anticipated
    path = tmp_path / "test.json"
    unobserved = np.array(["P01_11_2"])
    submission.write(path, predictions, challenge="action_anticipation", actions=actions, unobserved=unobserved)
    uids = [*predictions["uid"], *unobserved]
    text = path.read_text()
    assert list(refusals(text, uids, verbs, nouns, version)) == []
    results = json.loads(text)["results"]
    assert list(results) == uids
    assert not any(results["P01_11_2"][space][name] for space in ("verb", "noun", "action") for name in results["P01_11_2"][space])
    assert list(refusals(text, uids[:-1], verbs, nouns, version)) == ["segments {'P01_11_2'}"]
    assert "a key is there twice" in list(refusals(text.replace('"P01_11_1"', '"P01_11_10"'), uids, verbs, nouns, version))
    assert list(refusals(re.sub(r": 0\.0(?=[,}])", ": NaN", text), uids, verbs, nouns, version)) == ["P01_11_2: scores"]


def test_anticipated_actions_are_the_best_of_the_model_itself(tmp_path, anticipated):
    """Not products of verb and noun; the verb's score is the sum over its actions."""
    _, _, _, actions, predictions = anticipated
    submission.write(tmp_path / "test.json", predictions, challenge="action_anticipation", actions=actions)
    results = json.loads((tmp_path / "test.json").read_text())["results"]
    for row, uid in enumerate(predictions["uid"]):
        logits = predictions["logits_action"][row].astype(np.float64)
        p = np.exp(logits) / np.exp(logits).sum()
        best = sorted(range(150), key=lambda action: -logits[action])[:100]
        assert list(results[uid]["action"]) == [f"{actions[action][0]},{actions[action][1]}" for action in best]
        assert list(results[uid]["action"].values()) == pytest.approx([p[action] for action in best], rel=1e-5)
        for column, space in enumerate(("verb", "noun")):
            for name, score in results[uid][space].items():
                assert score == pytest.approx(sum(p[actions[:, column] == int(name)]), rel=1e-4, abs=1e-30)


def test_actions_of_one_verb_and_noun_are_one_pair(tmp_path, anticipated):
    """In the file are 100 pairs all the same, and a pair's score is the sum over its actions."""
    verbs, nouns, version, actions, predictions = anticipated
    actions = np.concatenate([actions[:110], actions[:40]])
    submission.write(tmp_path / "test.json", predictions, challenge="action_anticipation", actions=actions, unobserved=["x"])
    text = (tmp_path / "test.json").read_text()
    assert list(refusals(text, [*predictions["uid"], "x"], verbs, nouns, version)) == []
    logits = predictions["logits_action"][0].astype(np.float64)
    p = np.exp(logits) / np.exp(logits).sum()
    p = np.concatenate([p[:40] + p[110:], p[40:110]])
    best = sorted(range(110), key=lambda pair: -p[pair])[:100]
    found = json.loads(text)["results"][predictions["uid"][0]]["action"]
    assert list(found) == [f"{actions[pair][0]},{actions[pair][1]}" for pair in best]
    assert list(found.values()) == pytest.approx(p[best], rel=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unobserved": ["P01_11_0"]}, "segment P01_11_0 appears twice"),
        ({"actions": np.zeros((150, 2), int)}, "needs scores of 100 pairs of verb and noun; the model knows 1"),
    ],
)
def test_a_wrong_anticipation_is_not_written(tmp_path, anticipated, change, message):
    _, _, _, actions, predictions = anticipated
    with pytest.raises(InputError, match=message):
        submission.write(tmp_path / "test.json", predictions, challenge="action_anticipation", **{"actions": actions, **change})
    del predictions["logits_action"]
    with pytest.raises(InputError, match="heads verb and noun and action"):
        submission.write(tmp_path / "test.json", predictions, challenge="action_anticipation", actions=actions)
    assert list(tmp_path.iterdir()) == []


def test_an_archive_of_epic_55_needs_both_test_sets(tmp_path):
    predictions = {"uid": np.array(["1"]), "logits_verb": np.zeros((1, 125)), "logits_noun": np.zeros((1, 352))}
    with pytest.raises(InputError, match=r"seen\.json and unseen\.json in one archive"):
        submission.write(tmp_path / "both.zip", predictions)
