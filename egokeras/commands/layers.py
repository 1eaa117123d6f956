"""`egokeras layers`: the layers of a run's model as TFLite files of their own."""

EXAMPLE = """egokeras layers runs/teacher layers
         egokeras benchmark layers --layers --json latencies.json        (here, or where `layers` is copied to)
         egokeras train prune_channels data.shards=shards prune_channels.model.latencies=latencies.json"""
TENSORFLOW = True


def add_arguments(parser):
    parser.add_argument("run_dir", metavar="RUN", help="a run folder with model.keras")
    parser.add_argument("out", metavar="OUT", help="folder to be made")
    parser.add_argument("--kind", choices=("int8", "float32"), default="int8", help="of the files (%(default)s)")


def run(args):
    import pathlib

    from egokeras.compress.layer_files import write_layers
    from egokeras.errors import InputError

    out = pathlib.Path(args.out)
    model = pathlib.Path(args.run_dir, "model.keras")
    if not model.is_file():
        raise InputError(f"{model} does not exist; give a run folder of one stage.")
    count = write_layers(model, out, args.kind)
    print(f"{out}: {count} layers, whole and with half of their channels, as {args.kind}")
    print(f"next: egokeras benchmark {out} --layers --json latencies.json, here or where it is copied to")
