"""The network as it was trained, for TensorRT: see `trtexec.txt` in the artifact's folder. Equal to Keras to 1e-4 in onnxruntime."""

from egokeras.export import Export

EXPORT = Export(name="onnx", format="onnx")
