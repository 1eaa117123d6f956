"""Recognise on an endless stream with early exits: a frame is computed no further than an answer asks while it is one of the last frames.

Needs numpy and ai-edge-litert. Every new frame is computed to the first exit, which looks at the window of the last frames. Where it is
not sure, the next stage is computed of all frames of the window that lack it, and so on: an answer at exit k is that of the clip of these
frames at exit k. No stage is computed twice of a frame, so over a stream the stages cost at most what they cost without leaving. One step,
however, may have to catch up, and then costs up to a whole window of every stage behind the first; `most` bounds that.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from egokeras.device.artifact import Artifact
from egokeras.device.early_exit import leave, weighed, weights_of
from egokeras.device.manifest import INPUT, MANIFEST, STREAM, exit_output, window_of
from egokeras.device.stream import check_frame
from egokeras.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ExitState:
    """All that is known of a stream. It is never written to, as `egokeras.device.state.State`.

    Attributes:
        frames: of each of the last frames, the oldest first, name to array: its features for the exits that it was computed to, and the
            maps that stages to come need.
    """

    frames: tuple[Mapping[str, np.ndarray], ...] = ()


class ExitStream:
    """Runs an artifact of the kind `stream` with `exits`.

    Attributes:
        artifact: the `egokeras.device.artifact.Artifact`.
        seconds, frames: as of `egokeras.device.frame_stream.FrameStream`.
        names: of the exits, in the order of their computation.
        thresholds: head to what its largest probability must exceed for the stream to answer.
        most: stages behind the first that one step computes, counted frame by frame; what is more waits for later steps, the newest
            frames first, and the answer is that of the last exit that was reached. None is as many as it takes.

    Raises:
        InputError: the artifact is of another kind, or its files cannot be run.
    """

    def __init__(self, artifact, thresholds=None, most=None):
        artifact.expect(STREAM)
        about = artifact.manifest.get("exits")
        if about is None:
            raise InputError(f"{artifact.folder} has no early exits; open it with egokeras.device.frame_stream.FrameStream.")
        if most is not None and most < 0:
            raise InputError(f"most is {most}; give at least 0, or None for as many stages as it takes.")
        self.artifact, self.names, self.most = artifact, tuple(about["names"]), most
        self.thresholds = about.get("thresholds", {}) if thresholds is None else thresholds
        self.frames = artifact.manifest["sampling"]["frames"]
        self.seconds = artifact.clip_seconds / self.frames
        self._weights = weights_of(artifact)
        self._features = _features(artifact)
        later = [set(artifact.parts.takes[number]) for number in range(0, 2 * len(self.names), 2)]
        self._kept = [set().union(*self._features, *later[number + 1 :]) for number in range(len(later))]

    @classmethod
    def open(cls, path, threads=1, **settings):
        """Of an artifact's folder, its checksums verified; `settings` as of the class."""
        return cls(Artifact.open(path, threads=threads), **settings)

    def open_stream(self):
        """The `ExitState` of a stream before its first frame."""
        return ExitState()

    def step(self, picture, state):
        """As `FrameStream.step`: head to Z (classes,) float64, or None before `frames` frames have come, and the new `ExitState`."""
        answer, state = self.answer(picture, state)
        return answer and answer.logits, state

    def answer(self, picture, state):
        """As `step`, with the `egokeras.device.early_exit.Answer`, which says the exit, too, in the place of its logits."""
        self._check(state)
        picture = check_frame(self.artifact, picture)
        frames = [*state.frames, self._computed(0, {INPUT: picture[None]})][-self.frames :]
        found = leave(self._exits(frames, self.most), self.names, self.thresholds) if len(frames) == self.frames else None
        return found, ExitState(frames=tuple(frames))

    def steps(self, pictures):
        """Iterator of head to Z (classes,) float64 of each exit of a clip of `frames` frames, (frames, height, width, 3) uint8."""
        return self._exits([self._computed(0, {INPUT: check_frame(self.artifact, picture)[None]}) for picture in pictures])

    def _exits(self, frames, most=None):
        """Head to Z of each exit; the list `frames` is brought up to what is asked for."""
        return weighed(self._weights, self._outputs(frames, most))

    def _outputs(self, frames, most):
        for number, features in enumerate(self._features):
            late = [at for at, frame in enumerate(frames) if not features <= frame.keys()]
            now = late[::-1][:most]
            most = None if most is None else most - len(now)
            for at in now:
                frames[at] = self._computed(number, frames[at])
            if len(now) < len(late):
                return
            windows = {window_of(name): np.concatenate([frame[name] for frame in frames], axis=1) for name in features}
            yield self.artifact.parts.part(2 * number + 1, windows)

    def _computed(self, number, frame):
        """What is known of a frame after one more stage, less what no later one needs."""
        known = {**frame, **self.artifact.parts.part(2 * number, frame)}
        return {name: value for name, value in known.items() if name in self._kept[number]}

    def _check(self, state):
        shapes = {name: [1, 1, *self.artifact.manifest["state"][window_of(name)]["shape"][2:]] for name in self._features[0]}
        fits = isinstance(state, ExitState) and len(state.frames) <= self.frames
        if not fits or any(list(np.shape(frame.get(name))) != shape for frame in state.frames for name, shape in shapes.items()):
            raise InputError(f"this state is not one of {self.artifact.folder}; give what open_stream or the last step of it gave.")


def _features(artifact):
    """What every exit sees of a frame, by name.

    Raises:
        InputError: the parts are not in turn what a frame shows to an exit, and what the exit sees in the window.
    """
    parts, found = artifact.parts, []
    for number in range(len(artifact.manifest["exits"]["names"])):
        seen = {name for name in parts.gives[2 * number] if window_of(name) in artifact.manifest["state"]}
        logits = {exit_output(head, number) for head in artifact.classes}
        if not seen or set(parts.takes[2 * number + 1]) != set(map(window_of, seen)) or not logits <= set(parts.gives[2 * number + 1]):
            raise InputError(f"{artifact.folder / MANIFEST}: parts {2 * number} and {2 * number + 1} are not an exit's; export it again.")
        found.append(seen)
    return found
