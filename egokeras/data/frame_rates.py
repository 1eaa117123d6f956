"""How fast pictures kept one by one follow one another: they do not say, so the user must, or the length of the video."""

import dataclasses
import pathlib

from egokeras.data import tables
from egokeras.data.video_index import VideoError
from egokeras.errors import InputError

TABLES = "*video_info*.csv"
# Frames of EPIC-KITCHENS are at the video's own rate, or one of these: the published ones at 60 (videos of 2018) or 50 (later), and
# those that RU-LSTM's lists count at 30.
USUAL = (60.0, 50.0, 30.0)
# The published frames outlast the length in the table by up to 0.3 s.
TOLERANCE = 1.0


@dataclasses.dataclass(frozen=True)
class FrameRate:
    """What is known of the frame rate of one video.

    Attributes:
        rates: frames per second; one of them is right.
        duration: seconds that the whole video lasts; None if that is not known, there being one rate then.
    """

    rates: tuple[float, ...]
    duration: float | None = None

    def of(self, path, count):
        """The rate at which `count` frames last as long as the video.

        Raises:
            VideoError: there is none.
        """
        if self.duration is None:
            return self.rates[0]
        rate = min(self.rates, key=lambda rate: abs(count / rate - self.duration))
        if abs(count / rate - self.duration) > max(TOLERANCE, 2 / rate):
            found = f"{count} frames last {count / rate:.1f} s at {rate:g} per second, the video {self.duration:.1f} s"
            raise VideoError(path, f"{found}; some are missing, or they need another --frame-rate")
        return rate


def find(files, sources, given=None):
    """What is known of the frame rates of videos that are there as frames.

    Args:
        files: name of the video in the annotations to its folder or tar.
        sources: annotation files; a table called `*video_info*.csv` beside them, with the columns `video_id` (or `video`), `fps` and
            perhaps `duration`, tells the rate and length of a video.
        given: frames per second of all of them, or None.

    Returns:
        Name to `FrameRate`, and the tables that were used.

    Raises:
        InputError: nothing tells the rate.
    """
    found = sorted({table for source in sources for table in pathlib.Path(source).parent.glob(TABLES)}) if files else []
    known = {name: rate for table in reversed(found) for name, rate in _rows(table)}
    rates = {}
    for name, path in files.items():
        path_of = pathlib.PurePosixPath(name.lower())
        listed = known.get(path_of.name) or known.get(path_of.stem)
        if not (listed or given):
            advice = "give the number in a second (--frame-rate 60), or put EPIC_100_video_info.csv beside the lists"
            raise InputError(f"video {name!r} is there as frames in {path}, which have no times; {advice}.")
        rates[name] = FrameRate((given,), listed and listed.duration) if given else listed
    return rates, tuple(found)


def _rows(table):
    for row in tables.rows(table, required=("fps",)):
        name = row.text("video_id" if "video_id" in row.cells else "video")
        fps = row.seconds("fps")
        if not fps:
            raise row.error("fps", f"{row.get('fps')!r} is not a number of frames per second.")
        duration = row.seconds("duration") if row.get("duration") else None
        yield name.lower(), FrameRate((fps,) if duration is None else (fps, *USUAL), duration)
