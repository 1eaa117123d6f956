"""`egokeras prior` on the worked fixture of five actions."""

import numpy as np
import pytest

from egokeras import cli

RECIPE = """from egokeras.distill import LabelSmoothing
from egokeras.models import RULSTM
from egokeras.recipe import Data, Recipe


def stages():
    return (Recipe(name="five", data=Data(heads=("action",)), model=RULSTM(), method=LabelSmoothing()),)
"""


@pytest.fixture(scope="module")
def shards(observations, tmp_path_factory):
    """Two training videos with the actions 0 1 2 0 1 and 3 1 2 1, whose first segments are discarded, and one that is held out."""
    segments = [("train discarded" if row == 0 else "train", "P0_0", float(row), action) for row, action in enumerate([0, 1, 2, 0, 1])]
    segments += [("train discarded" if row == 0 else "train", "P1_1", float(row), action) for row, action in enumerate([3, 1, 2, 1])]
    segments += [("validation", "P2_2", float(row), action) for row, action in enumerate([4, 4, 0, 0])]
    folder = tmp_path_factory.mktemp("five")
    shards = observations.write(folder / "shards", np.zeros((len(segments), 14, 2), "float16"), segments)
    (folder / "five.py").write_text(RECIPE)
    return shards.path


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    path = tmp_path_factory.mktemp("glove") / "tiny.txt"
    path.write_text("open 1 0\ntake 0 1\nfridge 2 0\ncup 0 2\n")
    return path


def run(shards, *arguments):
    return cli.main(["prior", f"{shards.parent / 'five.py'}", f"data.shards={shards}", *map(str, arguments)])


def test_companions_of_a_class(shards, capsys):
    assert run(shards, "method.prior=VerbNoun", "--of", "open fridge") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "five: VerbNoun(mode='union'), alpha 0.3",
        "action 'open fridge': 3 of 5 classes",
        "  0.33333  open fridge  (the class itself)",
        "  0.33333  open cup",
        "  0.33333  take fridge",
    ]


def test_the_most_likely_come_first_and_the_rest_is_counted(shards, capsys):
    assert run(shards, "method.prior=Temporal", "--of", "OPEN_cup", "--top", "1") == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "action 'open cup': 3 of 5 classes",
        "  0.50000  open fridge",
        "  0.50000  in 2 more",
    ]


def test_several_heads(shards, capsys):
    assert run(shards, "method.prior=VerbNoun", "data.heads=verb,noun", "--of", "cup") == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "noun 'cup': 2 of 3 classes",
        "  0.50000  fridge",
        "  0.50000  cup  (the class itself)",
    ]


def test_figures_count_what_has_no_predecessor(shards, capsys):
    assert run(shards, "method.prior=Temporal") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[1] == "action: 5 classes, 4 of them in training"
    assert said[2] == "  companions                mean 1.4, median 1, 1 to 3"
    assert said[3] == "  entropy in bits           mean 0.30, 0.00 to 1.50"
    assert said[4] == "  itself alone              1 of those in training: take door"
    assert said[5] == "  without a predecessor     1 of those in training: take door"


def test_figures_name_words_without_vectors(shards, vectors, capsys):
    assert run(shards, "method.prior=GloVe", f"method.prior.vectors={vectors}") == 0
    said = capsys.readouterr().out
    assert f"{vectors} has no vector for 2 words of the action names (wash, door); without any vector: wash, door" in said
    assert "  itself alone              0 of those in training" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["method=Supervised"], "five.py' has no prior; give method=LabelSmoothing"),
        (["--of", "open fridg"], "--of 'open fridg' is no class of action; nearest: open fridge"),
        (["--top", "0"], "--top is 0"),
        (["method.prior=GloVe"], "GloVe has no vectors"),
        (["data.shards="], "has no data; give data.shards=FOLDER"),
    ],
)
def test_wrong_arguments_are_one_sentence(shards, capsys, arguments, message):
    assert run(shards, *arguments) == 1
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error and len(error.strip().splitlines()) == 1
