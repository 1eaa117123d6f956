"""A frame at a time, for a camera that never ends: the features in int8, the head over the last frames in float32."""

from egokeras.export import Export

EXPORT = Export(name="stream", kind="stream", quantization="mixed")
