"""The benchmark of quantization-aware training: its table against values by hand, and it runs and goes on."""

import pathlib

import pytest

from egokeras.files import run_file


@pytest.fixture(scope="module")
def module():
    return run_file(pathlib.Path(__file__).parent.parent.parent / "benchmarks" / "quantization_aware.py")


def test_table_against_hand_computed_values(module):
    def run(after, aware, lost):
        def figures(agreement, lost):
            return {"verb": {"keras_top1": 80.0, "lost": lost, "agreement": agreement}}

        return {"int8": figures(after, lost), "int8_qat": figures(aware, (1 + lost) / 2)}

    result = {"seeds": [5, 6], "networks": {"small": [run(90.0, 95.0, 1.0), run(92.0, 95.0, 3.0)]}}
    lines = list(module.text(result))
    assert "## small, verb, Keras top-1 80.0 (80.0 to 80.0) %; seeds 5 to 6" in lines
    assert "| int8 | 2.00 (-10.71 to 14.71) | 91.00 (78.29 to 103.71) |  |  |" in lines
    assert "| int8_qat | 1.50 (-4.85 to 7.85) | 95.00 (95.00 to 95.00) | -0.50 (-6.85 to +5.85) | +4.00 (-8.71 to +16.71) |" in lines


@pytest.mark.slow
def test_it_runs_and_goes_on(module, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "sys.argv", ["x", "--tiny", "--first-seed", "3", "--seeds", "1", "--workers", "0", "--networks", "small", "--out", str(tmp_path)]
    )
    module.main()
    assert "| int8_qat | " in capsys.readouterr().out
    monkeypatch.setattr(module, "measure_one", None)  # nothing is trained again
    module.main()
    assert "; seed 3\n" in (tmp_path / "table.md").read_text()
