"""`egokeras sensitivity`: every cell is what the network scores with that kernel pruned, and the network is left as it was."""

import json

import numpy as np
import pytest

import egokeras
from egokeras import cli
from egokeras.files import write_json
from egokeras.models import AverageHead, FrameModel, SmallBackbone


@pytest.fixture(scope="module")
def run_dir(squares, tmp_path_factory):
    """A run of random weights."""
    import keras

    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("runs") / "squares"
    folder.mkdir()
    model = FrameModel(backbone=SmallBackbone(channels=(8, 8)), head=AverageHead()).build(classes={"verb": 2, "noun": 3}, frames=8, size=24)
    model.save(folder / "model.keras")
    write_json(folder / "classes.json", squares.classes)
    write_json(
        folder / "recipe.json", {"data": {"shards": str(squares.path), "validation": "validation", "train": "train", "hold_out": 0.0}}
    )
    return folder


def test_table_and_json(run_dir, squares, capsys):
    assert cli.main(["sensitivity", str(run_dir), "--sparsity", "0.5,0.9", "--pattern", "2:4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["prunings"] == ["50%", "90%", "2:4"] and found["clips"] == 60
    assert list(found["kernels"]) == [f"{path}/kernel" for path in ("backbone/conv_1", "backbone/conv_2", "head/noun", "head/verb")]
    assert found["kernels"]["backbone/conv_1/kernel"]["top1"]["verb"][2] is None  # three colours do not divide by 4
    model, rows = egokeras.load_model(run_dir / "model.keras"), squares.rows("validation")
    clips, labels = {"rgb": squares.read(rows)}, squares.labels("noun", rows)

    def top1():
        return 100 * (np.asarray(model(clips, training=False)["noun"]).argmax(1) == labels).mean()

    assert found["dense"]["noun"]["top1"] == pytest.approx(top1())
    kernel = model.get_layer("head").get_layer("noun").kernel
    values = kernel.numpy()
    for column, zeros in ((0, values.size // 2), (1, int(0.9 * values.size))):
        kernel.assign(np.where(np.abs(values) > np.sort(np.abs(values), axis=None)[zeros - 1], values, 0))
        assert found["kernels"]["head/noun/kernel"]["top1"]["noun"][column] == pytest.approx(top1(), abs=1e-3)
    assert found["kernels"]["head/noun/kernel"]["top1"]["verb"] == [found["dense"]["verb"]["top1"]] * 3
    assert cli.main(["sensitivity", str(run_dir), "--sparsity", "0.9", "--clips", "20"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("20 clips of validation") and [line.split()[0] for line in said[4:6]] == list(found["kernels"])[:2]


def test_mistakes_are_sentences(run_dir, capsys):
    for arguments, message in ((["--clips", "0"], "--clips is 0"), (["--sparsity", "80"], "pruning.sparsity is 80; give a share")):
        assert cli.main(["sensitivity", str(run_dir), *arguments]) == 1
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["sensitivity", str(run_dir), "--sparsity", "many"])
