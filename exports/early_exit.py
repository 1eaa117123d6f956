"""A file for each early exit of a run that `egokeras wise` has weighed, in int8: a clip is computed until an exit is sure of it."""

from egokeras.export import Export

EXPORT = Export(name="early_exit", kind="early_exit", quantization="int8")
