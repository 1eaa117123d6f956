"""A frame at a time, computed no further than the exit that is sure; for a run that `egokeras wise` has weighed, frames in int8."""

from egokeras.export import Export

EXPORT = Export(name="stream_early_exit", kind="stream_early_exit", quantization="mixed")
