"""The command line: one line per command, nothing imported before it is needed."""

import argparse
import errno
import functools
import importlib
import io
import os
import sys

from egokeras import __version__, accelerator
from egokeras.errors import InputError, plain

COMMANDS = {
    "prepare": "turn annotated videos into shards of clips",
    "observe": "turn annotations, and features if there are any, into a set for anticipation",
    "train": "train a recipe; without one, run the demo; with --videos, the whole road on your own clips",
    "evaluate": "score a run beside chance and majority",
    "export": "turn a run into gated artifacts of TFLite or ONNX files or SavedModels",
    "features": "compute a run's or an artifact's features of whole videos, one vector every quarter of a second",
    "predict": "label a video file or a camera with an artifact, or say what comes next",
    "layers": "write the layers of a run's model as files of their own, for `benchmark --layers`",
    "benchmark": "measure latency, memory and size of artifacts on this machine",
    "prior": "show what else a label smoothing prior holds possible",
    "report": "write one HTML page about a run",
    "compare": "set runs side by side: scores over seeds, differences, costs, curves",
    "wise": "weigh the early exits of a run, and say what leaving early costs and gains",
    "sensitivity": "say which layers of a run bear pruning",
    "visualize": "picture what a layer of the backbone responds to",
    "inspect": "show what a video file is: its frames' types, motion vectors and residuals on a sheet",
    "verify": "check every checksum and count of shards, a run or an artifact",
    "list": "list recipes and exports",
    "describe": "inputs, outputs, parameters, MACs and memory of a recipe",
    "doctor": "versions, devices, and what is missing",
}

# module -> the extra of ours that brings it
EXTRAS = {"av": "video", "lmdb": "lmdb", "matplotlib": "report", **dict.fromkeys(("cv2", "h5py", "keras", "tensorflow"), "train")}
INTERRUPTED = 130
_Formatter = functools.partial(argparse.RawDescriptionHelpFormatter, max_help_position=24)


def main(argv=None):
    """Run `egokeras COMMAND ...`; return the exit code: 0 done, 1 failed, 2 wrong usage, 3 done with quarantined items, 130 interrupted."""
    try:
        return _main(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:  # before the command began
        return INTERRUPTED


def _main(argv):
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a class name may hold what the terminal or the pipe cannot
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's greetings; its errors arrive as exceptions
    parser = argparse.ArgumentParser(
        prog="egokeras",
        description="Train small first-person video models and put them on the device.",
        epilog="example: egokeras train --videos my_clips\nhelp on one command: egokeras train --help",
        formatter_class=_Formatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    parse = functools.partial(parser.parse_args, argv)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, purpose in COMMANDS.items():
        command = commands.add_parser(name, help=purpose, description=purpose[0].upper() + purpose[1:] + ".", formatter_class=_Formatter)
        if name in argv[:1]:
            module = importlib.import_module(f"egokeras.commands.{name}")
            command.epilog = f"example: {module.EXAMPLE}"
            command.add_argument("--debug", action="store_true", help="show the traceback of an error")
            module.add_arguments(command)
            command.set_defaults(run=module.run, tensorflow=getattr(module, "TENSORFLOW", False), resumes=getattr(module, "RESUMES", False))
            parse = functools.partial(command.parse_intermixed_args, argv[1:])  # what has no name may stand behind an option
    return _run(parse())


def train(argv=None):
    """Run `egokeras-train ...`, which is `egokeras train ...`."""
    return main(["train", *(sys.argv[1:] if argv is None else argv)])


def _run(args):
    try:
        if args.tensorflow:
            accelerator.start(cpu=getattr(args, "cpu", True), devices=getattr(args, "devices", 1))
        return args.run(args) or 0
    except KeyboardInterrupt:
        again = "; run the same command again" + (" with --resume" if hasattr(args, "resume") else "") + " to go on"
        print("interrupted" + (again if args.resumes else ""), file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output left, as `head` does: nothing to report
        return 1
    except Exception as error:
        if args.debug:
            raise
        print(f"error: {plain(_sentence(error))}", file=sys.stderr)
        return 1


def _sentence(error):
    """What went wrong, and what to do where that is known."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and error.name in EXTRAS:
        old = f", on Python 3.11 or newer (this is {sys.version.split()[0]})" if sys.version_info < (3, 11) and error.name != "av" else ""
        return f"{error.name} is needed for this and is not installed: pip install 'egokeras[{EXTRAS[error.name]}]'{old}."
    if isinstance(error, OSError) and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}; check the path, the rights and the room on the disk."
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{error.strerror}, so a file could not be written; free some space and run the command again."
    return f"{type(error).__name__}: {error} (--debug shows where)"


if __name__ == "__main__":
    sys.exit(main())
