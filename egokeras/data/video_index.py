"""What a video file holds: its frames' times, where decoding can start, which way is up. Strict: damage is an error.

Files only: no network, no playlist, no file other than the one named.
"""

import contextlib
import dataclasses
import itertools
import pathlib
import zlib

import av
import numpy as np

from egokeras.errors import InputError

# Demuxers that read one file and nothing else (playlists, concatenations, image sequences and devices are not among them).
CONTAINERS = "mov,matroska,avi,gif,mpegts,mpeg,mpegvideo,flv,asf,ogg,ivf,mxf,nut,dv,rm,h264,hevc"
DEMUXER = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
# Those of them that have no count of frames, but the length of the whole.
TIMED = ("matroska", "flv")
GIF_TAIL = 1024
# Matroska: what holds all other parts, and how a part begins that holds its own checksum.
EBML_SEGMENT = 0x18538067
EBML_CRC = b"\xbf\x84"
# Those of them that mark exactly the frames where decoding can start, and seek to them.
SEEKABLE = ("mov", "matroska", "mpegts")
DECODER = {"err_detect": "explode", "max_pixels": str(1 << 26)}
# Annotations may end this much after the video does (seconds): EPIC-KITCHENS' last ones do.
OVERRUN = 0.5
# Frames decoded to see whether the times of packets are those of frames.
CHECKED = 8
# Frames that may be missing at the end of a sound file (delayed B-frames of an AVI, rounded lengths).
LATE = 2
# Times written with three decimals still mean the frame that they were taken from (seconds).
ROUNDING = 0.001


class VideoError(InputError):
    """A video, or a part of it, that cannot be decoded.

    Attributes:
        reason: what is wrong, without the path.
    """

    def __init__(self, path, reason):
        super().__init__(f"{path}: {reason}; replace the file or leave it out.")
        self.path, self.reason = path, reason

    def __reduce__(self):
        return VideoError, (self.path, self.reason)


@dataclasses.dataclass(frozen=True, kw_only=True)
class VideoIndex:
    """What a file holds, found by demuxing it once.

    Attributes:
        path: the file.
        ticks: presentation times of the frames in units of `tick` seconds, ascending, int64.
        keys: numbers of the frames where decoding can start, ascending; the first is 0.
        tick: seconds.
        fps: frames per second on average.
        turns: quarter turns counter-clockwise that make the picture upright.
        width, height: pixels of the upright picture.
        by_order: the file's timestamps are not the frames' own (AVI): frames are counted from the start.
    """

    path: pathlib.Path
    ticks: np.ndarray
    keys: np.ndarray
    tick: float
    fps: float
    turns: int
    width: int
    height: int
    by_order: bool

    @property
    def seconds(self):
        """Times of the frames, the first at 0: (frames,) float64."""
        return (self.ticks - self.ticks[0]) * self.tick

    @property
    def duration(self):
        """Seconds from the first frame to the end of the last."""
        return float(self.seconds[-1]) + 1 / self.fps

    def span(self, start, stop):
        """Numbers of the frames from `start` to `stop` seconds (None: the end), both included, as a range; never empty.

        A span between two frames gives the one on show.

        Raises:
            VideoError: the video ends before the span does, by more than `OVERRUN`.
        """
        if start >= self.duration or (stop is not None and stop > self.duration + max(OVERRUN, 1 / self.fps)):
            end = "the end" if stop is None else f"{stop:.3f} s"
            raise VideoError(self.path, f"the segment lasts from {start:.3f} s to {end}, the video only to {self.duration:.3f} s")
        seconds = self.seconds
        first = int(np.searchsorted(seconds, start - ROUNDING))
        last = len(seconds) if stop is None else int(np.searchsorted(seconds, stop + ROUNDING, side="right"))
        return range(first, last) if first < last else range(last - 1, last)

    def number_at(self, tick):
        """Number of the frame at exactly this tick; -1 if there is none."""
        number = int(np.searchsorted(self.ticks, tick)) if tick is not None else len(self.ticks)
        return number if number < len(self.ticks) and self.ticks[number] == tick else -1

    def key_before(self, number):
        """Number of the last frame up to `number` where decoding can start."""
        return int(self.keys[np.searchsorted(self.keys, number, side="right") - 1])


@contextlib.contextmanager
def opened(path):
    """Container and video stream of a local file; FFmpeg's errors come out as `VideoError`."""
    try:
        if pathlib.Path(path).stat().st_size == 0:
            raise VideoError(path, "the file is empty")
        with av.open(f"file:{path}", options=DEMUXER) as container:
            if not container.streams.video:
                raise VideoError(path, "no video stream in it")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise VideoError(path, "its codec is unknown")
            stream.thread_type = "NONE"
            stream.codec_context.options = DECODER
            yield container, stream
    except (av.FFmpegError, OSError) as error:
        raise VideoError(path, f"cannot be decoded ({error.strerror or type(error).__name__})") from None
    except (ValueError, OverflowError, ZeroDivisionError) as error:
        if isinstance(error, VideoError):
            raise
        raise VideoError(path, f"cannot be decoded ({error})") from None


def decoder(stream):
    """What decodes the packets of a stream: libvpx for VP9, where it is built in; FFmpeg's own takes nearly any bits for pictures."""
    if stream.codec_context.name != "vp9" or "libvpx-vp9" not in av.codecs_available:
        return stream.codec_context
    found = av.CodecContext.create("libvpx-vp9", "r")
    found.thread_count, found.options = 1, DECODER
    return found


def index(path):
    """The `VideoIndex` of a file.

    Raises:
        VideoError: not a video file, no video stream, no frame, or fewer frames than its header says.
    """
    path = pathlib.Path(path)
    packets, container, tick, rate = _demux(path)
    shown = [(pts, key) for pts, key, discard in packets if not discard]
    ticks = sorted({pts for pts, _ in shown if pts is not None})
    frame, decoded = _decoded_ticks(path, CHECKED)
    by_order = container == "avi" or len(ticks) < len(shown) or decoded != ticks[: len(decoded)]
    if by_order:
        ticks = _ticks_by_order(path, ticks, len(shown), 1 / (rate * tick))
    seekable = container in SEEKABLE and not by_order
    keys = np.searchsorted(ticks, sorted(pts for pts, key in shown if key and seekable)).astype(np.int64)
    turns = round(frame.rotation / 90) % 4
    return VideoIndex(
        path=path,
        ticks=np.array(ticks, np.int64),
        keys=np.union1d(np.int64(0), keys),
        tick=tick,
        fps=(len(ticks) - 1) / ((ticks[-1] - ticks[0]) * tick) if len(ticks) > 1 else rate,
        turns=turns,
        width=frame.height if turns % 2 else frame.width,
        height=frame.width if turns % 2 else frame.height,
        by_order=by_order,
    )


def _ticks_by_order(path, ticks, packets, step):
    """Times of a file whose packets do not tell them: the decoded frames' where they ascend, else the packets' in order, else even."""
    _, decoded = _decoded_ticks(path, None)
    if len(decoded) < packets - LATE:
        raise VideoError(path, f"only {len(decoded)} of {packets} frames can be decoded")
    if None not in decoded and all(before < after for before, after in itertools.pairwise(decoded)):
        return decoded
    return ticks[: len(decoded)] if len(decoded) <= len(ticks) else [round(number * step) for number in range(len(decoded))]


def _demux(path):
    """(pts, key, discard) of each packet, the container, seconds per tick, nominal frames per second."""
    with opened(path) as (container, stream):
        name = container.format.name.split(",")[0]
        packets: list[tuple[int | None, bool, bool]] = []
        end, dropped, rate = 0.0, 0, float(stream.average_rate or stream.guessed_rate or 25)
        for packet in container.demux() if name in TIMED else container.demux(stream):
            if name in TIMED and packet.pts is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream.index != stream.index:
                continue
            if packet.is_corrupt:
                raise VideoError(path, f"damaged after {len(packets)} frames")
            if packet.size:
                packets.append((packet.pts, packet.is_keyframe, packet.is_discard))
            elif packet.dts is not None:
                dropped += 1  # a frame that an AVI repeats
        if not packets:
            raise VideoError(path, "no frame in it")
        promised = (container.duration or 0) / av.time_base
        if name in TIMED and end < promised - LATE / rate:
            raise VideoError(path, f"cut off after {end:.2f} of {promised:.2f} s")
        _check_count(path, container, stream, len(packets) + dropped)
        _check_end(path, name)
        if name == "matroska":
            _check_parts(path)
        return packets, name, float(stream.time_base), rate


def _check_end(path, name):
    """A GIF ends with a semicolon; nothing else in it tells that frames are missing."""
    if name == "gif":
        with open(path, "rb") as file:
            file.seek(-min(GIF_TAIL, path.stat().st_size), 2)
            if not file.read().rstrip(b"\0").endswith(b";"):
                raise VideoError(path, "cut off: the end mark is missing")


def _check_parts(path):
    """The parts of a Matroska file are as long as they say and, where they begin with a CRC-32, as they were written.

    FFmpeg writes one for every part, but checks none.
    """
    end = path.stat().st_size
    with open(path, "rb") as file:
        while file.tell() < end:
            identity, size = _ebml_number(file), _ebml_number(file, marker=False)
            if size is None:
                return  # a stream that was written without knowing its length
            if file.tell() + size > end:
                raise VideoError(path, "cut off: a part of it is incomplete")
            if identity == EBML_SEGMENT:
                continue  # whose parts come next
            crc = file.read(min(size, 6))
            if crc[:2] != EBML_CRC:
                file.seek(size - len(crc), 1)
            elif crc[2:] != _crc32(file, size - 6).to_bytes(4, "little"):
                raise VideoError(path, f"damaged: the checksum of the part before byte {file.tell()} is another")


def _ebml_number(file, marker=True):
    """A number whose leading zero bits tell its bytes; None at the end of the file or, without `marker`, for an unknown length."""
    first = file.read(1)
    length = 9 - (first or b"\0")[0].bit_length()
    rest = file.read(length - 1)
    if length > 8 or len(rest) < length - 1:
        return None
    value = int.from_bytes(first + rest, "big")
    limit = 1 << 7 * length
    return value if marker else value % limit if value % limit != limit - 1 else None


def _crc32(file, size):
    found = 0
    while size and (block := file.read(min(size, 1 << 20))):
        found, size = zlib.crc32(block, found), size - len(block)
    return found


def _check_count(path, container, stream, count):
    """The header's count of frames must be met, unless an edit list hides some of them."""
    if count >= stream.frames:
        return
    if container.format.name.startswith("mov"):
        with av.open(f"file:{path}", options={**DEMUXER, "ignore_editlist": "1"}) as whole:
            count = max(count, sum(packet.size > 0 for packet in whole.demux(whole.streams[stream.index])))
    if count < stream.frames:
        raise VideoError(path, f"cut off: it holds {count} of {stream.frames} frames")


def _decoded_ticks(path, limit):
    """The first frame, and the times of the first `limit` decoded (None: all, which must be sound), in their order."""
    first = None
    ticks: list[int | None] = []
    with opened(path) as (container, stream):
        try:
            for frame in itertools.islice(container.decode(stream), limit):
                if frame.is_corrupt and (limit is None or first is None):
                    raise VideoError(path, f"frame {len(ticks)} is damaged")
                first = first or frame
                ticks.append(frame.pts)
        except av.FFmpegError:
            if limit is None or first is None:
                raise
    if first is None:
        raise VideoError(path, "no frame in it can be decoded")
    return first, ticks
