"""The network as it was trained; equal to Keras to 1e-4. For checking, and for phones whose GPU computes in float."""

from egokeras.export import Export

EXPORT = Export(name="float32", quantization="float32")
