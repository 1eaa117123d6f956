"""Challenge files: read back, compared with a slow ranking, and refused when they would be wrong."""

import json
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
