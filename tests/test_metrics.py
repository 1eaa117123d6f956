"""TopK against sorting."""

import numpy as np
import pytest

from egokeras.metrics import TopK


def test_equals_sorting_and_skips_unlabelled():
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(50, 7)).astype("float32"), random.integers(-1, 7, 50).astype("int32")
    for k in (1, 3):
        metric = TopK(k)
        metric.update_state(labels[:30], logits[:30])
        metric.update_state(labels[30:], logits[30:])
        hits = [label in np.argsort(row)[::-1][:k] for label, row in zip(labels, logits, strict=True) if label >= 0]
        assert float(metric.result()) == pytest.approx(np.mean(hits))


def test_constant_logits_are_no_hit():
    metric = TopK(5)
    metric.update_state(np.zeros(3, "int32"), np.ones((3, 9), "float32"))
    assert float(metric.result()) == 0.0


def test_predictions_at_several_times_count_by_their_mean():
    random = np.random.default_rng(1)
    logits, labels = random.normal(size=(20, 3, 6)).astype("float32"), random.integers(-1, 6, 20).astype("int32")
    metric = TopK(2)
    metric.update_state(labels, logits)
    hits = [[label in np.argsort(row)[::-1][:2] for row in rows] for label, rows in zip(labels, logits, strict=True) if label >= 0]
    assert float(metric.result()) == pytest.approx(np.mean(hits))
