"""The benchmark of PKD and WISE: what it makes of logits, and that it trains."""

import pathlib

import numpy as np
import pytest

from egokeras.files import run_file

COSTS = np.array([1.0, 2.0, 4.0])


@pytest.fixture(scope="module")
def module():
    return run_file(pathlib.Path(__file__).parent.parent.parent / "benchmarks" / "progressive_distillation.py")


def sure(answers, classes=2):
    """Logits (1, clips, classes) that say these, surely."""
    return 20.0 * np.eye(classes)[np.array(answers)][None]


def test_leaving_early_is_judged_on_the_other_groups(module):
    """In one half the first exit is always wrong and sure, in the other right: each half is judged with the other's threshold."""
    labels = np.zeros(8, int)
    groups = np.repeat(["a", "b"], 4)
    answers = np.concatenate([sure([1] * 4 + [0] * 4), sure([1] * 4 + [0] * 4), sure([0] * 8)])
    lost, share = module.early(answers, labels, COSTS, groups)
    assert (lost, share) == (50.0, (1 + 4) / 2 / 4)  # a leaves at once as b's half would, b goes on as a's half must


def test_early_exits_that_are_right_are_taken(module):
    answers = np.concatenate([sure([0, 1] * 4)] * 3)
    assert module.early(answers, np.array([0, 1] * 4), COSTS, np.repeat(["a", "b"], 4)) == (0.0, 0.25)


def test_tables_against_hand_computed_values(module):
    def seed(first, last):
        return {"alone": np.array([first, last]), "equal": np.array([first, 50.0]), "WISE": np.array([first, 60.0]), "early": (0.25, 0.5)}

    judged = {"CE": [seed(10.0, 20.0), seed(12.0, 20.0)], "PKD": [seed(11.0, 20.0), seed(17.0, 20.0)]}
    lines = list(module.exit_table(["residual 1", "residual 4"], judged))
    assert "| residual 1 | 11.0 (-1.7 to 23.7) | 14.0 (-24.1 to 52.1) | +3.0 (-22.4 to +28.4) |" in lines
    assert lines[-1].startswith("| **mean of the internal classifiers** | 11.0 (-1.7 to 23.7) |")  # exit 4 is the network's own
    lines = list(module.wise_table(judged))
    assert lines[2].split(" | ")[2:] == [
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
    said = capsys.readouterr().out
    assert "| residual 1 |" in said and "## noun: majority" in said and "| PKD | last exit |" in said
    assert (tmp_path / "curve_noun.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr(module, "_trained", None)  # nothing is trained again
    module.main()
    assert capsys.readouterr().out == said
