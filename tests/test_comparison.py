"""Runs side by side: rows, means, paired differences and what they come to, by hand-computed values."""

import dataclasses

import pytest

from egokeras.comparison import Estimate, compare, estimate, row_names
from egokeras.distill import GloVe, LabelSmoothing, VerbNoun
from egokeras.errors import InputError
from egokeras.optim import Cosine, Optim
from egokeras.recipe import Data


@pytest.fixture
def seeds(make_run):
    """`seeds(folder, {seed: top-1}, ...)`: a folder per seed."""

    def make(folder, values, **recipe):
        for seed, value in values.items():
            make_run(folder / f"seed-{seed}", seed=seed, heads=value, **recipe)
        return folder

    return make


def test_means_and_differences_have_t_intervals(tmp_path, seeds):
    base = seeds(tmp_path / "base", {0: 60.0, 1: 62.0, 2: 67.0, 9: 10.0})
    better = seeds(tmp_path / "better", {2: 71.0, 0: 63.0, 1: 64.0, 7: 90.0}, epochs=3)
    first, second = compare([base, better]).rows
    score = second.scores["verb_top1"]
    # of 71, 63, 64, 90: mean 72, standard deviation sqrt(470 / 3) = 12.5167, t(3) = 3.1824
    assert score.seeds == 4 and score.mean == pytest.approx(72) and score.high - 72 == pytest.approx(3.1824 * 12.5167 / 2, abs=1e-3)
    gain = second.gains["verb_top1"]
    # seeds 0, 1, 2 have both: differences 3, 2, 4, mean 3, standard deviation 1, t(2) = 4.3027
    assert gain.seeds == 3 and gain.mean == pytest.approx(3) and gain.low == pytest.approx(3 - 4.3027 / 3**0.5, abs=1e-4)
    assert gain.high == pytest.approx(3 + 4.3027 / 3**0.5, abs=1e-4) and gain.verdict == "above" and first.gains == {}
    turned = compare([base, better], baseline=better).rows
    assert [row.name for row in turned] == ["epochs=3", "epochs=100"] and turned[1].gains["verb_top1"].verdict == "below"
    assert turned[1].gains["verb_top1"].mean == pytest.approx(-3)


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([1.0, 1.1], "above"),
        ([-1.0, -1.1], "below"),
        ([1.0, 3.0], "none"),
        ([0.0, 0.0], "none"),
        ([5.0], "unknown"),
        ([0.0, 0.2, 0.1], "none"),
    ],
)
def test_an_interval_that_holds_zero_is_no_gain(values, verdict):
    assert estimate(values).verdict == verdict


def test_an_interval_that_ends_at_zero_holds_it():
    assert Estimate(seeds=2, mean=1, low=0.0, high=2).verdict == Estimate(seeds=2, mean=-1, low=-2, high=0.0).verdict == "none"


def test_one_seed_has_no_interval_and_says_so(tmp_path, make_run):
    found = compare([make_run(tmp_path / "a"), make_run(tmp_path / "b", epochs=3, heads=70.0)])
    assert [row.scores["verb_top1"].low for row in found.rows] == [None, None]
    gain = found.rows[1].gains["verb_top1"]
    assert (gain.mean, gain.low, gain.verdict) == (10.0, None, "unknown") and any("one seed" in note for note in found.notes)
    apart = compare([make_run(tmp_path / "a"), make_run(tmp_path / "c", epochs=3, seed=1)])
    assert apart.rows[1].gains == {}  # no seed in common


def test_rows_are_named_by_what_differs(tmp_path, seeds, make_run):
    paths = {
        "plain": {},
        "moved": {"data": Data(shards="elsewhere")},  # the same clips: no other row
        "rate": {"optim": Optim(learning_rate=0.01)},
        "cosine": {"optim": Optim(learning_rate=0.01, schedule=Cosine())},
        "prior": {"method": LabelSmoothing(prior=VerbNoun(), alpha=0.3)},
        "words": {"method": LabelSmoothing(prior=GloVe(vectors="/data/glove.50d.txt"), alpha=0.3)},
        "more words": {"method": LabelSmoothing(prior=GloVe(vectors="/data/glove.300d.txt"), alpha=0.3)},
        "alpha": {"method": LabelSmoothing(prior=VerbNoun(), alpha=0.5)},
        "facts": {"paper": "vu2022", "published": {"verb_top1": 1.0}, "measured": True, "exports": ("int8",)},  # nor are these
    }
    for seed, (name, fields) in enumerate(paths.items()):
        make_run(tmp_path / name, seed=seed, **fields)
    found = compare([tmp_path / name for name in paths])
    assert [row.name for row in found.rows] == [
        "method=Supervised optim.learning_rate=0.001 optim.schedule=None",
        "method=Supervised optim.learning_rate=0.01 optim.schedule=None",
        "method=Supervised optim.learning_rate=0.01 optim.schedule=Cosine",
        "method=LabelSmoothing method.prior=VerbNoun method.alpha=0.3 optim.learning_rate=0.001 optim.schedule=None",
        "method=LabelSmoothing method.prior=GloVe method.prior.vectors=glove.50d.txt method.alpha=0.3 "
        "optim.learning_rate=0.001 optim.schedule=None",
        "method=LabelSmoothing method.prior=GloVe method.prior.vectors=glove.300d.txt method.alpha=0.3 "
        "optim.learning_rate=0.001 optim.schedule=None",
        "method=LabelSmoothing method.prior=VerbNoun method.alpha=0.5 optim.learning_rate=0.001 optim.schedule=None",
    ]
    assert [len(row.runs) for row in found.rows] == [3, 1, 1, 1, 1, 1, 1]
    other = make_run(tmp_path / "other", name="other", epochs=3)
    assert [row.name for row in compare([tmp_path / "plain", other]).rows] == ["run", "other"]
    assert [row.name for row in compare([tmp_path / "plain"]).rows] == ["run"]


def test_fields_of_other_classes_are_no_difference():
    def row(**settings):
        return "a", {("", key.replace("_", ".")): value for key, value in settings.items()}

    rows = [row(m="X", m_p="1", q="1"), row(m="Y", m_r="5", q="1"), row(m="Y", m_r="6", q="1")]
    assert row_names(rows) == ["m=X", "m=Y m.r=5", "m=Y m.r=6"]
    assert row_names([("a", {("", "q"): "1"}), ("b", {("", "q"): "2"})]) == ["a", "b"]


def test_the_settings_of_stages_are_told_apart(tmp_path, make_run):
    smooth = LabelSmoothing(prior=VerbNoun(), alpha=0.3)
    for folder, stages in {
        "x": {"one": {"epochs": 5, "batch_size": 8}, "two": {"epochs": 5}},
        "y": {"one": {"epochs": 9, "batch_size": 8}, "two": {"epochs": 5, "method": smooth}},
        "z": {"one": {"epochs": 7, "batch_size": 8}, "two": {"epochs": 7}},
    }.items():
        for stage, fields in stages.items():
            make_run(tmp_path / folder / "two" / stage, name=stage, **fields)
    assert [row.name for row in compare([tmp_path / name / "two" for name in "xyz"]).rows] == [
        "epochs=5 two.method=Supervised", "one.epochs=9 two.method=LabelSmoothing two.epochs=5", "epochs=7 two.method=Supervised",
    ]  # fmt: skip


def test_the_same_training_counts_once_and_what_is_unfinished_not_at_all(tmp_path, make_run, seeds):
    base = seeds(tmp_path / "base", {0: 60.0, 1: 62.0})
    make_run(tmp_path / "again", seed=1, heads=99.0)
    (make_run(tmp_path / "late", seed=2) / "metrics.json").unlink()
    found = compare([base, base / "seed-0", tmp_path / "again", tmp_path / "late"])
    assert found.rows[0].scores["verb_top1"].mean == 61.0 and len(found.rows) == 1
    assert f"{tmp_path / 'again'} is the same training as {base / 'seed-1'} and left out." in found.notes
    assert f"{tmp_path / 'late'} is not finished and left out." in found.notes
    with pytest.raises(InputError, match="no run has scores yet"):
        compare([tmp_path / "late"])


def test_runs_that_were_judged_on_other_clips_are_refused(tmp_path, make_run):
    clips = {"uid": ["c1", "c2"], "video": ["v1", "v1"], "label_verb": [0, 1]}
    places = [make_run(tmp_path / "a"), make_run(tmp_path / "b", clips=clips, epochs=3)]
    with pytest.raises(InputError, match=r"a \(3 of validation\) and .*b \(2 of validation\) were judged on different clips"):
        compare(places)


def test_heads_that_not_all_have_are_left_out_and_a_baseline_must_be_one_row(tmp_path, make_run, seeds):
    noun = {"top1": 7.0, "top5": 20.0, "chance": {"top1": 1.0, "top5": 5.0}}
    verb = {"top1": 50.0, "top5": 90.0, "chance": {"top1": 10.0, "top5": 50.0}, "majority": {"top1": 20.0, "top5": 60.0}}
    both = make_run(tmp_path / "both", heads={"verb": verb, "noun": noun})
    one = make_run(tmp_path / "one", heads={"verb": verb}, epochs=3)
    found = compare([both, one])
    assert found.names == ["verb_top1", "verb_top5"] and "Not all runs have noun_top1, noun_top5." in found.notes
    assert found.references["majority"] == {"verb_top1": 20.0, "verb_top5": 60.0}
    with pytest.raises(InputError, match="no score in common"):
        compare([make_run(tmp_path / "noun", heads={"noun": noun}, epochs=2), one])
    with pytest.raises(InputError, match="holds runs of several recipes"):
        compare([both], baseline=tmp_path)


def test_published_scores_come_with_their_paper(tmp_path, make_run):
    told = {"paper": "vu2022", "published": {"verb_top1": 69.8, "noun_top1": 5.0}}
    found = compare([make_run(tmp_path / "a", **told), make_run(tmp_path / "b", epochs=3, **told), make_run(tmp_path / "c", epochs=4)])
    assert found.references["published: Vu et al., 2022"] == {"verb_top1": 69.8}
    assert list(found.references) == ["majority", "chance", "published: Vu et al., 2022"] and found.as_json()["references"]


def test_costs_are_those_of_the_model_and_seconds_the_mean_over_seeds(tmp_path, make_run):
    import keras

    x = keras.Input((4,), name="x")
    model = keras.Model({"x": x}, {"verb": keras.layers.Dense(3, name="logits")(x)})
    for seed, seconds in ((0, "0,1.0\n1,2.0\n"), (1, "0,5.0\n")):
        model.save(make_run(tmp_path / f"seed-{seed}", seed=seed, seconds=seconds) / "model.keras")
    (row,) = compare([tmp_path]).rows
    assert (row.parameters, row.macs, row.seconds) == (15, 12, 4.0)
    (tmp_path / "seed-1" / "seconds.csv").unlink()
    assert compare([tmp_path]).rows[0].seconds is None
    (tmp_path / "seed-0" / "model.keras").write_bytes(b"PK damaged")
    with pytest.raises(InputError, match="model.keras"):
        compare([tmp_path])
    assert dataclasses.asdict(row.scores["verb_top1"])["seeds"] == 2
