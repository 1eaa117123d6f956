"""Bags of detected objects, the modality `objects`: for each class the summed confidence of its detections in a frame.

Furnari and Farinella, https://arxiv.org/abs/1905.09035, section 4: all detections count, whatever their confidence.
"""

import pathlib
import re

import numpy as np

from egokeras.data.npy_features import sample
from egokeras.errors import InputError

CLASSES = 352  # of EPIC-KITCHENS-55
SAMPLED = 16  # files of a video that are looked into for its weight


def object_bag(detections, classes=CLASSES, first=0):
    """The bag of a frame.

    Args:
        detections: (n, 6) class, x1, y1, x2, y2, score.
        classes: how many.
        first: id of the first class; 1 where 0 is the background, which is left out.

    Returns:
        (classes,) float32.

    Raises:
        ValueError: another shape, or what is no class or no score.
    """
    found = np.asarray(detections)
    if found.ndim != 2 or found.shape[1] != 6 or found.dtype.kind not in "fiu":
        raise ValueError(f"{found.shape} {found.dtype} where (n, 6) of class, x1, y1, x2, y2, score is wanted")
    ids, scores = found[:, 0].astype(np.float64) - first, found[:, 5].astype(np.float64)
    if first == 1:
        ids, scores = ids[found[:, 0] != 0], scores[found[:, 0] != 0]
    if not (((ids >= 0) & (ids < classes) & (ids == np.floor(ids))).all() and np.isfinite(scores).all()):
        raise ValueError(f"a class that is not one of {first} to {first + classes - 1}, or a score that is no number")
    return np.bincount(ids.astype(np.int64), scores, classes).astype(np.float32)


class Detections:
    """A folder per video, in it a `.npy` (n, 6) per frame, its number, from 1, at the end of the name; a source of features.

    A frame without detections has an array (0, 6), not no file.
    """

    modality = "objects"

    def __init__(self, path, rate, classes=CLASSES, first=0):
        if classes < 1 or first not in (0, 1):
            raise InputError(f"{classes} classes of objects from {first}: give at least one class, and 0 or 1 for the first.")
        self.path, self.rate, self.classes, self.first = pathlib.Path(path), rate, classes, first
        self.about = {"classes": classes, "first": first}
        self._files: dict[str, dict[int, pathlib.Path]] = {}

    def width(self, video):
        return self.classes if self._of(video) else None

    def read(self, video, frames):
        files = self._of(video)
        there = np.isin(frames, list(files))
        bags = [self._bag(files[frame]) for frame in frames[there].tolist()]
        return np.array(bags, np.float32).reshape(-1, self.classes), there

    def weight(self, videos):
        return {video: self._weight(self._of(video)) for video in videos}

    @staticmethod
    def _weight(files):
        """The number of a video's files, and what some of them, evenly spread, hold: there is one for every frame."""
        frames = sorted(files)
        chosen = sorted({frames[round(at)] for at in np.linspace(0, len(frames) - 1, SAMPLED)}) if frames else []
        return [len(frames), {str(frame): sample(files[frame]) for frame in chosen}]

    def close(self):
        """Nothing stays open."""

    def _of(self, video):
        if video not in self._files:
            folders = (self.path / video, (self.path / video).with_suffix(""))
            folder = next((folder for folder in folders if folder.is_dir()), None)
            found = folder.glob("*.npy") if folder else ()
            self._files[video] = {int(match[1]): file for file in found if (match := re.search(r"(\d+)\.npy$", file.name))}
        return self._files[video]

    def _bag(self, file):
        try:
            return object_bag(np.lib.format.open_memmap(file, mode="r"), self.classes, self.first)
        except (ValueError, EOFError, OSError) as error:
            raise InputError(f"{file} holds no detections: {error}; make it again.") from None
