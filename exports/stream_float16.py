"""A frame at a time in half the size: weights in float16, arithmetic in float32 on a CPU."""

from egokeras.export import Export

EXPORT = Export(name="stream_float16", kind="stream", quantization="float16")
