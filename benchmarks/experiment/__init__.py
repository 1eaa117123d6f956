"""What benchmarks share that train several times from scratch: their command line, and how they end."""

import argparse
import pathlib


def parser(about, name, seeds):
    """The options that all of them have.

    Args:
        about: the script's docstring.
        name: of the script, and of its folder.
        seeds: trainings of everything, unless the user wants another number.
    """
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--out", type=pathlib.Path, default=pathlib.Path("build", name), metavar="FOLDER", help="(%(default)s)")
    made.add_argument("--seeds", type=positive, default=seeds, help="trainings of everything (%(default)s)")
    made.add_argument("--workers", type=int, default=2, metavar="N", help="trainings at once, a thread each; 0: here (%(default)s)")
    made.add_argument("--tiny", action="store_true", help="next to no training: shows that the script works")
    return made


def positive(text):
    """A whole number of at least 1, as the type of an option."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"is {text}; give at least 1.")
    return int(text)


def begin(made):
    """The parsed options; TensorFlow is on the CPU from here on, and the folder is there."""
    args = made.parse_args()

    from egokeras import accelerator

    accelerator.start(cpu=True)
    args.out.mkdir(parents=True, exist_ok=True)
    return args


def end(file, lines):
    """Print lines, and keep them in a file."""
    text = "\n".join(lines)
    file.write_text(text + "\n", encoding="utf-8")
    print(text, flush=True)
