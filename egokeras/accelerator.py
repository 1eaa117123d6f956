"""Start TensorFlow once: quietly, with GPU memory that grows, and never on the CPU by accident."""

import contextlib
import os
import shutil
import sys
import tempfile

from egokeras.errors import InputError


def start(cpu=False, strict=True):
    """Import TensorFlow and choose the device.

    Args:
        cpu: use the CPU even if there is a GPU.
        strict: whether a GPU that TensorFlow cannot see is an error.

    Raises:
        InputError: the machine has an NVIDIA GPU that TensorFlow cannot see, and neither was the CPU asked for nor that allowed.
    """
    if cpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    with _quiet():
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
    tf.get_logger().setLevel("ERROR")  # its warnings advise authors of tf.function, not users of ours
    if strict and not gpus and not cpu and _has_nvidia_gpu():
        raise InputError(
            "this machine has an NVIDIA GPU that TensorFlow cannot see: install its CUDA libraries with `pip install egokeras[cuda]` "
            "(and check the driver with nvidia-smi), or go on without it with --cpu."
        )
    for gpu in gpus:
        with contextlib.suppress(RuntimeError):  # already initialised by the caller's own program
            tf.config.experimental.set_memory_growth(gpu, True)


def _has_nvidia_gpu():
    return os.path.exists("/dev/nvidia0") or shutil.which("nvidia-smi") is not None


@contextlib.contextmanager
def _quiet():
    """TensorFlow writes greetings to file descriptor 2 before its log level counts; keep them, and show them only if it fails."""
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        except BaseException:
            said.seek(0)
            os.write(original, said.read())
            raise
        finally:
            os.dup2(original, 2)
            os.close(original)
