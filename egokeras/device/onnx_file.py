"""An ONNX file as a part of an artifact, run by onnxruntime on the CPU; the only module that needs it."""

import numpy as np

from egokeras.errors import InputError

DTYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(int32)": np.int32}


class OnnxRunner:
    """Runs a file as TFLite's signature runners run theirs: arrays by name in, arrays by name out.

    Args:
        file: path of the ONNX file.
        threads: of onnxruntime.

    Attributes:
        signature: the name of its graph.

    Raises:
        InputError: onnxruntime is not installed, or cannot load the file.
    """

    def __init__(self, file, threads):
        try:
            import onnxruntime
        except ImportError:
            raise InputError(f"{file} is run by onnxruntime, which is not installed; run `pip install onnxruntime`.") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3  # 3: errors alone
        try:
            self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no class in common
            raise InputError(f"{file} cannot be loaded ({' '.join(str(error).split()):.200}); export it again.") from None
        self.signature = self._session.get_modelmeta().graph_name
        self._outputs = [output.name for output in self._session.get_outputs()]

    def __call__(self, **inputs):
        return dict(zip(self._outputs, self._session.run(self._outputs, inputs), strict=True))

    def get_input_details(self):
        """Input to its shape and dtype."""
        return _details(self._session.get_inputs())

    def get_output_details(self):
        """Output to its shape and dtype."""
        return _details(self._session.get_outputs())


def _details(tensors):
    """A size that is not fixed is -1, a type that no artifact has is `object`."""
    return {
        tensor.name: {
            "shape": [size if isinstance(size, int) else -1 for size in tensor.shape],
            "dtype": DTYPES.get(tensor.type, object),
        }
        for tensor in tensors
    }
