"""Windows of features before segments: what `observe` writes of another program's features."""

import hashlib
import json

import numpy as np

from egokeras.data import observations
from egokeras.errors import InputError
from egokeras.protocol import OBSERVATIONS

OTHERS = ("rgb", "features", "labels")  # modalities of other kinds of sets
DESCRIPTION = ("sampling", "resize", "channels", "fps_rule")  # what the index of a set of clips says of them, where a source knows it
NOT_FOUND = "video not among the features"


class Features:
    """The features of a source in `feature_files`, windows of (14, features) float16.

    Args:
        source: as `feature_files.open_features` gives it; closed by its owner.
        modality: name of the model's input, such as `rgb_features`; None takes the source's own.

    Raises:
        InputError: the name is none for an input, or is of another kind of set.
    """

    def __init__(self, source, modality=None):
        self.source, self.modality = source, modality or source.modality or "rgb_features"
        if not (self.modality.isidentifier() and self.modality.isascii()) or self.modality in OTHERS:
            raise InputError(f"modality {self.modality!r} cannot be used here; name it like rgb_features, flow_features or objects.")

    @property
    def described(self):
        """Entries of the index about what was seen."""
        return {name: self.source.about[name] for name in DESCRIPTION if name in self.source.about}

    def about(self, annotations):
        """What the windows depend on beside the annotations, for the index."""
        videos = sorted({segment.video for segment in annotations.segments})
        weight = json.dumps(self.source.weight(videos), sort_keys=True)
        about = {**self.source.about, "kind": type(self.source).__name__, "weight": hashlib.sha256(weight.encode()).hexdigest()}
        return {"rate": self.source.rate, "source": about}

    def windows(self, annotations, used):
        """Yield (segment's number, window or the reason why there is none), video by video; zeros for those that are not `used`.

        A segment that is `used`, but starts before the source's first frame, has zeros too.

        Raises:
            InputError: features of different width, beyond float16 or not finite.
        """
        segments = annotations.segments
        frames, seen = observations.frames([segment.start for segment in segments], self.source.rate)
        by_video: dict[str, list[int]] = {}
        for row in sorted(range(len(segments)), key=lambda row: segments[row].start):
            by_video.setdefault(segments[row].video, []).append(row)
        first = None
        for video in sorted(by_video):
            rows, width = np.array(by_video[video]), self.source.width(video)
            if width is None:
                yield from ((row, NOT_FOUND) for row in rows.tolist())
                continue
            first = first or (video, width)
            if width != first[1]:
                found = f"{video!r} has {width} features in a frame, {first[0]!r} has {first[1]}"
                raise InputError(f"{self.source.path}: {found}; all videos need the same.")
            windows = np.zeros((len(rows), OBSERVATIONS, width), np.float16)
            looked = used[rows] & seen[rows]
            missing = self._read(video, frames[rows[looked]], windows, looked) if looked.any() else {}
            for place, row in enumerate(rows.tolist()):
                yield row, missing.get(place, windows[place])

    def _read(self, video, frames, windows, looked):
        """Fill the windows of a video that are `looked` for; returns the reasons for those that cannot be had by their place."""
        wanted, inverse = np.unique(frames, return_inverse=True)
        features, there = self.source.read(video, wanted)
        whole = np.zeros((len(wanted), windows.shape[2]), np.float16)
        whole[there] = self._half(features, video, wanted[there])
        inverse = inverse.reshape(frames.shape)
        windows[looked] = whole[inverse]
        lost = ~there[inverse]
        first = np.take_along_axis(frames, lost.argmax(axis=1)[:, None], axis=1)[:, 0]
        places = np.flatnonzero(looked)
        return {places[row]: f"frame {first[row]} is not among the features" for row in np.flatnonzero(lost.any(axis=1))}

    def _half(self, features, video, frames):
        with np.errstate(over="ignore"):
            half = features.astype(np.float16)
        wrong = ~np.isfinite(half).all(axis=1)
        if wrong.any():
            value = features[wrong][0][~np.isfinite(half[wrong][0])][0]
            raise InputError(
                f"{self.source.path}: {video!r}, frame {frames[wrong][0]}: float16 cannot hold the feature {value:g}; compute it again."
            )
        return half
