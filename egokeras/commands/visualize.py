"""`egokeras visualize`: picture what the filters of the backbone respond to."""

import importlib.util
import pathlib
import re

from egokeras.errors import InputError

EXAMPLE = "egokeras visualize runs/report_convnet1d --layer block_6_expand_relu --filters 0-15"
TENSORFLOW = True


def add_arguments(parser):
    parser.add_argument("run_folder", nargs="?", type=pathlib.Path, metavar="RUN", help="run folder with a trained model.keras")
    parser.add_argument("--backbone", metavar="WEIGHTS", help="instead of a run: a local .h5 file of the network, or imagenet")
    parser.add_argument("--network", default="MobileNetV2", help="what the weights are for, a name of keras.applications (%(default)s)")
    parser.add_argument("--alpha", type=float, default=1.0, help="width multiplier of that network (%(default)s)")
    parser.add_argument("--layer", action="append", metavar="NAME", help="may be repeated; without it, four from shallow to deep")
    parser.add_argument("--list-layers", action="store_true", help="print the layers and their number of filters, and stop")
    parser.add_argument("--filters", default="16", metavar="N|A-B|A,B,...", help="the first N, a range, or numbers (%(default)s)")
    parser.add_argument("--size", type=int, default=128, help="height and width of a picture in pixels (%(default)s)")
    parser.add_argument("--steps", type=int, default=120, help="steps of the ascent (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the noise that the ascent starts from (%(default)s)")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("features.png"), metavar="PNG", help="(%(default)s)")
    parser.add_argument("--cpu", action="store_true", help="use the CPU although there is a GPU")


def run(args):
    _check(args)
    from egokeras import visualize

    model = visualize.image_model(_student(args))
    counts = visualize.layers_of(model)
    if args.list_layers:
        print("\n".join(f"{name:32} {count:6} filters" for name, count in counts.items()))
        return
    pictures = {}
    for layer in args.layer or visualize.spread(model):
        numbers = _filters(args.filters, counts.get(layer, 0))
        found = visualize.maximise(model, layer, numbers, args.size, args.steps, args.seed)
        pictures[layer] = dict(zip(numbers, found, strict=True))
    visualize.save_grid(args.output, pictures)
    print(f"{args.output}: {', '.join(pictures)}")


def _check(args):
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError("the pictures need matplotlib, which is not installed: pip install egokeras[report].")
    if (args.run_folder is None) == (args.backbone is None):
        raise InputError("give either a run folder or --backbone WEIGHTS.h5.")
    if args.size < 32:
        raise InputError(f"--size is {args.size}; a picture needs at least 32 pixels.")
    if args.steps < 1:
        raise InputError(f"--steps is {args.steps}; give at least 1.")
    if not args.output.parent.is_dir():
        raise InputError(f"--output {args.output}: the folder {args.output.parent} does not exist; make it first.")


def _student(args):
    if args.backbone is not None:
        from egokeras.models import Backbone

        return Backbone(name=args.network, alpha=args.alpha, weights=args.backbone).build(frames=1, size=args.size, pool=False)
    path = args.run_folder / "model.keras"
    if not path.is_file():
        raise InputError(f"{path} does not exist; give the folder of a finished run.")
    from egokeras import load_model

    return load_model(path)


def _filters(text, count):
    """Numbers of the filters: `"16"` is the first 16 (or all, if fewer), `"8-15"` a range, `"3,7"` these."""
    if not re.fullmatch(r"\d+|\d+-\d+|\d+(,\d+)+,?|\d+,", text):
        raise InputError(f"--filters {text!r} is neither a count (16), a range (0-15) nor numbers (3,7).")
    if "," in text:
        numbers = [int(number) for number in text.split(",") if number]
    elif "-" in text:
        first, last = map(int, text.split("-"))
        numbers = list(range(first, last + 1))
    else:
        numbers = list(range(min(int(text), count) if count else int(text)))
    if not numbers:
        raise InputError(f"--filters {text!r} names no filter.")
    return numbers
