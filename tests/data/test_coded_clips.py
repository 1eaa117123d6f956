"""Clips of what compressed video holds: the three modalities show the same frames, and what they say is what was coded."""

import av
import numpy as np
import pytest

from egokeras import cli
from egokeras.data import compressed_video, motion_vectors, video
from egokeras.data.coded_clips import MODALITIES, Coded
from egokeras.data.joined import open_sets
from egokeras.errors import InputError

SIZE = (96, 128)


@pytest.fixture(scope="module")
def pan(panning, tmp_path_factory):
    """A view that moves 4 pixels to the right and 2 down in every frame, 25 frames, as MPEG-4."""
    path = tmp_path_factory.mktemp("pan") / "pan.mp4"
    with av.open(str(path), "w") as container:
        compressed_video.write(container, panning(25), 25, quality=2)
    return video.index(path)


def shown(index, modality, numbers, size=SIZE, **how):
    return [picture.astype(int) for picture in Coded(modality=modality, **how).along(index, numbers, size, "squash")]


def test_whole_pictures_are_those_that_frames_go_back_to(pan):
    pictures = list(video.decode(pan, range(25)))
    for number, picture in zip((3, 11, 13, 20), shown(pan, "iframe", (3, 11, 13, 20)), strict=True):
        assert np.abs(picture - pictures[number // 12 * 12]).max() <= 2


def test_motion_is_what_was_put_in(pan):
    inner = np.s_[16:72, 16:72]
    for number, picture in zip((3, 5, 14), shown(pan, "motion_vector", (3, 5, 14)), strict=True):
        steps = number % 12
        expected = 128 + np.trunc(127.5 / 20 * np.maximum(np.array([-4, -2]) * steps, -20))
        assert np.abs(np.median(picture[inner], axis=(0, 1)) - expected).max() <= 1
    half = shown(pan, "motion_vector", (3,), size=(48, 64))[0]
    assert np.abs(np.median(half[8:36, 8:36], axis=(0, 1)) - (128 + np.array([-38, -19]))).max() <= 1  # pixels of the stored picture
    one = shown(pan, "motion_vector", (5,), traced=False)[0]
    assert np.abs(np.median(one[inner], axis=(0, 1)) - (128 + np.array([-25, -12]))).max() <= 1


@pytest.mark.parametrize("traced", [True, False])
def test_residuals_are_what_motion_leaves_over(pan, traced):
    pictures, motions = list(video.decode(pan, range(25))), {}
    for coded in compressed_video.read(pan, range(12)):
        motions[coded.number] = coded.motion
    (found,) = shown(pan, "residual", (4,), traced=traced)
    if traced:
        trace = motion_vectors.Trace(*SIZE)
        for number in range(1, 5):
            trace.step(motions[number])
        prediction = trace.prediction(pictures[0])
    else:
        prediction = motion_vectors.predicted(pictures[3], motions[4])
    np.testing.assert_allclose(found, np.clip(128 + pictures[4].astype(int) - prediction, 0, 255), atol=3)  # two ways to make RGB


def test_a_whole_picture_is_replaced_by_the_frame_before(pan):
    for modality in MODALITIES:
        before, itself, start, first = (
            shown(pan, modality, (11,)) + shown(pan, modality, (12,)) + shown(pan, modality, (0,)) + shown(pan, modality, (1,))
        )
        np.testing.assert_array_equal(before, itself)
        np.testing.assert_array_equal(start, first)


def test_the_command_makes_three_sets_of_the_same_clips(pan, tmp_path, make_video, capsys):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_bytes(pan.path.read_bytes())
    make_video(tmp_path / "videos" / "b.mkv", codec="libvpx-vp9", count=30)
    rows = "a.mp4,push,0,1,train\na.mp4,pull,0.2,0.8,train\nb.mkv,push,0,1,validation\n"
    (tmp_path / "clips.csv").write_text("file,label,start,stop,split\n" + rows)
    command = ["prepare", "table", str(tmp_path / "clips.csv"), str(tmp_path / "videos"), str(tmp_path / "out"), "--modality", "compressed"]
    assert cli.main([*command, "--frames", "3", "--size", "32", "--windows", "0", "--workers", "1"]) == 0
    said = capsys.readouterr()
    assert "1 videos tell no motion as they are" in said.err and not (tmp_path / "out" / ".copies").exists()
    shards = open_sets(",".join(str(tmp_path / "out" / name) for name in MODALITIES))
    assert shards.modalities == {"iframe": (3, 32, 32, 3), "residual": (3, 32, 32, 3), "motion_vector": (3, 32, 32, 2)}
    clips = shards.inputs(np.arange(3))
    assert all(clip.dtype == np.uint8 and len(clip) == 3 for clip in clips.values())
    assert np.abs(clips["motion_vector"][0].astype(int) - 128).mean() > 5  # it moves
    whole = next(Coded(modality="iframe").along(pan, (4,), (32, 32), "squash"))
    np.testing.assert_array_equal(clips["iframe"][0][0], whole)


def test_a_file_that_does_not_tell_its_whole_pictures_gives_the_same(pan, tmp_path):
    """The same frames in an AVI: what is prepared of it is what is prepared of the other."""
    avi = tmp_path / "pan.avi"
    with av.open(str(avi), "w") as container:
        compressed_video.write(container, video.decode(pan, range(25)), 25, quality=1)
    for modality in MODALITIES:
        coded = Coded(modality=modality, copies=str(tmp_path / "copies"))
        found = list(coded.along(video.index(coded.readable(avi)), (3, 14, 20), SIZE, "squash"))
        expected = shown(pan, modality, (3, 14, 20))
        assert all(np.abs(one - other).mean() < 8 for one, other in zip(found, expected, strict=True)), modality  # colours fade


def test_what_does_not_fit(pan):
    with pytest.raises(InputError, match="modality 'sound' is unknown"):
        Coded(modality="sound")
