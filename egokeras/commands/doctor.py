"""`egokeras doctor`: versions, devices, what is missing and how to get it."""

import importlib.metadata
import json
import platform
import sys

EXAMPLE = "egokeras doctor"

# package -> the extra of ours that brings it, and what it is for
PACKAGES = {
    "numpy": ("", "everything"),
    "ai-edge-litert": ("", "running artifacts"),
    "tqdm": ("", "progress bars"),
    "av": ("video", "reading videos"),
    "keras": ("train", "training"),
    "tensorflow": ("train", "training and export"),
    "h5py": ("train", "weights"),
    "opencv-python-headless": ("train", "resizing frames"),
    "matplotlib": ("report", "plots and the report page"),
    "tf-keras": ("compress", "quantization-aware training"),
    "tensorflow-model-optimization": ("compress", "quantization-aware training"),
    "onnxruntime": ("onnx", "ONNX export"),
}


def add_arguments(parser):
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args):
    versions = {name: _version(name) for name in PACKAGES}
    if versions["opencv-python-headless"] is None:  # either wheel brings the same cv2
        versions["opencv-python-headless"] = _version("opencv-python")
    gpus = _gpus() if versions["tensorflow"] else []
    facts = {"python": platform.python_version(), "system": platform.platform(), "packages": versions, "gpus": gpus}
    print(json.dumps(facts, indent=1) if args.json else "\n".join(_lines(facts)))


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _gpus():
    from egokeras import accelerator

    accelerator.start(cpu=False, strict=False)
    import tensorflow as tf

    return [device.name for device in tf.config.list_physical_devices("GPU")]


def _lines(facts):
    yield f"Python {facts['python']} on {facts['system']}"
    if sys.version_info < (3, 11):
        yield "  training needs Python 3.11 or newer; predict and benchmark run on this one"
    for name, version in facts["packages"].items():
        extra, purpose = PACKAGES[name]
        cure = "pip install egokeras" + (f"[{extra}]" if extra else "")
        yield f"  {name:32}{version or f'missing, needed for {purpose}: {cure}'}"
    yield f"GPUs that TensorFlow sees: {', '.join(facts['gpus']) or 'none'}"
