"""`egokeras features` as typed, with real workers on real videos: exit codes, messages, summary."""

import json

import av
import numpy as np
import pytest

from egokeras import cli
from egokeras.models import AverageHead, FrameModel, SmallBackbone


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory, squares):
    """An untrained network for the clips of `squares`."""
    folder = tmp_path_factory.mktemp("run")
    model = FrameModel(backbone=SmallBackbone(channels=(4,)), head=AverageHead()).build(classes={"verb": 2, "noun": 3}, frames=8, size=24)
    model.save(folder / "model.keras")
    record = {"model": {"is": "FrameModel"}, "data": {"shards": str(squares.path)}, "data_sha256": squares.sha256}
    (folder / "recipe.json").write_text(json.dumps(record))
    return folder


def test_a_folder_with_a_damaged_video(tmp_path, run_dir, capsys):
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    with av.open(str(videos / "kitchen.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=20)
        stream.width = stream.height = 32
        for shade in range(40):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((32, 32, 3), shade * 6, np.uint8), format="rgb24")))
        container.mux(stream.encode())
    (videos / "broken.mp4").write_text("not a video")
    arguments = ["features", str(run_dir), str(videos), str(out), "--step", "0.5", "--workers", "1"]
    assert cli.main([*arguments, "--json"]) == 3
    summary = json.loads(capsys.readouterr().out)
    assert (summary["videos"], summary["rows"], summary["features"], summary["quarantined"]) == (1, 4, 16, 1)
    assert np.load(out / "kitchen.npy").shape == (4, 16) and "broken,cannot be decoded" in (out / "quarantine.csv").read_text()
    assert cli.main(arguments) == 3
    said = capsys.readouterr()
    assert "complete already" in said.err and "4 vectors of 16 numbers" in said.out and "1 videos could not be used" in said.out


def test_what_is_not_there(tmp_path, run_dir, capsys):
    assert cli.main(["features", str(tmp_path / "nowhere"), str(tmp_path), str(tmp_path / "out")]) == 1
    assert cli.main(["features", str(run_dir), str(tmp_path), str(tmp_path / "out")]) == 1
    first, second = capsys.readouterr().err.splitlines()[-2:]
    assert "recipe.json does not exist" in first and "no video in it" in second and not (tmp_path / "out").exists()
