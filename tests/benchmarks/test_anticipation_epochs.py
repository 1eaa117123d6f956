"""How the benchmarks of anticipation choose a number of epochs, by hand."""

import pytest

from anticipation.epochs import best_epoch


def test_one_lucky_epoch_is_no_choice():
    """By hand: the means of five are 19, 21, 24, 24, 27 and 26, around epochs 3 to 8."""
    assert best_epoch([0, 10, 60, 10, 15, 10, 25, 60, 25, 10], 5) == (7, pytest.approx(27))
    assert best_epoch([5.0], 5) == (1, 5.0) and best_epoch([5.0, 7.0], 5) == (2, 7.0)


def test_a_width_of_one_takes_the_best_epoch_as_it_is():
    curve = [37.1, 37.3 + 1e-13, 36.0, 37.3]
    assert best_epoch(curve, 1) == (2, curve[1])  # not one bit of the score is lost
    assert best_epoch([1.0, 3.0, 3.0, 2.0], 1) == (2, 3.0)  # of equal ones the first
    assert best_epoch([1.0, 2.0, 3.0], 1) == (3, 3.0)  # and the last is no worse a choice
