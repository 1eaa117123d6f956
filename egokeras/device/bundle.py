"""A folder or zip for another machine: models, the few modules that time them, and one script; egokeras is not installed there."""

import pathlib
import shlex
import shutil
import tempfile
import zipfile

from egokeras.device.artifact import RUNTIMES
from egokeras.device.benchmark_model import BINARY, commands
from egokeras.device.latency import resolve
from egokeras.device.manifest import MANIFEST
from egokeras.errors import InputError
from egokeras.files import atomic

SCRIPT = "latency.py"
RESULT = "latency.json"
VIDEO = "video.mp4"
PACKAGE = pathlib.Path(__file__).parents[1]
MODULES = (
    *("__init__.py", "accelerator.py", "cli.py", "errors.py", "files.py", "progress.py", "protocol.py"),
    *("commands/__init__.py", "commands/benchmark.py"),
    *(f"device/{module.name}" for module in sorted(pathlib.Path(__file__).parent.glob("*.py"))),
)
CODE = '''"""Time the models in this folder on this machine: python3 {script} [--threads 1,2] [--sustained 60 --fps 30] ...

Needs {packages}. Options come after those below and win; {script} --help shows all.
"""

import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
os.chdir(HERE)

from egokeras.cli import main

ARGUMENTS = {arguments}

if __name__ == "__main__":
    sys.exit(main(["benchmark", *ARGUMENTS, *sys.argv[1:]]))
'''
README = """Time {names} on another machine.

    pip install {packages}
    python3 {script}

The figures are printed and written to {result}, which is to be copied back; several such files make one table and page:

    egokeras benchmark --merge a.json b.json --html page.html

TFLite's own tool, where it is there, times TFLite files with

{lines}
"""


def write(out, models, options=(), video=None):
    """Write a bundle.

    Args:
        out: a folder that is not there yet, or a file that ends in `.zip`, which is replaced.
        models: artifacts, or bare TFLite files.
        options: of `egokeras benchmark`, for the script.
        video: a file that goes along as `video.mp4`.

    Returns:
        The path of what was written.

    Raises:
        InputError: the folder exists, or a model cannot be used.
    """
    out = pathlib.Path(out)
    if out.suffix != ".zip" and out.exists():
        raise InputError(f"--bundle {out} exists already; give a new folder, or a file that ends in .zip.")
    if not out.parent.is_dir():
        raise InputError(f"--bundle {out}: the folder {out.parent} does not exist; make it first.")
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as work:
        folder = pathlib.Path(work) / out.stem
        _fill(folder, models, [*options, *(["--video", VIDEO] if video else [])])
        if video:
            shutil.copyfile(video, folder / VIDEO)
        if out.suffix != ".zip":
            folder.rename(out)
            return out
        with atomic(out) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(folder.rglob("*")):
                archive.write(path, path.relative_to(work))
    return out


def packages(models):
    """What a bundle of these needs there, by the names that pip knows."""
    return list(dict.fromkeys(["numpy", RUNTIMES["tflite"], *map(_runtime, models)]))


def _fill(folder, models, options):
    for module in MODULES:
        target = folder / "egokeras" / module
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PACKAGE / module, target)
    (folder / "models").mkdir()
    names = [_copy(model, folder) for model in models]
    arguments = [*names, "--json", RESULT, *options]
    needed = packages(models)
    (folder / SCRIPT).write_text(CODE.format(script=SCRIPT, packages=" and ".join(needed), arguments=arguments), encoding="utf-8")
    timed = [
        each
        for name in names
        if _runtime(folder / name) == RUNTIMES["tflite"]
        for _, each in commands(folder / name, binary=f"./{BINARY}", place=lambda file: file.relative_to(folder))
    ]
    lines = "\n".join(f"    {shlex.join(each)}" for each in timed)
    readme = README.format(names=", ".join(names), script=SCRIPT, packages=" ".join(needed), result=RESULT, lines=lines)
    (folder / "README.txt").write_text(readme, encoding="utf-8")


def _runtime(path):
    _, _, artifact = resolve(path)
    return artifact.runtime if artifact else RUNTIMES["tflite"]


def _copy(path, folder):
    """Put a model into the bundle; returns its path there. Two of one name are numbered."""
    _, model, artifact = resolve(path)
    name, suffix = (artifact.folder.resolve().name, "") if artifact else (model.stem, ".tflite")
    taken = {file.name for file in (folder / "models").iterdir()}
    numbered = (f"{name}{ending}{suffix}" for ending in ["", *(f"-{number}" for number in range(2, len(taken) + 3))])
    target = folder / "models" / next(free for free in numbered if free not in taken)
    if artifact is None:
        shutil.copyfile(model, target)
    else:
        target.mkdir()
        for file in (MANIFEST, *artifact.manifest["files"]):
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(artifact.folder / file, target / file)
    return f"models/{target.name}"
