"""Strict decoding of the frames of a segment: by timestamps, upright, and damage is an error, never a shorter clip."""

import contextlib

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from egokeras.data.video_index import CONTAINERS, VideoError, VideoIndex, index, opened

__all__ = ["CONTAINERS", "VideoError", "VideoIndex", "decode", "index", "resize"]

# Frames that may as well be decoded as jumped over, for the decoder starts cold after a jump.
SEEK_COST = 16
NOWHERE = -(1 << 62)


def decode(index, numbers):
    """Yield the frames of `numbers` as (height, width, 3) uint8 RGB, upright.

    Ascending numbers are decoded in one pass that skips what no wanted frame depends on; a smaller number than the one before
    (the next segment) goes back. The file stays open until the generator ends.

    Raises:
        VideoError: anything on the way to a wanted frame is damaged or missing.
    """
    reformatter = VideoReformatter()  # one for all frames: setting it up costs more than a frame
    with _Decoder(index) as decoder:
        for number in numbers:
            rgb = reformatter.reformat(decoder.frame(number), format="rgb24", threads=1)
            yield np.rot90(rgb.to_ndarray(), index.turns)


class _Decoder(contextlib.ExitStack):
    """An open file and the frame last decoded."""

    def __init__(self, index):
        super().__init__()
        self.index = index
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
        if entry:
            self.container.seek(int(self.index.ticks[entry]), stream=self.stream)
        self.frames = self._decode(int(self.index.ticks[key]) if entry else None)
        self.entry, self.at = entry, key - 1

    def _advance(self):
        number, picture = self.at, None
        while number <= self.at:
            number, picture = next(self.frames, (self.at + 1, None))
        if number != self.at + 1 or picture is None or picture.is_corrupt:
            state = "damaged" if picture is not None and picture.is_corrupt else "missing"
            raise VideoError(self.index.path, f"the frame at {self.index.seconds[self.at + 1]:.3f} s is {state}")
        self.at, self.picture = number, picture

    def _decode(self, start):
        """Yield (number, frame); errors in what comes before the tick `start`, in the file or on show, do not matter."""
        counted, reached = 0, start is None
        for packet in self.container.demux(self.stream):
            reached = reached or packet.pts == start
            try:
                frames = packet.decode()
            except av.FFmpegError:
                if reached and (start is None or packet.pts is None or packet.pts >= start):
                    raise
                continue
            for frame in frames:
                yield (counted if self.index.by_order else self.index.number_at(frame.pts)), frame
                counted += 1


def resize(picture, size, mode="squash"):
    """A picture (height, width, 3) uint8 as (size, size, 3).

    Args:
        mode: `squash` (aspect ratio given up), `crop` (shorter side to `size`, then the centre) or `pad` (longer side to
            `size`, black around).
    """
    height, width = picture.shape[:2]
    scale = size / {"squash": 1, "crop": min(height, width), "pad": max(height, width)}[mode]
    to = (size, size) if mode == "squash" else (max(1, round(width * scale)), max(1, round(height * scale)))
    shrinks = to[0] <= width and to[1] <= height
    picture = cv2.resize(picture, to, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    top, left = (picture.shape[0] - size) // 2, (picture.shape[1] - size) // 2
    if mode == "crop":
        picture = picture[top : top + size, left : left + size]
    if mode == "pad":
        picture = np.pad(picture, ((-top, size - picture.shape[0] + top), (-left, size - picture.shape[1] + left), (0, 0)))
    return picture
