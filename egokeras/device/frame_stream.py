"""Recognise on an endless stream: a frame in every fraction of a second, what the last frames show out, and no frame computed twice.

Needs numpy and ai-edge-litert. One `FrameStream` serves any number of streams (from one thread at a time): all that is known of one is in
its `State`.
"""

import functools

from egokeras.device.artifact import Artifact
from egokeras.device.exit_stream import ExitStream
from egokeras.device.manifest import INPUT, STREAM
from egokeras.device.state import State, check_state, new_state
from egokeras.device.stream import ROUNDING, Stream, check_frame, check_stride, fitted, next_due
from egokeras.errors import InputError


class FrameStream:
    """Runs an artifact of the kind `stream`, without early exits.

    Attributes:
        artifact: the `egokeras.device.artifact.Artifact`.
        seconds: between two frames.
        frames: after how many of them the first answer comes, and the model has seen what it saw in training.

    Raises:
        InputError: the artifact is of another kind, or its files cannot be run.
    """

    def __init__(self, artifact):
        artifact.expect(STREAM)
        if "exits" in artifact.manifest:
            raise InputError(f"{artifact.folder} has early exits; open it with egokeras.device.exit_stream.ExitStream.")
        self.artifact, self.frames = artifact, artifact.manifest["sampling"]["frames"]
        self.seconds = artifact.clip_seconds / self.frames

    @classmethod
    def open(cls, path, threads=1):
        """Of an artifact's folder, its checksums verified."""
        return cls(Artifact.open(path, threads=threads))

    def open_stream(self):
        """The `State` of a stream before its first frame."""
        return new_state(self.artifact)

    def step(self, picture, state):
        """What a stream shows now.

        Args:
            picture: (height, width, 3) uint8 RGB, `seconds` after the one before.
            state: what `open_stream` or the last `step` of this stream gave.

        Returns:
            What `Artifact.predict` gives of a clip, head to logits (classes,) float32, or None before `frames` frames have come; and the
            new `State`. With a window as memory the answer is that of the clip of the last `frames` frames. A carried memory holds more
            than these; it begins anew every `reset_frames` frames, if the artifact says so, and then has no answer for `frames` frames.

        Raises:
            InputError: another shape or type, or the state of another artifact.
        """
        check_state(self.artifact, state)
        if state.seen and state.seen == self.artifact.manifest.get("reset_frames"):
            state = self.open_stream()
        picture = check_frame(self.artifact, picture)
        outputs = self.artifact.parts.run({INPUT: picture[None], **state.tensors})
        state = State(tensors={name: outputs[name] for name in state.tensors}, seen=state.seen + 1)
        logits = {name: outputs[name][0] for name in self.artifact.answers}
        return logits if state.seen >= self.frames else None, state

    def clip(self, pictures):
        """Logits of a clip of `frames` frames, (frames, height, width, 3) uint8, step by step."""
        return functools.reduce(lambda last, picture: self.step(picture, last[1]), pictures, (None, self.open_stream()))[0]


class SteppedStream:
    """A stream of an artifact, fed by a camera or a file: takes a frame every `seconds`, as `egokeras.device.stream.Stream` takes them."""

    def __init__(self, artifact, stride):
        """`artifact` of the kind `stream`; `stride` in seconds between two predictions, at least those between two frames."""
        check_stride(stride)
        self.stream = (ExitStream if "exits" in artifact.manifest else FrameStream)(artifact)
        self.artifact, self.stride = artifact, stride
        self.state = self.stream.open_stream()
        self.due = self.answer_due = -float("inf")
        self.time = 0.0
        self.picture = None
        self.predicted = False

    def add(self, time, picture):
        """Take the next frame, see `Stream.add`."""
        self.picture, self.time = fitted(self.artifact, picture), time
        if time < self.due - ROUNDING:
            return None
        self.due = next_due(self.due, time, self.stream.seconds)
        logits, self.state = self.stream.step(self.picture, self.state)
        if logits is None or time < self.answer_due - ROUNDING:
            return None
        self.answer_due = next_due(self.answer_due, time, self.stride)
        self.predicted = True
        return logits

    def finish(self):
        """Logits of a stream that ended before its first prediction, its last frame standing still; None if it had one, or no frame."""
        if self.predicted or self.picture is None:
            return None
        logits, self.state = self.stream.step(self.picture, self.state)
        return logits or self.finish()

    @property
    def span(self):
        """First and last time that the newest prediction speaks of, seconds."""
        return max(0.0, self.time - self.artifact.clip_seconds), self.time


def begin(artifact, stride):
    """A new stream over an artifact of frames: `Stream` of one of clips, `SteppedStream` of one of the kind `stream`."""
    return (SteppedStream if artifact.kind == STREAM else Stream)(artifact, stride)
