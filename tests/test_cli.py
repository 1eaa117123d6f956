"""The command line as a whole: exit codes and sentences for what no command foresees."""

import importlib
import json
import os
import subprocess
import sys

import pytest

from egokeras import cli


def test_errors_of_the_system_are_sentences_without_traceback(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert cli.main(["verify", str(tmp_path / "nowhere")]) == 1
    assert cli.main(["benchmark", str(tmp_path / "file"), "--json", str(tmp_path / "file" / "out.json")]) == 1
    for line in capsys.readouterr().err.splitlines():
        assert line.startswith("error: ") and "Error" not in line


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            NotADirectoryError(20, "Not a directory", "clips/o"),
            "clips/o: Not a directory; check the path, the rights and the room on the disk.",
        ),
        (ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib"), "pip install 'egokeras[report]'"),
        (OSError(28, "No space left on device"), "No space left on device, so a file could not be written; free some space"),
        (OSError("no camera"), "OSError: no camera (--debug shows where)"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero (--debug shows where)"),
    ],
)
def test_what_an_unforeseen_error_says(error, sentence):
    assert sentence in cli._sentence(error)


def test_changes_may_stand_behind_options(capsys):
    assert cli.main(["describe", "demo", "--json", "model.head=LSTMHead", "model.head.units=7"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["outputs"]["features"] == [7]
    assert cli.main(["describe", "demo", "--json", "nonsense"]) == 1
    assert "'nonsense' is not key=value" in capsys.readouterr().err
    for wrong in (["list", "a=b"], ["describe", "demo", "--jsn=3"]):
        with pytest.raises(SystemExit) as left:
            cli.main(wrong)
        assert left.value.code == 2 and f"unrecognized arguments: {wrong[-1]}" in capsys.readouterr().err


def test_describe_says_what_pruning_would_leave(capsys):
    changes = ["pruning.pattern=2:4", "pruning.dense=verb"]
    assert cli.main(["describe", "demo_pruned", "--json", *changes]) == 0
    found = json.loads(capsys.readouterr().out)[1]["pruning"]
    convolutions, head = (12 * 24 + 24 * 48 + 48 * 64) * 9, 3 * 256 * 48 + 3 * 3 * 48 * 48 + 2 * 48 * 96  # colours do not divide by 4
    assert found == {"kernels": 9, "weights": convolutions + head + 96 * 12, "zeros": (convolutions + head + 96 * 12) // 2}
    assert cli.main(["describe", "demo_pruned", *changes]) == 0
    assert f"{found['zeros']:,} of " in capsys.readouterr().out


@pytest.mark.parametrize(("command", "said"), [("list", "interrupted"), ("prepare", "interrupted; run the same command again to go on")])
def test_interruption(command, said, monkeypatch, capsys):
    def interrupt(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib.import_module(f"egokeras.commands.{command}"), "run", interrupt)
    assert cli.main([command, *(["table", "a.csv", "videos", "out"] if command == "prepare" else [])]) == 130
    assert capsys.readouterr().err.strip() == said


def test_names_that_the_terminal_cannot_show(root):
    script = "from egokeras import cli; cli._run = lambda args: print('r\\u00fcckw\\u00e4rts'); cli.main(['list'])"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], cwd=root, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "r\\xfcckw\\xe4rts\n")


def test_wrong_usage_is_2(capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(["nonsense"])
    assert left.value.code == 2 and "invalid choice: 'nonsense'" in capsys.readouterr().err
