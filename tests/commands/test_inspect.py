"""`egokeras inspect` as typed: what is printed, the sheet, sentences for what is no video; and without TensorFlow."""

import json
import os
import subprocess
import sys

import cv2
import pytest

from egokeras import cli
from egokeras.commands.inspect import lines

WITHOUT_TENSORFLOW = """
import sys
sys.modules.update(dict.fromkeys(["tensorflow", "keras"]))
from egokeras import cli
sys.exit(cli.main(["inspect", *sys.argv[1:]]))
"""


def test_the_file_in_words_and_its_sheet(pan, tmp_path, root):
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, str(pan)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(root)})
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[0] == f"{pan}:" and said[-1] == "pan_sheet.png: 5 frames"
    assert "mpeg4 (Simple Profile) in mov, 128x96, 25 frames a second, 30 frames, 1.20 s" in said[1]
    assert "30 frames decoded: 3 I (10 %), 27 P (90 %); groups of 12 pictures" in said[2]
    assert "it tells its motion vectors" in said[3] and "takes motion and residuals from it" in said[4]
    assert [file.name for file in tmp_path.iterdir()] == ["pan_sheet.png"]
    assert cv2.imread(str(tmp_path / "pan_sheet.png")).shape[1] > 5 * 320


def test_json(pan, tmp_path, capsys):
    out = tmp_path / "sheet.png"
    assert cli.main(["inspect", str(pan), "--json", "--at", "0.2", "--seconds", "0", "0.6", "--out", str(out)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sheet"] == str(out) and out.stat().st_size > 10_000
    assert found["shown"] == [{"seconds": 0.2, "frame": 5, "type": "P", "whole": 0}] and found["gops"] == [12]
    assert found["types"] == {"I": 2, "P": 14} and found["stretch"] == [0, 0.6] and not found["untold"] and not found["broken"]


SUMMARY = {
    "container": "avi", "codec": "h264", "profile": "", "width": 64, "height": 48, "turned": 90, "fps": 25, "steps": [0.02, 0.06],
    "frames": 100, "seconds": 4.0, "stretch": [1.0, 2.0], "types": {"I": 1, "B": 4, "broken": 5}, "gops": [],
    "broken": [[1.2, 1.3], [1.5, 1.5], [1.6, 1.6], [1.8, 1.8]], "untold": "its B-frames are made from later frames too",
}  # fmt: skip


def test_what_is_wrong_is_said():
    said = list(lines(SUMMARY))
    assert said[0] == "h264 in avi, 64x48, turned by 90 degrees, 25 frames a second, 20 to 60 ms apart, 100 frames, 4.00 s"
    assert said[1] == "10 frames decoded, from 1.00 to 2.00 s: 1 I (10 %), 4 B (40 %), 5 broken (50 %); one group of pictures"
    assert said[2] == "its motion vectors cannot be used: its B-frames are made from later frames too"
    assert "--modality compressed has to encode it anew, as MPEG-4 with a whole picture in every 12 frames" in said[3]
    assert said[4].startswith("damaged: 5 frames cannot be had (1.2 to 1.3 s, 1.5 to 1.5 s, 1.6 to 1.6 s ...): clips that need them go to")
    assert said[4].endswith("with --modality compressed all of its clips")
    assert list(lines({**SUMMARY, "types": {"P": 10}, "broken": []}))[1].endswith("no whole picture")
    assert "groups of 3 to 12 pictures" in list(lines({**SUMMARY, "gops": [12, 3]}))[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "sheet.jpg"], "--out sheet.jpg: the name must end in .png"),
        (["--out", "/nowhere/at/all.png"], "the folder /nowhere/at does not exist; make it first"),
        (["--frames", "0"], "0 frames are asked for"),
        (["--seconds", "2", "1"], "give two times, the earlier one first"),
        ([], "cannot be decoded"),
    ],
)
def test_wrong_usage_is_one_sentence(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.mp4").write_text("hello")
    assert cli.main(["inspect", "text.mp4", *arguments]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and message in said and said.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["text.mp4"]


def test_matplotlib_is_missed_before_the_work(pan, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert cli.main(["inspect", str(pan)]) == 1
    assert "pip install egokeras[report]" in capsys.readouterr().err
