"""Files are whole or absent, and errors name the file that was asked for."""

import errno
import json
import os
import subprocess
import sys

import pytest

from egokeras import files
from egokeras.errors import InputError
from egokeras.files import claim_folder, finish_folder


def test_errors_name_the_file_and_leave_nothing(tmp_path):
    with pytest.raises(OSError) as absent, files.atomic(tmp_path / "nowhere" / "out.bin"):
        pass
    assert absent.value.filename == str(tmp_path / "nowhere" / "out.bin")
    with pytest.raises(OSError) as full, files.atomic(tmp_path / "out.bin"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert full.value.filename == str(tmp_path / "out.bin") and not list(tmp_path.iterdir())


def test_text_is_utf_8_whatever_the_locale(root, tmp_path):
    script = f"from egokeras.files import write_json; write_json({str(tmp_path / 'x.json')!r}, {{'name': 'r\\u00fcckw\\u00e4rts \\u2713'}})"
    subprocess.run(
        [sys.executable, "-X", "utf8=0", "-c", script], cwd=root, env={**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}, check=True
    )
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == {"name": "rückwärts ✓"}
    assert files.read_json(tmp_path / "x.json") == {"name": "rückwärts ✓"}


CLAIM = "import sys, time; from egokeras.files import claim_folder; print(claim_folder(sys.argv[1]).name, flush=True); time.sleep(30)"


def test_a_folder_left_unfinished_is_taken_over_and_one_in_use_is_not(tmp_path, root):
    owner = subprocess.Popen([sys.executable, "-c", CLAIM, tmp_path / "run"], stdout=subprocess.PIPE, text=True, cwd=root)
    assert owner.stdout.readline().strip() == "run"
    assert claim_folder(tmp_path / "run") == tmp_path / "run-2"
    owner.kill()
    owner.wait()
    assert claim_folder(tmp_path / "run") == tmp_path / "run"
    finish_folder(tmp_path / "run")
    assert claim_folder(tmp_path / "run") == tmp_path / "run-3"  # run-2 is ours and in use
    (tmp_path / "mine").mkdir()
    assert claim_folder(tmp_path / "mine") == tmp_path / "mine-2"  # a folder of somebody else's


def test_a_folder_that_is_finished_between_the_look_and_the_lock_is_left_alone(tmp_path, monkeypatch):
    import fcntl

    folder = claim_folder(tmp_path / "run")
    while files._locks:
        files._locks.pop().close()  # as if its owner had ended
    lock = fcntl.flock

    def finished_first(file, how):
        finish_folder(folder)
        lock(file, how)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", finished_first)
        assert not files._lock(folder / files.UNFINISHED, new=False)
    assert not files._lock(folder / files.UNFINISHED, new=False)
    assert claim_folder(tmp_path / "run") == tmp_path / "run-2"


def test_the_last_unfinished_folder_is_reclaimed_else_the_newest(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_locks", [])
    assert files.reclaim_folder(tmp_path / "run") is None
    for number, name in enumerate(("run-2", "run", "run-7", "run-x")):  # numbers may be missing, and others' folders be there
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (number, number))
    assert files.reclaim_folder(tmp_path / "run", lambda folder: folder.name != "run-7") == (tmp_path / "run", True)
    (tmp_path / "run-2" / files.UNFINISHED).touch()
    os.utime(tmp_path / "run-2" / files.UNFINISHED, (1, 1))
    with pytest.raises(InputError, match="run: in use by another process"):  # by this one, of above
        files.reclaim_folder(tmp_path / "run", lambda folder: folder.name == "run")
    assert files.reclaim_folder(tmp_path / "run") == (tmp_path / "run-2", False)
    with pytest.raises(InputError, match="in use by another process; wait for it, or end it"):
        files.reclaim_folder(tmp_path / "run")


def test_a_folder_of_a_given_name_is_taken_or_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_locks", [])
    folder = tmp_path / "grid" / "seed-0"
    assert files.take_folder(folder) is False and (folder / files.UNFINISHED).exists()
    with pytest.raises(InputError, match="seed-0: in use by another process"):
        files.take_folder(folder)
    files._locks.pop().close()  # as if its owner had ended
    (folder / ".a.json.abcdefgh").touch()
    assert files.take_folder(folder) is False and not (folder / ".a.json.abcdefgh").exists()
    finish_folder(folder)
    assert files.take_folder(folder) is True and (folder / files.UNFINISHED).exists()
    assert [path.name for path in folder.parent.iterdir()] == ["seed-0"]


def test_what_a_killed_process_left_is_swept_away(tmp_path):
    folder = claim_folder(tmp_path / "run")
    while files._locks:
        files._locks.pop().close()
    with pytest.raises(KeyboardInterrupt), files.atomic(folder / "a.json"):
        kept = next(folder.glob(".a.json.*")).name
        raise KeyboardInterrupt
    (folder / kept).touch()
    (folder / ".hidden").touch()
    assert claim_folder(tmp_path / "run") == folder
    assert not (folder / kept).exists() and (folder / ".hidden").exists()


def test_without_locks_on_the_disk_every_run_gets_a_folder_and_may_be_resumed(tmp_path, monkeypatch):
    import fcntl

    def none(file, how):
        raise OSError(38, "no locks")

    monkeypatch.setattr(fcntl, "flock", none)
    assert [claim_folder(tmp_path / "run").name for _ in range(2)] == ["run", "run-2"]
    assert files.reclaim_folder(tmp_path / "run") is not None
    with files.locked(tmp_path / ".lock", "waiting"):
        pass
