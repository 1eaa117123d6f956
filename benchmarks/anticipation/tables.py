"""Cells of Markdown tables over the anticipation times."""

from egokeras.protocol import ANTICIPATION


def columns():
    """The anticipation times as headings."""
    return " | ".join(f"{time:g} s" for time in ANTICIPATION)


def numbers(values, form=".2f"):
    """Cells of a row."""
    return " | ".join(f"{value:{form}}" for value in values)


def bounded(mean, low, high, form=".2f", between=" to "):
    """A mean and its bounds as one cell."""
    return f"{mean:{form}} ({low:{form}}{between}{high:{form}})"
