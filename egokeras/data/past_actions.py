"""What a device that recognises actions knows before the next one: the verbs and nouns of the past actions, right or mistaken."""

import dataclasses
import hashlib

import numpy as np

from egokeras.data.observations import SECOND, microseconds
from egokeras.data.segments import held_out
from egokeras.errors import InputError
from egokeras.protocol import STEP

MOMENTS = ("start", "stop")
HUNDREDTH = SECOND // 100
MOST = np.iinfo(np.int16).max


@dataclasses.dataclass(frozen=True, kw_only=True)
class PastLabels:
    """The modality `labels`; the fields are those of `past_actions`."""

    past: int = 10
    known: str = "start"
    errors: float = 0.0
    seed: int = 0

    modality = "labels"

    @property
    def described(self):
        """Entries of the index about what was seen."""
        return {}

    def about(self, annotations):
        """What the windows depend on beside the annotations, for the index."""
        return dataclasses.asdict(self)

    def windows(self, annotations, used):
        """Yield (segment's number, window) for all segments; zeros for those that are not `used` (segments,) bool."""
        found = past_actions(annotations, **dataclasses.asdict(self))
        yield from enumerate(found * used[:, None, None])


def past_actions(annotations, *, past=10, known="start", errors=0.0, seed=0):
    """The modality `labels`: the last actions of the video that are known 0.25 s before a segment starts.

    Args:
        annotations: `Annotations` with the label spaces verb and noun. Segments of all splits are seen as past ones.
        past: how many.
        known: the moment at which an action becomes known: its `start`, or its `stop`.
        errors: probability that a past action was recognised as another, see `recognised`.
        seed: of the mistakes.

    Returns:
        (segments, past, 3) int16 in the order of the segments: verb id + 1, noun id + 1, and the age, hundredths of a second from the
        moment when the action became known to the start of the segment, at most 32,767. Oldest first, right-aligned, zeros where
        there is nothing. At t seconds before the segment an action is known if its age is at least 100 t, and all older ones are too.

    Raises:
        InputError: no labels of verb and noun, too many classes for int16, or `known="stop"` where a segment has no stop.
    """
    if known not in MOMENTS:
        raise InputError(f"known is {known!r}; an action is known at its start or at its stop.")
    if not 1 <= past <= MOST:
        raise InputError(f"past is {past}; see at least 1 action and at most {MOST}.")
    segments = annotations.segments
    verbs, nouns = recognised(annotations, errors, seed)
    starts = np.array([segment.start for segment in segments])
    moments = starts
    if known == "stop":
        endless = next((segment.uid for segment in segments if segment.stop is None), None)
        if endless is not None:
            raise InputError(f"segment {endless!r} has no stop, so when it is known cannot be told; use known='start'.")
        moments = np.array([segment.stop for segment in segments])
    numbers: dict[str, int] = {}
    videos = np.array([numbers.setdefault(segment.video, len(numbers)) for segment in segments])
    return visible(videos, starts, moments, verbs, nouns, past)


def visible(videos, starts, moments, verbs, nouns, past):
    """`past_actions` of arrays.

    Args:
        videos: (segments,) number of the video.
        starts: (segments,) seconds.
        moments: (segments,) seconds at which each becomes known.
        verbs, nouns: (segments,) ids; an action of which one is -1 is never seen.
        past: how many.
    """
    now, since = microseconds(starts), microseconds(moments)
    span = max(now.max(initial=0), since.max(initial=0)) + 1
    first, key = videos * span, videos * span + since
    rows = np.flatnonzero((verbs >= 0) & (nouns >= 0))
    if not len(rows):
        return np.zeros((len(videos), past, 3), np.int16)
    rows = rows[np.lexsort((rows, now[rows], key[rows]))]
    begin = np.searchsorted(key[rows], first)
    end = np.searchsorted(key[rows], first + now - round(STEP * SECOND), side="right")
    place = end[:, None] - np.arange(past, 0, -1)
    there = place >= begin[:, None]
    seen = rows[np.where(there, place, 0)]
    age = np.minimum((now[:, None] - since[seen]) // HUNDREDTH, MOST)
    return np.where(there[:, :, None], np.stack([verbs[seen] + 1, nouns[seen] + 1, age], axis=-1), 0).astype(np.int16)


def recognised(annotations, errors=0.0, seed=0):
    """The verb and the noun that a recogniser takes each segment for.

    With probability `errors` it is mistaken: another action than the true one, drawn by the frequencies of actions in the training
    splits. The draw depends on `seed` and the segment's uid alone, so a segment is the same mistake in every window that sees it, and
    the mistakes at 20% are among those at 40%.

    Args:
        annotations: `Annotations` with the label spaces verb and noun.
        errors: probability from 0 to 1.
        seed: another one gives other mistakes.

    Returns:
        Verb ids and noun ids, (segments,) int64 each; -1 where the segment has no label.

    Raises:
        InputError: no labels of verb and noun, or nothing to mistake an action for.
    """
    if not 0 <= errors <= 1:
        raise InputError(f"errors is {errors:g}; it is a probability from 0 to 1.")
    verbs, nouns = (_ids(annotations, space) for space in ("verb", "noun"))
    if not errors:
        return verbs, nouns
    training = np.array([any(not held_out(split) for split in segment.splits) for segment in annotations.segments])
    labelled = (verbs >= 0) & (nouns >= 0)
    actions = np.where(labelled, verbs * len(annotations.classes["noun"]) + nouns, -1)
    known, counts = np.unique(actions[training & labelled], return_counts=True)
    if len(known) < 2:
        raise InputError(f"errors is {errors:g}, but the training splits have {len(known)} actions to mistake one for; leave it at 0.")
    chance, draw = _uniform([segment.uid for segment in annotations.segments], seed)
    mistaken = labelled & (chance < errors)
    actions = np.where(mistaken, known[_other(actions, known, counts, draw)], actions)
    verb, noun = np.divmod(actions, len(annotations.classes["noun"]))
    return np.where(labelled, verb, verbs), np.where(labelled, noun, nouns)


def _ids(annotations, space):
    names = annotations.classes.get(space, ())
    if not 0 < len(names) < MOST:
        found = f"{len(names)} classes of {space}" if names else f"no labels of {space}"
        raise InputError(f"the annotations have {found}; past actions are verbs and nouns, fewer than {MOST} of each.")
    numbers = {name: number for number, name in enumerate(names)}
    return np.array([numbers.get(segment.labels.get(space), -1) for segment in annotations.segments], np.int64)


def _uniform(uids, seed):
    """Two numbers in [0, 1) for each uid."""
    digests = b"".join(hashlib.blake2b(f"{seed} {uid}".encode(), digest_size=16).digest() for uid in uids)
    return (np.frombuffer(digests, "<u8").reshape(-1, 2) >> np.uint64(11)).T * 2.0**-53


def _other(actions, known, counts, draw):
    """Index into `known` for each action, drawn by `counts` as if the action itself were not there."""
    after = np.cumsum(counts)
    own = np.minimum(np.searchsorted(known, actions), len(known) - 1)
    weight = np.where(known[own] == actions, counts[own], 0)
    left = after[-1] - weight
    ticket = np.minimum((draw * left).astype(np.int64), left - 1)
    ticket += np.where(ticket >= after[own] - counts[own], weight, 0)
    return np.searchsorted(after, ticket, side="right")
