"""The gate's bounds against hand-computed values and a slow bootstrap, and how often it errs on files of known quality."""

import numpy as np
import pytest

from egokeras.gate import (
    FAIL,
    PASS,
    RESAMPLES,
    TOO_FEW,
    Limits,
    Z,
    bounds,
    decide,
    expected_loss,
    explain,
    judge,
    likeness,
    measure,
    sharpness,
)

CLASSES = 5


def sample(clips, windows, disagree, rng, timid=False, per_video=10):
    """Logits of both, labels and videos for `clips` labelled ones and `windows`, where Keras is right four times in five.

    Disagreements are rounding in a tie, or with `timid=False, disagree=0.05` (see `bad`) sure answers overturned.
    """
    n = clips + windows
    ours, theirs = rng.integers(0, CLASSES, n), rng.integers(1, CLASSES, n)
    theirs = (ours + theirs) % CLASSES
    flipped = rng.random(n) < disagree
    sure = np.ones(n, bool) if timid else ~flipped
    margin = np.where(sure, 3.0, 0.05)
    keras = np.zeros((n, CLASSES), np.float32)
    keras[np.arange(n), ours] = 2 + margin
    keras[np.arange(n), theirs] = 2
    tflite = keras.copy()
    tflite[flipped, theirs[flipped]] += margin[flipped] + 0.05
    right = rng.random(n) < np.where(sure, 0.8 + 0.1 * timid, 0.5)
    labels = np.where(right, ours, theirs)
    labels[clips:] = -1
    return {"verb": keras}, {"verb": tflite}, {"verb": labels}, np.arange(n) // per_video


def rates(trials, clips, windows=0, seed=0, **quality):
    """Percent of pass, fail and too few answers over `trials` random samples."""
    rng = np.random.default_rng(seed)
    answers = [judge(*sample(clips, windows, rng=rng, **quality), Limits())["answer"] for _ in range(trials)]
    return [round(100 * answers.count(answer) / trials) for answer in (PASS, FAIL, TOO_FEW)]


HEALTHY = {"disagree": 0.007}
BAD = {"disagree": 0.05, "timid": True}  # 4 points lost


@pytest.mark.parametrize(
    ("clips", "windows", "healthy", "bad", "trials"),
    [
        (60, 0, [0, 0, 100], [0, 13, 87], 40),
        (150, 0, [0, 0, 100], [0, 60, 40], 40),
        (300, 0, [38, 0, 62], [0, 90, 10], 40),
        (60, 700, [92, 0, 8], [0, 100, 0], 20),
        (2000, 0, [100, 0, 0], [0, 100, 0], 5),
    ],
)
def test_healthy_files_are_never_failed_and_bad_ones_never_passed(clips, windows, healthy, bad, trials):
    found, found_bad = rates(trials, clips, windows, **HEALTHY), rates(trials, clips, windows, **BAD)
    assert found[1] == 0 and np.allclose(found, healthy, atol=25)
    assert found_bad[0] == 0 and np.allclose(found_bad, bad, atol=25)


def test_a_file_at_the_limit_passes_rarely_and_fails_rarely():
    passed, failed, _ = rates(60, 700, disagree=0.02)
    assert passed <= 10 and failed <= 10


@pytest.mark.parametrize("count", [5, 60, 268, 1000])
def test_without_a_change_the_bound_is_wilsons(count):
    low, high = bounds(np.zeros(count), np.arange(count), 0.0)
    assert low == 0.0 and high == pytest.approx(Z**2 / (count + Z**2))
    assert (high <= 0.01) == (count >= 268)


def test_bounds_resample_videos_as_a_loop_does():
    rng = np.random.default_rng(1)
    videos = np.repeat([f"v{i}" for i in range(8)], 50)
    values = np.repeat(rng.random(8) < 0.4, 50) * (rng.random(400) < 0.9)  # all of a video, or nothing of it
    by_video = [values[videos == video] for video in np.unique(videos)]
    draws = [np.concatenate([by_video[i] for i in rng.integers(0, 8, 8)]).mean() for _ in range(RESAMPLES)]
    assert np.allclose(bounds(values, videos, 0.0), np.quantile(draws, [0.05, 0.95]), atol=0.03)
    alone_low, alone_high = bounds(values, np.arange(400), 0.0)
    low, high = bounds(values, videos, 0.0)
    assert high - low > 3 * (alone_high - alone_low)  # clips of a video are not independent


def test_figures_of_a_small_sample_by_hand():
    keras = np.log([[0.6, 0.3, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.5, 0.4, 0.1]])
    tflite = np.log([[0.6, 0.3, 0.1], [0.3, 0.6, 0.1], [0.2, 0.7, 0.1], [0.4, 0.5, 0.1]])
    figures = measure(keras, tflite, np.array([0, 0, 0, -1]), np.arange(4))
    found = [figures[name] for name in ("clips", "keras_top1", "tflite_top1", "lost", "agreement")]
    assert found == [3, 66.667, 33.333, 33.333, 50.0]
    assert figures["lost_low"] < 0 and figures["lost_high"] > 50 and figures["agreement_low"] < 25 and figures["agreement_high"] > 75


def test_expected_loss_is_a_difference_of_probabilities_and_timid_models_are_sharpened():
    logits = np.log([[0.6, 0.3, 0.1]])
    assert expected_loss(logits, np.array([0]), np.array([1]), 1.0) == pytest.approx(0.3)
    assert expected_loss(logits, np.array([0]), np.array([0]), 1.0) == pytest.approx(0.0)
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 4))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (probabilities.cumsum(axis=1) < rng.random((4000, 1))).sum(axis=1)
    assert sharpness(logits / 3, labels) == pytest.approx(3, rel=0.2)
    assert sharpness(logits * 3, labels) == 1.0 and sharpness(logits[:0], labels[:0]) == 1.0


def test_overturned_sure_answers_on_windows_count_and_tipped_ties_do_not():
    rng = np.random.default_rng(0)
    ties = judge(*sample(60, 2000, 0.015, rng), Limits(agreement=90))
    sure = judge(*sample(60, 2000, 0.015, rng, timid=True), Limits(agreement=90))
    assert ties["answer"] == PASS and sure["answer"] != PASS
    assert ties["heads"]["verb"]["lost_high"] < 0.6 < 1.0 < sure["heads"]["verb"]["lost_high"]


def test_windows_do_not_dilute_a_loss():
    keras, tflite, labels, videos = sample(100, 5000, 0.0, np.random.default_rng(0))
    damaged = tflite["verb"].copy()
    damaged[:100:10] *= -1  # one clip of each video
    gate = judge(keras, {"verb": damaged}, labels, videos, Limits())
    assert gate["heads"]["verb"]["agreement_low"] > 99 and gate["answer"] == FAIL
    assert "verb loses" in explain(gate)
    tflite["verb"][:10] *= -1  # all clips of one video: that may be chance, but is no pass
    assert judge(keras, tflite, labels, videos, Limits())["answer"] == TOO_FEW


def test_the_worst_head_decides():
    keras, tflite, labels, videos = sample(400, 0, 0.0, np.random.default_rng(0))
    noun = sample(400, 0, 0.3, np.random.default_rng(0), timid=True)
    gate = judge(
        *({**one, "noun": two["noun" if "noun" in two else "verb"]} for one, two in zip((keras, tflite, labels), noun, strict=False)),
        videos,
        Limits(),
    )
    assert gate["answer"] == FAIL and gate["heads"]["verb"]["answer"] == PASS and gate["heads"]["noun"]["answer"] == FAIL
    assert "noun agrees on" in explain(gate) and "verb" not in explain(gate)


def test_equal_logits_prove_float32_where_clips_are_few():
    keras, tflite, labels, videos = sample(5, 0, 0.0, np.random.default_rng(0))
    assert judge(keras, tflite, labels, videos, Limits())["answer"] == TOO_FEW
    assert judge(keras, tflite, labels, videos, Limits(), exact=True)["answer"] == PASS
    tflite["verb"][3, 2] += 0.01
    gate = judge(keras, tflite, labels, videos, Limits(), exact=True)
    assert gate["answer"] == FAIL and gate["max_difference"] == pytest.approx(0.01, rel=1e-3)
    assert gate["max_relative_difference"] == pytest.approx(0.01 / keras["verb"].max(), rel=1e-3) and "differ by up to 0.01" in explain(
        gate
    )


@pytest.mark.parametrize("exact", [False, True])
def test_nothing_to_judge_on_is_too_few_and_nan_fails(exact):
    keras, tflite, labels, videos = sample(0, 0, 0.0, np.random.default_rng(0))
    gate = judge(keras, tflite, labels, videos, Limits(), exact=exact)
    assert gate["answer"] == TOO_FEW and gate["heads"]["verb"]["keras_top1"] is None
    assert "may lose up to 100.0 points" in explain(gate) and "agree on 0.0% only" in explain(gate)
    keras, tflite, labels, videos = sample(500, 0, 0.0, np.random.default_rng(0))
    tflite["verb"][7] = np.nan
    assert judge(keras, tflite, labels, videos, Limits(), exact=exact)["answer"] == FAIL


def test_likeness_by_hand():
    """An angle of 45 degrees and one of none; 3 of 4 is the largest difference to the largest number."""
    found = likeness(np.array([[1.0, 0.0], [0.0, 4.0]]), np.array([[1.0, 1.0], [0.0, 1.0]]))
    assert found == pytest.approx({"cosine": (np.sqrt(0.5) + 1) / 2, "least_cosine": np.sqrt(0.5), "max_relative_difference": 0.75})
    none = np.zeros((0, 2))
    assert likeness(none, none) == {"cosine": None, "least_cosine": None, "max_relative_difference": 0.0}


@pytest.mark.parametrize(("change", "exact", "answer"), [(0, True, PASS), (0.01, True, FAIL), (0.01, False, PASS), (np.nan, False, FAIL)])
def test_embeddings_of_float32_are_equal_and_others_are_numbers(change, exact, answer):
    logits = {"verb": np.tile(np.array([[4.0, 0.0]], np.float32), (600, 1))}
    vectors = np.ones((600, 3), np.float32)
    labels, videos = {"verb": np.zeros(600, int)}, np.arange(600) // 10
    gate = judge(logits, logits, labels, videos, Limits(), exact=exact, embeddings=(vectors, vectors + np.float32(change)))
    assert gate["answer"] == answer and set(gate["heads"]) == {"verb"}
    assert ("the embedding differs by up to 0.01" in explain(gate)) == (change == 0.01)


def test_only_windows_can_pass():
    assert judge(*sample(0, 1000, 0.001, np.random.default_rng(0)), Limits())["answer"] == PASS


def test_limits_decide():
    figures = {"lost_low": -0.5, "lost_high": 1.5, "agreement_low": 97.0, "agreement_high": 99.0}
    assert decide(figures, Limits()) == TOO_FEW
    assert decide(figures, Limits(lost_points=1.5, agreement=97.0)) == PASS
    assert decide(figures, Limits(lost_points=-1.0, agreement=97.0)) == FAIL
    assert decide(figures, Limits(agreement=99.5)) == FAIL
