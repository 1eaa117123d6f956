"""The features in int8 and the head over time in float32: nearly as small and fast as int8, and nearer to Keras."""

from egokeras.export import Export

EXPORT = Export(name="mixed", quantization="mixed")
