"""The report of a run that anticipates: what the section says, and that the page holds together."""

import json
import re

import numpy as np
import pytest

from egokeras import evaluate, plots, report
from egokeras.protocol import ANTICIPATION
from egokeras.report import anticipation, page


def _text(markup):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub(r"<svg.*?</svg>|<style.*?</style>", "", markup, flags=re.S)))


def _head(top5, clips=4972):
    """A head that gains a point a step, beside a Markov baseline that gains half of one."""
    model = [top5 + step for step in range(8)]
    return {
        "clips": clips,
        "top1": [value / 2 for value in model],
        "top5": model,
        "top5_low": [value - 2 for value in model],
        "top5_high": [value + 2 for value in model],
        "chance": {"top1": 0.0263, "top5": 0.1314},
        "markov": {"top1": [5.0] * 8, "top5": [26.5 + step / 2 for step in range(8)]},
        "majority": {"top1": 2.61, "top5": 8.19},
    }


@pytest.fixture
def found():
    """The entry `anticipation` of a run that has everything."""
    rankings = {"classes": 1928, "model": [40.0 + step for step in range(8)], "markov": [30.0] * 8, "majority": 3.21}
    return {
        "times": list(ANTICIPATION),
        "heads": {"action": _head(25.0), "verb": _head(70.0)},
        "recall5": {"overall": {"action": rankings}, "many_shot_either": {"action": rankings}},
        "time_to_action": {"action": {"model": 0.764, "markov": 0.63, "majority": 0.16}},
        "discarded": 1007,
    }


def test_section_tells_every_time_and_every_baseline(found):
    markup = str(page.join(*anticipation.section(found)))
    text = _text(markup)
    assert markup.count("<svg") == 2
    assert "top-5 of action over anticipation time; at 1 s model 29.0%, Markov 28.5%, majority 8.2%" in markup
    assert "action model 25.0 26.0 27.0 28.0 29.0 30.0 31.0 32.0 4,972" in text
    assert "Markov 26.5 27.0 27.5 28.0 28.5 29.0 29.5 30.0" in text
    assert "majority 8.2 8.2 8.2 8.2 8.2 8.2 8.2 8.2 chance 0.13" in text
    assert "all classes action 44.0 30.0 3.2 1,928" in text
    assert "the same, verb or noun (RU-LSTM) action 44.0" in text
    assert "action 0.76 0.63 0.16" in text
    assert "1,007 segments before which nothing was observed are left out" in text


def test_sentence_is_honest_about_the_baseline(found):
    assert "For action the 95% interval is not above the best baseline" in anticipation.sentence(found, 4972)
    found["heads"]["action"]["top5_low"][4] = 28.6
    assert anticipation.sentence(found, 4972).endswith("above every baseline.")
    assert [re.findall(r"[\d.]+%", str(tile)) for tile in anticipation.tiles(found)] == [["29.0%", "28.5%"], ["74.0%", "28.5%"]]


def test_what_was_not_trained_on_has_no_baselines(found):
    for result in found["heads"].values():
        del result["markov"], result["majority"]
    found["time_to_action"] = {"action": {"model": 0.5}}
    found["recall5"] = {"overall": {"action": {"classes": 5, "model": [1.0] * 8}}}
    assert "Markov 2" not in _text(str(page.join(*anticipation.section(found))))
    assert "chance 0.1%" in str(next(anticipation.tiles(found)))
    assert "no labels" in str(page.join(*anticipation.section({"heads": {}})))


def test_time_runs_towards_the_action():
    values = np.arange(8.0)
    figure = plots.over_time(ANTICIPATION, {"model": values, "Markov": values, "majority": [3] * 8}, (values - 1, values + 1))
    axis = figure.axes[0]
    left, right = axis.get_xlim()
    assert left > max(ANTICIPATION) and right == 0
    assert [line.get_label() for line in axis.lines] == ["model", "Markov", "majority"]
    np.testing.assert_array_equal(axis.lines[0].get_xydata(), np.stack([ANTICIPATION, values], axis=1))
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["model", "Markov", "majority"]


def test_page_of_a_run_names_the_heads_that_follow_from_the_actions(observations, tmp_path):
    """The run learnt actions alone; its page has verbs and nouns by name too, and no film strips of what nobody has seen yet."""
    segments = observations.segments()
    shards = observations.write(tmp_path / "set", np.zeros((len(segments), 14, 3), np.float16), segments)
    rng = np.random.default_rng(0)

    class Model:
        def predict_on_batch(self, inputs):
            return {"action": rng.normal(size=(len(inputs["rgb_features"]), 8, 5))}

    metrics, predictions = evaluate.evaluate_rows(Model(), shards, shards.rows("validation"), shards.rows("train"))
    run = tmp_path / "run"
    run.mkdir()
    evaluate.write(run, {"split": "validation", **metrics}, predictions)
    (run / "recipe.json").write_text(json.dumps({"data": {"shards": str(tmp_path / "set")}}))
    (run / "classes.json").write_text(json.dumps({"action": shards.classes["action"]}))
    content = report.write(run).read_text()
    text = _text(content)
    assert 'id="anticipation"' in content and 'id="clips"' not in content and 'id="labels"' not in content
    assert "Top-5 on 33 held-out clips, 1 s before the action" in text
    assert "rgb_features of 14 x 3" in text
    assert "discarded 10 10" in text  # segments and videos of that split
    assert "open fridge" in text and "door" in text


def test_heads_of_data_that_moved_have_numbers_for_names():
    learnt, predictions = {"action": ["open door", "wash cup"]}, {"logits_verb": np.zeros((2, 3)), "logits_action": np.zeros((2, 2))}
    assert report._classes(learnt, predictions, None) == {**learnt, "verb": ("0", "1", "2")}
