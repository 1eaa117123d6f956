"""The step of a stream in half the size: weights in float16, arithmetic in float32 on a CPU. Loses next to nothing, and is no faster."""

from egokeras.export import Export

EXPORT = Export(name="anticipation_step_float16", kind="anticipation_step", quantization="float16")
