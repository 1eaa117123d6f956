"""Annotations and a source of observations to a set for anticipation: shards with a window of observations before each segment.

The index is written last, and nothing that an interrupted call leaves can be read; the same call again starts anew. Equal work gives
equal bytes.
"""

import contextlib
import hashlib
import json
import pathlib
import re
import shutil
import sys

import numpy as np
from zlib_ng.zlib_ng import crc32

from egokeras.data import observations, readers, shards
from egokeras.data.segment_shards import QUARANTINE, contents, is_complete, splits_of, table, write_quarantine
from egokeras.data.segments import DISCARDED, listed, with_actions
from egokeras.data.shards import Shards, ShardWriter
from egokeras.errors import InputError
from egokeras.files import TEMPORARY, full_disk_said, locked, sha256
from egokeras.progress import track
from egokeras.protocol import OBSERVATIONS, STEP

LOCK = ".observing"  # left by a process that was killed
OURS = re.compile(rf"shard-\d+\.npy|{re.escape(shards.TABLE)}|{re.escape(QUARANTINE)}|{TEMPORARY.pattern}", re.DOTALL)


def observe(annotations, source, out):
    """Write the windows of observations before all segments into a folder of shards, a record per segment in their order.

    A segment before which RU-LSTM would see no frame is kept, with zeros, and is in the split `discarded` too. Segments whose video or
    frames the source has not are left out and listed in `quarantine.csv`.

    Args:
        annotations: `Annotations`; without splits, a part is held out for validation; without actions, every pair of verb and noun is one.
        source: `past_actions.PastLabels`, or `feature_windows.Features`.
        out: folder of the shards; new, empty, or left by an interrupted call.

    Returns:
        Summary as a dict: `path`, `modality`, `shape`, `segments`, `splits` (split to segments), `quarantined`, `videos_quarantined`,
        `bytes`.

    Raises:
        InputError: nothing can be observed, or `out` holds something else.
    """
    if not any(segment.splits for segment in annotations.segments):
        annotations = readers.hold_out(annotations)
    annotations, out = with_actions(annotations), pathlib.Path(out)
    used = ~observations.discarded([segment.start for segment in annotations.segments])
    if not used.any():
        raise InputError("every segment starts with its video, so nothing can be observed before it; give segments of whole videos.")
    about = {"step": STEP, "steps": OBSERVATIONS, **source.about(annotations)}
    digest = _digest(annotations, source.modality, about)
    _check_folder(out)
    with full_disk_said(out, "run the same command again"):
        out.mkdir(parents=True, exist_ok=True)
        with locked(out / LOCK, f"another `observe` is at work in {out}; waiting for it to end"):
            if is_complete(out, digest, "annotations, sources"):
                print(f"{out} is complete already; nothing to do", file=sys.stderr, flush=True)
            else:
                _fill(annotations, source, out, used, {"observations": about, "plan": digest})
    return _summary(out)


def _digest(annotations, modality, about):
    """Of all that the set depends on."""
    segments = [[*vars(segment).values()] for segment in annotations.segments]
    content = [segments, dict(annotations.classes), annotations.actions, annotations.exclusive, modality, about, shards.FORMAT]
    return hashlib.sha256(json.dumps(content, default=dict).encode()).hexdigest()


def _check_folder(out):
    """Refuse a folder with files of others."""
    if out.exists() and not (out / shards.INDEX).exists() and not (out / LOCK).exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is not empty and not an unfinished `observe`; choose another folder.")


def _fill(annotations, source, out, used, about):
    """Write all files, or leave none."""
    _clear(out)
    try:
        _write(annotations, source, out, used, about)
    except BaseException:
        _clear(out)
        raise


def _clear(out):
    for file in out.iterdir():
        if OURS.fullmatch(file.name):
            file.unlink()


def _write(annotations, source, out, used, about):
    """Shards, table, quarantine list, index."""
    count = len(annotations.segments)
    placed, failed = np.zeros((count, 4), np.int64), {}
    writer = None
    with contextlib.ExitStack() as stack:
        for row, window in track(source.windows(annotations, used), "observe", total=count, unit="segments"):
            if isinstance(window, str):
                failed[row] = window
                continue
            if writer is None:
                _check_room(count * window.nbytes, out)
                writer = ShardWriter(out, shape=window.shape, dtype=window.dtype)
                stack.callback(writer.abort)
            placed[row] = (*writer.append(window), crc32(window))
        if writer is None:
            raise InputError(
                f"none of {count} segments can be observed: {next(iter(failed.values()))}; check that features and annotations fit."
            )
        _write_quarantine(annotations.segments, failed, out)
        splits = splits_of(annotations.segments) + [DISCARDED] * (not used.all())
        rows = np.setdiff1d(np.arange(count), list(failed))
        writer.finish(_table(annotations, rows, placed, used, splits), _about(annotations, source, splits, failed, out) | about)


def _check_room(need, out):
    free = shutil.disk_usage(out).free
    if need > free:
        raise InputError(f"{out}: {need / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free; free some space.")


def _write_quarantine(segments, failed, out):
    lost = sorted({segments[row].video for row in failed})
    if failed:
        what = f"{len(failed)} segments of {len(lost)} videos cannot be observed and go to quarantine"
        print(f"{what}: {listed(lost)}", file=sys.stderr, flush=True)
    write_quarantine(out, [(segments[row], reason) for row, reason in sorted(failed.items())])


def _table(annotations, rows, placed, used, splits):
    """`clips.npy`: a record for each of `rows`."""
    kept = [annotations.segments[row] for row in rows.tolist()]
    spans = [(segment.start, np.inf if segment.stop is None else segment.stop) for segment in kept]
    found = table(kept, annotations.classes, splits, spans, placed[rows])
    if DISCARDED in splits:
        found["splits"][~used[rows]] |= 1 << splits.index(DISCARDED)
    return found


def _about(annotations, source, splits, failed, out):
    """The entries of the index that say what the set is."""
    about = {
        "modality": source.modality,
        "sampling": {"rule": "observations", "frames": OBSERVATIONS},
        **source.described,
        "classes": {space: list(names) for space, names in annotations.classes.items()},
        "splits": splits,
        "exclusive": annotations.exclusive,
        "quarantined": len(failed),
        "quarantine_sha256": sha256(out / QUARANTINE),
        "sources": [{"file": path.name, "sha256": sha256(path)} for path in annotations.sources if path.is_file()],
        "clip_seconds": STEP * OBSERVATIONS,
    }
    return about | ({"actions": [list(pair) for pair in annotations.actions]} if annotations.actions else {})


def _summary(out):
    data = Shards(out)
    return {"path": str(out), "modality": data.modality, "shape": list(data.shape), "segments": len(data), **contents(data)}
