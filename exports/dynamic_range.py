"""A quarter of the size: weights in int8, activations in float32. For memory, not for speed: often slower than float32."""

from egokeras.export import Export

EXPORT = Export(name="dynamic_range", quantization="dynamic_range")
