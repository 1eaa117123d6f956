"""Sets of several modalities read like one, and what some set lacks is left out aloud."""

import numpy as np
import pytest

from egokeras.data.input_pipeline import load
from egokeras.data.joined import Joined, open_sets
from egokeras.errors import InputError


@pytest.fixture
def windows():
    return np.random.default_rng(1).normal(size=(120, 14, 4)).astype("float16")


def two_sets(observations, folder, windows, order=None):
    segments, uids = observations.segments(), [f"s{row}" for row in range(120)]
    observations.write(folder / "rgb", windows, segments, uids=uids)
    order = np.arange(120) if order is None else order
    flow = (windows[..., :3] + 1).astype("float16")
    observations.write(folder / "flow", flow[order], [segments[row] for row in order], "flow_features", [uids[row] for row in order])
    return f"{folder / 'rgb'},{folder / 'flow'}"


def test_clips_are_joined_by_uid(observations, tmp_path, windows):
    order = np.random.default_rng(2).permutation(120)
    joined = open_sets(two_sets(observations, tmp_path, windows, order))
    assert joined.modalities == {"rgb_features": (14, 4), "flow_features": (14, 3)}
    rows = joined.rows("validation")[[3, 0, 5]]
    found = joined.inputs(rows)
    np.testing.assert_array_equal(found["rgb_features"], windows[rows])
    np.testing.assert_array_equal(found["flow_features"], (windows[rows][..., :3] + 1).astype("float16"))
    for inputs, targets in load(joined, "validation", batch_size=16):
        np.testing.assert_array_equal(inputs["flow_features"], (inputs["rgb_features"][..., :3] + np.float16(1)))
        assert list(targets) == ["action"]
    assert sum(len(targets["action"]) for _, targets in load(joined, "validation", batch_size=16)) == len(joined.rows("validation"))


def test_what_one_set_lacks_is_left_out(observations, tmp_path, windows, capsys):
    kept = np.delete(np.arange(120), [0, 1, 30])
    joined = open_sets(two_sets(observations, tmp_path, windows, kept))
    assert "2 of 120 segments are left out" in capsys.readouterr().err
    assert {0, 1} < set(joined.discarded("train").tolist()) and 30 in joined.discarded("validation")  # they keep their split
    assert joined.inputs([2])["rgb_features"].shape == (1, 14, 4)
    with pytest.raises(InputError, match="flow has no segment 's30'"):
        joined.inputs([2, 30])
    assert {1, 30} < set(joined.rows("discarded").tolist()) and not {1, 30} & set(joined.rows("train").tolist())
    assert len(joined) == 120 and (joined.labels("action", [1, 30]) >= 0).all()  # they count as history


def test_the_order_of_the_sets_does_not_matter(observations, tmp_path, windows):
    first, second = two_sets(observations, tmp_path, windows).split(",")
    digests = {open_sets(paths).sha256 for paths in (f"{first},{second}", f"{second},{first}")}
    assert len(digests) == 1 and open_sets(first).sha256 not in digests


def test_sets_that_do_not_belong_together(observations, tmp_path, windows):
    segments = observations.segments()
    first = observations.write(tmp_path / "a", windows, segments)
    with pytest.raises(InputError, match="join different modalities"):
        Joined([first, observations.write(tmp_path / "b", windows, segments)])
    changed = [(*segment[:3], (segment[3] + (row == 7)) % 5) for row, segment in enumerate(segments)]
    with pytest.raises(InputError, match="label_.* of segment s7 differs"):
        Joined([first, observations.write(tmp_path / "c", windows, changed, "flow_features")])
    strangers = [f"x{row}" for row in range(120)]
    with pytest.raises(InputError, match="have no segment in common"):
        Joined([first, observations.write(tmp_path / "d", windows, segments, "flow_features", strangers)])
    with pytest.raises(InputError, match="does not exist|is not a finished folder"):
        open_sets(f"{tmp_path / 'a'},{tmp_path / 'nowhere'}")
