"""Both sides of the comparison do the same work, and what one of them wastes shows where it should."""

import json
import pathlib
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from egokeras.distill import Distiller
from egokeras.files import run_file
from egokeras.models import LSTMHead

FILE = pathlib.Path(__file__).parents[2] / "benchmarks" / "training_overhead.py"


@pytest.fixture(scope="module")
def benchmark():
    return run_file(FILE)


def student():
    keras.utils.set_random_seed(0)
    return LSTMHead(units=3, dropout=0.0).build(feature_shape=(4, 5), classes={"verb": 97, "noun": 300})


def data(batches=4):
    random = np.random.default_rng(0)
    labels = {space: random.integers(0, count, (batches, 6), "int32") for space, count in (("verb", 97), ("noun", 300))}
    return tf.data.Dataset.from_tensor_slices(({"features": random.random((batches, 6, 4, 5), "float32")}, labels)).repeat()


def test_a_quick_run_reports_every_figure(benchmark, tmp_path, monkeypatch, capsys):
    file = tmp_path / "result.json"
    monkeypatch.setattr(sys, "argv", [str(FILE), "--quick", "--rounds", "3", "--augment", "--json", str(file)])
    benchmark.main()
    rows, shown = json.loads(file.read_text())["results"], capsys.readouterr().out
    assert [(row["model"], row["augment"]) for row in rows] == [("frames", True), ("head", False)]
    for row in rows:
        for key in ("ours_ms", "by_hand_ms", "ratio", "cpu_ratio"):
            assert 0 < row[f"{key}_low"] <= row[key] <= row[f"{key}_high"]
        assert 0 < row["wait"] < 1 and row["input_alone_ms"] > 0
        assert row["input_cpu_share"] == pytest.approx(row["input_cpu_ms"] / row["ours_ms"] / benchmark.cores())
        assert f"| {row['ratio']:.3f} (" in shown
        assert 0 < row["snapshot_wait_s"] / 50 <= row["snapshot_share"] and row["snapshot_cpu_s"] > 0
        assert row["snapshot_mb"] > 0.003 and f"| {row['model']} | {row['snapshot_mb']:.1f} |" in shown


def test_the_step_by_hand_does_what_ours_does(benchmark):
    ours, other = Distiller(student()), student()
    ours.compile(keras.optimizers.Adam())
    step, means = benchmark.hand_written(other, keras.optimizers.Adam(), False)
    logs = ours.fit(data(), steps_per_epoch=4, verbose=0).history
    for batch in data().take(4):
        step(*batch)
    assert set(means) < set(logs)
    for name, mean in means.items():
        assert float(mean.result()) == pytest.approx(logs[name][0], rel=1e-5)
    for one, two in zip(ours.student.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)
    assert not np.allclose(other.get_weights()[0], student().get_weights()[0], atol=1e-4)


def test_lost_time_shows_where_it_is_lost(benchmark):
    """Callbacks that sleep cost ours alone, and no CPU; input that is late is waited for."""

    def late(*batch):
        return tf.numpy_function(lambda: time.sleep(0.05) or np.int32(0), [], tf.int32), batch

    options = tf.data.Options()
    options.autotune.enabled = options.experimental_optimization.inject_prefetch = False
    slow = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: time.sleep(0.4))
    blocks = benchmark.Blocks()
    distiller = benchmark.measured(blocks)(student())
    distiller.compile(keras.optimizers.Adam(0.01))
    distiller.fit(
        data(2).map(late).map(lambda _, batch: batch).with_options(options), callbacks=[slow], epochs=3, steps_per_epoch=2, verbose=0
    )
    assert len(blocks.ours) == len(blocks.by_hand) == len(blocks.waited) == 3
    assert blocks.ours[-1][0] > 0.9 > blocks.by_hand[-1][0]
    assert blocks.ours[-1][1] < 0.8
    assert 0.1 < blocks.waited[-1] < blocks.by_hand[-1][0]
    assert blocks.logs[-1]["loss"] < blocks.logs[0]["loss"]  # both train the one student


@pytest.mark.parametrize("busy", [True, False])
def test_input_cost_is_processor_time(benchmark, busy):
    def work():
        started = time.thread_time()
        while busy and time.thread_time() - started < 0.02:
            pass
        time.sleep(0 if busy else 0.02)
        return np.int32(0)

    cpu, wall = benchmark.input_cost(tf.data.Dataset.range(10**6).map(lambda _: tf.numpy_function(work, [], tf.int32)), 10)
    assert wall > 0.019
    assert cpu > 0.019 if busy else cpu < 0.01
