"""Latency, memory and size of exported files on this machine; runs from a checkout on a device without installing egokeras.

    python benchmarks/latency.py runs/demo/demo/exports/int8 --threads 1,2 --json latency.json

Needs numpy and ai-edge-litert. The same as `egokeras benchmark`.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from egokeras.cli import main

if __name__ == "__main__":
    sys.exit(main(["benchmark", *sys.argv[1:]]))
