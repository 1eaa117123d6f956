"""Kinetics: clips of about ten seconds cut from YouTube videos, as its csv lists name them."""

import re

from egokeras.data import segments
from egokeras.data.segments import Annotations, Segment
from egokeras.data.tables import rows


def read(paths):
    """Read Kinetics lists (`label,youtube_id,time_start,time_end,split`; test lists have no label).

    A clip is a whole file, `<youtube_id>_<start>_<end>` with six digits per time. The classes are the training labels, sorted.

    Raises:
        InputError: with file, line and column of what cannot be used.
    """
    found = [_segment(row) for path in paths for row in rows(path, required=("youtube_id", "time_start", "time_end", "split"))]
    trained = [segment for segment in found if "train" in segment.splits]
    classes = segments.classes_of(trained or found)
    return Annotations(segments=tuple(found), classes=classes, sources=tuple(paths), exclusive="group")


def _segment(row):
    youtube = row.text("youtube_id")
    if not re.fullmatch(r"[\w-]+", youtube, re.ASCII):
        raise row.error("youtube_id", f"{youtube!r} is not the id of a video.")
    split = segments.split_named(row.text("split"))
    if not split:
        raise row.error("split", f"{row.get('split')!r} is unknown; use train, val or test.")
    label = row.get("label") if split == "test" else row.text("label")
    name = f"{youtube}_{int(row.seconds('time_start')):06d}_{int(row.seconds('time_end')):06d}"
    return Segment(uid=name, video=name, labels={"action": label} if label else {}, splits=(split,), group=youtube)
