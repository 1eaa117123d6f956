"""A frame at a time as the network was trained; equal to Keras to 1e-4."""

from egokeras.export import Export

EXPORT = Export(name="stream_float32", kind="stream", quantization="float32")
