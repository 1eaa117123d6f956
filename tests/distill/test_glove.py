"""The text format of GloVe: dimensions, words of class names, and lines that are not what they should be."""

import csv
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egokeras.distill import glove
from egokeras.errors import InputError

LINES = "the 0.5 -1 2e-1\nturn 1 2 3\non 3 4 5\nfridge .5 +1. 0\nwashing 2 2 2\nmachine 4 0 0\n"


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "vectors.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("turn-on", ["turn", "on"]),
        ("machine:washing", ["machine", "washing"]),
        ("cutting board", ["cutting", "board"]),
        ("Inspect/Read_recipe", ["inspect", "read", "recipe"]),
        ("ApplyEyeMakeup", ["apply", "eye", "makeup"]),
        ("crème (brûlée)", ["crème", "brûlée"]),
        ("TV 2", ["tv", "2"]),
        ("--", []),
    ],
)
def test_words_of_class_names(name, expected):
    assert glove.words(name) == expected


def test_names_become_means_of_the_words_that_are_known(file):
    names = ["turn-on", "machine:washing", "Fridge", "turn hob", "hob", "--"]
    found = glove.read(file(LINES), names)
    expected = [[2, 3, 4], [3, 1, 1], [0.5, 1, 0], [1, 2, 3], [0, 0, 0], [0, 0, 0]]
    assert found.dimension == 3 and set(found.found) == {"turn", "on", "fridge", "washing", "machine"}
    np.testing.assert_allclose(found.embed(names), expected)
    assert found.embed(names).dtype == np.float32 and found.missing_words(names) == ["hob"]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_is_written_is_read(data, tmp_path_factory):
    floats = st.floats(-1e6, 1e6, width=32)
    dimension, words = data.draw(st.integers(1, 5)), st.from_regex(r"[a-zà-ž]{1,8}", fullmatch=True)
    table = data.draw(
        st.dictionaries(words.filter(lambda word: glove.words(word) == [word]), st.lists(floats, min_size=5, max_size=5), min_size=1)
    )
    newline = data.draw(st.sampled_from(["\n", "\r\n", " \n"]))
    lines = [f"{word} {' '.join(map(repr, numbers[:dimension]))}" for word, numbers in table.items()]
    path = tmp_path_factory.mktemp("glove") / "vectors.txt"
    path.write_bytes(newline.join(lines + [""] * data.draw(st.integers(0, 2))).encode())
    wanted = [word for word in table if data.draw(st.booleans())] or [next(iter(table))]
    found = glove.read(path, wanted)
    assert found.dimension == dimension and list(found.found) == wanted
    np.testing.assert_array_equal(found.embed(wanted), np.array([table[word][:dimension] for word in wanted], "float32"))


@pytest.mark.parametrize(
    "content",
    [
        "6 3\n" + LINES,  # word2vec, fastText
        LINES.replace("\n", "\r\n"),
        LINES.rstrip(),
        LINES.encode() + b"\xff\xfe 1 2 3\n",  # a word in no encoding, which nobody wants
        LINES.replace(
            "fridge", "fridge at@home.org 9 9 9\n. . 0.1 0.2 0.3\nfridge"
        ),  # "words" with spaces, as in the vectors of 840 billion words
        LINES + "fridge 9 9 9\n",  # the first of two counts
    ],
)
def test_dialects(file, content):
    found = glove.read(file(content), ["turn on", "fridge"])
    np.testing.assert_allclose(found.embed(["turn", "on", "fridge"]), [[1, 2, 3], [3, 4, 5], [0.5, 1, 0]])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (LINES + "off 1 2\n", "line 7: 2 numbers where there are 3"),
        (LINES + "off\n", "line 7: 0 numbers where there are 3"),
        (LINES.replace("fridge .5", "fridge"), "line 4: 2 numbers where there are 3"),
        (LINES.replace("fridge .5", "fridge 7 .5"), "line 4: 4 numbers where there are 3"),
        (LINES.replace("fridge .5", "fridge x"), "line 4: 'x' is not a number"),
        (LINES.replace("fridge .5", "fridge nan"), "line 4: 'nan' is not a number"),
        (LINES.replace("fridge .5", "fridge 1_0"), "line 4: '1_0' is not a number"),
        (LINES.replace("fridge .5", "fridge 1e39"), "line 4: a number too large"),
        (LINES.replace("fridge .5", "fridge "), "line 4: '' is not a number"),
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("just some text\n", "line 1: 'some' is not a number"),
        ("word\n", "line 1: 0 numbers where there are some"),
        (b"PK\x03\x04 \x00\x01", "line 1: .* is not a number"),
        ("x" * (1 << 20), "line 1: a line of 1,048,576 bytes and more"),
        ("the 1 2 3\nof 1 2 3\n", "has none of the 2 words"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_line(file, content, words):
    with pytest.raises(InputError, match=words) as raised:
        glove.read(file(content), ["on", "fridge"])
    assert "vectors.txt" in str(raised.value) and "\n" not in str(raised.value)


def test_a_file_that_is_not_there(tmp_path):
    for path in (tmp_path / "nothing.txt", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            glove.read(path, ["on"])


def test_memory_is_that_of_the_wanted_words(file):
    numbers = " ".join(["0.12345"] * 300)
    path = file("".join(f"word{row} {numbers}\n" for row in range(4000)) + f"on {numbers}\n")
    assert path.stat().st_size > 9_000_000
    tracemalloc.start()
    found = glove.read(path, ["turn on"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.dimension == 300 and peak < 1_000_000


def test_real_vectors_and_classes(shared_data):
    classes = {}
    for space in ("verb", "noun"):
        with open(shared_data / "ek100" / f"EPIC_100_{space}_classes.csv", newline="", encoding="utf-8") as table:
            classes[space] = [row["key"] for row in csv.DictReader(table)]
    path = shared_data / "glove" / "glove.twitter.25d.12k.txt"
    found = glove.read(path, [*classes["verb"], *classes["noun"]])
    assert found.dimension == 25 and sum(not found.missing_words([name]) for name in classes["verb"]) == 81
    plain = dict(line.rstrip("\n").split(" ", 1) for line in path.read_text(encoding="utf-8").splitlines())
    for name in ("take", "open"):
        np.testing.assert_allclose(found.found[name], np.array(plain[name].split(), "float32"))
    assert {"unroll", "flatten"} & set(found.missing_words(classes["verb"]))
