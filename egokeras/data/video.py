"""Strict decoding of the frames of a segment: by timestamps, upright, and damage is an error, never a shorter clip."""

import contextlib

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from egokeras.data.video_index import CONTAINERS, VideoError, VideoIndex, decoder, index, opened

__all__ = ["CONTAINERS", "VideoError", "VideoIndex", "decode", "index", "resize"]

# Frames that may as well be decoded as jumped over, for the decoder starts cold after a jump.
SEEK_COST = 16
NOWHERE = -(1 << 62)
# Types of the units of an H.264 packet: slices of a picture without partitions or key, supplemental information, delimiter.
SLICE, HARMLESS = 1, (6, 9)


def decode(index, numbers, size=None, mode="squash"):
    """Yield the frames of `numbers` as (height, width, 3) uint8 RGB, upright.

    Ascending numbers are decoded in one pass that skips what no wanted frame depends on: by a seek, and in H.264 one by one the
    frames that no other is made from. A smaller number than the one before (the next segment) goes back. The file stays open until
    the generator ends.

    Args:
        size: None, or that of the pictures, made as `resize` says but in one step with the conversion to RGB, which takes
            a third of the time; such a picture lasts until the next is asked for.
        mode: as for `resize`.

    Raises:
        VideoError: anything on the way to a wanted frame is damaged or missing, but for what is skipped.
    """
    reformatter, memory = VideoReformatter(), None  # one for all frames: setting it up costs more than a frame
    with _Decoder(index, set(numbers)) as decoder:
        for number in numbers:
            frame = decoder.frame(number)
            if size is None:
                yield np.rot90(reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray(), index.turns)
            else:
                memory = scaled(frame, reformatter, size, mode, memory, index.turns)
                yield centre(np.rot90(memory, index.turns), size)


def frames(index, numbers, flags=""):
    """Yield the frames of ascending `numbers` as the decoder gives them: `av.VideoFrame`, as coded, not turned.

    Args:
        flags: for the decoder, such as `+export_mvs` for what it knows of their motion.

    Raises:
        VideoError: as `decode`.
    """
    with _Decoder(index, set(numbers), flags) as decoder:
        for number in numbers:
            yield decoder.frame(number)


class _Decoder(contextlib.ExitStack):
    """An open file and the frame last decoded; `wanted` are numbers of frames that must not be skipped."""

    def __init__(self, index, wanted, flags=""):
        super().__init__()
        self.index, self.wanted, self.flags = index, wanted, flags
        self.skipped: set[int] = set()
        self.prefix = 0
        self.entry = self.at = NOWHERE
        self.picture = None
        self.frames = iter(())

    def frame(self, number):
        """The frame of this number.

        After a seek, frames from before it can be missed by the codec's bookkeeping though nothing is damaged (open groups of
        pictures), so an error counts only when decoding from earlier has met it too: from one key frame before, then from the start.
        """
        key = self.index.key_before(number)
        entries = sorted({0, self.index.key_before(max(key - 1, 0)), key}, reverse=True)
        if key - SEEK_COST <= self.at <= number:
            entries = [None, *(entry for entry in entries if entry < self.entry)]
        for entry in entries:
            try:
                if entry is not None:
                    self._enter(entry, key)
                while self.at < number:
                    self._advance()
                return self.picture
            except (av.FFmpegError, VideoError):
                self.at = NOWHERE
                if entry == entries[-1]:
                    raise
        raise AssertionError("the last entry returns or raises")

    def _enter(self, entry, key):
        """Start to decode at the key frame `entry`, and to judge at `key`."""
        if entry == 0 or self.entry == NOWHERE:
            self.close()
            self.container, self.stream = self.enter_context(opened(self.index.path))
            self.prefix = 0 if self.index.by_order else _length_prefix(self.stream.codec_context)
            self.codec = decoder(self.stream)
            if self.flags:
                self.codec.options = {**self.codec.options, "flags2": self.flags}
        if entry:
            self.container.seek(int(self.index.ticks[entry]), stream=self.stream)
            self.codec.flush_buffers()
        self.frames = self._decode(int(self.index.ticks[key]) if entry else None)
        self.entry, self.at = entry, key - 1

    def _advance(self):
        number, picture = self.at, None
        while number <= self.at:
            number, picture = next(self.frames, (self.at + 1, None))
        expected = self.at + 1
        while expected in self.skipped:
            expected += 1
        if number != expected or picture is None or picture.is_corrupt:
            state = "damaged" if picture is not None and picture.is_corrupt else "missing"
            raise VideoError(self.index.path, f"the frame at {self.index.seconds[expected]:.3f} s is {state}")
        self.at, self.picture = number, picture

    def _decode(self, start):
        """Yield (number, frame); errors in what comes before the tick `start`, in the file or on show, do not matter."""
        counted, reached, number = 0, start is None, -1
        for packet in self.container.demux(self.stream):
            reached = reached or packet.pts == start
            if self.prefix and self._skip(packet):
                continue
            try:
                frames = self.codec.decode(packet)
            except av.FFmpegError:
                if reached and (start is None or packet.pts is None or packet.pts >= start):
                    raise
                continue
            for frame in frames:
                number = counted if self.index.by_order else self._number(frame.pts, number + 1)
                yield number, frame
                counted += 1

    def _skip(self, packet):
        """Whether to leave a packet out, for nobody wants its frame and no other is made from it; takes note of the number."""
        number = self.index.number_at(packet.pts) if _is_disposable(packet, self.prefix) else -1
        if number < 0 or number in self.wanted:
            return False
        self.skipped.add(number)
        return True

    def _number(self, tick, expected):
        """Number of the frame at `tick`, which most often is the expected one: to look it up costs as much as all else in the loop."""
        ticks = self.index.ticks
        return expected if 0 < expected < len(ticks) and ticks[expected] == tick else self.index.number_at(tick)


def _length_prefix(codec):
    """Bytes of the length before each unit of a packet, in H.264 as MP4 and Matroska have it; 0 elsewhere."""
    record = codec.extradata if codec.name == "h264" else None
    return 1 + (record[4] & 3) if record and len(record) > 6 and record[0] == 1 else 0


def _is_disposable(packet, prefix):
    """Whether the packet is one picture that no other refers to (`nal_ref_idc` of all its slices is 0), and in order as a whole."""
    data, at, slices = memoryview(packet), 0, 0
    while at + prefix < len(data):
        head = data[at + prefix]
        if head & 31 not in HARMLESS:
            if head != SLICE:
                return False
            slices += 1
        at += prefix + int.from_bytes(data[at : at + prefix], "big")
    return slices > 0 and at == len(data)


def resize(picture, size, mode="squash", filling=0):
    """A picture (height, width, channels) uint8 in another size; one that has the size is returned itself.

    Args:
        size: (height, width), or one number for both.
        mode: `squash` (aspect ratio given up), `crop` (made to fill the size, then the centre) or `pad` (made to fit, black around).
        filling: what is around in the place of black.
    """
    height, width = picture.shape[:2]
    if (height, width) == _pair(size):
        return picture
    to_height, to_width = fitted(height, width, size, mode)
    shrinks = to_height <= height and to_width <= width
    picture = cv2.resize(picture, (to_width, to_height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return centre(picture, size, filling)


def _pair(size):
    return (size, size) if isinstance(size, int) else tuple(size)


def fitted(height, width, size, mode):
    """Height and width of a picture made to the `size`, before its centre is taken."""
    if mode == "squash":
        return _pair(size)
    scales = [wanted / given for wanted, given in zip(_pair(size), (height, width), strict=True)]
    scale = max(scales) if mode == "crop" else min(scales)
    return max(1, round(height * scale)), max(1, round(width * scale))


def scaled(frame, reformatter, size, mode, memory, turns=0):
    """An `av.VideoFrame` in RGB as `fitted` says, in `memory` if that is of the shape; it will be turned by `turns` quarters.

    The planes of `gbrp` are area means of all of the chroma; for `rgb24` the library leaves out half of it, and takes longer.
    """
    height, width = fitted(frame.height, frame.width, _pair(size)[:: -1 if turns % 2 else 1], mode)
    shrinks = height <= frame.height and width <= frame.width
    how = Interpolation.AREA if shrinks else Interpolation.BILINEAR
    planes = reformatter.reformat(frame, width, height, "gbrp", interpolation=how, threads=1).planes
    green, blue, red = (np.frombuffer(plane, np.uint8).reshape(height, plane.line_size)[:, :width] for plane in planes)
    return cv2.merge([red, green, blue], memory)


def centre(picture, size, filling=0):
    """Cut off or fill with black, or another number, on both sides: (height, width, channels)."""
    height, width = _pair(size)
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    above, before = max(-top, 0), max(-left, 0)
    picture = picture[max(top, 0) : max(top, 0) + height, max(left, 0) : max(left, 0) + width]
    if picture.shape[:2] != (height, width):
        below, after = height - picture.shape[0] - above, width - picture.shape[1] - before
        picture = np.pad(picture, ((above, below), (before, after), (0, 0)), constant_values=filling)
    return picture
