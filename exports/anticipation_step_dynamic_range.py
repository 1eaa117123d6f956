"""The step of a stream for small devices: weights in int8, a quarter of the size, and with 1,024 units several times as fast."""

from egokeras.export import Export

EXPORT = Export(name="anticipation_step_dynamic_range", kind="anticipation_step", quantization="dynamic_range")
