"""Kill `egokeras prepare` at random moments and start it again; the bytes must equal those of an undisturbed one.

    python benchmarks/kill_prepare.py --kills 20

Real processes of the command with two workers, SIGKILL by turns to the parent alone, to the parent and all its workers, and to one
worker alone, at moments spread over what an undisturbed `prepare` takes. A `prepare` that ends before its moment has come begins
anew in another folder. In the end every folder is finished, and SHA-256 of each of its files compared. The exit code is 1 if one
differs.
"""

import argparse
import fractions
import hashlib
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
PROGRAM = "import sys; from egokeras import cli; sys.exit(cli.main(sys.argv[1:]))"
PARENT, GROUP, WORKER = "parent", "parent and workers", "one worker"
WAYS = (GROUP, PARENT, WORKER)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="how many (%(default)s)")
    parser.add_argument("--videos", type=int, default=10, help="rendered, of 4 s and 40 segments each (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (%(default)s)")
    parser.add_argument("--encoding", choices=("raw", "jpeg"), default="raw", help="of the clips (%(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return 0 if torture(pathlib.Path(folder), args.kills, args.videos, args.seed, args.encoding) else 1


def torture(folder, kills, videos, seed, encoding):
    """Print a table of kills; returns whether all bytes are equal."""
    draw = random.Random(seed)
    write_videos(folder, videos)
    started = time.monotonic()
    finish(folder, folder / "undisturbed", encoding)
    seconds = time.monotonic() - started
    expected = digests(folder / "undisturbed")
    print(f"undisturbed: {seconds:.1f} s, {len(expected)} files\n{'kill':>4}  {'moment':>8}  {'killed':18}  units done", flush=True)
    outs, number = [folder / "killed-0"], 0
    while number < kills:
        way, moment = WAYS[number % len(WAYS)], draw.uniform(0, seconds)
        if not kill(folder, outs[-1], encoding, way, moment):
            outs.append(folder / f"killed-{len(outs)}")
            continue
        number += 1
        print(f"{number:4}  {moment:6.2f} s  {way:18}  {units_done(outs[-1])}", flush=True)
    finish(folder, outs[-1], encoding)
    equal = [digests(out) == expected for out in outs]
    print(f"{kills} kills, {len(outs)} folders: {'bit-identical to the undisturbed one' if all(equal) else f'DIFFERENT: {equal}'}")
    return all(equal)


def write_videos(folder, count):
    """Videos of noise and a table of their segments."""
    import av
    import numpy as np

    (folder / "videos").mkdir()
    rows = []
    for number in range(count):
        noise = np.random.default_rng(number)
        with av.open(str(folder / "videos" / f"video-{number}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=fractions.Fraction(25), options={"g": "25", "preset": "veryfast"})
            stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
            for _ in range(100):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(noise.integers(0, 256, (96, 128, 3), np.uint8), format="rgb24")))
            container.mux(stream.encode())
        label = "cut" if number % 2 else "put"
        rows += [f"video-{number}.mp4,{label},{0.07 * segment:.2f},{0.07 * segment + 0.9:.2f},train\n" for segment in range(40)]
    (folder / "segments.csv").write_text("file,label,start,stop,split\n" + "".join(rows))


def start(folder, out, encoding):
    """A `prepare` in a process group of its own."""
    options = ["--frames", "16", "--size", "128", "--workers", "2", "--encoding", encoding, "--windows", "0"]
    paths = [str(folder / "segments.csv"), str(folder / "videos"), str(out)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with open(folder / "said.txt", "w") as said:
        command = [sys.executable, "-c", PROGRAM, "prepare", "table", *paths, *options]
        return subprocess.Popen(command, env=environment, stdout=said, stderr=said, start_new_session=True)


def finish(folder, out, encoding):
    if start(folder, out, encoding).wait():
        sys.exit((folder / "said.txt").read_text())


def kill(folder, out, encoding, way, moment):
    """Start, wait for the moment, kill; False if it ended before (and well)."""
    process = start(folder, out, encoding)
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        _send(process, way)
        process.wait()
        return True
    if process.returncode:
        sys.exit((folder / "said.txt").read_text())
    return False


def _send(process, way):
    """SIGKILL; after one to a worker alone the parent goes on to the end."""
    if way == GROUP:
        os.killpg(process.pid, signal.SIGKILL)
    elif way == PARENT:
        process.kill()
    else:
        workers = children(process.pid)
        if workers:
            os.kill(workers[-1], signal.SIGKILL)


def children(pid):
    """Processes that a process has started."""
    try:
        return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def units_done(out):
    """How many units an unfinished folder has; "all" if it is finished."""
    journal = out / ".work" / "journal.jsonl"
    if (out / "index.json").exists():
        return "all"
    return journal.read_text().count("\n") if journal.exists() else 0


def digests(folder):
    """Names of all files below a folder, and their SHA-256."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


if __name__ == "__main__":
    sys.exit(main())
