"""Start TensorFlow once: quietly, with GPU memory that grows, never on the CPU by accident, and on several devices if asked."""

import contextlib
import os
import shutil
import sys
import tempfile

from egokeras.errors import InputError


def start(cpu=False, strict=True, devices=1):
    """Import TensorFlow and choose the devices.

    Args:
        cpu: use the CPU even if there is a GPU.
        strict: whether a GPU that TensorFlow cannot see is an error.
        devices: how many GPUs `strategy` will use; without a GPU the CPU stands in for so many devices.

    Raises:
        InputError: the machine has an NVIDIA GPU that TensorFlow cannot see, and neither was the CPU asked for nor that allowed; there
            are fewer GPUs than devices; or TensorFlow runs already and has fewer devices.
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
    if devices < 1:
        raise InputError(f"devices is {devices}; give at least 1.")
    if 0 < len(gpus) < devices:
        found = f"{len(gpus)} GPU{'s' * (len(gpus) > 1)}"
        raise InputError(f"devices is {devices}, but TensorFlow sees {found}; give at most {len(gpus)}, or --cpu to try it without.")
    for gpu in gpus:
        with contextlib.suppress(RuntimeError):  # already initialised by the caller's own program
            tf.config.experimental.set_memory_growth(gpu, True)
    if devices > 1 and not gpus:
        _split_cpu(tf, devices)


def strategy(devices):
    """What to build and train a model in the `scope()` of: a `tf.distribute.MirroredStrategy` over so many devices, or None for one.

    Raises:
        InputError: TensorFlow was not started with so many devices.
    """
    import tensorflow as tf

    if devices == 1:
        return None
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    there = len(tf.config.list_logical_devices(kind))
    if there < devices:
        raise InputError(
            f"devices is {devices}, but TensorFlow was started with {there} {kind}; call accelerator.start(devices={devices})."
        )
    return tf.distribute.MirroredStrategy([f"{kind}:{number}" for number in range(devices)])


def _split_cpu(tf, devices):
    """Make the CPU count as so many devices: they share its cores, so this is for trying out, not for speed."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)
    except RuntimeError:
        if len(tf.config.list_logical_devices("CPU")) < devices:
            raise InputError(f"devices is {devices}, but TensorFlow runs already with fewer; start it anew with so many.") from None


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
        except Exception:
            said.seek(0)
            os.write(original, said.read())
            raise
        finally:
            os.dup2(original, 2)
            os.close(original)
