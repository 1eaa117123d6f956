"""Clips that benchmarks learn from: a rendered kitchen of its own size, or a folder of real ones."""

import pathlib


def add_arguments(parser):
    """Options that say which clips, for `chosen`."""
    help_of = "real clips with clips.csv in the place of the rendered world"
    parser.add_argument("--fights", type=pathlib.Path, metavar="FOLDER", help=help_of)


def chosen(args, sizes):
    """(annotations, folder of the videos) of the real clips, or of the kitchen, which is rendered into `args.out`.

    Args:
        args: parsed; `tiny` is one short video of each participant.
        sizes: with `participants` that are learned from, and those `held_out` that judge.
    """
    from egokeras.data import readers
    from egokeras.data.synthetic import World

    if args.fights:
        return readers.read("table", [args.fights / "clips.csv"]), args.fights
    short = {"videos_per_participant": 1, "seconds": (12.0, 12.0)} if args.tiny else {}
    world = World(participants=sizes.participants + sizes.held_out, held_out=sizes.held_out, **short)
    folder = world.render(args.out / "world")
    return readers.read("epic100", [folder]), folder / "videos"
