"""Motion that a file holds, against reference vectors and against motion that was put into it."""

import av
import numpy as np
import pytest

from egokeras.data import compressed_video, motion_vectors, video
from egokeras.data.video import VideoError


def test_vectors_and_types_equal_the_reference(shared_data):
    folder = shared_data / "mv_reference"
    index = video.index(folder / "vid_h264.mp4")
    kinds = (folder / "h264" / "frame_types.txt").read_text().split()
    for coded in compressed_video.read(index, range(20)):
        assert coded.kind == kinds[coded.number]
        expected = np.load(folder / "h264" / "motion_vectors" / f"mvs-{coded.number}.npy")
        found = coded.vectors
        found = np.zeros((0, 10), np.int32) if found is None else np.stack([found[name].astype(np.int32) for name in NAMES], 1)
        np.testing.assert_array_equal(found, expected)
        cells, inter = np.zeros((coded.motion.inter.shape + (2,)), int), np.zeros(coded.motion.inter.shape, bool)
        for source, w, h, _, _, x, y, *motion, scale in expected:
            assert source < 0 and scale == 4
            rows, columns = slice((y - h // 2) // 8, (y + h // 2) // 8), slice((x - w // 2) // 8, (x + w // 2) // 8)
            cells[rows, columns], inter[rows, columns] = motion, True
        np.testing.assert_array_equal(coded.motion.cells, cells)
        np.testing.assert_array_equal(coded.motion.inter, inter)


NAMES = ("source", "w", "h", "src_x", "src_y", "dst_x", "dst_y", "motion_x", "motion_y", "motion_scale")


def encode(path, pictures, **how):
    with av.open(str(path), "w") as container:
        compressed_video.write(container, pictures, 25, **how)
    return video.index(path)


@pytest.mark.parametrize(("codec", "quality"), [("mpeg4", 2), ("libx264", 10)])
def test_known_motion_is_found(codec, quality, panning, tmp_path):
    index = encode(tmp_path / "a.mp4", panning(15), codec=codec, quality=quality)
    assert [list(group) for group in compressed_video.gops(index)] == [list(range(12)), [12, 13, 14]]
    for coded in compressed_video.read(index, range(15)):
        assert coded.kind == ("I" if coded.number % 12 == 0 else "P")
        assert coded.luma.shape == (96, 128) and coded.rgb.shape == (96, 128, 3)
        if coded.kind == "I":
            assert not coded.motion.inter.any()
            continue
        inner = coded.motion.cells[1:-3, 1:-3][coded.motion.inter[1:-3, 1:-3]]
        assert coded.motion.scale == (2 if codec == "mpeg4" else 4)
        assert (inner == [4 * coded.motion.scale, 2 * coded.motion.scale]).all(axis=1).mean() > 0.95


def test_a_trace_goes_back_to_the_whole_picture(panning, tmp_path):
    index = encode(tmp_path / "a.mp4", panning(9))
    whole, *later = compressed_video.read(index, range(9))
    trace = motion_vectors.Trace(96, 128)
    for coded in later:
        trace.step(coded.motion)
    x, y = (np.median(trace.motion[:60, :60, axis]) for axis in (0, 1))
    assert (x, y) == (-32, -16)  # what is seen at p was at p + 8 (4, 2) in the whole picture
    left = motion_vectors.residual(later[-1].rgb, trace.prediction(whole.rgb))
    assert np.abs(left[8:60, 8:60]).mean() < 4 < np.abs(later[-1].rgb.astype(int) - whole.rgb)[8:60, 8:60].mean()


def test_coarse_mpeg4_is_reproduced_by_its_prediction(panning, tmp_path):
    """With a coarse quantizer most blocks have no residual: the prediction is the decoded picture, to the bit."""
    index, before, same, blocks = encode(tmp_path / "a.mp4", panning(24, step=(3, 1)), quality=24), None, 0, 0
    for coded in compressed_video.read(index, range(24)):
        luma = coded.luma.copy()
        if coded.kind == "P":
            prediction = motion_vectors.predicted(before, coded.motion, motion_vectors.rounding_type(before, luma, coded.motion))
            equal = (prediction == luma).reshape(12, 8, 16, 8).all(axis=(1, 3))
            same, blocks = same + (equal & coded.motion.inter).sum(), blocks + coded.motion.inter.sum()
            np.testing.assert_array_equal(prediction + motion_vectors.residual(luma, prediction), luma)
        before = luma
    assert blocks > 2000 and same / blocks >= 0.9


def test_a_whole_picture_may_stand_anywhere(panning, tmp_path):
    """An encoder answers a new scene with a whole picture, also where decoding cannot start: the trace goes back to that one."""
    index = make_scenes(tmp_path / "a.mp4", panning)
    kinds = [frame.kind for frame in compressed_video.read(index, range(20))]
    assert "".join(kinds) == "IPPPPPPPPPIPPPPPPPPP" and index.keys.tolist() == [0]
    found = compressed_video.traced(index, 14)
    assert (found.whole.number, found.before.number, found.coded.number) == (10, 13, 14)
    assert compressed_video.whole_picture(index, 14).number == 10 and compressed_video.whole_picture(index, 9).number == 0
    assert np.median(found.trace.motion[:60, :60], axis=(0, 1)).tolist() == [-16, -8]
    assert np.abs(found.traced_residual[8:60, 8:60]).mean() < 4
    assert np.median(found.motion[:60, :60], axis=(0, 1)).tolist() == [-4, -2]


def make_scenes(path, panning):
    """Two scenes of 10 panning frames; the second begins before the codec may set a key frame."""
    scenes = [*panning(10), *(255 - picture for picture in panning(10))]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"x264-params": "keyint=48:min-keyint=24:bframes=0:threads=1", "qp": "8"})
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuv420p"
        for picture in scenes:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return video.index(path)


def test_why_a_file_tells_no_motion(panning, tmp_path, make_video):
    assert compressed_video.untold(encode(tmp_path / "a.mkv", panning(25)).path) is None
    avi = encode(tmp_path / "a.avi", panning(25))
    assert compressed_video.untold(avi.path) == "a file of the kind avi does not tell where its whole pictures are"
    assert compressed_video.untold(make_video(tmp_path / "v.mkv", codec="libvpx-vp9")) == "vp9 tells no motion"
    assert "B-frames are made from later" in compressed_video.untold(make_video(tmp_path / "b.mp4", options={"bf": "2"}))


def test_a_turned_video_tells_no_motion(shared_data):
    folder = shared_data / "codec_edge" / "decord"
    assert compressed_video.untold(folder / "video_90.mov") == "its pictures are to be turned by 270 degrees"
    assert compressed_video.tells(folder / "video_0.mov")


def test_other_videos_are_encoded_anew(tmp_path, make_video):
    with_b = make_video(tmp_path / "b.mp4", count=30, options={"bf": "2"})
    vp9 = make_video(tmp_path / "v.mkv", codec="libvpx-vp9", count=30)
    for path in (with_b, vp9):
        assert not compressed_video.tells(path)
    with pytest.raises(VideoError, match="made from later ones too; encode the video anew"):
        list(compressed_video.read(video.index(with_b), range(10)))
    for name in ("one.mp4", "two.mp4"):
        compressed_video.encode_anew(with_b, tmp_path / name)
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes() and compressed_video.tells(tmp_path / "one.mp4")
    found, source = video.index(tmp_path / "one.mp4"), video.index(with_b)
    assert len(found.ticks) == 30 and [len(group) for group in compressed_video.gops(found)] == [12, 12, 6]
    for picture, other in zip(video.decode(found, range(30)), video.decode(source, range(30)), strict=True):
        assert np.abs(picture.astype(int) - other).mean() < 3
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    with pytest.raises(VideoError):
        compressed_video.encode_anew(tmp_path / "broken.mp4", tmp_path / "three.mp4")
    assert not list(tmp_path.glob("*three*")) and not list(tmp_path.glob(".*"))
