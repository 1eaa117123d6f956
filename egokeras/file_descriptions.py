"""What an artifact's TFLite files say of themselves, in the format of `egokeras.compress.metadata`, from what artifact.json says."""

from egokeras.compress import metadata
from egokeras.compress.metadata import Description, FileKind, Tensor, TextFile
from egokeras.device.manifest import CLIP, EMBEDDING, LABELS, WINDOWED, exit_output
from egokeras.files import atomic

AXES = ("batch", "time", "height", "width", "channels")


def describe_files(files, manifest):
    """Put descriptions and labels into the TFLite files of an artifact.

    Args:
        files: their paths, in the order in which they run.
        manifest: artifact.json's content, which need not have `parts` and `files` yet.
    """
    for number, path in enumerate(files, 1):
        content = path.read_bytes()
        described = metadata.described(content, _file(path.name, f"file {number} of {len(files)}", manifest, *metadata.signature(content)))
        with atomic(path) as file:
            file.write(described)


def _file(file, place, manifest, inputs, outputs):
    """The `Description` of one file with such inputs and outputs."""
    run, models = manifest["parent"]["run"], manifest["parent"]["model_sha256"].split("+")
    what = f"{file}, {place} of the artifact {manifest['name']} ({manifest.get('kind', CLIP)}, {manifest['quantization']})"
    return Description(
        name=f"{run} {manifest['name']}",
        description=f"{what}, exported by egokeras {manifest['egokeras']} from the run {run}; artifact.json says more.",
        version="+".join(model[:12] for model in models),
        inputs={name: _input(name, manifest) for name in inputs},
        outputs={name: _output(name, manifest) for name in outputs},
    )


def _input(name, manifest):
    if name == LABELS and "vocabulary" in manifest:
        return _actions(manifest)
    if name in manifest["inputs"]:
        entry = manifest["inputs"][name]
        return _pictures(entry, manifest) if "channels" in entry else Tensor(description=_observation(name, manifest))
    if name in manifest.get("state", ()) and "exits" in manifest:
        return Tensor(
            description=f"What {name.removesuffix(WINDOWED)} was for the last {manifest['sampling']['frames']} frames, oldest first."
        )
    if name in manifest.get("state", ()):
        return Tensor(description=f"State: zeros at the beginning of a stream, then the output {name} of the step before.")
    return Tensor(description=f"The output {name} of a file that runs before.")


def _output(name, manifest):
    heads = _heads(manifest)
    if name in heads:
        return _logits(name, heads[name], manifest)
    if name == EMBEDDING:
        return Tensor(description="The vector that the classifiers see, which an anticipator observes.")
    if name in manifest.get("state", ()):
        return Tensor(description=f"The new state, for the input {name} of the next step.")
    return Tensor(description=f"For the input {name} of a file that runs after.")


def _heads(manifest):
    """Output to its head."""
    if "exits" not in manifest:
        return {head: head for head in manifest["outputs"]}
    exits = range(len(manifest["exits"]["names"]))
    return {exit_output(head, number): head for head in manifest["outputs"] for number in exits}


def _logits(name, head, manifest):
    times = manifest.get("anticipation", {}).get("times")
    when = f" for {', '.join(f'{time:g}' for time in times)} s from now" if times else ""
    labels = TextFile(
        name=f"{head}_labels.txt",
        kind=FileKind.TENSOR_AXIS_LABELS,
        description=f"Classes of {head} in the order of the logits.",
        lines=tuple(manifest["outputs"][head]),
    )
    return Tensor(
        description=f"Logits of {head}{when}, one for each line of {labels.name}; their softmax are probabilities.",
        axes=("batch", "time", "class") if times else ("batch", "class"),
        files=(labels,),
    )


def _pictures(entry, manifest):
    sampling, clip = manifest["sampling"], len(entry["shape"]) == len(AXES)
    height, width = entry.get("cut_from", entry["shape"][-3:-1])
    cut = ", the middle of them" if "cut_from" in entry else ""
    seconds, frames = sampling["clip_seconds"], sampling["frames"]
    when = f"{frames} frames that span {seconds:g} s" if clip else f"One frame, every {seconds / frames:g} s"
    size = f"resized by {entry['resize']} to {height}x{width}{cut}"
    return Tensor(
        description=f"{when}: {entry['channels']}, numbers from 0 to 255 as they are, {size}.",
        axes=AXES if clip else (AXES[0], *AXES[2:]),
        pixels=True,
        rgb=entry["channels"] == "RGB",
    )


def _observation(name, manifest):
    return f"One observation of {name}, every {manifest['anticipation']['step']:g} s."


def _actions(manifest):
    files = tuple(
        TextFile(
            name=f"{space}_vocabulary.txt",
            kind=FileKind.DESCRIPTIONS,
            description=f"Names of the {space} ids, the first is that of 0.",
            lines=tuple(names),
        )
        for space, names in manifest["vocabulary"].items()
    )
    description = (
        "Actions that became known since the last step, oldest first, then zeros: verb id + 1, noun id + 1, hundredths of a second since."
    )
    return Tensor(description=description, files=files)
