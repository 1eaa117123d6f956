"""The short form of the torture, and that it would see a difference."""

import os
import pathlib
import shutil

import pytest

from egokeras.files import run_file

SCRIPT = pathlib.Path(__file__).parents[2] / "benchmarks" / "kill_prepare.py"
pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills processes")


@pytest.fixture(scope="module")
def script():
    return run_file(SCRIPT)


def test_three_kills_leave_no_trace(tmp_path, script, capsys):
    assert script.torture(tmp_path, kills=3, videos=2, seed=1, encoding="jpeg")
    said = capsys.readouterr().out
    assert all(way in said for way in script.WAYS) and "3 kills" in said and "bit-identical" in said


def test_a_difference_is_seen(tmp_path, script, monkeypatch, capsys):
    """A `prepare` whose second and later results have a file with one byte changed."""
    original = tmp_path / "original"
    original.mkdir()
    (original / "shard-00000.npy").write_bytes(bytes(100))

    def finished(folder, out, encoding):
        shutil.copytree(original, out, dirs_exist_ok=True)
        (original / "shard-00000.npy").write_bytes(bytes(99) + b"\1")

    monkeypatch.setattr(script, "finish", finished)
    monkeypatch.setattr(script, "write_videos", lambda *_: None)
    assert not script.torture(tmp_path, kills=0, videos=1, seed=0, encoding="raw")
    assert "DIFFERENT" in capsys.readouterr().out
    assert script.digests(original) == script.digests(tmp_path / "killed-0") != script.digests(tmp_path / "undisturbed")
