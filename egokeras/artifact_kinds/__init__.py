"""How a run becomes an artifact of each kind: which files are made of its model, what artifact.json says, what is judged."""

from egokeras.artifact_kinds.clips import MIXED, QUANTIZATIONS, Clips
from egokeras.artifact_kinds.exits import EarlyExits, StreamEarlyExits
from egokeras.artifact_kinds.streams import Step, Stream
from egokeras.device.manifest import CLIP, STEP, STREAM

__all__ = ["FORMATS", "KINDS", "MIXED", "QUANTIZATIONS", "Clips", "made_of"]

FORMATS = {"tflite": QUANTIZATIONS, "onnx": ("int8", MIXED, "float32"), "savedmodel": ("float32",)}
KINDS = {CLIP: Clips, STREAM: Stream, STEP: Step, "early_exit": EarlyExits, "stream_early_exit": StreamEarlyExits}


def made_of(run):
    """The kinds of artifact that a run can become."""
    return tuple(name for name, kind in KINDS.items() if kind.fits(run))
