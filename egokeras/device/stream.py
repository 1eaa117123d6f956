"""From a stream of frames to clips: the artifact's size, its number of frames, its span of time."""

import collections
import functools

import numpy as np

from egokeras.errors import InputError

# Times written with three decimals still mean the frame that they were taken from (seconds).
ROUNDING = 0.001


class Stream:
    """Slides an artifact's window over frames and predicts every `stride` seconds.

    A window ends at the newest frame and reaches `clip_seconds` back, both ends included, as a training segment does; the clip is
    the middle frames of equal parts of it. Frames are kept at the artifact's size, so memory is that of one window.
    """

    def __init__(self, artifact, stride):
        """`artifact` as `egokeras.device.artifact.Artifact`, of frames alone; `stride` in seconds."""
        check_stride(stride)
        self.artifact, self.shape = artifact, artifact.shape
        self.stride = stride
        self.frames: collections.deque = collections.deque()  # (time, picture)
        self.due = None
        self.predicted = False

    def add(self, time, picture):
        """Take the next frame.

        Args:
            time: seconds, larger than that of the frame before.
            picture: (height, width, 3) uint8 RGB, any size; or an `av.VideoFrame`.

        Returns:
            Logits by head, if a prediction is due; else None.
        """
        self.frames.append((time, fitted(self.artifact, picture)))
        while self.frames[0][0] < time - self.artifact.clip_seconds - ROUNDING:
            self.frames.popleft()
        self.due = time + self.artifact.clip_seconds if self.due is None else self.due
        if time < self.due - ROUNDING:
            return None
        self.due = next_due(self.due, time, self.stride)
        return self._predict()

    def finish(self):
        """Logits of a stream that ended before its first prediction was due; None if it had one, or no frame at all."""
        return self._predict() if self.frames and not self.predicted else None

    @property
    def span(self):
        """First and last time in the window, seconds."""
        return self.frames[0][0], self.frames[-1][0]

    def _predict(self):
        self.predicted = True
        chosen = uniform(len(self.frames), self.shape[0])
        return self.artifact.predict(np.stack([self.frames[number][1] for number in chosen]))


def check_frame(artifact, picture):
    """The picture as an array, if it is a frame (height, width, 3) uint8 of the size that an artifact of the kind `stream` takes.

    Raises:
        InputError: another shape or type.
    """
    picture = np.asarray(picture)
    if picture.shape != artifact.shape or picture.dtype != np.uint8:
        raise InputError(f"{artifact.folder} takes frames {artifact.shape} uint8, this one is {picture.shape} {picture.dtype}.")
    return picture


def check_stride(stride):
    """Refuse seconds between two predictions that are none."""
    if not 0 < stride < float("inf"):
        raise InputError(f"stride is {stride} s; give more than 0.")


def next_due(due, time, every):
    """When something is due again that was due at `due` (minus infinity: at once) and is done at `time`; who is late skips turns."""
    due = time if due == -float("inf") else due
    return due + every * (1 + (time + ROUNDING - due) // every)


def uniform(count, frames):
    """The middle frames of `frames` equal parts of `count`; where there are fewer, each is shown about equally often.

    Returns:
        Frame numbers, (frames,) int64, ascending.
    """
    return (2 * np.arange(frames) + 1) * count // (2 * frames)


def fitted(artifact, picture):
    """A frame as an artifact's training frames were made: (height, width, 3) uint8 RGB; `picture` as for `resize`."""
    height, width = artifact.stored
    whole = resize(picture, height, width, artifact.resize)
    return _centre(whole, *artifact.shape[-3:-1])


def resize(picture, height, width, mode="squash"):
    """A picture as (height, width, 3) uint8 RGB, upright.

    Args:
        picture: an `av.VideoFrame`, which gives the very pixels of `egokeras prepare`; or (rows, columns, 3) uint8 RGB, upright,
            which gives them to within the rounding of two resizers.
        mode: `squash` (aspect ratio given up), `crop` (fill, then the centre) or `pad` (fit, black around).
    """
    if isinstance(picture, np.ndarray):
        rows, columns = picture.shape[:2]
        picture = _scale(picture, *_fit(rows, columns, height, width, mode))
    else:
        turns = round(picture.rotation / 90) % 4
        if turns % 2:
            columns, rows = _fit(picture.width, picture.height, height, width, mode)
        else:
            rows, columns = _fit(picture.height, picture.width, height, width, mode)
        picture = np.rot90(_converted(picture, rows, columns), turns)
    return _centre(picture, height, width)


def _fit(rows, columns, height, width, mode):
    """Size before the centre is taken."""
    if mode == "squash":
        return height, width
    scales = height / rows, width / columns
    scale = max(scales) if mode == "crop" else min(scales)
    return max(1, round(rows * scale)), max(1, round(columns * scale))


def _converted(frame, rows, columns):
    """A frame resized and in RGB, in one step."""
    shrinks = rows <= frame.height and columns <= frame.width
    how = "AREA" if shrinks else "BILINEAR"
    planes = _reformatter().reformat(frame, columns, rows, "gbrp", interpolation=how).planes
    green, blue, red = (np.frombuffer(plane, np.uint8).reshape(rows, plane.line_size)[:, :columns] for plane in planes)
    return np.stack([red, green, blue], -1)


@functools.cache
def _reformatter():
    """One for all frames: setting it up costs more than a frame."""
    from av.video.reformatter import VideoReformatter

    return VideoReformatter()


def _centre(picture, height, width):
    """Cut off or fill with black on both sides."""
    if picture.shape[:2] == (height, width):
        return picture
    result = np.zeros((height, width, 3), np.uint8)
    (to_y, from_y), (to_x, from_x) = (_overlap(*sizes) for sizes in ((height, picture.shape[0]), (width, picture.shape[1])))
    result[to_y, to_x] = picture[from_y, from_x]
    return result


def _overlap(size, given):
    offset = (given - size) // 2
    taken = min(size, given)
    return slice(max(-offset, 0), max(-offset, 0) + taken), slice(max(offset, 0), max(offset, 0) + taken)


def _scale(picture, height, width):
    rows, columns = picture.shape[:2]
    if (rows, columns) == (height, width):
        return picture
    shrinks = height <= rows and width <= columns
    try:
        import cv2
    except ImportError:
        weights = _area if shrinks else _linear
        lines = weights(rows, height) @ picture.reshape(rows, -1).astype(np.float32)
        lines = np.einsum("wc,hcd->hwd", weights(columns, width), lines.reshape(height, columns, 3), optimize=True)
        return np.clip(lines + 0.5, 0, 255).astype(np.uint8)
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _area(given, size):
    """Weights (size, given) float32: each output pixel is the mean of what it covers."""
    edges = np.arange(size + 1) * (given / size)
    starts, ends = edges[:-1, None], edges[1:, None]
    pixels = np.arange(given)
    return (np.clip(np.minimum(ends, pixels + 1) - np.maximum(starts, pixels), 0, None) * (size / given)).astype(np.float32)


def _linear(given, size):
    """Weights (size, given) float32: two neighbours each, the border repeated."""
    at = np.clip((np.arange(size) + 0.5) * (given / size) - 0.5, 0, given - 1)
    return np.clip(1 - np.abs(at[:, None] - np.arange(given)), 0, None).astype(np.float32)
