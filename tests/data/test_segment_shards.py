"""What `prepare` and `observe` write around their shards, field by field."""

import zlib

import numpy as np
import pytest

from egokeras.data import segment_shards
from egokeras.data.segments import Segment
from egokeras.data.shards import ShardWriter
from egokeras.errors import InputError

SEGMENTS = (
    Segment(uid="one", video="a/b", start=1.5, stop=2.0, labels={"verb": "wash"}, splits=("train1", "validation2"), group="p1"),
    Segment(uid="2", video="c", labels={"verb": "open", "noun": "tap"}, splits=("a_test",)),
)
CLASSES = {"verb": ("open", "wash"), "noun": ("pan", "tap")}


def test_splits_to_train_on_come_first():
    named = [Segment(uid="", video="", splits=(split,)) for split in ("test", "train2", "validation", "train1", "test")]
    assert segment_shards.splits_of(named) == ["train1", "train2", "test", "validation"]


def test_a_record_per_segment():
    """Bits 1 and 4 of three splits are 5; what has no label is -1; times and checksums keep every bit."""
    splits, checksum = ["train1", "a_test", "validation2"], (1 << 32) - 1
    found = segment_shards.table(SEGMENTS, CLASSES, splits, [(1.5, 2.0), (0.1, np.inf)], [(0, 0, 9, 7), (3, 1 << 40, 8, checksum)])
    assert found.tolist() == [
        ("one", "a/b", "p1", 1.5, 2.0, 0, 0, 9, 7, 5, 1, -1),
        ("2", "c", "", 0.1, np.inf, 3, 1 << 40, 8, checksum, 2, 0, 1),
    ]
    assert found.dtype.names[-2:] == ("label_verb", "label_noun") and found["uid"].dtype == "<U3" and found["group"].dtype == "<U2"


def test_a_finished_folder_and_what_is_in_it(tmp_path):
    assert not segment_shards.is_complete(tmp_path, "digest", "annotations")
    segment_shards.write_quarantine(tmp_path, [(SEGMENTS[0], 'cut, "off"'), (SEGMENTS[1], "gone"), (SEGMENTS[1], "gone")])
    assert (tmp_path / "quarantine.csv").read_bytes() == b'uid,video,reason\none,a/b,"cut, ""off"""\n2,c,gone\n2,c,gone\n'
    writer, clip = ShardWriter(tmp_path, shape=(2, 3), dtype="float16"), np.ones((2, 3), "float16")
    places = [(*writer.append(clip), zlib.crc32(clip)) for _ in SEGMENTS]
    table = segment_shards.table(SEGMENTS, CLASSES, ["train1", "validation2", "a_test"], [(0, 1), (0, 1)], places)
    about = {"modality": "x", "classes": CLASSES, "splits": ["train1", "validation2", "a_test"], "quarantined": 3, "plan": "digest"}
    writer.finish(table, about)
    assert segment_shards.is_complete(tmp_path, "digest", "annotations")
    with pytest.raises(InputError, match="holds shards of other annotations, lists or settings; choose another folder"):
        segment_shards.is_complete(tmp_path, "another", "annotations, lists")
    found = segment_shards.contents(segment_shards.Shards(tmp_path))
    size = (tmp_path / "shard-00000.npy").stat().st_size
    assert found == {
        "splits": {"train1": 1, "validation2": 1, "a_test": 1}, "quarantined": 3, "videos_quarantined": 2, "bytes": size
    }  # fmt: skip
