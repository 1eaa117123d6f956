"""Half the size: weights in float16, arithmetic in float32 on a CPU and float16 on a GPU. Loses next to nothing."""

from egokeras.export import Export

EXPORT = Export(name="float16", quantization="float16")
