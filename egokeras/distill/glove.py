"""Word vectors in the text format of GloVe: a line per word, the word and its numbers with single spaces between them.

Pennington et al., "GloVe: Global Vectors for Word Representation" (EMNLP 2014), https://nlp.stanford.edu/projects/glove/. The files have
up to 6 GB; they are read line by line, and only the words that are asked for are kept.
"""

import dataclasses
import functools
import re
from collections.abc import Mapping

import numpy as np

from egokeras.errors import InputError

_LONGEST_LINE = 1 << 20  # bytes; 300 numbers take 3,000
_HEADER = re.compile(rb"[1-9]\d* [1-9]\d*\s*")
_NUMBER = re.compile(rb"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_FORMAT = "a line must be a word and its numbers with single spaces between them"


def words(name):
    """The words of a class name, in lower case: `turn-on`, `machine:washing`, `Inspect/Read_recipe`, `cutting board`, `ApplyLipstick`."""
    parts = re.split(r"[\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name))
    return [part.lower() for part in parts if part]


@dataclasses.dataclass(frozen=True, kw_only=True)
class WordVectors:
    """Vectors by word.

    Attributes:
        found: word to its vector `(dimension,)` float32.
        dimension: of the vectors.
    """

    found: Mapping[str, np.ndarray]
    dimension: int

    def embed(self, names):
        """The mean vector of the words of each name, without those that have none; zeros where no word has one.

        Returns:
            `(names, dimension)` float32.
        """
        embedded = np.zeros((len(names), self.dimension), np.float32)
        for row, name in zip(embedded, names, strict=True):
            known = [self.found[word] for word in words(name) if word in self.found]
            if known:
                row[:] = np.mean(known, axis=0, dtype=np.float64)
        return embedded

    def missing_words(self, names):
        """Words of the names that have no vector, each once, in order."""
        return list(dict.fromkeys(word for name in names for word in words(name) if word not in self.found))


def read(path, names):
    """The vectors of all words of `names`.

    Of a word that is there twice the first line counts. Every line is checked for its number of numbers, and the numbers of the words
    that are wanted are checked one by one. A first line of two whole numbers, as word2vec and fastText write it, is left out.

    Args:
        path: a text file in the format of GloVe, of any dimension.
        names: class names, see `words`.

    Returns:
        `WordVectors`, without the words that the file does not have.

    Raises:
        InputError: the file cannot be read, a line is not of the format, or none of the words is there.
    """
    wanted = {word.encode("utf-8", "replace"): word for name in names for word in words(name)}
    found: dict[str, np.ndarray] = {}
    dimension = 0
    for number, line in _lines(path):
        if line.isspace() or (number == 1 and _HEADER.fullmatch(line)):
            continue
        word, _, rest = line.rstrip().partition(b" ")
        count = rest.count(b" ") + bool(rest)
        if count < max(dimension, 1):
            raise _malformed(path, number, f"{count} numbers where there are {dimension or 'some'}")
        if not dimension:
            dimension = count
            _vector(rest, dimension, path, number)  # refuses a file of something else altogether
        if word in wanted and wanted[word] not in found and not _is_phrase(rest, dimension):
            found[wanted[word]] = _vector(rest, dimension, path, number)
    if not dimension:
        raise InputError(f"{path} is empty; give a file of word vectors in the text format of GloVe.")
    if not found:
        raise InputError(f"{path} has none of the {len(wanted)} words of the class names; give vectors of their language.")
    return WordVectors(found=found, dimension=dimension)


def _lines(path):
    """(line number, line) of a file, as bytes: of the words that nobody wants some are in no encoding at all."""
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(iter(functools.partial(file.readline, _LONGEST_LINE), b""), 1):
                if len(line) == _LONGEST_LINE:
                    raise _malformed(path, number, f"a line of {_LONGEST_LINE:,} bytes and more")
                yield number, line
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); give a file of word vectors in the text format of GloVe.") from None


def _is_phrase(rest, dimension):
    """Whether the "word" goes on behind its first space, as `at name@domain.com` in the vectors of 840 billion words."""
    extra = rest.split(b" ")[:-dimension]
    return any(not _NUMBER.fullmatch(part) for part in extra)


def _vector(rest, dimension, path, number):
    """The numbers of one line, (dimension,) float32."""
    parts = rest.split(b" ")
    if len(parts) != dimension:
        raise _malformed(path, number, f"{len(parts)} numbers where there are {dimension}")
    for part in parts:
        if not _NUMBER.fullmatch(part):
            raise _malformed(path, number, f"{part[:40].decode('utf-8', 'replace')!r} is not a number")
    with np.errstate(over="ignore"):
        vector = np.array([float(part) for part in parts], np.float64).astype(np.float32)
    if not np.isfinite(vector).all():
        raise _malformed(path, number, "a number too large")
    return vector


def _malformed(path, number, found):
    return InputError(f"{path}, line {number}: {found}; {_FORMAT}.")
