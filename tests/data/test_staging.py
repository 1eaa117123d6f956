"""What a worker does with one video; `test_prepare` covers the rest on the way."""

from egokeras.data import staging, video
from egokeras.data.staging import Item, Preparation


def test_a_file_that_is_no_video_is_looked_at_once(tmp_path, monkeypatch):
    (tmp_path / "broken.mp4").write_text("not a video")
    looks, look = [], video.index
    monkeypatch.setattr(video, "index", lambda path: looks.append(path) or look(path))
    items = [Item(uid=str(number), start=number, stop=number + 1) for number in range(16)]
    reasons = staging.stage(str(tmp_path / "broken.mp4"), items, Preparation(frames=2, size=8), str(tmp_path / "unit"))
    assert len(looks) == 1 and len(reasons) == 16 and all("cannot be decoded" in reason for reason in reasons)
