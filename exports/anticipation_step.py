"""A model that anticipates as the step of a stream, an observation every 0.25 s, in float32; equal to Keras to 1e-4."""

from egokeras.export import Export

EXPORT = Export(name="anticipation_step", kind="anticipation_step", quantization="float32")
