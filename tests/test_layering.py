"""The architecture as a test: an import points to a lower row only."""

import ast
import subprocess
import sys

import pytest

# from the top; modules of one row never import one another
ROWS = [
    ["cli"],
    ["commands"],
    ["experiments", "search", "untrained"],
    ["evaluate", "export", "report", "sensitivity", "sheet", "train", "visualize", "whole_videos"],
    ["artifact_kinds", "gated_run"],
    ["exit_ensemble"],
    ["early_exits", "file_descriptions", "submission", "gate", "inference", "plots", "soft_targets", "stored_pairs"],
    ["staged"],
    ["anticipation_scores", "comparison", "events", "markov", "wise"],
    ["callbacks", "resumption", "students"],
    ["features", "run_folders", "scores", "video_features"],
    ["recogniser"],
    ["recipe"],
    ["compress", "data", "device", "distill", "models"],
    ["accelerator", "layers", "losses", "metrics", "optim", "overrides", "progress", "snapshots"],
    ["files", "papers", "protocol", "target"],
    ["errors"],
]
HEAVY = {"tensorflow", "keras", "tf_keras", "tensorflow_model_optimization", "cv2", "av", "matplotlib", "h5py"}


def modules(root):
    """Every file of the package with its row's name."""
    for path in sorted((root / "egokeras").rglob("*.py")):
        parts = path.relative_to(root / "egokeras").with_suffix("").parts
        yield path, parts[0]


def imported(tree, top_only=False):
    """Dotted names that a file imports, anywhere in it or at its top alone."""
    for node in tree.body if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module
            if node.module == "egokeras":
                yield from (f"egokeras.{alias.name}" for alias in node.names)


def row_of(name):
    return next(i for i, row in enumerate(ROWS) if name in row)


def test_imports_point_down(root):
    for path, own in modules(root):
        if own == "__init__":
            continue
        for name in imported(ast.parse(path.read_text())):
            parts = name.split(".")
            if parts[0] != "egokeras" or len(parts) == 1 or parts[1] in ("__version__", "load_model", own):
                continue
            assert row_of(parts[1]) > row_of(own), f"{path}: {own} imports {parts[1]}"


def test_nobody_imports_recipes_or_tests(root):
    for folder in ("egokeras", "pipelines", "exports", "benchmarks"):
        for path in (root / folder).rglob("*.py"):
            tops = {name.split(".")[0] for name in imported(ast.parse(path.read_text()))}
            assert not tops & {"pipelines", "exports", "benchmarks", "tests"}, path


def test_no_tf_keras_attribute(root):
    for folder in ("egokeras", "pipelines", "exports", "benchmarks", "tests"):
        for path in (root / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                named = isinstance(node, ast.Attribute) and node.attr == "keras" and isinstance(node.value, ast.Name)
                assert not (named and node.value.id in ("tf", "tensorflow")), f"{path}:{node.lineno} uses tf.keras"


def test_light_modules_import_nothing_heavy(root):
    for path, own in modules(root):
        light = own in ("__init__", "cli", "commands", "errors", "files", "progress", "accelerator", "device")
        for name in imported(ast.parse(path.read_text()), top_only=own != "device") if light else ():
            allowed = {"cv2", "av"} if own == "device" else set()
            allowed |= {"tensorflow"} if path.name == "savedmodel_file.py" else set()  # inside its functions, as the next test shows
            assert name.split(".")[0] not in HEAVY - allowed, f"{path} imports {name}"


def test_device_side_runs_without_tensorflow(root):
    code = (
        "import sys\n"
        "for name in ('tensorflow', 'keras', 'cv2', 'av'): sys.modules[name] = None\n"
        "import egokeras, egokeras.cli, egokeras.device.artifact, egokeras.device.latency, egokeras.device.stream\n"
        "import egokeras.device.anticipation, egokeras.device.events, egokeras.device.selftest\n"
        "import egokeras.commands.benchmark, egokeras.commands.predict\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


def test_model_folders_keep_to_themselves(root):
    """No utility drawers, no string registries, no layers that a saved model could not name."""
    names = {path.stem for path, _ in modules(root)}
    assert not names & {"utils", "common", "misc", "helpers"}
    for path, _ in modules(root):
        used = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        assert not used & {"Lambda", "TimeDistributed"}, path


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["--version"]])
def test_help_is_quick_and_light(root, arguments):
    import statistics
    import time

    command = [sys.executable, "-X", "importtime", "-m", "egokeras.cli", *arguments]
    said = subprocess.run(command, check=True, cwd=root, capture_output=True, text=True)
    assert "tensorflow" not in said.stderr and "numpy" not in said.stderr
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "egokeras.cli", *arguments], check=True, cwd=root, capture_output=True)
        seconds.append(time.perf_counter() - started)
    assert statistics.median(seconds) < 0.6  # about 0.1 s on an idle core; the limit leaves room for busy test machines
