"""Open and run an exported artifact: a folder of one or several TFLite or ONNX files, or SavedModels, and the JSON that explains them.

Needs numpy and ai-edge-litert, or onnxruntime for ONNX files, or TensorFlow for SavedModels. A file's checksum is verified before the
interpreter sees it, because a damaged TFLite file does not raise but ends the process.
"""

import dataclasses
import functools
import pathlib
import re
from collections.abc import Mapping

import numpy as np

from egokeras.device.early_exit import StagedArtifact
from egokeras.device.events import answer
from egokeras.device.manifest import CLIP, EMBEDDING, INPUT, MANIFEST, STEP, STREAM, check_manifest
from egokeras.device.parts import Parts
from egokeras.errors import CONTROL, InputError
from egokeras.files import read_json, sha256

RUNTIMES = {"tflite": "ai-edge-litert", "onnx": "onnxruntime", "savedmodel": "tensorflow"}  # format to the package that runs its files
FORMATS = {".onnx": "onnx", ".pb": "savedmodel"}  # of files that are not TFLite


@dataclasses.dataclass(frozen=True, kw_only=True)
class Artifact:
    """An exported model with what a program must know to run it.

    Attributes:
        folder: where its files lie.
        threads: of each interpreter.
        manifest: content of artifact.json, checked.
    """

    folder: pathlib.Path
    threads: int
    manifest: dict

    @classmethod
    def open(cls, path, verify=True, threads=1):
        """Open an artifact by its folder, its artifact.json or a file of it.

        Args:
            verify: compute the SHA-256 of every file (milliseconds per MB); without it only presence and size are checked.

        Raises:
            InputError: a file is missing or altered, or a field is missing or wrong; the message names both.
        """
        path = pathlib.Path(path)
        folder = path if path.is_dir() else path.parent
        file = folder / MANIFEST
        if not path.exists():
            raise InputError(f"{path} does not exist; give the folder of an artifact.")
        if not file.is_file():
            raise InputError(f"{path} has no {MANIFEST} beside it; give the folder that `egokeras export` wrote.")
        manifest = read_json(file)
        check_manifest(file, manifest)
        if path.is_file() and path.name not in (MANIFEST, *manifest["files"]):
            raise InputError(f"{path} is not a file that {file} describes; give its folder.")
        for name, entry in manifest["files"].items():
            _check_file(folder, name, entry, verify)
        _check_folders(folder, manifest["files"])
        return cls(folder=folder, threads=threads, manifest=manifest)

    @property
    def name(self):
        """What the export was called."""
        return self.manifest["name"]

    @property
    def files(self):
        """The TFLite or ONNX files, or those of SavedModels, in the order in which they run."""
        return [self.folder / part["file"] for part in self.manifest["parts"]]

    @property
    def kind(self):
        """`clip`, `stream` or `anticipation_step`."""
        return self.manifest.get("kind", CLIP)

    @property
    def runtime(self):
        """The package that runs its files, one of `RUNTIMES`."""
        return RUNTIMES[FORMATS.get(self.files[0].suffix, "tflite")]

    def expect(self, *kinds):
        """Refuse an artifact that is of none of some kinds.

        Raises:
            InputError: says what to do with this one.
        """
        if self.kind in kinds:
            return
        observes = "observations, for `egokeras.device.anticipation.Anticipator` and `egokeras predict --recogniser`"
        uses = observes if self.kind == STEP else "frames, for `egokeras predict`"
        wanted = " or ".join(map(repr, kinds))
        raise InputError(f"{self.folder} is of the kind {self.kind!r}, which takes {uses}; give one of the kind {wanted}.")

    @property
    def shape(self):
        """(frames, height, width, 3) of a clip, or (height, width, 3) of the frame that a stream takes."""
        return tuple(self._frames["shape"][1:])

    @property
    def resize(self):
        """How a frame was brought to its size in training: `squash`, `crop` or `pad`."""
        return self._frames["resize"]

    @property
    def stored(self):
        """(height, width) that frames are resized to, of which the middle is the clip's."""
        return tuple(self._frames.get("cut_from", self.shape[-3:-1]))

    @property
    def _frames(self):
        """The description of the one input, of an artifact that takes frames as they come."""
        self.expect(CLIP, STREAM)
        inputs = self.manifest["inputs"]
        if set(inputs) != {INPUT}:
            raise InputError(
                f"{self.folder} takes {', '.join(inputs)}, and frames alone are {INPUT}; give its clips to `Artifact.predict`."
            )
        return inputs[INPUT]

    @property
    def clip_seconds(self):
        """Seconds of video that a clip spans."""
        return float(self.manifest["sampling"]["clip_seconds"])

    @property
    def classes(self):
        """Head to class names, in the order of its logits."""
        return self.manifest["outputs"]

    @property
    def answers(self):
        """Names of what a clip or frame is answered with: the heads and, if it was exported so, `embedding`."""
        return [*self.classes, *([EMBEDDING] if EMBEDDING in self.manifest else [])]

    @functools.cached_property
    def parts(self):
        """The `Parts`, which run the files.

        Raises:
            InputError: a file cannot be loaded, or does not agree with artifact.json.
        """
        return Parts(self, self.threads)

    def predict(self, clip):
        """Logits of one clip.

        Args:
            clip: (frames, height, width, channels) or (1, frames, height, width, channels) uint8; of several inputs, these by name.

        Returns:
            Head to (classes,) float; of an artifact with early exits, those of the exit at which the clip leaves. One that was exported
            with its embedding gives that, too, as `embedding`.
        """
        self.expect(CLIP)
        clips, wanted = clip if isinstance(clip, Mapping) else {INPUT: clip}, self.manifest["inputs"]
        if set(clips) != set(wanted):
            raise InputError(f"{self.folder} takes clips of {', '.join(wanted)}, these are of {', '.join(clips)}.")
        inputs = {name: self._checked(clips[name], tuple(about["shape"][1:])) for name, about in wanted.items()}
        if "exits" in self.manifest:
            return dict(StagedArtifact(self).answer(inputs).logits)
        outputs = self.parts.run(inputs)
        return {name: outputs[name][0] for name in self.answers}

    def _checked(self, clip, shape):
        """A clip as a batch of one."""
        clip = np.asarray(clip)
        clip = clip[0] if clip.ndim == 5 and len(clip) == 1 else clip
        if clip.shape != shape or clip.dtype != np.uint8:
            raise InputError(f"{self.folder} takes a clip {shape} uint8, this one is {clip.shape} {clip.dtype}.")
        return clip[None]

    def top(self, logits, k=1):
        """The `k` most probable answers, as [(name, probability)].

        A model of verbs and nouns answers with pairs by the product rule: p(verb) p(noun).

        Args:
            logits: head to (classes,), from `predict`.
        """
        heads = answer(logits)
        joint = functools.reduce(np.multiply.outer, [_softmax(logits[head]) for head in heads])
        best = np.argsort(-joint, axis=None, kind="stable")[:k]
        places = zip(*np.unravel_index(best, joint.shape), strict=True)
        return [(" ".join(self.classes[head][at] for head, at in zip(heads, place, strict=True)), float(joint[place])) for place in places]


def _softmax(logits):
    exponentials = np.exp(logits - np.max(logits), dtype=np.float64)
    return exponentials / exponentials.sum()


def _check_file(folder, name, entry, verify):
    """The file is in the folder, not reached from it, and is the one that was described."""
    path = folder / name
    plain = not CONTROL.search(name) and not re.search(r"[\\:]", name) and all(part not in ("", ".", "..") for part in name.split("/"))
    if not plain or path.resolve().parent != (folder.resolve() / name).parent:
        raise InputError(f"{folder / MANIFEST}: files names {name!r}, which is outside the artifact's folder; do not trust it.")
    if not path.is_file():
        raise InputError(f"{path} is missing; copy the whole folder again.")
    if path.stat().st_size != entry["bytes"]:
        raise InputError(f"{path} has {path.stat().st_size} bytes, {MANIFEST} says {entry['bytes']}; copy it again.")
    if verify and sha256(path) != entry["sha256"]:
        raise InputError(f"{path} was altered: its sha256 is not the one in {MANIFEST}; copy it again.")


def _check_folders(folder, names):
    """A folder in the folder, which is a SavedModel, holds what was described alone: other programs read all of it."""
    for top in {name.split("/")[0] for name in names if "/" in name}:
        for path in (folder / top).rglob("*"):
            if path.is_symlink() or not (path.is_dir() or path.relative_to(folder).as_posix() in names):
                raise InputError(f"{path} is not described in {MANIFEST}; delete it, or copy the whole folder again.")
