"""Which clips are trained on and judged by: by split, by video, held out without cutting groups."""

import numpy as np
import pytest

from egokeras.data.selection import grouped_folds, split_rows
from egokeras.errors import InputError


def test_hold_out_and_videos(squares, tmp_path, monkeypatch):
    everything = split_rows(squares)
    fifth = split_rows(squares, hold_out=0.25)
    assert len(everything[0]) == 160 and len(fifth[0]) + len(fifth[1]) == 160 and 25 <= len(fifth[1]) <= 55
    assert not set(squares.clips["video"][fifth[0]]) & set(squares.clips["video"][fifth[1]])
    assert set(squares.clips["group"][fifth[0]]) & set(
        squares.clips["group"][fifth[1]]
    )  # participants may be on both sides, as in the report
    with monkeypatch.context() as patch:
        patch.setitem(squares.index, "exclusive", "group")
        by_group = split_rows(squares, hold_out=0.25)
    assert not set(squares.clips["group"][by_group[0]]) & set(squares.clips["group"][by_group[1]])
    for share in (-0.2, 0.9):
        with pytest.raises(InputError, match="data.hold_out is"):
            split_rows(squares, hold_out=share)
    (tmp_path / "videos.csv").write_text("uid,video_id\n1,v0-0\n2,v5-1\n")
    rows = np.concatenate(split_rows(squares, videos=str(tmp_path / "videos.csv")))
    assert set(squares.clips["video"][rows]) == {"v0-0", "v5-1"}
    (tmp_path / "videos.txt").write_text("v1-1\n")
    assert set(squares.clips["video"][split_rows(squares, videos=str(tmp_path / "videos.txt"))[0]]) == {"v1-1"}


def test_grouped_folds_keep_groups_whole_and_classes_even():
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), random.integers(1, 9, 40)).astype(str)
    labels = random.integers(0, 3, len(groups))
    folds = grouped_folds(groups, labels, 5, seed=0)
    assert all(len(set(folds[groups == group])) == 1 for group in set(groups))
    table = np.array([[np.sum((folds == fold) & (labels == label)) for label in range(3)] for fold in range(5)])
    assert (abs(table / table.sum(0) - 0.2) < 0.06).all()
    assert (folds == grouped_folds(groups, labels, 5, seed=0)).all()
