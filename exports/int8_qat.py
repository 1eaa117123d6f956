"""Int8 after the features were trained for it, for a model that int8 would cost too much: weights and activations, the head too."""

from egokeras.compress.qat import QAT
from egokeras.export import Export

EXPORT = Export(name="int8_qat", quantization="int8", qat=QAT())
