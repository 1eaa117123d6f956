"""A small egocentric world: kitchen videos in the first person, rendered to H.264 files with EPIC-KITCHENS-100 annotations.

For the demo and the tests, which need real video files that may be shipped as code. Every participant has a kitchen of their own, so the
last ones, who are held out, are unseen kitchens. `synthetic_scene` draws it, `synthetic_motion` moves it.
"""

import concurrent.futures
import contextlib
import csv
import dataclasses
import fractions
import functools
import itertools
import json
import multiprocessing
import os
import pathlib
import shutil
import tempfile
from collections.abc import Mapping

import av
import numpy as np

from egokeras.data import synthetic_scene as scene
from egokeras.data import worker_pool
from egokeras.data.synthetic_motion import AT_SINK
from egokeras.errors import InputError
from egokeras.files import atomic, read_json, sha256, write_json
from egokeras.progress import track

SOURCES = ("synthetic.py", "synthetic_scene.py", "synthetic_motion.py")
FPS = (fractions.Fraction(25), fractions.Fraction(30), fractions.Fraction(50), fractions.Fraction(60000, 1001))
VERBS = {
    "take": "retrieve",
    "put": "leave",
    "open": "access",
    "close": "block",
    "fill": "merge",
    "pour-out": "merge",
    "wash": "clean",
    "wipe": "clean",
    "stir": "manipulate",
    "shake": "manipulate",
    "cut": "split",
}
"""Verb classes in the order of their ids, and their categories."""
NOUNS = {
    "cup": "crockery",
    "bowl": "crockery",
    "pan": "cookware",
    "bottle": "containers",
    "jar": "containers",
    "knife": "cutlery",
    "sponge": "cleaning equipment and material",
    "bread": "baked goods and grains",
    "tomato": "vegetables",
    "fridge": "appliances",
    "cupboard": "storage",
    "drawer": "furniture",
}
"""Noun classes in the order of their ids, and their categories."""
MOST_IDLE = 60.0
VESSELS = ("cup", "bowl", "pan")
ACTIVITIES = (
    "open {door}; take {it}; close {door}; fill {it}; put {it}; stir {it}; take {it}; pour-out {it}; ?wash {it}; put {it}",
    "open fridge; take tomato; close fridge; wash tomato; put tomato; cut tomato; ?cut tomato; wipe {door}",
    "take {it}; fill {it}; pour-out {it}; wash {it}; fill {it}; put {it}; stir {it}; take {it}; pour-out {it}; put {it}",
    "open drawer; take knife; close drawer; take bread; put bread; cut bread; wash knife; put knife; ?wipe {door}",
    "open jar; stir {it}; close jar; shake jar; open {door}; take jar; put jar; close {door}; shake jar",
    "take sponge; wash sponge; wipe {door}; put sponge; wipe drawer; open {door}; take bread; close {door}; put bread; ?cut bread",
    "take bottle; fill bottle; pour-out bottle; fill bottle; put bottle; take bottle; pour-out bottle; put bottle; shake bottle",
    "take knife; ?wash knife; cut tomato; put knife; open {door}; take sponge; close {door}; wash sponge; put sponge",
)
"""What people do here: steps in order, `?` before one that is sometimes left out. Each leaves all as it was: shut, empty, in place."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Action:
    """A labelled span of a video.

    Attributes:
        start: seconds from the first frame.
        stop: seconds from the first frame.
        verb: key of VERBS.
        noun: key of NOUNS.
        amounts: how far open or how full every thing is before the action, 0 or 1.
        away: what is in the hand, not in its place, before the action.
    """

    start: float
    stop: float
    verb: str
    noun: str
    amounts: Mapping[str, float]
    away: frozenset[str] = frozenset()

    @property
    def spot(self):
        """Where in the kitchen it happens."""
        return "sink" if self.verb in AT_SINK else self.noun


@dataclasses.dataclass(frozen=True, kw_only=True)
class Video:
    """What one video shows: `actions` in order, with time without any action between them, over `seconds` in all."""

    name: str
    participant: str
    split: str
    fps: fractions.Fraction
    seconds: float
    size: tuple[int, int]
    seed: tuple[int, int, int]
    actions: tuple[Action, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class World:
    """What to render; equal worlds give equal bytes.

    Attributes:
        participants: how many people, each with a kitchen of their own; the last `held_out` are the validation split.
        videos_per_participant: of each; videos have 25, 30, 50 and 59.94 frames per second in turn.
        seconds: shortest and longest video.
        size: width and height in pixels, even.
        idle: seconds without any action after one, on average, beside the short pauses that there always are; such a pause is exponential
            and at most four times as long.
        seed: of everything.
    """

    participants: int = 10
    held_out: int = 3
    videos_per_participant: int = 2
    seconds: tuple[float, float] = (60.0, 80.0)
    size: tuple[int, int] = (128, 96)
    idle: float = 0.0
    seed: int = 0

    def __post_init__(self):
        if any(side < 16 or side % 2 for side in self.size):
            raise InputError(f"size is {self.size}; H.264 needs an even width and height, here of at least 16 pixels.")
        if not 0 <= self.held_out < self.participants:
            raise InputError(f"held_out is {self.held_out} of {self.participants} participants; leave at least one to train on.")
        if not 6 <= self.seconds[0] <= self.seconds[1]:
            raise InputError(f"seconds is {self.seconds}; give the shortest video, at least 6 s, and the longest.")
        if not 0 <= self.idle <= MOST_IDLE:
            raise InputError(f"idle is {self.idle:g} s; give 0 to {MOST_IDLE:g} s.")

    @classmethod
    def demo(cls, seed=0):
        """About 400 segments to train on and 170 of unseen participants."""
        return cls(seed=seed)

    @classmethod
    def tiny(cls, seed=0):
        """Three videos of 12 s, for tests."""
        return cls(participants=3, held_out=1, videos_per_participant=1, seconds=(12.0, 12.0), seed=seed)

    def videos(self):
        """Plan all videos: a list of Video, in order of their names."""
        pairs = [(person, number) for person in range(self.participants) for number in range(self.videos_per_participant)]
        return [self._video(index, *pair) for index, pair in enumerate(pairs)]

    def _video(self, index, person, number):
        seed = (self.seed, person, number)
        rng = np.random.default_rng(seed)
        seconds = round(rng.uniform(*self.seconds), 1)
        return Video(
            name=f"P{person + 1:02}_{number + 1:02}",
            participant=f"P{person + 1:02}",
            split="validation" if person >= self.participants - self.held_out else "train",
            fps=FPS[index % len(FPS)],
            seconds=seconds,
            size=self.size,
            seed=seed,
            actions=tuple(_plan(seconds, _steps(self._activities(person, number), index, rng), rng, self.idle)),
        )

    def _activities(self, person, number):
        """Endless ACTIVITIES in an order of the person's own, every video starting where the one before ended or so."""
        order = np.random.default_rng((self.seed, person)).permutation(ACTIVITIES).tolist()
        return itertools.islice(itertools.cycle(order), number * len(order) // 2, None)

    def render(self, out, workers=None):
        """Write `out/videos/*.mp4` and `out/EPIC_100_*.csv` and return `out`; a folder that already holds this world stays as it is.

        Raises:
            InputError: `out` holds something that is not a rendered world.
        """
        out = pathlib.Path(out)
        sources = [sha256(pathlib.Path(__file__).with_name(module)) for module in SOURCES]
        spec = {"world": json.loads(json.dumps(dataclasses.asdict(self))), "sources": sources}
        if _holds(out, spec):
            return out
        out.parent.mkdir(parents=True, exist_ok=True)
        for left in out.parent.glob(f".{out.name}.*"):  # of a killed process
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as temporary:
            part = pathlib.Path(temporary) / "world"
            (part / "videos").mkdir(parents=True)
            videos = self.videos()
            _write_annotations(part, videos)
            _render_all(part / "videos", videos, workers)
            write_json(part / "world.json", spec)
            if out.is_dir():
                shutil.rmtree(out)
            os.replace(part, out)
        return out


def _holds(out, spec):
    """Whether `out` is this very world; a world of another kind may be replaced, anything else may not."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    if not (out / "world.json").is_file():
        raise InputError(f"{out} holds something that is not a rendered world; name a new folder.")
    return read_json(out / "world.json") == spec


def _plan(seconds, steps, rng, idle=0.0):
    """The steps, as Actions with pauses between them, until the video is full."""
    amounts, clock = dict.fromkeys(NOUNS, 0.0), 0.0
    away: frozenset[str] = frozenset()
    for verb, noun in steps:
        start = round(clock + rng.uniform(0.5, 0.8) + min(1.2, rng.exponential(0.15)), 2)
        clock = round(start + 1 + 2 * rng.beta(1.5, 4), 2)
        if clock > seconds - 0.5:
            return
        yield Action(start=start, stop=clock, verb=verb, noun=noun, amounts=amounts, away=away)
        amounts = amounts | {noun: {"open": 1.0, "close": 0.0, "fill": 1.0, "pour-out": 0.0}.get(verb, amounts[noun])}
        away = away | {noun} if verb == "take" else away - {noun} if verb == "put" else away
        clock += min(4 * idle, rng.exponential(idle)) if idle else 0.0


def _steps(activities, turn, rng):
    """(verb, noun) of every step of the activities; doors and vessels take turns, beginning with number `turn`."""
    doors, vessels = (itertools.islice(itertools.cycle(choice), turn, None) for choice in (scene.FIXTURES, VESSELS))
    for activity in activities:
        door = next(doors) if "{door}" in activity else None
        vessel = next(vessels) if "{it}" in activity else None
        for step in activity.format(door=door, it=vessel).split("; "):
            if not step.startswith("?") or rng.uniform() < 0.5:
                yield tuple(step.strip("?").split())


def _render_all(folder, videos, workers):
    """Render the longest videos first, in processes of their own unless that is not worth their start."""
    jobs = sorted(videos, key=lambda video: -video.seconds * video.fps)
    paths = [folder / f"{video.name}.mp4" for video in jobs]
    workers = workers or (1 if sum(video.seconds for video in jobs) < 60 else min(len(jobs), os.cpu_count() or 1))
    spawn = multiprocessing.get_context("spawn")
    processes = functools.partial(concurrent.futures.ProcessPoolExecutor, mp_context=spawn, initializer=worker_pool.end_with_parent)
    with processes(workers) if workers > 1 else contextlib.nullcontext() as pool:
        for _ in track((pool.map if pool else map)(write_video, paths, jobs), "render", total=len(jobs), unit="video"):
            pass


def write_video(path, video):
    """Encode a Video as H.264; one thread, because the bytes would change with their number."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=video.fps, options={"preset": "superfast", "crf": "21", "g": "60"})
        stream.width, stream.height = video.size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for image in scene.frames(video):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def _write_annotations(folder, videos):
    """The csv files of EPIC-KITCHENS-100; a split without videos has none."""
    for split in sorted({video.split for video in videos}):
        _write_csv(folder / f"EPIC_100_{split}.csv", [row for video in videos if video.split == split for row in _rows(video)])
    for space, classes in (("verb", VERBS), ("noun", NOUNS)):
        rows = [{"id": number, "key": key, "instances": [key], "category": classes[key]} for number, key in enumerate(classes)]
        _write_csv(folder / f"EPIC_100_{space}_classes.csv", rows)
    size = "{}x{}".format(*videos[0].size)
    rows = [{"video_id": video.name, "duration": video.seconds, "fps": float(video.fps), "resolution": size} for video in videos]
    _write_csv(folder / "EPIC_100_video_info.csv", rows)


def _rows(video):
    for number, action in enumerate(video.actions):
        yield {
            "narration_id": f"{video.name}_{number}",
            "participant_id": video.participant,
            "video_id": video.name,
            "narration_timestamp": _clock((action.start + action.stop) / 2, 3),
            "start_timestamp": _clock(action.start, 2),
            "stop_timestamp": _clock(action.stop, 2),
            "start_frame": int(action.start * video.fps) + 1,
            "stop_frame": int(action.stop * video.fps) + 1,
            "narration": f"{action.verb} {action.noun}".replace("-", " "),
            "verb": action.verb,
            "verb_class": list(VERBS).index(action.verb),
            "noun": action.noun,
            "noun_class": list(NOUNS).index(action.noun),
            "all_nouns": [action.noun],
            "all_noun_classes": [list(NOUNS).index(action.noun)],
        }


def _clock(seconds, digits):
    whole, part = divmod(round(seconds * 10**digits), 10**digits)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}.{part:0{digits}}"


def _write_csv(path, rows):
    with atomic(path, "w") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
