"""What a run's model teaches its int8 twin: training clips, and the logits that it answers."""

import numpy as np

from egokeras.compress.extras import need
from egokeras.compress.qat import NEEDED, Training
from egokeras.compress.quantize import write_calibration
from egokeras.device.manifest import INPUT
from egokeras.errors import InputError
from egokeras.models import streaming
from egokeras.progress import track

BATCH = 4  # clips in memory at once


def training(run, export, work, time):
    """Write what the quantization-aware training of an export reads.

    Args:
        run: the `egokeras.gated_run.Run`.
        export: the `egokeras.export.Export`.
        work: folder for it.
        time: frames that the file takes at once; None is one, without an axis for time.

    Returns:
        The `Training`.

    Raises:
        InputError: a library is missing, the run has no training clips, or its model is no per-frame backbone with a head.
    """
    need("quantization-aware training", "compress", *NEEDED)
    if not len(run.train):
        raise InputError(f"{run.shards.path} has no training clips to train {export.name} on; give the data of the training.")
    networks = {"frames": streaming.frame_network(run.model), "head": streaming.halves(run.model)[1]}
    files = {name: str(work / f"{export.name}.qat.{name}.keras") for name in networks}
    for name, network in networks.items():
        network.save(files[name])
    clips = str(work / f"{export.name}.qat.npy")
    labels = run.shards.labels(next(iter(run.classes)), run.train)
    write_calibration(run.shards, run.train, labels, {INPUT: clips}, count=export.qat.clips, seed=export.seed)
    targets = {head: str(work / f"{export.name}.qat.{number}.npy") for number, head in enumerate(run.classes)}
    for head, logits in _logits(run, clips, export.name).items():
        np.save(targets[head], logits)
    report = str(work / f"{export.name}.qat.json")
    return Training(qat=export.qat, clips=clips, targets=targets, time=time, seed=export.seed, report=report, **files)


def _logits(run, clips, name):
    """Head to the model's logits of stored clips, (clips, classes) float32."""
    stored, found = np.load(clips, mmap_mode="r", allow_pickle=False), []
    for start in track(range(0, len(stored), BATCH), f"soft targets, {name}", unit="batch"):
        found.append(run.model.predict_on_batch({INPUT: stored[start : start + BATCH]}))
    return {head: np.concatenate([answer[head] for answer in found]) for head in run.classes}
