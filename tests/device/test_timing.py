"""What happens in the timed process: inputs of the right kind, milliseconds, memory, ratios that cancel what slows the machine."""

import time

import numpy as np
import pytest

from egokeras.device import timing


def test_ratio_of_a_drifting_machine():
    """Twice as slow in every round, on a machine that gets ten times slower."""
    first = [[1.0, 1.0, 5.0], [10.0, 10.0], [10.0, 10.0, 10.0]]
    second = [[2.0], [20.0, 20.0], [22.0, 20.0, 18.0]]
    result = timing._against(first, second)
    assert (result["ratio"], result["ratio_low"], result["ratio_high"]) == (2, 2, 2)
    assert result["p50_ms"] == 20


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.float32, np.int32, np.bool_])
def test_inputs_have_the_type_and_shape_that_the_model_takes(dtype):
    found = timing._input({"shape": np.array([1, 50, 3]), "dtype": dtype})
    assert (found.shape, found.dtype) == ((1, 50, 3), dtype)
    if dtype in (np.uint8, np.int8):
        assert found.max() - found.min().astype(int) > 200


def test_time_is_in_milliseconds(tiny):
    model = timing.Model(tiny / "model.tflite", 1)
    model.run = lambda: time.sleep(0.02)
    assert 20 <= model.time() < 200


def test_memory_is_what_was_added(tiny):
    model = timing.Model(tiny / "model.tflite", 1)
    model.before = timing._memory("VmHWM") - 5
    assert 5 <= model.added_mb < 50


def test_a_model_knows_the_size_of_its_pictures(tiny, bare):
    assert timing.Model(tiny / "model.tflite", 1).pictures == timing.Model(bare, 1).pictures == (12, 16)
