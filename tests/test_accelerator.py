"""Which devices a training gets, and what is said where they are not there; `test_devices.py` trains on two."""

import pytest

from egokeras import accelerator
from egokeras.errors import InputError


@pytest.fixture
def gpus(monkeypatch):
    """A list to put pretended GPUs in, which TensorFlow then sees."""
    import tensorflow as tf

    tf.config.list_logical_devices()  # from here on TensorFlow runs
    found, real = [], tf.config.list_physical_devices
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: found if kind == "GPU" else real(kind))
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda *gpu: None)
    monkeypatch.setattr(accelerator, "_has_nvidia_gpu", lambda: bool(found))
    return found


def test_fewer_gpus_than_devices(gpus):
    gpus += ["GPU:0", "GPU:1"]
    accelerator.start(devices=2)
    with pytest.raises(InputError, match="devices is 3, but TensorFlow sees 2 GPUs; give at most 2, or --cpu"):
        accelerator.start(devices=3, strict=False)


def test_devices_are_counted_from_one(gpus):
    with pytest.raises(InputError, match="devices is 0; give at least 1"):
        accelerator.start(devices=0)


def test_a_running_tensorflow_gets_no_more_devices(gpus):
    with pytest.raises(InputError, match="devices is 9, but TensorFlow runs already with fewer"):
        accelerator.start(devices=9)
    with pytest.raises(InputError, match=r"devices is 9, but TensorFlow was started with \d [CG]PU; call accelerator.start\(devices=9\)"):
        accelerator.strategy(9)


def test_one_device_needs_no_strategy():
    assert accelerator.strategy(1) is None
