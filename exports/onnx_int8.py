"""For TensorRT in int8: Q/DQ nodes with ranges from 100 training clips, because `trtexec` would calibrate on random numbers."""

from egokeras.export import Export

EXPORT = Export(name="onnx_int8", format="onnx", quantization="int8")
