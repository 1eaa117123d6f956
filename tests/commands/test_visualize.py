"""`egokeras visualize` through the command line."""

import cv2
import pytest

from egokeras import cli
from egokeras.commands import visualize
from egokeras.errors import InputError
from egokeras.models import FrameModel, SmallBackbone


@pytest.fixture
def run_folder(tmp_path):
    (tmp_path / "run").mkdir()
    model = FrameModel(backbone=SmallBackbone(channels=(4, 6))).build(classes={"verb": 2}, frames=5, size=32)
    model.save(tmp_path / "run" / "model.keras")
    return tmp_path / "run"


def test_a_run_gives_a_picture(run_folder, tmp_path, capsys):
    output = tmp_path / "out.png"
    argv = ["visualize", str(run_folder), "--layer", "conv_1", "--layer", "conv_2_relu", "--filters", "8", "--size", "32", "--steps", "2"]
    assert cli.main([*argv, "--output", str(output)]) == 0
    picture = cv2.imread(str(output))
    assert picture is not None
    assert picture.std() > 10
    assert "conv_1, conv_2_relu" in capsys.readouterr().out


def test_list_layers(run_folder, capsys):
    assert cli.main(["visualize", str(run_folder), "--list-layers"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["conv_1", "4", "filters"] in lines
    assert ["conv_2_relu", "6", "filters"] in lines


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layer", "conv_9"], "layer 'conv_9' is not in the network; nearest: conv_2"),
        (["--layer", "conv_1", "--filters", "2-9"], "has filters 0 to 3, not 4"),
        (["--filters", "two"], "--filters 'two'"),
        (["--filters", "9-2"], "names no filter"),
        (["--steps", "0"], "--steps is 0"),
        (["--size", "8"], "--size is 8"),
        (["--output", "/nowhere/at/all/x.png"], "does not exist; make it first"),
        (["--backbone", "w.h5"], "either a run folder or --backbone"),
    ],
)
def test_wrong_arguments_are_one_sentence(run_folder, capsys, arguments, message):
    assert cli.main(["visualize", str(run_folder), "--size", "32", *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_matplotlib_is_missed_before_the_work(run_folder, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert cli.main(["visualize", str(run_folder)]) == 1
    assert "pip install egokeras[report]" in capsys.readouterr().err


def test_a_folder_without_a_model(tmp_path, capsys):
    assert cli.main(["visualize", str(tmp_path)]) == 1
    assert "model.keras does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "numbers"), [("3", [0, 1, 2]), ("99", [0, 1, 2, 3, 4]), ("1-3", [1, 2, 3]), ("4,1", [4, 1]), ("2,", [2])])
def test_filters(text, numbers):
    assert visualize._filters(text, count=5) == numbers


def test_filters_of_nothing():
    with pytest.raises(InputError, match="names no filter"):
        visualize._filters("0", count=5)


def test_weights_from_a_file(shared_data, tmp_path):
    weights = shared_data / "weights" / "mobilenet_v2_0.35_224_no_top.weights.h5"
    output = tmp_path / "features.png"
    argv = ["visualize", "--backbone", str(weights), "--alpha", "0.35", "--layer", "block_3_expand_relu", "--filters", "2"]
    assert cli.main([*argv, "--size", "64", "--steps", "3", "--output", str(output)]) == 0
    assert output.stat().st_size > 10_000
