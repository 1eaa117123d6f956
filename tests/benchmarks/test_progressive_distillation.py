"""The benchmark of PKD and WISE: what it makes of logits, and that it trains."""

import pathlib

import pytest

from egokeras.files import run_file


@pytest.fixture(scope="module")
def module():
    return run_file(pathlib.Path(__file__).parent.parent.parent / "benchmarks" / "progressive_distillation.py")


def test_tables_against_hand_computed_values(module):
    def seed(first, last):
        accuracy = {"alone": [first, last], "equal": [first, 50.0], "WISE": [first, 60.0]}
        return {"accuracy": accuracy, "leaving": {"accuracy": 59.75, "cost": 2.0}}

    judged = {"CE": [seed(10.0, 20.0), seed(12.0, 20.0)], "PKD": [seed(11.0, 20.0), seed(17.0, 20.0)]}
    lines = list(module.exit_table(["residual 1", "residual 4"], judged))
    assert "| residual 1 | 11.0 (-1.7 to 23.7) | 14.0 (-24.1 to 52.1) | +3.0 (-22.4 to +28.4) |" in lines
    assert lines[-1].startswith("| **mean of the internal classifiers** | 11.0 (-1.7 to 23.7) |")  # exit 4 is the network's own
    lines = list(module.wise_table({("CE", "held-out"): judged["CE"]}, [1.0, 4.0]))
    assert lines[2].split(" | ") == [
        "| CE",
        "held-out",
        "last exit",
        "20.0 (20.0 to 20.0)",
        "50.0 (50.0 to 50.0)",
        "60.0 (60.0 to 60.0)",
        "+40.0 (+40.0 to +40.0)",
        "+10.0 (+10.0 to +10.0)",
        "0.25 (0.25 to 0.25)",
        "0.50 (0.50 to 0.50) |",
    ]


@pytest.mark.slow
def test_it_trains_and_goes_on(module, tmp_path, monkeypatch, capsys):
    command = ["progressive_distillation", "--tiny", "--seeds", "1", "--workers", "0", "--out", str(tmp_path), "--methods"]
    monkeypatch.setattr("sys.argv", [*command, "PKD"])
    module.main()
    said = (tmp_path / "table.md").read_text()
    assert said in capsys.readouterr().out
    assert "| residual 1 |" in said and "## noun: " in said and "| PKD | held-out | last exit |" in said and said.endswith(" of it.\n")
    assert (tmp_path / "curve_noun.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr(module, "train_exits", None)  # nothing is trained again
    monkeypatch.setattr(module, "opened", None)  # or timed
    module.main()
    assert (tmp_path / "table.md").read_text() == said
