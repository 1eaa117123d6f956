"""Kill a training at random moments and go on with it; the result must equal, bit for bit, that of a training left alone.

    python benchmarks/kill_training.py --kills 20
    python benchmarks/kill_training.py --kills 20 --recipe skd_srl

Real processes, SIGKILL: a quarter of them while the process starts and takes up its state, the others a random while after its next
snapshot, each so short that the training should not end before its last kill. The training has Dropout, BatchNormalization,
augmentation, AdamW with a cosine and averaged weights, early stopping and folds; or it is one of the 3D recipes, shrunk. Compared: the
last snapshot (weights, optimizer, seeds, running means), the model, history.csv, metrics.json and the logits.
"""

import argparse
import contextlib
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

RECIPE = '''"""A small network with everything in it that has a memory."""
from egokeras.data.transforms import Augment
from egokeras.models import ConvNet1DHead, FrameModel, SmallBackbone
from egokeras.optim import Cosine, Optim
from egokeras.recipe import Data, Recipe

def stages():
    optim = Optim(optimizer="adamw", learning_rate=3e-3, weight_decay=1e-3, schedule=Cosine(), ema=0.9)
    model = FrameModel(backbone=SmallBackbone(channels=(8, 16)), head=ConvNet1DHead(filters=16, dropout=0.3))
    data = Data(shards=%r, augment=Augment(shift=0.1, brightness=0.2), balanced=True)
    return (Recipe(name="killed", data=data, model=model, optim=optim, epochs=%d, batch_size=8, early_stopping=50, folds=2),)
'''

SHRUNK = '''"""A recipe of the tree, small."""
import dataclasses

from egokeras import recipe

def stages():
    small = ["dataset=own", "small=true", "model.width=4", "data.crop.frames=6", "data.crop.size=20", "optim.schedule.patience=3"]
    (stage,) = recipe.load(%r, [*small, "data.shards=%s", "epochs=%d", "monitor=val_verb_top1"])
    return (dataclasses.replace(stage, name="killed"),)
'''


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument(
        "--recipe", choices=("r3d_baseline", "r3d_augmented", "self_kd", "skd_srl"), help="in the place of one with everything"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_args()
    random.seed(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        write_clips(work / "shards")
        about = (str(work / "shards"), args.epochs)
        (work / "recipe.py").write_text(SHRUNK % (args.recipe, *about) if args.recipe else RECIPE % about)
        startup, seconds = alone(work)
        print(f"left alone: {seconds:.1f} s, of which {startup:.1f} s before its first snapshot", flush=True)
        for number in range(1, args.kills + 1):
            wait = random.uniform(0, (seconds - startup) / args.kills)
            early = random.uniform(0, startup) if random.random() < 0.25 else None
            print(f"kill {number}: {killed(work, wait, early)}", flush=True)
        if start(work, "killed").wait():
            sys.exit(f"the last one failed: {(work / 'killed.txt').read_text()}")
        differences = compare(work / "alone" / "killed", work / "killed" / "killed")
    print("\n".join(differences) or f"bit-identical after {args.kills} kills")
    return 1 if differences else 0


def alone(work):
    """Seconds until a training that nobody disturbs has its first snapshot, and until it ends."""
    started, process, startup = time.monotonic(), start(work, "alone"), None
    while process.poll() is None:
        time.sleep(0.05)
        if startup is None and any((work / "alone" / "killed").glob("snapshots/*.npz")):
            startup = time.monotonic() - started
    if process.returncode:
        sys.exit(f"the training that was left alone failed: {(work / 'alone.txt').read_text()}")
    return startup, time.monotonic() - started


def write_clips(folder, clips=160):
    """Shards of noise with a brightness that tells the class."""
    import numpy as np
    from zlib_ng.zlib_ng import crc32

    from egokeras.data.shards import ShardWriter, table_dtype

    folder.mkdir()
    noise, classes = np.random.default_rng(0), {"verb": ["open", "close", "cut"], "noun": ["door", "knife"]}
    writer = ShardWriter(folder, shape=(8, 24, 24, 3))
    table = np.zeros(clips, table_dtype(8, 8, 8, tuple(classes)))
    for row in range(clips):
        verb, noun = row % 3, row % 2
        pixels = noise.integers(40 * verb + 60 * noun, 130 + 40 * verb, (8, 24, 24, 3)).astype("uint8")
        table[row] = (
            f"c{row}",
            f"v{row // 4}",
            f"v{row // 4}",
            0,
            1,
            *writer.append(pixels),
            crc32(pixels),
            1 + (row // 4 % 4 == 0),
            verb,
            noun,
        )
    about = {"modality": "rgb", "channels": "RGB", "classes": classes, "splits": ["train", "validation"], "quarantined": 0, "sources": []}
    about |= {"sampling": {"rule": "uniform", "frames": 8}, "resize": "squash", "fps_rule": "timestamps of the file", "clip_seconds": 1.0}
    writer.finish(table, about)


def start(work, runs):
    """A training in a process group of its own; it goes on where there is something to go on with."""
    resume = ["--resume"] if (work / runs / "killed").exists() else []
    command = [
        sys.executable,
        "-m",
        "egokeras.cli",
        "train",
        str(work / "recipe.py"),
        "--runs",
        str(work / runs),
        "--snapshot-seconds",
        "0.2",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with open(work / f"{runs}.txt", "w") as said:
        return subprocess.Popen(command + ["--cpu", *resume], stdout=said, stderr=said, env=environment, cwd=work, start_new_session=True)


def killed(work, wait, early=None):
    """Kill a training `wait` seconds after its next snapshot, or `early` seconds after its start; says where it was."""
    before, started, process = written(work), time.monotonic(), start(work, "killed")
    while written(work) == before if early is None else time.monotonic() - started < early:
        if process.poll() is not None:
            sys.exit(f"it ended before kill -9: {(work / 'killed.txt').read_text()}")
        time.sleep(0.02)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(wait if early is None else 0)
        sys.exit("it was done before the kill; give more --epochs")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return f"after {time.monotonic() - started:4.1f} s, last snapshot {max(written(work), default='none')}"


def written(work):
    """Names of the snapshots of the training that is killed."""
    run = work / "killed" / "killed"
    return {file.relative_to(run / "snapshots").as_posix() for file in run.glob("snapshots/**/*.npz")}


def compare(one, other):
    """What differs between two run folders."""
    import json

    import numpy as np

    from egokeras import load_model

    found = []
    snapshots = [sorted((run / "snapshots").glob("*.npz"))[-1] for run in (one, other)]
    for files in (snapshots, [run / "predictions.npz" for run in (one, other)]):
        with np.load(files[0]) as a, np.load(files[1]) as b:
            same = a.files == b.files and all(np.array_equal(a[name], b[name]) and a[name].dtype == b[name].dtype for name in a.files)
        found += [] if same else [f"{files[0].name} differs"]
    models = [load_model(run / "model.keras").get_weights() for run in (one, other)]
    found += [] if all(map(np.array_equal, *models)) else ["model.keras differs"]
    found += [] if (one / "history.csv").read_bytes() == (other / "history.csv").read_bytes() else ["history.csv differs"]
    scores = [json.loads((run / "metrics.json").read_text()) for run in (one, other)]
    return found + ([] if scores[0] == scores[1] else ["metrics.json differs"])


if __name__ == "__main__":
    sys.exit(main())
