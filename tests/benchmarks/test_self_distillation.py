"""The benchmark of the methods without a bigger teacher: it trains every row, goes on where it stopped, and counts work right."""

import json
import pathlib

import pytest

from egokeras.files import run_file


@pytest.fixture(scope="module")
def module():
    return run_file(pathlib.Path(__file__).parent.parent.parent / "benchmarks" / "self_distillation.py")


def test_work_of_a_step(module):
    macs = {"student": 100.0, "teacher": 240.0}
    assert module.budgets("skd_srl", macs, 60) == (60, 60)
    assert module.budgets("r3d_augmented", macs, 60) == (60, 120)
    assert module.budgets("self_kd", macs, 60) == (60, 90)  # forward and backward are three, the teacher's forward is one
    assert module.budgets("kd_r50_r18", macs, 60) == (60, round(120 / 1.8))


def test_table_against_hand_computed_values(module):
    def run(first, second):
        score = {"chance": {"verb": 10.0}, "majority": {"verb": 20.0}, "clips": [5, 6], "parameters": 1000}
        scores = [{"epochs": epochs, "top1": {"verb": top1}, **score} for epochs, top1 in ((3, first), (6, second))]
        return {"scores": scores, "seconds_per_epoch": 2.0}

    rows = {"r3d_baseline": [run(50.0, 60.0), run(52.0, 60.0)], "r3d_augmented": [run(51.0, 60.0), run(57.0, 70.0)]}
    lines = list(module.table({"rows": rows}, 0, "verb"))
    assert "| r3d_augmented | 3 | 54.0 (15.9 to 92.1) | +3.0 (-22.4 to +28.4) |  | 2.0 |" in lines
    assert "| r3d_augmented | 6 | 65.0 (1.5 to 128.5) | +5.0 (-58.5 to +68.5) |  | 2.0 |" in list(module.table({"rows": rows}, 1, "verb"))
    assert "| majority | | 20.0 | | | |" in lines


@pytest.mark.slow
def test_it_runs_and_goes_on(module, tmp_path, monkeypatch, capsys):
    command = ["self_distillation", "--tiny", "--seeds", "1", "--workers", "0", "--out", str(tmp_path)]
    for rows in (["r3d_augmented"], ["kd_r50_r18", "skd_srl"]):
        monkeypatch.setattr("sys.argv", [*command, "--rows", *rows])
        module.main()
    said = capsys.readouterr().out
    assert "| skd_srl | 1 |" in said and "## noun, after the same work" in said
    result = json.loads((tmp_path / "result.json").read_text())
    epochs = [score["epochs"] for score in result["rows"]["kd_r50_r18"][0]["scores"]]
    assert epochs == list(dict.fromkeys(module.budgets("kd_r50_r18", result["macs"], 1)))
    monkeypatch.setattr(module, "_go_on", None)  # nothing is trained again
    monkeypatch.setattr("sys.argv", [*command, "--rows", "r3d_augmented"])
    module.main()
