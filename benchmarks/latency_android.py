"""Latency of exported files on an Android phone, through adb and TFLite's own `benchmark_model`.

    python benchmarks/latency_android.py int8 --binary android_aarch64_benchmark_model --threads 1,4 --json phone.json

The tool is built or downloaded as https://ai.google.dev/edge/litert/models/measurement says. It measures without Python; what it prints
becomes the record that `egokeras benchmark --json` writes, so that `egokeras benchmark --merge` sets phones beside boards.
"""

import argparse
import pathlib
import shlex
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from egokeras.device import benchmark_model, tables
from egokeras.device.latency import resolve
from egokeras.errors import InputError
from egokeras.files import write_json

FOLDER = "/data/local/tmp/egokeras"
MINUTES = 15


def main(argv=None):
    args = parser().parse_args(argv)
    try:
        record = measure(args)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(tables.text([record]))
    if args.json:
        write_json(args.json, record)
    return 0


def parser():
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("artifacts", nargs="+", metavar="ARTIFACT", help="folder of an artifact, or a bare .tflite file")
    found.add_argument("--binary", required=True, type=pathlib.Path, help="benchmark_model for the phone's processor")
    found.add_argument("--threads", default="1", metavar="N[,N...]", help="measure with each of these (1)")
    found.add_argument("--seconds", type=float, default=3.0, help="time to run each for (%(default)s)")
    found.add_argument("--serial", help="of the phone, where several are connected")
    found.add_argument("--json", metavar="FILE", help="write host and results there")
    return found


def measure(args):
    """The record of the phone."""
    if not args.binary.is_file():
        raise InputError(f"--binary {args.binary} does not exist; give TFLite's benchmark_model for the phone.")
    adb = Adb(args.serial)
    binary = f"{FOLDER}/{benchmark_model.BINARY}"
    adb.shell("mkdir", "-p", FOLDER)
    adb.push(args.binary, binary)
    adb.shell("chmod", "755", binary)
    results = [result for path in args.artifacts for result in _file(adb, binary, path, args)]
    return {"host": _host(adb), "results": results}


def _file(adb, binary, path, args):
    """Results of each file of an artifact, or of a bare file, for each number of threads."""
    name, graph = resolve(path)[0], f"{FOLDER}/model.tflite"
    for threads in map(int, args.threads.split(",")):
        timed = benchmark_model.commands(path, threads, args.seconds, binary, lambda file: graph)
        for file, command in timed:
            adb.push(file, graph)
            part = {"artifact": name if len(timed) == 1 else f"{name} {file.stem}", "path": str(path), "bytes": file.stat().st_size}
            yield {**part, "threads": threads, **benchmark_model.parse(adb.shell(*command))}


def _host(adb):
    """What the phone says of itself, under the names of `egokeras.device.host.host`."""
    maker, chip, model, release, abi = (
        adb.shell("getprop", f"ro.{name}").strip()
        for name in ("soc.manufacturer", "soc.model", "product.model", "build.version.release", "product.cpu.abi")
    )
    governor = adb.shell("cat", "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", check=False).strip()
    return {
        "processor": f"{model} ({' '.join(filter(None, [maker, chip])) or abi})",
        "cores": int(adb.shell("nproc").strip()),
        "governor": governor or None,
        "system": f"Android {release} {abi}",
        "runtime": benchmark_model.BINARY,
    }


class Adb:
    """The phone behind `adb`."""

    def __init__(self, serial=None):
        program = shutil.which("adb")
        if program is None:
            raise InputError("adb is not in the path; install Android's platform-tools.")
        self._command = [program, *(["-s", serial] if serial else [])]

    def push(self, source, target):
        """Copy a file to the phone."""
        self._run("push", str(source), target)

    def shell(self, *words, check=True):
        """What a command prints on the phone, errors too; empty if it fails and need not be there."""
        return self._run("shell", shlex.join(map(str, words)), check=check)

    def _run(self, *words, check=True):
        command = [*self._command, *words]
        try:
            done = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=60 * MINUTES, check=False
            )
        except subprocess.TimeoutExpired:
            raise InputError(f"adb {' '.join(words)} did not finish within {MINUTES} minutes.") from None
        if done.returncode and check:
            last = (done.stdout.strip().splitlines() or ["no message"])[-1]
            raise InputError(f"adb {' '.join(words):.200} failed: {last:.300}; check `adb devices`.")
        return "" if done.returncode else done.stdout


if __name__ == "__main__":
    sys.exit(main())
