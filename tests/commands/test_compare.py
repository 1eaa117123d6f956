"""`egokeras compare`: a table that says what the figures come to, files beside it, mistakes in a sentence."""

import json

import pytest

from egokeras import cli


@pytest.fixture
def runs(tmp_path, make_run, monkeypatch):
    """Two rows of three seeds in `runs`, in and outside of a grid's order."""
    monkeypatch.chdir(tmp_path)
    for seed in range(3):
        make_run(tmp_path / "runs" / "a" / f"seed-{seed}", seed=seed, heads=60.0 + seed, seconds="0,90.0\n")
        make_run(tmp_path / "runs" / "b" / f"seed-{seed}", seed=seed, heads=61.0 + (2 - seed), epochs=3)
    return tmp_path / "runs"


def test_table_json_latex_and_page(runs, capsys):
    assert cli.main(["compare", "runs/a", "runs/b", "--json", "c.json", "--latex", "c.tex", "--page", "c.html"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("3 clips of validation; 95% t-intervals over seeds")
    table = {line.split()[0]: line.split() for line in said if line.startswith("  ")}
    assert said[2].split()[:3] == ["verb_top1", "seeds", "%"]
    first, second = (next(line for line in said if line.startswith(f"  epochs={epochs} ")).split() for epochs in (100, 3))
    assert first[1:] == ["3", "61.00", "58.52", "to", "63.48"]  # sd 1, t(2) = 4.3027
    assert second[1:6] == ["3", "62.00", "59.52", "to", "64.48"] and " ".join(second[6:]) == "+1.00 (-3.97 to +5.97) no difference"
    assert table["majority"][1] == "40.00" and table["chance"][1] == "33.30"
    assert any(line.split() == ["epochs=100", "–", "–", "1.5", "min"] for line in said)
    found = json.loads((runs.parent / "c.json").read_text())
    assert found["rows"][1]["gains"]["verb_top1"]["verdict"] == "none" and found["rows"][0]["seconds"] == 90.0
    assert found["rows"][1]["runs"][2] == {"folder": "runs/b/seed-2", "seed": 2}
    assert "booktabs" in (runs.parent / "c.tex").read_text() and "<!DOCTYPE html>" in (runs.parent / "c.html").read_text()


def test_the_baseline_comes_first(runs, capsys):
    assert cli.main(["compare", "runs", "--baseline", "runs/b"]) == 0
    said = capsys.readouterr().out
    assert said.index("epochs=3 ") < said.index("epochs=100 ") and "-1.00 (-5.97 to +3.97) no difference" in said


def test_control_characters_do_not_reach_the_terminal(runs, make_run, capsys):
    make_run(runs / "c", name="evil\x1b[2J\nname", epochs=7)
    assert cli.main(["compare", "runs/a", "runs/c"]) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said and r"evil\x1b[2J\nname" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent"], "absent holds no run"),
        (["runs/a", "--page", "absent/c.html"], "--page absent/c.html: give a file in a folder that exists"),
        (["runs/a", "--baseline", "runs"], "holds runs of several recipes"),
    ],
)
def test_mistakes_end_in_one_sentence(runs, arguments, message, capsys):
    assert cli.main(["compare", *arguments]) == 1
    said = capsys.readouterr().err
    assert message in said and len(said.strip().splitlines()) == 1
