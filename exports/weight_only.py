"""Int8 weights, computed in float32: about the size of dynamic_range; needs the extra `weight_only` (ai-edge-quantizer)."""

from egokeras.export import Export

EXPORT = Export(name="weight_only", quantization="weight_only")
