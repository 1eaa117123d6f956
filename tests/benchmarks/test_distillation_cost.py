"""What the methods cost: every one takes a step, and the table holds the ratios."""

import pathlib

import pytest

from egokeras.files import run_file


@pytest.fixture(scope="module")
def module():
    return run_file(pathlib.Path(__file__).parent.parent.parent / "benchmarks" / "distillation_cost.py")


@pytest.mark.slow
def test_it_measures_every_method(module):
    made = module.prepare(width=1, frames=2, size=16, batch=2)
    found, kept = module.measure(made, rounds=2, steps=1), module.kept(made)
    assert len({parameters for parameters, _ in kept.values()}) == 1
    sizes = [size for _, size in kept.values()]
    assert max(sizes) - min(sizes) < 0.01 * max(sizes)  # what is trained beside the student is not kept
    assert len(list(module.table(found, kept))) == 2 + len(found) == 7


def test_ratios_are_of_the_same_turn(module):
    names = ("supervised", "KD", "Self-KD", "SKD-SRL, a call per view")
    found = {name: [(2.0, 3.0 if name.startswith("SKD") else 1.5), (4.0, 1.5)] for name in names}
    lines = list(module.table(found, dict.fromkeys(names, (10, 20))))
    assert lines[2].startswith("| supervised | 3.000 | 1.00 (1.00 to 1.00) | 1.00 (1.00 to 1.00) |  |")
    assert lines[5].startswith("| SKD-SRL, a call per view | 3.000 | 1.00 (1.00 to 1.00) | 1.50 (1.00 to 2.00) | 0.75 |")
