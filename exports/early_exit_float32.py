"""A file for each early exit of a run that `egokeras wise` has weighed, as it was trained; equal to Keras to 1e-4."""

from egokeras.export import Export

EXPORT = Export(name="early_exit_float32", kind="early_exit", quantization="float32")
