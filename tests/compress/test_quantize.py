"""Calibration clips: balanced, seeded, and with the full range of pixels."""

import pathlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egokeras.compress.quantize import pick, representative, write_calibration


@given(labels=st.lists(st.integers(-1, 4), min_size=1, max_size=80).map(np.array), count=st.integers(1, 90), seed=st.integers(0, 5))
def test_pick_is_as_balanced_as_the_clips_allow(labels, count, seed):
    chosen = pick(labels, count, seed)
    assert len(chosen) == min(count, len(labels)) and len(set(chosen.tolist())) == len(chosen) and (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, pick(labels, count, seed))
    taken, there = (np.bincount(values + 1, minlength=6) for values in (labels[chosen], labels))
    short = taken < there  # a class that has clips left was drawn as often as any other, give or take the last turn
    assert not short.any() or taken[short].min() >= taken.max() - 1


def test_another_seed_picks_other_clips():
    labels = np.arange(200) % 7
    assert not np.array_equal(pick(labels, 20, 0), pick(labels, 20, 1))


class Stored:
    """What `write_calibration` needs of a set of shards: clip i is full of i, its flow of i + 1."""

    modalities = {"rgb": (2, 4, 4, 3), "flow": (2, 4, 4, 10)}

    def inputs(self, rows):
        numbers = np.asarray(rows, np.uint8)[:, None, None, None, None]
        return {name: np.broadcast_to(numbers + (name == "flow"), (len(rows), *shape)) for name, shape in self.modalities.items()}


def test_written_clips_are_read_as_float_batches_of_one(tmp_path):
    rows, labels = np.arange(10, 70), np.repeat([0, 1, 2], 20)
    files = {name: str(tmp_path / f"{name}.npy") for name in ("rgb", "flow")}
    write_calibration(Stored(), rows, labels, files, count=33, seed=0)
    found = list(representative(files)())
    for name, channels in (("rgb", 3), ("flow", 10)):
        stored = np.load(files[name])
        assert stored.dtype == np.uint8 and stored.shape == (33, 2, 4, 4, channels)
        assert np.bincount((stored[:, 0, 0, 0, 0] - (name == "flow") - 10) // 20).tolist() == [11, 11, 11]
        batches = [batch[name] for batch in found]
        assert len(batches) == 33 and {(batch.shape, batch.dtype.name) for batch in batches} == {((1, 2, 4, 4, channels), "float32")}
        np.testing.assert_array_equal(np.concatenate(batches[1:]), stored[1:])
        assert batches[0].min() == 0 and batches[0].max() == 255 and (batches[0][0] != stored[0]).sum() == 2
    np.testing.assert_array_equal(found[5]["flow"][..., :3], found[5]["rgb"] + 1)  # the same clip


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="Linux's full disk")
def test_a_full_disk_is_an_error_and_no_crash(monkeypatch):
    monkeypatch.setattr(Stored, "modalities", {"rgb": (2, 64, 64, 3)})
    with pytest.raises(OSError, match="No space left"):
        write_calibration(Stored(), np.arange(9), np.zeros(9, int), {"rgb": "/dev/full"}, count=9, seed=0)
