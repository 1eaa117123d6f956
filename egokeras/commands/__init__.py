"""One module per command: `add_arguments(parser)`, `run(args)` and an `EXAMPLE`."""
