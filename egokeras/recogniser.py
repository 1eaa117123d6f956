"""A trained recognition model as a source of features: the vector that its classifier sees, of any clip of its kind."""

import dataclasses
import pathlib

import keras
import numpy as np

import egokeras
from egokeras.data.optical_flow import FLOW, Flow
from egokeras.data.preparation import Preparation
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
    """

    backbone: keras.Model | None
    embedding: keras.Model
    settings: Preparation
    side: int
    clip_seconds: float
    sha256: str

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
        top, left = ((length - self.side) // 2 for length in self.settings.picture)
        pictures = pictures[:, top : top + self.side, left : left + self.side]
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


def _filled(rows, multiple):
    """`rows` and the last one again until there are a multiple: every batch has one size, so equal rows give equal numbers."""
    return np.concatenate([rows, np.repeat(rows[-1:], -len(rows) % multiple, axis=0)])
