"""EPIC-KITCHENS challenge files from logits.

The format is that of the EPIC-KITCHENS-100 challenges (version 0.2): per segment a score for every verb and every noun, and the 100
best (verb, noun) pairs. Logits go in, not probabilities: the official evaluation applies its own softmax.
"""

import dataclasses
import json
import pathlib
import zipfile

import numpy as np

from egokeras.errors import InputError
from egokeras.files import atomic
from egokeras.scores import softmax

VERSION = "0.2"
BEST = 100  # verbs and nouns that are combined, and pairs that are kept
ZIP_MEMBER = "test.json"  # the name the challenge server looks for
LEVELS = range(6)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Supervision:
    """What the challenge asks to declare, each on the Supervision Levels Scale 0 to 5.

    Attributes:
        pretraining: 0 none, 1 public images such as ImageNet, 2 public images and videos.
        labels: 3 segments with start and stop times, 5 with category labels or other knowledge.
        data: 2 at most a quarter of the training set, 3 the training set, 4 with the validation set.
    """

    pretraining: int = 1
    labels: int = 3
    data: int = 3

    def __post_init__(self):
        for field in dataclasses.fields(self):
            if getattr(self, field.name) not in LEVELS:
                raise InputError(f"supervision level {field.name} is {getattr(self, field.name)}; the scale goes from 0 to 5.")


def best_actions(verb_logits, noun_logits):
    """Best pairs per clip among its best verbs and nouns: verbs, nouns and p(v) p(n), each (clips, at most 100), best first."""
    verbs, nouns = _best(verb_logits), _best(noun_logits)
    verb_p = softmax(np.take_along_axis(verb_logits, verbs, axis=1))
    noun_p = softmax(np.take_along_axis(noun_logits, nouns, axis=1))
    products = (verb_p[:, :, None] * noun_p[:, None, :]).reshape(len(verbs), -1)
    order = _best(products)
    rows, columns = np.divmod(order, nouns.shape[1])
    return np.take_along_axis(verbs, rows, 1), np.take_along_axis(nouns, columns, 1), np.take_along_axis(products, order, 1)


def _best(scores):
    return np.argsort(-np.asarray(scores, np.float64), axis=1, kind="stable")[:, :BEST]


def segment_scores(verb_logits, noun_logits):
    """The entry of one segment: logits (verbs,) and (nouns,) to `verb`, `noun` and `action` scores by id."""
    verbs, nouns, products = (array[0] for array in best_actions(verb_logits[None], noun_logits[None]))
    return {
        "verb": _by_id(verb_logits),
        "noun": _by_id(noun_logits),
        "action": {f"{verb},{noun}": _short(product) for verb, noun, product in zip(verbs, nouns, products, strict=True)},
    }


def _by_id(scores):
    return {str(number): _short(score) for number, score in enumerate(scores)}


def _short(value):
    """Seven digits hold a float32; more would only lengthen the file."""
    return float(f"{value:.7g}")


def write(path, predictions, supervision=None, challenge="action_recognition"):
    """Write a submission, `.json`, or `.zip` as the server takes it.

    Args:
        path: the file to write.
        predictions: `uid` (clips,), `logits_verb` (clips, verbs), `logits_noun` (clips, nouns).
        supervision: a `Supervision`; the default says ImageNet weights, segments with times, the training set.
        challenge: `action_recognition` or `action_anticipation`.

    Raises:
        InputError: no verb and noun logits, a uid twice, or logits that are not finite.
    """
    path, supervision = pathlib.Path(path), supervision or Supervision()
    _check(predictions)
    head = {
        "version": VERSION,
        "challenge": challenge,
        "sls_pt": supervision.pretraining,
        "sls_tl": supervision.labels,
        "sls_td": supervision.data,
    }
    with atomic(path) as file:
        if path.suffix == ".zip":
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(ZIP_MEMBER, "w") as member:
                _stream(member, head, predictions)
        else:
            _stream(file, head, predictions)


def _check(predictions):
    uids, logits = predictions["uid"], [predictions.get(f"logits_{head}") for head in ("verb", "noun")]
    if any(values is None for values in logits):
        raise InputError("a challenge submission needs a model with the heads verb and noun; this one lacks one of them.")
    unique, counts = np.unique(uids, return_counts=True)
    if (counts > 1).any():
        raise InputError(f"segment {unique[counts > 1][0]} appears twice in the predictions; every uid must be unique.")
    for values in logits:
        if not np.isfinite(values).all():
            raise InputError(f"the logits of segment {uids[~np.isfinite(values).all(axis=1)][0]} are not finite; nothing was written.")


def _stream(file, head, predictions):
    """Write segment after segment: the scores of 13,000 segments at once would take gigabytes."""
    opening = json.dumps(head)[:-1] + ', "results": {'
    file.write(opening.encode())
    clips = zip(predictions["uid"], predictions["logits_verb"], predictions["logits_noun"], strict=True)
    for number, (uid, verb_logits, noun_logits) in enumerate(clips):
        entry = f"{json.dumps(str(uid))}: {json.dumps(segment_scores(verb_logits, noun_logits))}"
        file.write(("," * (number > 0) + "\n" + entry).encode())
    file.write(b"\n}}\n")
