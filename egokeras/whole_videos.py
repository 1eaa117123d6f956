"""An artifact on whole videos, frame by frame as a device has them, in worker processes; and the annotated segments to judge it by."""

import contextlib
import dataclasses
import functools
import math
import os

from egokeras.data import frame_files, frame_rates, sliding_windows, staging, video, worker_pool
from egokeras.data.segments import held_out, with_actions
from egokeras.data.video_files import VideoFolder
from egokeras.device.artifact import Artifact
from egokeras.device.events import Event, answer
from egokeras.device.frame_stream import begin
from egokeras.errors import InputError
from egokeras.events import Seen, play
from egokeras.progress import track
from egokeras.protocol import BACKGROUND

NOT_FOUND = "video not found"
AHEAD = 1 << 20  # videos: their predictions are small, none has to wait for another


def watch(artifact, annotations, videos, *, split=None, stride=0.5, frame_rate=None, workers=None, timeout=3600.0):
    """What an artifact says over whole videos.

    Args:
        artifact: `Artifact` of the kind `clip` or `stream`, of frames alone.
        annotations: `Annotations`; each of its videos is watched from the first frame to the last.
        videos: folder of the videos.
        split: whose videos; None is all that are held out, or all if there are no splits.
        stride: seconds between predictions.
        frame_rate: of videos that are there as folders or tars of frames (see `frame_rates.find`).
        workers: processes; None is one per processor.
        timeout: seconds that a video may take.

    Returns:
        Video to `Seen`, and video to the reason why it could not be watched.

    Raises:
        InputError: the artifact takes other than frames, no such split, a segment whose label the artifact does not know, or no video at
            all could be watched.
    """
    _adder(artifact, stride)  # what is wrong with it shows before the work
    truth = segments_of(annotations, artifact.classes, split)
    folder = VideoFolder(videos)
    files = {name: folder.find(name) for name in truth}
    lost = {name: NOT_FOUND for name, path in files.items() if path is None}
    there = {name: path for name, path in files.items() if path is not None}
    of_frames = {name: path for name, path in there.items() if frame_files.are_frames(path)}
    rates, _ = frame_rates.find(of_frames, annotations.sources, frame_rate)
    tasks = [
        functools.partial(_watch, str(artifact.folder), str(path), rates.get(name), stride, truth[name]) for name, path in there.items()
    ]
    workers, names, seen = workers or os.cpu_count() or 1, list(there), {}
    with contextlib.closing(
        worker_pool.results(tasks, workers=workers, timeout=timeout, ahead=AHEAD, setup=staging.setup(workers))
    ) as results:
        for number, found in track(results, "watch", total=len(tasks), unit="video"):
            name = names[number]
            if isinstance(found, tuple):
                seen[name] = Seen(found[0], _within(truth[name], found[1]), found[1])
            else:
                lost[name] = found.reason if isinstance(found, worker_pool.Lost) else found
    if not seen:
        raise InputError(f"none of {len(lost)} videos in {videos} could be watched; the first, {min(lost)!r}: {lost[min(lost)]}.")
    return {name: seen[name] for name in truth if name in seen}, lost


def predict(artifact, index, stride):
    """`Predictions` over the whole of one video.

    Args:
        artifact: as `begin` takes it.
        index: of the video, from `sliding_windows.probe`.
        stride: seconds between predictions.

    Raises:
        VideoError: a frame is damaged or missing.
    """
    decode = frame_files.decode if isinstance(index, frame_files.FrameIndex) else video.frames
    with contextlib.closing(decode(index, list(range(len(index.ticks))))) as frames:
        return play(zip(index.seconds.tolist(), frames, strict=True), _adder(artifact, stride))


def segments_of(annotations, classes, split=None):
    """Video to its annotated segments as `Event`s, but for those that are labelled `background`; an open end is infinite.

    Raises:
        InputError: no segment in this split, or a label that is none of `classes` (head to names).
    """
    heads = answer(classes)
    if "action" in heads and "action" not in annotations.classes:
        annotations = with_actions(annotations)
    ids = {head: {name: number for number, name in enumerate(classes[head])} for head in heads}
    found: dict[str, list] = {}
    for segment in annotations.segments:
        if not (split in segment.splits if split else not segment.splits or any(map(held_out, segment.splits))):
            continue
        labels = [segment.labels.get(head) for head in heads]
        wrong = [f"{head} {label!r}" for head, label in zip(heads, labels, strict=True) if label not in (*ids[head], BACKGROUND)]
        if wrong:
            raise InputError(f"segment {segment.uid!r} has {wrong[0]}, which is no class of the artifact; give annotations of its classes.")
        events = found.setdefault(segment.video, [])
        if BACKGROUND not in labels:
            label = tuple(ids[head][name] for head, name in zip(heads, labels, strict=True))
            stop = math.inf if segment.stop is None else segment.stop
            events.append(Event(label=label, start=segment.start, stop=stop, known=segment.start))
    if not any(found.values()):
        splits = sorted({name for segment in annotations.segments for name in segment.splits})
        raise InputError(f"no segment to judge by in split {split or 'validation'!r}; the annotations have {', '.join(splits) or 'none'}.")
    return {name: tuple(sorted(events, key=lambda event: (event.start, event.stop))) for name, events in found.items()}


def _within(events, seconds):
    """Events cut off where the video ends."""
    return tuple(dataclasses.replace(event, stop=min(event.stop, seconds)) for event in events)


def _adder(artifact, stride):
    """The function of (seconds, picture) that gives logits where they are due, of a stream that has just begun."""
    return begin(artifact, stride).add


def _watch(folder, path, frame_rate, stride, truth):
    """(`Predictions`, seconds) of one video, or the reason (str) why there are none, such as that it ends before its segments do."""
    index = sliding_windows.probe(path, frame_rate)
    if isinstance(index, str):
        return index
    try:
        for segment in truth:
            index.span(segment.start, segment.stop if segment.stop < math.inf else None)
        return predict(_opened(folder), index, stride), index.duration
    except Exception as error:  # whatever a strange file makes the decoder raise, it is this video's to bear
        return staging.why(error)


@functools.lru_cache(maxsize=1)
def _opened(folder):
    return Artifact.open(folder, verify=False)
