"""What it costs to read the motion that a file holds, beside decoding alone and beside optical flow of the same frames.

    python benchmarks/compressed_video.py
    python benchmarks/compressed_video.py --video my_video.mp4

Frames in a second of CPU time at 340x256, one thread, contestants in turns, median and range; each decodes the same frames from the file.
Without --video a moving view of the rendered kitchen is encoded in both codecs, with a whole picture in every twelve.
"""

import argparse
import pathlib
import statistics
import tempfile
import time

HEIGHT, WIDTH = 256, 340


def decoding(index, numbers, rgb=False):
    """Decode; as RGB arrays too."""
    from egokeras.data import video

    for frame in video.frames(index, numbers):
        if rgb:
            frame.to_ndarray(format="rgb24")


def vectors(index, numbers, grid=False):
    """Decode with vectors; on their grid too."""
    from egokeras.data import compressed_video

    for coded in compressed_video.read(index, numbers):
        _ = coded.motion if grid else None


def traced(index, numbers):
    """Vectors and residuals back to the whole picture."""
    from egokeras.data import compressed_video, motion_vectors

    for coded in compressed_video.read(index, numbers):
        picture = coded.rgb
        if coded.kind == "I":
            whole, trace = picture, motion_vectors.Trace(*picture.shape[:2])
            continue
        trace.step(coded.motion)
        _ = trace.motion, motion_vectors.residual(picture, trace.prediction(whole))


def exact(index, numbers):
    """Vectors and the exact residual of every picture to the one before, in luma."""
    from egokeras.data import compressed_video, motion_vectors

    before = None
    for coded in compressed_video.read(index, numbers):
        luma = coded.luma
        if coded.kind == "P":
            rounding = motion_vectors.rounding_type(before, luma, coded.motion)
            motion_vectors.residual(luma, motion_vectors.predicted(before, coded.motion, rounding))
        before = luma.copy()


def flow(method, index, numbers):
    """Decode, and the optical flow of every frame to the one before."""
    import numpy as np

    from egokeras.data import video
    from egokeras.data.optical_flow import Flow

    made, before = Flow(method=method), None
    for frame in video.frames(index, numbers):
        grey = np.ascontiguousarray(frame.to_ndarray(format="gray"))
        if before is not None:
            made.picture(before, grey, 0.04)
        before = grey


def contestants():
    """Name to a function of index and numbers, and the share of the frames that it gets."""
    import functools

    return {
        "decoding": (decoding, 1.0),
        "decoding to arrays": (functools.partial(decoding, rgb=True), 1.0),
        "with vectors": (vectors, 1.0),
        "with vectors on the grid": (functools.partial(vectors, grid=True), 1.0),
        "traced, with residuals": (traced, 0.5),
        "exact residuals of luma": (exact, 0.1),
        "DIS flow": (functools.partial(flow, "dis"), 0.1),
        "Farneback flow": (functools.partial(flow, "farneback"), 0.05),
    }


def measure(index, count, rounds):
    """Name to frames in a CPU second, of each round."""
    import cv2

    cv2.setNumThreads(1)
    found = {name: [] for name in contestants()}
    for _ in range(rounds):
        for name, (run, share) in contestants().items():
            numbers = range(max(13, round(count * share)))
            started = time.process_time()
            run(index, numbers)
            found[name].append(len(numbers) / (time.process_time() - started))
    return found


def table(found):
    """Lines."""
    yield "| | frames in a CPU second | of decoding | of DIS |"
    yield "|---|---:|---:|---:|"
    for name, rates in found.items():
        ratios = [[own / other for own, other in zip(rates, found[peer], strict=True)] for peer in ("decoding", "DIS flow")]
        cells = [f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})" for values in ratios]
        yield f"| {name} | {statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f}) | {' | '.join(cells)} |"


def render(folder, codec, count):
    """A video of a view that pans over pictures of the rendered kitchen."""
    import av
    import cv2
    import numpy as np

    from egokeras.data import compressed_video, video
    from egokeras.data.synthetic import World

    world = World(participants=1, held_out=0, videos_per_participant=1, seconds=(12.0, 12.0), size=(384, 288)).render(
        folder / f"world-{codec}"
    )
    source = next((world / "videos").glob("*.mp4"))
    index = video.index(source)

    def pictures():
        shown = list(video.decode(index, range(len(index.ticks))))
        for number in range(count):
            frame = shown[number % len(shown)]
            x, y = (int(20 + 16 * wave(number / 40)) for wave in (np.sin, np.cos))
            yield cv2.resize(frame, (WIDTH + 44, HEIGHT + 44))[y : y + HEIGHT, x : x + WIDTH]

    path = folder / f"{codec}.mp4"
    with av.open(str(path), "w") as container:
        compressed_video.write(container, pictures(), 25, codec=codec, quality=4 if codec == "mpeg4" else 23)
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=pathlib.Path, metavar="FILE", help="MPEG-4 or H.264 without B-frames")
    parser.add_argument("--frames", type=int, default=600, help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="turns (%(default)s)")
    args = parser.parse_args()

    from egokeras.data import video

    with tempfile.TemporaryDirectory() as folder:
        files = [args.video] if args.video else [render(pathlib.Path(folder), codec, args.frames) for codec in ("mpeg4", "libx264")]
        for file in files:
            index = video.index(file)
            print(f"{file.name}, {index.width}x{index.height}")
            print("\n".join(table(measure(index, min(args.frames, len(index.ticks)), args.rounds))), flush=True)


if __name__ == "__main__":
    main()
