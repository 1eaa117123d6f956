"""The benchmark of flatness: its estimators against the exact Hessian of a small network and values by hand, and that it runs."""

import json
import pathlib
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from egokeras.files import run_file
from egokeras.layers import NormalizePixels
from landscape import curvature, curves
from landscape.loss import Loss

MODALITIES = {"motion_vector": 2, "residual": 3, "iframe": 3}
CLASSES = {"action": ["a", "b", "c"]}


@pytest.fixture(scope="module")
def module():
    return run_file(pathlib.Path(__file__).parent.parent.parent / "benchmarks" / "flatness.py")


def small_network(modality="motion_vector", channels=2, seed=0):
    """A convolution with BatchNorm and a linear layer, and an exit that takes no part."""
    keras.utils.set_random_seed(seed)
    clip = keras.Input((6, 6, channels), dtype="uint8", name=modality)
    x = keras.layers.Conv2D(3, 3, use_bias=False, name="conv")(
        NormalizePixels([127.5] * channels, [60.0] * channels, name="normalize")(clip)
    )
    norm = keras.layers.BatchNormalization(name="bn")
    x = keras.layers.Activation("tanh", name="tanh")(norm(x))
    outputs = {"action": keras.layers.Dense(3, name="linear")(keras.layers.GlobalAveragePooling2D(name="pool")(x))}
    outputs["action_exit_1"] = keras.layers.Dense(3, name="exit_1")(keras.layers.Flatten(name="flat")(x))
    model = keras.Model({modality: clip}, outputs)
    norm.set_weights([np.array(values, np.float32) for values in ([1.2, 0.8, 1.1], [0.1, -0.2, 0.3], [0.2, 0.1, -0.1], [1.5, 0.7, 1.1])])
    norm.trainable = False  # as in a network whose exits alone have learned
    return model


@pytest.fixture(scope="module")
def clips():
    random = np.random.default_rng(0)
    return random.integers(0, 256, (7, 6, 6, 2)).astype(np.uint8), random.integers(0, 3, 7)


@pytest.fixture(scope="module")
def loss(clips):
    pixels, labels = clips
    parts = (slice(0, 4), slice(4, 7))
    return Loss(small_network(), [({"motion_vector": pixels[part]}, {"action": labels[part]}) for part in parts])


@pytest.fixture(scope="module")
def hessian(loss, clips):
    """The exact one, a row for each weight, of the loss written out."""
    pixels, labels = clips
    with tf.GradientTape(persistent=True) as outer:
        with tf.GradientTape() as inner:
            logits = loss.model({"motion_vector": pixels}, training=False)["action"]
            value = -tf.reduce_mean(tf.gather(tf.nn.log_softmax(logits), labels, batch_dims=1))
        gradient = tf.concat([tf.reshape(part, -1) for part in inner.gradient(value, loss.weights)], 0)
    assert loss.value() == pytest.approx(float(value), rel=1e-5)
    rows = outer.jacobian(gradient, loss.weights, unconnected_gradients="zero", experimental_use_pfor=False)
    return np.concatenate([row.numpy().reshape(loss.size, -1) for row in rows], axis=1).astype(np.float64)


def test_all_weights_on_the_way_to_the_answer_count(loss):
    assert loss.size == 3 * 3 * 2 * 3 + 3 + 3 + 3 * 3 + 3  # neither the running statistics nor the exit


def test_products_are_those_of_the_exact_hessian(loss, hessian):
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-5)
    random = np.random.default_rng(1)
    for _ in range(3):
        vector = random.standard_normal(loss.size)
        np.testing.assert_allclose(loss.product(vector), hessian @ vector, rtol=1e-3, atol=1e-4)


def test_the_trace_is_estimated(loss, hessian):
    samples = curvature.trace_samples(loss.product, loss.size, 300, np.random.default_rng(2))
    error = samples.std(ddof=1) / np.sqrt(300)
    off = hessian - np.diag(np.diag(hessian))
    assert error == pytest.approx(np.sqrt(2 * (off**2).sum() / 300), rel=0.25)  # the variance of Hutchinson's estimate
    assert abs(samples.mean() - np.trace(hessian)) < 3.5 * error and error < 0.2 * abs(np.trace(hessian))
    diagonal = np.array([3.0, -1.0, 5.0])
    assert curvature.trace_samples(lambda v: diagonal * v, 3, 5, np.random.default_rng(0)).tolist() == [7.0] * 5


def test_the_top_eigenvalue_is_found(loss, hessian):
    found = curvature.top_eigenvalue(loss.product, loss.size, np.random.default_rng(3))
    assert found == pytest.approx(np.linalg.eigvalsh(hessian)[-1], rel=0.01)
    diagonal = np.array([-10.0, 1.0, 2.0, 3.0, 0.5])
    assert curvature.top_eigenvalue(lambda v: diagonal * v.ravel(), 5, np.random.default_rng(0)) == pytest.approx(3, rel=0.01)


def test_directions_have_the_lengths_of_the_filters():
    drawn = iter([np.array([[0.0, 1.0], [2.0, 3.0]]), np.ones((1, 2, 1, 2))])
    random = types.SimpleNamespace(standard_normal=lambda shape: next(drawn))
    dense, bias = np.array([[3.0, 1.0], [4.0, 0.0]], np.float32), np.array([5.0, 5.0], np.float32)
    kernel = np.array([1.0, 6.0, 1.0, 8.0], np.float32).reshape(1, 2, 1, 2)
    found = curves.filter_normalised([dense, bias, kernel], random)
    np.testing.assert_allclose(found[0], [[0, 1 / np.sqrt(10)], [5, 3 / np.sqrt(10)]])  # columns are units, 5 and 1 long
    np.testing.assert_allclose(found[1], 0)
    np.testing.assert_allclose(found[2].ravel(), np.array([1, 10, 1, 10]) * np.sqrt([1, 0.5, 1, 0.5]))


def test_curves_bend_as_the_hessian_says(loss, hessian):
    start = [weight.numpy() for weight in loss.weights]
    direction = curves.filter_normalised(start, np.random.default_rng(4))
    step = 0.05
    below, here, above = curves.along(loss, direction, (-step, 0, step))
    flat = np.concatenate([part.ravel() for part in direction])
    assert here == loss.value() and (below + above - 2 * here) / step**2 == pytest.approx(flat @ hessian @ flat, rel=0.02)
    for weight, values in zip(loss.weights, start, strict=True):
        np.testing.assert_array_equal(weight.numpy(), values)


@pytest.mark.parametrize(
    ("iframe", "residual", "motion", "said"),
    [
        (
            [1.0, 1.1],
            [2.0, 2.1],
            [3.0, 3.11],
            "holds within the 95 % intervals of 2 runs: residual - iframe +1 (+1 to +1); motion_vector -",
        ),
        ([1.0, 1.1], [2.0, 2.1], [1.0, 1.1], "does not hold, a difference has the other sign"),
        ([1.0, 2.0], [2.0, 2.1], [3.0, 3.1], "is not decided by 2 runs, an interval holds zero"),
        ([1.0], [2.0], [3.0], "is seen in the one run, which has no interval: residual - iframe +1; motion_vector - residual +1."),
        ([1.0], [2.0], [1.5], "is not seen in the one run"),
    ],
)
def test_verdicts(module, iframe, residual, motion, said):
    found = module.verdict("rise", {"iframe": iframe, "residual": residual, "motion_vector": motion})
    assert found.startswith(f"By rise the paper's order (iframe, residual, motion_vector; flattest first) {said}")


def test_only_clips_with_all_labels_count(module):
    labels = {"verb": np.array([0, 1, -1, 2, 0, 1]), "noun": np.array([0, -1, 1, 2, 0, 1])}
    shards = types.SimpleNamespace(labels=lambda space, rows: labels[space][rows])
    rows = np.array([0, 1, 2, 3, 5])
    assert module.chosen(shards, rows, ["verb", "noun"], 9).tolist() == [0, 3, 5]
    assert set(module.chosen(shards, rows, ["verb", "noun"], 2)) < {0, 3, 5}


@pytest.fixture(scope="module")
def runs(write_clips, tmp_path_factory):
    """Two runs of three small untrained networks."""
    folder, random = tmp_path_factory.mktemp("runs"), np.random.default_rng(0)
    for modality, channels in MODALITIES.items():
        (folder / modality).mkdir()
        pixels = random.integers(0, 256, (12, 6, 6, channels)).astype("uint8")
        split = ["train"] * 10 + ["validation"] * 2
        clips = [(pixels[row], split[row], f"v{row}", "", {"action": "abc"[row % 3]}) for row in range(12)]
        write_clips(folder / modality, clips, CLASSES, modality)
        for seed in range(2):
            run = folder / f"seed-{seed}" / modality
            run.mkdir(parents=True)
            small_network(modality, channels, seed).save(run / "model.keras")
            shards = ",".join(str(folder / name) for name in MODALITIES)
            (run / "recipe.json").write_text(json.dumps({"data": {"shards": shards}}))
    return [str(folder / f"seed-{seed}") for seed in range(2)]


def test_it_runs_and_measures_nothing_twice(module, runs, tmp_path, monkeypatch, capsys):
    command = ["flatness", *runs, "--quick", "--batch", "5", "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", command)
    module.main()
    said = capsys.readouterr()
    assert said.err.count("seed-") == 6 and said.out.count("By ") == 4 and "2 runs; Settings(clips=16, batch=5" in said.out
    assert "| iframe | 99 |" in said.out and (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "table.md").read_text() == said.out
    result = json.loads((tmp_path / "result.json").read_text())["networks"]
    for modality, networks in result.items():
        assert len(networks) == 2 and networks[0] != networks[1], modality
        for one in networks:
            assert one["trace per weight"] == pytest.approx(one["trace"] / one["weights"])
            assert one["steps"] == [-0.5, -0.25, 0, 0.25, 0.5] and np.shape(one["curves"]) == (2, 5)
            assert np.array(one["curves"])[:, 2] == pytest.approx(one["loss"]) and one["rise"] == pytest.approx(
                np.mean(one["curves"]) - one["loss"]
            )
    monkeypatch.setattr(module, "measure", None)  # all is there
    module.main()
    assert capsys.readouterr().out == said.out


def test_wrong_usage(module, monkeypatch, capsys):
    for arguments, words in (
        ([], "give runs of the recipe"),
        (["run", "--probes", "1"], "--probes is 1"),
        (["run", "--reach", "0"], "--reach is 0"),
    ):
        monkeypatch.setattr("sys.argv", ["flatness", *arguments])
        with pytest.raises(SystemExit) as left:
            module.main()
        assert left.value.code == 2 and words in capsys.readouterr().err


@pytest.mark.slow
def test_quick_needs_no_run(module, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["flatness", "--quick", "--out", str(tmp_path)])
    module.main()
    assert "| motion_vector | 11,583 |" in capsys.readouterr().out
