"""A frame at a time, computed no further than the exit that is sure, as the network was trained; equal to Keras to 1e-4."""

from egokeras.export import Export

EXPORT = Export(name="stream_early_exit_float32", kind="stream_early_exit", quantization="float32")
