"""A trained recognition model, or what was exported of it, as a source of features: the vector that its classifier sees of a clip."""

import dataclasses
import os
import pathlib

import keras
import numpy as np

import egokeras
from egokeras.data.optical_flow import FLOW, Flow
from egokeras.data.preparation import Preparation
from egokeras.device.artifact import Artifact
from egokeras.device.manifest import CLIP, EMBEDDING
from egokeras.errors import InputError
from egokeras.files import read_json, sha256
from egokeras.recipe import Data

BATCH = 8  # clips; part of what the features are: rounding may depend on the size of a batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recogniser:
    """A trained model with all that its clips must be.

    Attributes:
        backbone: what looks at each frame by itself, which is done once for all windows that show it; None where nothing does.
        embedding: from what the backbone makes of a clip, or from the clip itself, to its features (batch, F).
        settings: `Preparation` of its clips: frames, size, resize, flow.
        side: of the middle square of a picture that it sees, in pixels; all where that is the size.
        clip_seconds: that a clip spans.
        sha256: of `model.keras`.
        artifact: None; what was exported has one.
    """

    backbone: keras.Model | None
    embedding: keras.Model
    settings: Preparation
    side: int
    clip_seconds: float
    sha256: str
    artifact = None

    @classmethod
    def open(cls, run_dir, data=None):
        """The recogniser of a run folder.

        Args:
            data: folder of the shards that it was trained on; None is where they were then.

        Raises:
            InputError: no run, other shards, or a model without one vector `features` for a clip.
        """
        run_dir = pathlib.Path(run_dir)
        record = read_json(run_dir / "recipe.json")
        model = egokeras.load_model(run_dir / "model.keras")
        found = model.output.get("features") if isinstance(model.output, dict) else None
        if list(model.input) != ["rgb"] or found is None or len(found.shape) != 2:
            raise InputError(f"{run_dir / 'model.keras'} makes no vector `features` of a clip; give the run of a recognition model.")
        shards = Data.of_run(record).open(data)
        if shards.sha256 != record["data_sha256"]:
            raise InputError(f"{shards.path} does not hold the shards that {run_dir} was trained on; give those with --data.")
        _, height, width, _ = getattr(shards, "stored", shards).shape
        by_frame = record["model"]["is"] == "FrameModel"
        last, index = model.get_layer("head") if by_frame else model, shards.index
        return cls(
            backbone=model.get_layer("backbone") if by_frame else None,
            embedding=keras.Model(last.input, last.output["features"]),
            settings=Preparation(
                frames=shards.shape[0],
                size=height,
                width=None if width == height else width,
                resize=index["resize"],
                flow=Flow(**index["flow"]) if index["channels"] == FLOW else None,
            ),
            side=shards.shape[1],
            clip_seconds=float(index["clip_seconds"]),
            sha256=sha256(run_dir / "model.keras"),
        )

    @property
    def width(self):
        """F, the numbers of a vector."""
        return self.embedding.output.shape[-1]

    def of_frames(self, pictures):
        """What is kept of frames (n, height, width, 3) uint8 until windows are made of them: themselves, or the backbone's features."""
        pictures = _middle(pictures, self.side, self.side)
        if self.backbone is None:
            return pictures
        frames = self.settings.frames
        clips = _filled(pictures, BATCH * frames).reshape(-1, frames, *pictures.shape[1:])
        found = [self.backbone.predict_on_batch({"rgb": clips[at : at + BATCH]}) for at in range(0, len(clips), BATCH)]
        return np.concatenate(found).reshape(len(clips) * frames, *found[0].shape[2:])[: len(pictures)]

    def of_windows(self, windows):
        """Features (n, F) of windows (n, frames, ...) of what `of_frames` gave, n at most `BATCH`."""
        (name,) = self.embedding.input
        return self.embedding.predict_on_batch({name: _filled(windows, BATCH)})[: len(windows)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportedRecogniser:
    """The same of an artifact that takes clips and gives its embedding: what a device has, with all that rounding does to it.

    Attributes:
        exported: the `egokeras.device.artifact.Artifact`.
    """

    exported: Artifact

    @classmethod
    def open(cls, path):
        """That of an artifact's folder.

        Raises:
            InputError: it cannot be run, takes no clips of frames, or does not give its embedding.
        """
        exported = Artifact.open(path, threads=os.cpu_count() or 1)
        exported.expect(CLIP)
        if EMBEDDING not in exported.manifest:
            raise InputError(f"{exported.folder} does not give its embedding; export it with --embedding.")
        return cls(exported=exported)

    @property
    def settings(self):
        """See `Recogniser`."""
        height, width = self.exported.stored
        return Preparation(
            frames=self.exported.shape[0], size=height, width=None if width == height else width, resize=self.exported.resize
        )

    @property
    def clip_seconds(self):
        """See `Recogniser`."""
        return self.exported.clip_seconds

    @property
    def sha256(self):
        """That of the model that was exported."""
        return self.exported.manifest["parent"]["model_sha256"]

    @property
    def artifact(self):
        """What these features depend on beside: the files that are run."""
        return "+".join(self.exported.manifest["files"][part["file"]]["sha256"] for part in self.exported.manifest["parts"])

    @property
    def width(self):
        """F, the numbers of a vector."""
        return self.exported.manifest[EMBEDDING]

    def of_frames(self, pictures):
        """The middle of frames (n, height, width, 3) uint8."""
        return _middle(pictures, *self.exported.shape[1:3])

    def of_windows(self, windows):
        """Features (n, F) of windows (n, frames, height, width, 3)."""
        return np.stack([self.exported.predict(window)[EMBEDDING] for window in windows])


def _middle(pictures, height, width):
    top, left = (pictures.shape[1] - height) // 2, (pictures.shape[2] - width) // 2
    return pictures[:, top : top + height, left : left + width]


def _filled(rows, multiple):
    """`rows` and the last one again until there are a multiple: every batch has one size, so equal rows give equal numbers."""
    return np.concatenate([rows, np.repeat(rows[-1:], -len(rows) % multiple, axis=0)])
