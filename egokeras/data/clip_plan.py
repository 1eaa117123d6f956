"""The plan of a `prepare`: which clips are cut from which files, in which order; equal plans give equal bytes."""

import dataclasses
import hashlib
import json
import math
import pathlib
import statistics

from egokeras.data import continuous, frame_files, frame_rates, segments, shards, staging, video_files
from egokeras.data.segments import Annotations, held_out, listed
from egokeras.data.staging import Item
from egokeras.errors import InputError
from egokeras.files import sha256

WINDOWS = "windows"
UNIT_CLIPS = 16
# Units of files that are decoded from the start each time, and of tars, whose list is long to read, may be as large as this.
COSTLY = (".avi", ".flv", ".gif", ".mpeg", ".mpg", ".tar", ".wmv")
UNIT_BYTES = 256 << 20
JUDGED_CLIPS = 600
WINDOWS_OF_A_CLIP = 10


@dataclasses.dataclass(frozen=True)
class Clip:
    """One record to be: the segment it comes from (a window's has no labels) and what a worker needs to cut it."""

    segment: segments.Segment
    item: Item


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to do.

    Attributes:
        annotations: with splits.
        clips: in the order of the table: the segments, then the windows.
        units: (file, or folder of frames, and the numbers of its clips), in the order of the shards.
        missing: videos without a file.
        sources: of the annotations: file name and sha256.
        digest: of everything that the result depends on.
    """

    annotations: Annotations
    clips: tuple[Clip, ...]
    units: tuple[tuple[pathlib.Path, tuple[int, ...]], ...]
    missing: tuple[str, ...]
    sources: tuple[dict[str, str], ...]
    digest: str


def make_plan(annotations, videos, settings):
    """Which clips, from which files, in which order.

    Raises:
        InputError: none of the videos is there, a name leads outside `videos` or may mean several files, or a frame rate is missing.
    """
    if not any(segment.splits for segment in annotations.segments):
        from egokeras.data.readers import hold_out

        annotations = hold_out(annotations, seed=settings.seed)
    folder = video_files.VideoFolder(videos)
    files = {name: folder.find(name) for name in dict.fromkeys(segment.video for segment in annotations.segments)}
    annotations, files = _trimmed(annotations, files, folder)
    missing = tuple(name for name, path in files.items() if path is None)
    if len(missing) == len(files):
        raise InputError(f"none of the {len(files)} videos is in {videos}: {listed(missing)}; check the folder.")
    if settings.continuous:
        annotations = continuous.cut(annotations, settings.continuous, settings.seed, set(files) - set(missing))
    rates, tables = _frame_rates(annotations, files, settings)
    clips = [Clip(segment, Item(uid=segment.uid, start=segment.start, stop=segment.stop)) for segment in annotations.segments]
    clips += _windows(annotations, files, settings)
    there = {name: path for name, path in files.items() if path is not None}
    sums = video_files.checksums(settings.checksums, there, videos) if settings.checksums else {}
    clips = [_known(clip, rates.get(clip.segment.video), sums.get(clip.segment.video)) for clip in clips]
    by_video: dict[pathlib.Path, list[int]] = {}
    for number, clip in enumerate(clips):
        if files[clip.segment.video] is not None:
            by_video.setdefault(files[clip.segment.video], []).append(number)
    units = []
    for file, numbers in by_video.items():
        numbers.sort(key=lambda number: (clips[number].item.start, number))
        size = _unit_clips(file, settings)
        units += [(file, tuple(numbers[at : at + size])) for at in range(0, len(numbers), size)]
    sources = tuple({"file": path.name, "sha256": sha256(path)} for path in (*annotations.sources, *tables) if path.is_file())
    fixed = dataclasses.replace(settings, workers=None, timeout=1, checksums=None)
    sizes = [(name, path and path.relative_to(videos).as_posix(), path and frame_files.weight(path)) for name, path in files.items()]
    content = [repr(fixed), [repr(clip) for clip in clips], sizes, dict(annotations.classes), sources, shards.FORMAT]
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return Plan(annotations, tuple(clips), tuple(units), missing, sources, digest)


def _known(clip, frame_rate, checksum):
    return dataclasses.replace(clip, item=dataclasses.replace(clip.item, frame_rate=frame_rate, checksum=checksum))


def _trimmed(annotations, files, folder):
    """Where a video is not there but clips of it are, each called by the uid of its segment, such as `P01_01_7.mp4`: those instead.

    Only uids that begin with the video's name count, for a number may be the name of anything.
    """
    clips = {}
    for segment in annotations.segments:
        name, begins = _clip_name(segment), segment.uid.startswith(pathlib.PurePosixPath(segment.video).stem)
        if files[segment.video] is None and begins and "/" not in segment.uid and segments.is_inside(name):
            clips[name] = folder.find(name)
    cut = {name.rpartition("/")[0] for name, path in clips.items() if path is not None}
    found = []
    for segment in annotations.segments:
        if segment.video in cut and _clip_name(segment) in clips:
            group = segment.group or segment.video
            segment = dataclasses.replace(segment, video=_clip_name(segment), start=0.0, stop=None, group=group)
        found.append(segment)
    files = clips | files
    return dataclasses.replace(annotations, segments=tuple(found)), {segment.video: files[segment.video] for segment in found}


def _clip_name(segment):
    return f"{segment.video}/{segment.uid}"


def _frame_rates(annotations, files, settings):
    """`frame_rates.find` for those of the videos that are there as frames."""
    frames = {name: path for name, path in files.items() if path is not None and frame_files.are_frames(path)}
    if settings.frame_rate and not frames:
        found = f"a frame rate of {settings.frame_rate:g} is given, but no video is there as frames"
        raise InputError(f"{found}; leave it out: the times in the files count.")
    return frame_rates.find(frames, annotations.sources, settings.frame_rate)


def _unit_clips(file, settings):
    """How many clips are cut from a file in one pass."""
    return max(UNIT_CLIPS, UNIT_BYTES // math.prod(settings.shape)) if file.suffix.lower() in COSTLY else UNIT_CLIPS


def _windows(annotations, files, settings):
    """Unlabelled windows of the held-out videos, for judging exports where labelled clips are few."""
    judged = [segment for segment in annotations.segments if any(held_out(split) for split in segment.splits)]
    total = settings.windows
    groups = {segment.video: segment.group for segment in judged if files[segment.video] is not None}
    training = (segment for segment in annotations.segments if any(not held_out(split) for split in segment.splits))
    durations = [segment.stop - segment.start for segment in training if segment.stop is not None]
    if total is None:
        wanted = max(0, JUDGED_CLIPS - sum(bool(segment.labels) for segment in judged))
        total = min(wanted, _room(judged, groups, durations))
    for name, item in staging.place_windows(list(groups), durations, total, settings.seed):
        yield Clip(segments.Segment(uid=item.uid, video=name, splits=(WINDOWS,), group=groups[name]), item)


def _room(judged, videos, durations):
    """How many windows of these videos are not all the same pictures: two for every stretch of usual length, or ten."""
    typical = statistics.median(durations) if durations else math.inf
    ends = dict.fromkeys(videos, 0.0)
    for segment in judged:
        if segment.video in ends:
            ends[segment.video] = max(ends[segment.video], segment.stop or 0.0)
    return sum(max(WINDOWS_OF_A_CLIP, int(2 * end / typical)) for end in ends.values())
