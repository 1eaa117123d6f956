"""EPIC-KITCHENS challenge files from logits.

The format is that of the EPIC-KITCHENS-100 challenges (version 0.2) and of EPIC-KITCHENS-55's (version 0.1): per segment a score for
every verb and every noun, and the 100 best (verb, noun) pairs. To recognise, logits go in, not probabilities: the official evaluation
applies its own softmax. To anticipate, the model has scored the actions itself, and all three are probabilities.
"""

import dataclasses
import json
import pathlib
import zipfile

import numpy as np

from egokeras.errors import InputError
from egokeras.files import atomic
from egokeras.scores import softmax

VERSION, VERSION_55 = "0.2", "0.1"
CLASSES_55 = 125, 352  # verbs and nouns of EPIC-KITCHENS-55
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


def anticipated_scores(verb_logits, noun_logits, action_logits, actions):
    """The entry of one segment: probabilities of verbs and nouns, and of the best of the `actions` (actions, 2) that the model knows.

    Actions of the same verb and noun are one pair, with the sum of their probabilities.
    """
    pairs, pair = np.unique(actions, axis=0, return_inverse=True)
    p = np.bincount(pair.reshape(-1), softmax(action_logits), len(pairs))
    best = _best(p[None])[0]
    return {
        "verb": _by_id(softmax(verb_logits)),
        "noun": _by_id(softmax(noun_logits)),
        "action": {f"{verb},{noun}": _short(score) for (verb, noun), score in zip(pairs[best], p[best], strict=True)},
    }


def unobserved_scores(verbs, nouns, actions):
    """The entry of a segment before which nothing was observed: zeros, as RU-LSTM gives them."""
    pairs = {f"{verb},{noun}": 0.0 for verb, noun in np.unique(actions, axis=0)[:BEST]}
    return {"verb": _by_id(np.zeros(verbs)), "noun": _by_id(np.zeros(nouns)), "action": pairs}


def version(verbs, nouns):
    """Version of the format for a dataset with so many verbs and nouns."""
    return VERSION_55 if (verbs, nouns) == CLASSES_55 else VERSION


def check_name(path, verbs, nouns):
    """Refuse an archive where the server wants two files in it.

    Raises:
        InputError: EPIC-KITCHENS-55's archive is to have `seen.json` and `unseen.json`, which are of two splits.
    """
    if version(verbs, nouns) == VERSION_55 and pathlib.Path(path).suffix == ".zip":
        raise InputError(f"{path}: EPIC-KITCHENS-55 takes seen.json and unseen.json in one archive; write each of them, then zip both.")


def write(path, predictions, supervision=None, challenge="action_recognition", actions=None, unobserved=()):
    """Write a submission, `.json`, or `.zip` as the server takes it.

    Args:
        path: the file to write.
        predictions: `uid` (clips,), `logits_verb` (clips, verbs), `logits_noun` (clips, nouns); to anticipate also `logits_action`.
        supervision: a `Supervision`; the default says ImageNet weights, segments with times, the training set.
        challenge: `action_recognition` or `action_anticipation`.
        actions: to anticipate, (actions, 2) verb and noun of each action.
        unobserved: to anticipate, uids of the segments before which nothing was observed.

    Raises:
        InputError: no verb and noun logits, a uid twice, logits that are not finite, or too few actions.
    """
    path, supervision = pathlib.Path(path), supervision or Supervision()
    if actions is None:
        _check(predictions["uid"], predictions, ("verb", "noun"))
    else:
        _check(np.array([*predictions["uid"], *unobserved]), predictions, ("verb", "noun", "action"))
    sizes = predictions["logits_verb"].shape[1], predictions["logits_noun"].shape[1]
    check_name(path, *sizes)
    known = BEST if actions is None else len(np.unique(actions, axis=0))
    if known < BEST <= sizes[0] * sizes[1]:
        raise InputError(f"a challenge submission needs scores of {BEST} pairs of verb and noun; the model knows {known}.")
    head = {
        "version": version(*sizes),
        "challenge": challenge,
        "sls_pt": supervision.pretraining,
        "sls_tl": supervision.labels,
        "sls_td": supervision.data,
    }
    with atomic(path) as file:
        if path.suffix == ".zip":
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(ZIP_MEMBER, "w") as member:
                _stream(member, head, _entries(predictions, actions, unobserved))
        else:
            _stream(file, head, _entries(predictions, actions, unobserved))


def _check(uids, predictions, heads):
    logits = [predictions.get(f"logits_{head}") for head in heads]
    if any(values is None for values in logits):
        raise InputError(f"a challenge submission needs a model with the heads {' and '.join(heads)}; this one lacks one of them.")
    unique, counts = np.unique(uids, return_counts=True)
    if (counts > 1).any():
        raise InputError(f"segment {unique[counts > 1][0]} appears twice in the predictions; every uid must be unique.")
    for values in logits:
        if not np.isfinite(values).all():
            broken = ~np.isfinite(values).all(axis=1)
            raise InputError(f"the logits of segment {predictions['uid'][broken][0]} are not finite; nothing was written.")


def _entries(predictions, actions, unobserved):
    """(uid, entry) of each segment."""
    verb, noun = predictions["logits_verb"], predictions["logits_noun"]
    for row, uid in enumerate(predictions["uid"]):
        if actions is None:
            yield uid, segment_scores(verb[row], noun[row])
        else:
            yield uid, anticipated_scores(verb[row], noun[row], predictions["logits_action"][row], actions)
    for uid in unobserved:
        yield uid, unobserved_scores(verb.shape[1], noun.shape[1], actions)


def _stream(file, head, entries):
    """Write segment after segment: the scores of 13,000 segments at once would take gigabytes."""
    opening = json.dumps(head)[:-1] + ', "results": {'
    file.write(opening.encode())
    for number, (uid, entry) in enumerate(entries):
        file.write(("," * (number > 0) + f"\n{json.dumps(str(uid))}: {json.dumps(entry)}").encode())
    file.write(b"\n}}\n")
