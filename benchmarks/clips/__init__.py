"""Clips that benchmarks learn from: a rendered kitchen of its own size, or a folder of real ones."""


def rendered(out, *, participants, held_out, tiny=False):
    """(annotations, folder of the videos) of the rendered kitchen.

    Args:
        out: folder that it is rendered into.
        participants: that are learned from.
        held_out: that judge.
        tiny: one short video of each.
    """
    from egokeras.data import readers
    from egokeras.data.synthetic import World

    short = {"videos_per_participant": 1, "seconds": (12.0, 12.0)} if tiny else {}
    folder = World(participants=participants + held_out, held_out=held_out, **short).render(out / "world")
    return readers.read("epic100", [folder]), folder / "videos"


def listed(folder):
    """(annotations, folder of the videos) of a folder with `clips.csv`."""
    from egokeras.data import readers

    return readers.read("table", [folder / "clips.csv"]), folder
