"""Means over seeds or runs, and how sure they are, as cells of a table."""


def bounded(values, form=".1f"):
    """Mean and 95 % t-interval; of one value the value."""
    from egokeras.scores import interval

    mean, low, high = interval(values)
    return f"{mean:{form}} ({low:{form}} to {high:{form}})" if len(values) > 1 else f"{mean:{form}}"
