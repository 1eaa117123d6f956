"""The command line: one line per command, nothing imported before it is needed."""

import argparse
import functools
import importlib
import os
import sys

from egokeras import __version__, accelerator
from egokeras.errors import InputError

COMMANDS = {
    "prepare": "turn annotated videos into shards of clips",
    "train": "train a recipe; without one, run the demo; with --videos, the whole road on your own clips",
    "evaluate": "score a run beside chance and majority",
    "export": "turn a run into a gated TFLite artifact",
    "predict": "label a video file or a camera with an artifact",
    "benchmark": "measure latency, memory and size of artifacts on this machine",
    "report": "write one HTML page about a run",
    "visualize": "picture what a layer of the backbone responds to",
    "verify": "check every checksum and count of shards, a run or an artifact",
    "list": "list recipes and exports",
    "describe": "inputs, outputs, parameters, MACs and memory of a recipe",
    "doctor": "versions, devices, and what is missing",
}

INTERRUPTED = 130
_Formatter = functools.partial(argparse.RawDescriptionHelpFormatter, max_help_position=24)


def main(argv=None):
    """Run `egokeras COMMAND ...`; return the exit code: 0 done, 1 failed, 2 wrong usage, 3 done with quarantined items."""
    argv = sys.argv[1:] if argv is None else argv
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's greetings; its errors arrive as exceptions
    parser = argparse.ArgumentParser(
        prog="egokeras",
        description="Train small first-person video models and put them on the device.",
        epilog="example: egokeras train --videos my_clips\nhelp on one command: egokeras train --help",
        formatter_class=_Formatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, purpose in COMMANDS.items():
        command = commands.add_parser(name, help=purpose, description=purpose[0].upper() + purpose[1:] + ".", formatter_class=_Formatter)
        if name in argv[:1]:
            module = importlib.import_module(f"egokeras.commands.{name}")
            command.epilog = f"example: {module.EXAMPLE}"
            command.add_argument("--debug", action="store_true", help="show the traceback of an error")
            module.add_arguments(command)
            command.set_defaults(run=module.run, tensorflow=getattr(module, "TENSORFLOW", False))
    return _run(parser.parse_args(argv))


def train(argv=None):
    """Run `egokeras-train ...`, which is `egokeras train ...`."""
    return main(["train", *(sys.argv[1:] if argv is None else argv)])


def _run(args):
    try:
        if args.tensorflow:
            accelerator.start(cpu=getattr(args, "cpu", True))
        return args.run(args) or 0
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output left, as `head` does: nothing to report
        return 1
    except Exception as error:
        if args.debug:
            raise
        kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        hint = "" if isinstance(error, InputError) else " (--debug shows where)"
        print(f"error: {kind}{error}{hint}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
