"""The benchmark of training for the stream: who learns, chooses and judges, what its table says, and that it trains."""

import pathlib

import pytest

from egokeras.files import run_file


@pytest.fixture(scope="module")
def module():
    return run_file(pathlib.Path(__file__).parent.parent.parent / "benchmarks" / "continuous.py")


def test_table_against_hand_computed_values(module):
    def seed(f1, alarms, delay):
        model = {"f1": {"10": f1 + 10, "25": f1, "50": 0.0}, "precision": {"10": 50.0}, "recall": {"10": 25.0}}
        model |= {"false_alarms": alarms, "idle_alarms": 0.5, "delay": delay, "time": 70.0}
        nothing = {**model, "f1": dict.fromkeys(model["f1"], 0.0), "delay": None}
        return {"heads": {"verb": {"model": model, "background": nothing, "majority": {**nothing, "false_alarms": 9.0}}}}

    results = {"trimmed": [seed(10.0, 4.0, 1.0), seed(12.0, 6.0, None)], "stream": [seed(20.0, 2.0, 0.5), seed(26.0, 2.0, 0.5)]}
    lines = list(module.table(results, "verb"))
    cells = {line.split(" | ")[0].strip("| "): line.split(" | ")[1:] for line in lines[2:6]}
    assert list(cells) == ["trimmed", "stream", "always background", "always majority"]
    assert cells["trimmed"][:2] == ["21.0 (8.3 to 33.7)", "11.0 (-1.7 to 23.7)"]
    assert cells["trimmed"][5] == "5.00 (-7.71 to 17.71)" and cells["trimmed"][7] == "1.00"  # one of both seeds has found something
    assert cells["always background"][7] == "-" and cells["always majority"][5] == "9.00"
    assert lines[-1] == "\nstream - trimmed, paired by seed: F1@25 +12.0 (-13.4 to +37.4), false alarms/min -3.00 (-15.71 to +9.71)"


@pytest.mark.slow
def test_it_trains_and_goes_on(module, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["continuous", "--tiny", "--seeds", "1", "--workers", "0", "--out", str(tmp_path)])
    module.main()
    said = (tmp_path / "table.md").read_text()
    assert said in capsys.readouterr().out and said.startswith("1 seeds; ")
    assert all(f"\n| {name} | " in said for name in ("trimmed", "windows", "stream", "always background", "always majority"))
    learned, chosen, judged = module.annotated(tmp_path / "world", module.TINY)
    people = [{segment.group for segment in part.segments} for part in (learned, chosen, judged)]
    assert people == [{"P01"}, {"P02"}, {"P03"}]
    monkeypatch.setattr(module, "train_and_watch", None)  # nothing is trained again
    module.main()
    assert (tmp_path / "table.md").read_text() == said
