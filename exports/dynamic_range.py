"""A quarter of the size: weights in int8, activations in float32. For memory, not for speed: convolutions are often slower than in float32."""

from egokeras.export import Export

EXPORT = Export(name="dynamic_range", quantization="dynamic_range")
