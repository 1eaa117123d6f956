"""Frames with what their file holds of them: their type, and the motion from which the decoder made them.

MPEG-4 part 2 and H.264 without B-frames tell; everything else is encoded anew first, as MPEG-4 with a whole picture in every twelve
(CoViAR's form).
"""

import dataclasses
import fractions
import functools
import itertools
import os
import pathlib
import typing

import av
import numpy as np
from av.video.frame import PictureType

from egokeras.data import motion_vectors, video
from egokeras.data.motion_vectors import Trace
from egokeras.data.video import VideoError
from egokeras.data.video_index import SEEKABLE, opened

CODECS = ("mpeg4", "h264")
GOP = 12
QUALITY = 1  # of MPEG-4's quantizer, CoViAR's `-q:v 1`
LAMBDA = 118  # FFmpeg's steps in one of the quantizer
VECTORS = "+export_mvs"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class CodedFrame:
    """A frame and how it was coded.

    Attributes:
        number: in the video, from 0.
        kind: `I`, whole, or `P`, made from the one before.
        frame: the `av.VideoFrame`.
        vectors: what the decoder exports (see `motion_vectors.on_grid`); None for a whole picture.
    """

    number: int
    kind: str
    frame: av.VideoFrame
    vectors: np.ndarray | None

    @functools.cached_property
    def motion(self):
        """The `Motion`; without any vector for a whole picture."""
        return motion_vectors.on_grid(self.vectors, self.frame.height, self.frame.width)

    @property
    def rgb(self):
        """(height, width, 3) uint8."""
        return self.frame.to_ndarray(format="rgb24")

    @property
    def luma(self):
        """(height, width) uint8."""
        plane: typing.Any = self.frame.planes[0]
        return np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]


def read(index, numbers):
    """Yield the `CodedFrame` of ascending `numbers`.

    Args:
        index: a `VideoIndex` of a file that `tells`.

    Raises:
        VideoError: a frame is damaged or missing, or B-frames stand between.
    """
    for number, frame in zip(numbers, video.frames(index, numbers, VECTORS), strict=True):
        kind = PictureType(frame.pict_type).name
        if kind not in "IP":
            raise VideoError(index.path, f"frame {number} is a {kind}-frame, made from later ones too; encode the video anew")
        vectors = frame.side_data.get("MOTION_VECTORS")
        yield CodedFrame(number=number, kind=kind, frame=frame, vectors=None if vectors is None else vectors.to_ndarray())


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Traced:
    """A frame and what it was made from.

    Attributes:
        whole: the last whole picture up to the frame, which may be the frame.
        before: the picture before the frame; itself where decoding starts.
        coded: the frame.
        trace: of the frame's pixels to the whole picture.
    """

    whole: CodedFrame
    before: CodedFrame
    coded: CodedFrame
    trace: Trace

    @property
    def motion(self):
        """(height, width, 2) float64: pixels to the right and down that every pixel has come since the picture before."""
        return self.coded.motion.dense(*self.trace.source.shape[:2]) / -self.coded.motion.scale

    @property
    def residual(self):
        """(height, width, 3) int16: what the motion since the picture before leaves over, RGB."""
        return motion_vectors.residual(self.coded.rgb, motion_vectors.predicted(self.before.rgb, self.coded.motion))

    @property
    def traced_residual(self):
        """(height, width, 3) int16: what the motion since the whole picture leaves over, RGB."""
        return motion_vectors.residual(self.coded.rgb, self.trace.prediction(self.whole.rgb))


def traced(index, number):
    """The `Traced` of a frame.

    Not every whole picture is one where decoding can start: an encoder that meets a new scene soon after a key frame just codes it whole.

    Args:
        index: a `VideoIndex` of a file that `tells`.
        number: of the frame.

    Raises:
        VideoError: as `read`.
    """
    before = coded = whole = trace = typing.cast(typing.Any, None)
    for frame in read(index, range(index.key_before(number), number + 1)):
        before, coded = coded or frame, frame
        if whole is None or frame.kind == "I":
            whole, trace = frame, Trace(frame.frame.height, frame.frame.width)
        else:
            trace.step(frame.motion)
    return Traced(whole=whole, before=before, coded=coded, trace=trace)


def whole_picture(index, number):
    """The whole picture of `traced` alone, a `CodedFrame`."""
    frames = read(index, range(index.key_before(number), number + 1))
    found = next(frames)
    for frame in frames:
        found = frame if frame.kind == "I" else found
    return found


def tells(path):
    """Whether a file's decoder tells the motion as it is needed; see `untold`."""
    return untold(path) is None


def untold(path):
    """Why a file's decoder does not tell the motion as it is needed, as MPEG-4 and H.264 without B-frames do; None if it does.

    Raises:
        VideoError: it cannot be read.
    """
    with opened(path) as (container, stream):
        form, codec, ahead = container.format.name.split(",")[0], stream.codec_context.name, stream.codec_context.has_b_frames
    if codec not in CODECS:
        return f"{codec} tells no motion"
    if ahead:
        return "its B-frames are made from later frames too"
    found = video.index(path)
    if found.turns:
        return f"its pictures are to be turned by {90 * found.turns} degrees"
    if form not in SEEKABLE or found.by_order:
        return f"a file of the kind {form} does not tell where its whole pictures are"
    return None


def encode_anew(path, out, *, size=None, gop=GOP, quality=QUALITY):
    """Encode a video as MPEG-4 part 2: whole pictures at every `gop`-th frame and nowhere else, no B-frames; equal calls give equal bytes.

    Args:
        path: any video.
        out: the file to write, whole or not at all; its name ends in .mp4, .mkv or .avi.
        size: (height, width), or None for that of the video.
        gop: frames from one whole picture to the next.
        quality: quantizer, 1 to 31; 1 is the finest.

    Raises:
        VideoError: the video cannot be read.
    """
    index, out = video.index(path), pathlib.Path(out)
    unfinished = out.with_name(f".{out.stem}.{os.getpid()}{out.suffix}")  # another process may make the same
    try:
        with av.open(f"file:{unfinished}", "w") as container:
            write(container, video.decode(index, range(len(index.ticks)), size), index.fps, gop=gop, quality=quality)
        unfinished.replace(out)
    finally:
        unfinished.unlink(missing_ok=True)


def write(container, pictures, fps, *, codec="mpeg4", gop=GOP, quality=QUALITY):
    """Encode pictures into an open container.

    Args:
        container: of PyAV, open for writing.
        pictures: (height, width, 3) uint8 RGB each, of even height and width.
        fps: frames per second.
        codec: `mpeg4` or `libx264`.
        gop, quality: see `encode_anew`; of libx264 the quantization parameter, 0 to 51.
    """
    stream: typing.Any = None
    for number, picture in enumerate(pictures):
        if stream is None:
            stream = container.add_stream(codec, rate=fractions.Fraction(fps).limit_denominator(60000))  # MPEG-4 counts time in 16 bits
            stream.height, stream.width, stream.pix_fmt = picture.shape[0], picture.shape[1], "yuv420p"
            stream.gop_size, stream.max_b_frames, stream.thread_count = gop, 0, 1  # with more threads the bytes would depend on them
            stream.options = _options(codec, gop, quality)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame.pts = number
        container.mux(stream.encode(frame))
    if stream is not None:
        container.mux(stream.encode(None))


def _options(codec, gop, quality):
    if codec == "mpeg4":
        return {
            "sc_threshold": "1000000000",
            "flags": "+qscale",
            "global_quality": str(quality * LAMBDA),
            "qmin": str(quality),
            "qmax": str(quality),
        }
    every = f"keyint={gop}:min-keyint={gop}:scenecut=0:bframes=0:ref=1:weightp=0:open-gop=0:threads=1"
    return {"preset": "veryfast", "qp": str(quality), "x264-params": every}


def gops(index):
    """The groups of pictures of a video: a range of frame numbers each, of which the first is whole.

    Args:
        index: a `VideoIndex`.
    """
    edges = [*index.keys.tolist(), len(index.ticks)]
    return [range(first, last) for first, last in itertools.pairwise(edges)]
