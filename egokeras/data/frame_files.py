"""Videos kept as single pictures, in a folder or a tar: the same interface as `video`, and any frame costs no other.

Strict: a gap in the numbers, a picture that is damaged or of another size, a tar that is cut off are errors. Nothing is unpacked,
and links are not followed.
"""

import contextlib
import dataclasses
import os
import pathlib
import re
import tarfile

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from egokeras.data import video
from egokeras.data.video_index import DECODER, VideoError, VideoIndex

FRAME = re.compile(r"(?!\.)(.*?)(\d{1,18})\.(jpe?g|png)", re.IGNORECASE | re.DOTALL)
TAR = ".tar"
JPEG_END = b"\xff\xd9"
# Bytes at the end of a JPEG among which its end mark is.
JPEG_TAIL = 1024
WEIGHED = 16
BLOCK = 1 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrameIndex(VideoIndex):
    """A `VideoIndex` of frames.

    Attributes:
        names: of the pictures' files, in the order of time.
        places: of each in the tar: offset and size in bytes, (frames, 2) int64; None for a folder.
    """

    names: tuple[str, ...]
    places: np.ndarray | None


def are_frames(path):
    """Whether the place of a video is one of frames: a folder or a tar."""
    return path.suffix.lower() == TAR or path.is_dir()


def is_frame(name):
    """Whether a file is called like a frame: `frame_0000000001.jpg`, `12.png`; not so if it is hidden."""
    return FRAME.fullmatch(name) is not None


def weight(path):
    """What tells one set of frames from another without reading it: number of frames, bytes of some; or bytes of the file."""
    if not path.is_dir():
        return [path.stat().st_size]
    names = sorted(filter(is_frame, os.listdir(path)))
    return [len(names), *(os.lstat(path / name).st_size for name in names[:: len(names) // WEIGHED or 1])]


def index(path, frame_rate):
    """The `FrameIndex` of a folder or tar.

    Args:
        path: folder with nothing but frames of one video (other files do not count), or a tar with one such folder.
        frame_rate: `FrameRate`.

    Raises:
        VideoError: no frame, a gap or a repetition in the numbers, something that is no plain file, or a tar that is damaged.
    """
    path = pathlib.Path(path)
    try:
        names, places = (_in_folder(path), None) if path.is_dir() else _in_tar(path)
    except VideoError:
        raise
    except OSError as error:
        raise VideoError(path, f"cannot be read ({error.strerror})") from None
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise VideoError(path, f"no plain tar, or a damaged one ({error})") from None
    order = _order(path, names)
    fps = frame_rate.of(path, len(order))
    about = {"path": path, "ticks": np.arange(len(order)), "keys": np.arange(len(order)), "tick": 1 / fps, "fps": fps, "turns": 0}
    names, places = tuple(names[number] for number in order), None if places is None else places[order]
    found = FrameIndex(**about, width=0, height=0, by_order=False, names=names, places=places)
    with contextlib.closing(_frames(found, [0])) as frames:
        width, height = _upright_size(next(frames))
    return dataclasses.replace(found, width=width, height=height)


def decode(index, numbers, size=None, mode="squash"):
    """Yield the frames of `numbers`, in any order, as (height, width, 3) uint8 RGB, upright.

    Args:
        size, mode: as for `video.decode`.

    Raises:
        VideoError: a wanted picture is damaged, missing or of another size than the first of the video.
    """
    reformatter, memory = VideoReformatter(), None  # as in `video.decode`
    with contextlib.closing(_frames(index, numbers)) as frames:
        for number, frame in zip(numbers, frames, strict=True):
            width, height = _upright_size(frame)
            if (width, height) != (index.width, index.height):
                raise VideoError(index.path, f"{index.names[number]} is {width} x {height}, the first frame {index.width} x {index.height}")
            if size is None:
                yield np.rot90(reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray(), _turns(frame))
            else:
                memory = video.scaled(frame, reformatter, size, mode, memory, _turns(frame))
                yield video.centre(np.rot90(memory, _turns(frame)), size)


def _turns(frame):
    return round(frame.rotation / 90) % 4


def _upright_size(frame):
    """Width and height."""
    return (frame.height, frame.width) if _turns(frame) % 2 else (frame.width, frame.height)


def _frames(index, numbers):
    """Yield `av.VideoFrame`."""
    decoders = {codec: _decoder(codec) for codec in ("mjpeg", "png")}
    with _reader(index) as read:
        for number in numbers:
            name = index.names[number]
            codec = "png" if name.lower().endswith(".png") else "mjpeg"
            try:
                yield _decode(decoders[codec], codec, read(number))
            except (av.FFmpegError, OSError, ValueError, OverflowError) as error:
                reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
                raise VideoError(index.path, f"{name} cannot be decoded ({reason})") from None


def _decoder(codec):
    context = av.CodecContext.create(codec, "r")
    context.thread_type = "NONE"
    context.options = DECODER
    return context


def _decode(decoder, codec, data):
    """The one frame in `data`. FFmpeg does not mind if the end mark of a JPEG is missing, nor always what is missing before it."""
    if not data:
        raise ValueError("it is empty")
    if codec == "mjpeg" and JPEG_END not in data[-JPEG_TAIL:]:
        raise ValueError("cut off: the end mark is missing")
    packet = av.Packet(data)
    packet.is_keyframe = True  # else FFmpeg adds a PNG to the one before
    frames = decoder.decode(packet)
    if len(frames) != 1 or frames[0].is_corrupt:
        raise ValueError("damaged")
    return frames[0]


@contextlib.contextmanager
def _reader(index):
    """Function from the number of a frame to its bytes."""
    if index.places is None:
        yield lambda number: (index.path / index.names[number]).read_bytes()
        return
    try:
        file = open(index.path, "rb", buffering=0)  # noqa: SIM115  closed below; what is raised while it is open is not of opening it
    except OSError as error:
        raise VideoError(index.path, f"cannot be read ({error.strerror})") from None
    with file:

        def read(number):
            offset, size = index.places[number].tolist()
            file.seek(offset)
            return file.read(size)

        yield read


def _in_folder(path):
    """Names of the frames in a folder, in any order."""
    names = []
    with os.scandir(path) as entries:
        for entry in entries:
            if is_frame(entry.name):
                if not entry.is_file(follow_symlinks=False):
                    raise VideoError(path, f"{entry.name} is a link or no file")
                names.append(entry.name)
    return names


def _in_tar(path):
    """Names and places of the frames in a tar, in its order."""
    names, places, folders = [], [], set()
    with tarfile.open(path, "r:") as archive:
        for member in iter(archive.next, None):
            archive.members.clear()  # type: ignore[attr-defined]  # it would keep them all
            name = _checked(path, member)
            if member.isreg() and is_frame(name.name):
                names.append(name.name)
                places.append((member.offset_data, member.size))
                folders.add(name.parent)
        _check_rest(path, archive.offset)
    if len(folders) > 1:
        raise VideoError(path, f"frames in {len(folders)} folders: {', '.join(sorted(map(str, folders))[:3])}")
    return names, np.array(places, np.int64).reshape(-1, 2)


def _checked(path, member):
    """The path of a member, which must be a plain file or a folder, inside."""
    name = pathlib.PurePosixPath(member.name.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts:
        raise VideoError(path, f"its member {member.name!r} leads outside")
    if member.size < 0 or member.issparse() or not (member.isreg() or member.isdir()):
        raise VideoError(path, f"its member {member.name!r} is a link or no file")
    return name


def _check_rest(path, offset):
    """A tar ends with zeros. `tarfile` takes any header that it cannot read for the end."""
    with open(path, "rb") as file:
        if file.seek(0, os.SEEK_END) <= offset:
            raise VideoError(path, "the tar is cut off: its end mark is missing")
        file.seek(offset)
        if any(block.strip(b"\0") for block in iter(lambda: file.read(BLOCK), b"")):
            raise VideoError(path, "the tar is damaged or cut off")


def _order(path, names):
    """Numbers of `names` in the order of time; they count without a gap from 0 or 1."""
    matches = [match for match in map(FRAME.fullmatch, names) if match]
    if not matches:
        raise VideoError(path, "no frame in it (such as frame_0000000001.jpg)")
    kinds = sorted({match[1] for match in matches})
    if len(kinds) > 1:
        raise VideoError(path, f"frames of {len(kinds)} kinds in it: {', '.join(kind + '*' for kind in kinds[:3])}")
    numbers = np.array([int(match[2]) for match in matches])
    order = np.argsort(numbers, kind="stable")
    due = np.arange(len(numbers)) + min(numbers.min(), 1)
    wrong = np.flatnonzero(numbers[order] != due)
    if wrong.size:
        number, expected = int(numbers[order[wrong[0]]]), int(due[wrong[0]])
        raise VideoError(path, f"frame {expected} is missing" if number > expected else f"frame {number} is there twice")
    return order.tolist()
