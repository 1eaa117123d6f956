"""One module per command: `add_arguments(parser)`, `run(args)` and an `EXAMPLE`."""

import argparse
import re


def picture_size(text):
    """`640x480` of a command line as (height, width)."""
    if not re.fullmatch(r"[1-9]\d{0,3}x[1-9]\d{0,3}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a width and a height such as 640x480")
    width, height = map(int, text.split("x"))
    return height, width
