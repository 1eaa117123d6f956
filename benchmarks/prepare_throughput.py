"""How fast `egokeras prepare` cuts clips: beside bare decoding, beside a seek for every frame with OpenCV, and with two workers.

    python benchmarks/prepare_throughput.py --output build/prepare_throughput

It renders its own videos, as EPIC-KITCHENS' are (456 x 256 H.264 at 50 frames per second, a minute long), and segments as long as
theirs: lengths log-normal with a median of 2 s, one for every 4 s of video, free to overlap. Clips are 20 frames of 256 pixels, `raw`.

**CPU seconds**, in one process and one video per turn, the contestants one after the other in each:

- *bare decoding*: PyAV demuxes and decodes, once, the frames from the key frame before a segment to the last one that is wanted, with
  a seek where it must jump, and does nothing with them. No program that reads these clips through FFmpeg can take less.
- *bare decoding by segment*: the same with a seek for each segment, so that what segments share is decoded again for each.
- *prepare*: what a worker does, from the index of the file to the clips on the disk, with checksums.
- *OpenCV*: `CAP_PROP_POS_FRAMES` for every frame, colour conversion and area resizing; nothing is written.

**Wall seconds**: the whole command with one worker and with two, from start to exit; beside it bare decoding in one process and in
two, which is what the machine gives. Shown are medians of ratios within a turn, with their smallest and largest.
"""

import argparse
import csv
import dataclasses
import fractions
import functools
import json
import multiprocessing
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
MEDIAN, SPREAD, LEAST, MOST = 2.0, 0.9, 0.5, 20.0
SECONDS_PER_SEGMENT = 4
LIMIT, BY_SEGMENT, OURS, OPENCV = "bare decoding", "bare decoding by segment", "prepare", "OpenCV"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is rendered and measured.

    Attributes:
        seconds: of a video.
        rendered, videos: different ones, and names under which the command finds them.
        turns, walls: of the measurements of CPU and of wall seconds.
        frames, size: of a clip.
    """

    seconds: float = 60.0
    rendered: int = 3
    videos: int = 21
    turns: int = 5
    walls: int = 2
    frames: int = 20
    size: int = 256


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, default="build/prepare_throughput", help="folder for all files (%(default)s)")
    parser.add_argument("--turns", type=int, default=Sizes.turns, help="of the measurement of CPU seconds (%(default)s)")
    parser.add_argument("--walls", type=int, default=Sizes.walls, help="of the measurement of wall seconds (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="a few seconds of video, to try the script")
    args = parser.parse_args()
    sizes = Sizes(seconds=6.0, rendered=1, videos=2, turns=1, walls=1, frames=4, size=64) if args.quick else Sizes()
    sizes = dataclasses.replace(sizes, turns=min(args.turns, 1) if args.quick else args.turns, walls=args.walls)
    result = measure(args.output, sizes)
    (args.output / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    print(text(result))


def measure(folder, sizes):
    """Render, measure; returns what `text` shows."""
    videos = [_rendered(folder / "rendered" / f"{number}-{sizes.seconds:g}.mp4", sizes.seconds, number) for number in range(sizes.rendered)]
    segments = [_segments(sizes.seconds, number) for number in range(sizes.videos)]
    turns = [_turn(videos[turn % len(videos)], segments[turn % len(segments)], folder, sizes) for turn in range(sizes.turns + 1)][1:]
    walls = _walls(folder, videos, segments, sizes)
    return {
        "cores": len(os.sched_getaffinity(0)),
        "videos": f"{sizes.seconds:g} s at {statistics.mean(video.stat().st_size for video in videos) * 8e-3 / sizes.seconds:.0f} kbit/s",
        "segments": len(segments[0]),
        "median_seconds": statistics.median(stop - start for found in segments for start, stop in found),
        "cpu": turns,
        "wall": walls,
    }


def _rendered(path, seconds, seed, rate=50):
    """A video: a camera that sweeps over a textured wall, with the noise of its sensor."""
    import av
    import cv2
    import numpy as np

    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    wall = sum(
        cv2.resize(random.normal(0, strength, (1024 // cell, 2048 // cell, 3)), (2048, 1024), interpolation=cv2.INTER_CUBIC)
        for cell, strength in ((256, 50), (32, 25), (4, 20), (2, 15))
    )
    wall = np.clip(wall + 128, 0, 255).astype(np.uint8)
    noise = random.integers(-4, 5, (50, 256, 456, 1), np.int16)
    unfinished = path.with_suffix(".part")
    with av.open(str(unfinished), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fractions.Fraction(rate), options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 456, 256, "yuv420p"
        stream.codec_context.thread_count = 1  # the same bytes everywhere
        for number in range(round(seconds * rate)):
            t = number / rate
            x, y = int(790 + 700 * np.sin(0.4 * t + seed) + 40 * np.sin(3 * t)), int(384 + 350 * np.cos(0.3 * t) + 25 * np.sin(2.3 * t))
            picture = np.clip(wall[y : y + 256, x : x + 456] + noise[number % 50], 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return unfinished.rename(path)


def _segments(seconds, seed):
    """[(start, stop)] in seconds, ascending."""
    import numpy as np

    random = np.random.default_rng([7, seed])
    count = max(2, round(seconds / SECONDS_PER_SEGMENT))
    lengths = np.clip(MEDIAN * np.exp(SPREAD * random.standard_normal(count)), LEAST, min(MOST, seconds / 2))
    starts = random.uniform(0, seconds - 0.1 - lengths)
    return sorted((round(float(start), 2), round(float(start + length), 2)) for start, length in zip(starts, lengths, strict=True))


def _turn(video, segments, folder, sizes):
    """CPU seconds of each contestant."""
    import cv2

    cv2.setNumThreads(1)
    wanted = _wanted(video, segments, sizes.frames)
    contestants = {
        LIMIT: functools.partial(bare, video, _stretches(video, wanted)),
        BY_SEGMENT: functools.partial(bare, video, _stretches(video, wanted, together=False)),
        OURS: lambda: _prepared(video, segments, folder / "staged", sizes),
        OPENCV: lambda: _sought(video, wanted, sizes.size),
    }
    return {name: _cpu_seconds(contestant) for name, contestant in contestants.items()}


def _cpu_seconds(function):
    started = time.process_time()
    function()
    return time.process_time() - started


def _wanted(video, segments, frames):
    """Numbers of the frames of each clip."""
    from egokeras.data import clip_sampling
    from egokeras.data.video import index

    found = index(video)
    spans = [found.span(*segment) for segment in segments]
    return [(span.start + clip_sampling.uniform(len(span), frames)).tolist() for span in spans]


def _stretches(video, wanted, together=True):
    """[(tick of the key frame to go to, or None to go on; tick of the last frame)] that shows the wanted frames of all segments."""
    from egokeras.data.video import index

    found, at, stretches = index(video), None, []
    for first, last in ((numbers[0], numbers[-1]) for numbers in wanted):
        key = found.key_before(first)
        if together and at is not None and key <= at:
            if last > at:
                stretches.append((None, int(found.ticks[last])))
        else:
            stretches.append((int(found.ticks[key]), int(found.ticks[last])))
        at = last if at is None else max(at, last)
    return stretches


def bare(path, stretches):
    """Decode, and do nothing with the frames."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        for key, last in stretches:
            if key is not None:
                container.seek(key, stream=stream)
                frames = container.decode(stream)
            next(frame for frame in frames if frame.pts >= last)


def _prepared(video, segments, folder, sizes):
    """What a worker does with one unit."""
    from egokeras.data import staging
    from egokeras.data.preparation import Preparation

    folder.mkdir(exist_ok=True)
    staging._index.cache_clear()
    items = [staging.Item(uid=str(number), start=start, stop=stop) for number, (start, stop) in enumerate(segments)]
    targets = [str(folder / str(number)) for number in range(len(items))]
    results = staging.stage(str(video), items, Preparation(frames=sizes.frames, size=sizes.size), targets)
    assert all(isinstance(result, staging.Staged) for result in results), results


def _sought(video, wanted, size):
    """The clips with a seek for every frame."""
    import cv2
    import numpy as np

    capture = cv2.VideoCapture(str(video))
    for numbers in wanted:
        clip = np.empty((len(numbers), size, size, 3), np.uint8)
        for row, number in enumerate(numbers):
            capture.set(cv2.CAP_PROP_POS_FRAMES, number)
            picture = capture.read()[1]
            clip[row] = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), (size, size), interpolation=cv2.INTER_AREA)
    capture.release()


def _walls(folder, videos, segments, sizes):
    """Wall and CPU seconds of the whole command and of bare decoding, with one process and two, by turns."""
    names = _linked(folder / "videos", videos, sizes.videos)
    rows = [f"{file.name},{number % 2},{start},{stop},train\n" for number, file in enumerate(names) for start, stop in segments[number]]
    (folder / "segments.csv").write_text("file,label,start,stop,split\n" + "".join(rows))
    work = [(str(file), _stretches(file, _wanted(file, segments[number], sizes.frames))) for number, file in enumerate(names)]
    turns = []
    for _ in range(sizes.walls):
        turns.append({})
        for workers in (1, 2):
            turns[-1] |= {f"{OURS}, {workers}": _command(folder, workers, sizes), f"{LIMIT}, {workers}": _bare_pool(work, workers)}
    return turns


def _linked(folder, videos, count):
    folder.mkdir(exist_ok=True)
    names = [folder / f"video-{number:03d}.mp4" for number in range(count)]
    for number, name in enumerate(names):
        name.unlink(missing_ok=True)
        os.link(videos[number % len(videos)], name)
    return names


def _command(folder, workers, sizes):
    out = folder / "shards"
    shutil.rmtree(out, ignore_errors=True)
    options = {"workers": workers, "frames": sizes.frames, "size": sizes.size, "windows": 0}
    arguments = [str(value) for name, option in options.items() for value in (f"--{name}", option)]
    program = "import sys; from egokeras import cli; sys.exit(cli.main(sys.argv[1:]))"
    paths = [str(folder / "segments.csv"), str(folder / "videos"), str(out)]
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", program, "prepare", "table", *paths, *arguments]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    with open(out / "quarantine.csv", newline="") as file:
        assert not list(csv.DictReader(file))
    shutil.rmtree(out)
    return {"wall": time.perf_counter() - started, "cpu": cpu}


def _bare_pool(work, processes):
    """Bare decoding of all videos; the time starts when the processes are there."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        pool.starmap(bare, [(path, []) for path, _ in work], chunksize=1)
        started = time.perf_counter()
        pool.starmap(bare, work, chunksize=1)
        return {"wall": time.perf_counter() - started}


def text(result):
    """The result as a table."""
    cpu, wall, count = result["cpu"], result["wall"], result["segments"]
    lines = [
        f"{result['videos']}, {count} segments in each, median {result['median_seconds']:.2f} s; {result['cores']} cores",
        f"{'one process, by turns':34}{'segments per CPU-second':>26}{'times as fast as OpenCV':>36}",
    ]
    for name in cpu[0]:
        rate, ratio = [count / turn[name] for turn in cpu], [turn[OPENCV] / turn[name] for turn in cpu]
        lines.append(f"{name:34}{_median(rate, 1):>26}{_median(ratio, 2):>36}")
    for limit in (LIMIT, BY_SEGMENT):
        lines.append(f"share of {limit:34}{_median([turn[limit] / turn[OURS] for turn in cpu], 3):>26}")
    for name in (OURS, LIMIT):
        ratio = [turn[f"{name}, 1"]["wall"] / turn[f"{name}, 2"]["wall"] for turn in wall]
        seconds = " and ".join(f"{statistics.median(turn[f'{name}, {workers}']['wall'] for turn in wall):.1f} s" for workers in (1, 2))
        lines.append(f"two processes against one, {name:17}{_median(ratio, 2):>26}{seconds:>30} wall")
    spent = " and ".join(f"{statistics.median(turn[f'{OURS}, {workers}']['cpu'] for turn in wall):.1f} s" for workers in (1, 2))
    lines.append(f"CPU of the whole command{'':45}{spent:>30} CPU")
    return "\n".join(lines)


def _median(values, digits):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


if __name__ == "__main__":
    main()
