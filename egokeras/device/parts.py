"""The files of an artifact as one, of any format: each is given what it asks for, of the inputs and of what those before it gave."""

from collections.abc import Callable

import numpy as np

from egokeras.device.manifest import MANIFEST, given, logits, tensors
from egokeras.device.onnx_file import OnnxRunner
from egokeras.device.savedmodel_file import SavedModelRunner
from egokeras.errors import InputError

RUNNERS: dict[str, Callable] = {".onnx": OnnxRunner, ".pb": SavedModelRunner}  # of what is no TFLite file


class Parts:
    """The runners of an artifact's parts, checked against artifact.json.

    Attributes:
        takes, gives: names of each part's inputs, and of its outputs.

    Args:
        artifact: the `egokeras.device.artifact.Artifact`.
        threads: of each interpreter.

    Raises:
        InputError: a file cannot be loaded, or has other inputs or outputs than artifact.json says.
    """

    def __init__(self, artifact, threads):
        self._runners = [_runner(artifact.folder / part["file"], part["signature"], threads) for part in artifact.manifest["parts"]]
        self.takes = [tuple(runner.get_input_details()) for runner in self._runners]
        self.gives = [tuple(runner.get_output_details()) for runner in self._runners]
        self._check(artifact)

    def steps(self, inputs):
        """Run part after part; what is not asked for is not computed.

        Args:
            inputs: name to array, the state's tensors too, with an axis for the batch.

        Yields:
            What a part gives, name to array.
        """
        known = dict(inputs)
        for number in range(len(self._runners)):
            made = self.part(number, known)
            known = {**known, **made, **inputs}
            yield made

    def part(self, number, known):
        """What one part gives, name to array; `known` has all that it takes, by name."""
        return self._runners[number](**{name: known[name] for name in self.takes[number]})

    def run(self, inputs):
        """What all parts give, name to array; `inputs` as for `steps`."""
        made: dict[str, np.ndarray] = {}
        for found in self.steps(inputs):
            made |= found
        return made

    def _check(self, artifact):
        """A part takes inputs, or what one before it gives, and the last of each name is what artifact.json says."""
        declared = tensors(artifact.manifest)
        taken: set = set()
        made: dict = {}
        for part, runner in zip(artifact.manifest["parts"], self._runners, strict=True):
            file = artifact.folder / part["file"]
            for name, found in _details(runner.get_input_details()).items():
                expected = declared.get(name, made.get(name))
                if found != expected:
                    raise InputError(f"{file} takes {name!r} as {found}, {MANIFEST} says {expected}; export it again.")
                taken.add(name)
            made |= _details(runner.get_output_details())
        unused = set(declared) - taken
        if unused:
            raise InputError(f"{artifact.folder}: no file takes {', '.join(sorted(unused))}, which {MANIFEST} names; export it again.")
        for head, shape in logits(artifact.manifest).items():
            size = made[head][0][-1] if head in made else 0
            if size != shape[-1]:
                raise InputError(
                    f"{artifact.folder} has {size} outputs for {head!r}, {MANIFEST} names {shape[-1]} classes; export it again."
                )
        promised = given(artifact.manifest)
        wrong = [name for name, expected in promised.items() if made.get(name) != expected]
        if wrong:
            raise InputError(f"{artifact.folder} gives {made}, {MANIFEST} says {wrong[0]!r} {promised[wrong[0]]}; export it again.")


def _runner(file, signature, threads):
    if file.suffix in RUNNERS:
        runner = RUNNERS[file.suffix](file, threads)
        _check_signature(file, signature, [runner.signature])
        return runner
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(str(file), num_threads=threads)
    except (ValueError, RuntimeError) as error:
        raise InputError(f"{file} cannot be loaded ({error}); export it again.") from None
    interpreter.allocate_tensors()
    _check_signature(file, signature, interpreter.get_signature_list())
    return interpreter.get_signature_runner(signature)


def _check_signature(file, signature, found):
    if signature not in found:
        raise InputError(f"{file} has no signature {signature!r} that {MANIFEST} names; export it again.")


def _details(details):
    return {name: ([int(size) for size in item["shape"]], np.dtype(item["dtype"]).name) for name, item in details.items()}
