"""Anticipate on frames: a recogniser's artifact sees them, and what it makes of them is what an anticipator's artifact observes.

Needs numpy and ai-edge-litert. Nothing after a moment is in what is predicted at it, as in training.
"""

from egokeras.device.anticipation import Anticipator
from egokeras.device.events import Detector, Smoothing, answer
from egokeras.device.frame_stream import begin
from egokeras.device.manifest import EMBEDDING, LABELS, STREAM
from egokeras.device.stream import ROUNDING
from egokeras.errors import InputError
from egokeras.protocol import BACKGROUND

SPACES = ("verb", "noun")


class FrameAnticipator:
    """One stream of frames, anticipated.

    The anticipator's features are the recogniser's embedding, and its past actions the events among the recogniser's predictions, each
    known when it begins or when it ends, as in the anticipator's training.

    Attributes:
        anticipator: the `Anticipator`.
        stream: of the recogniser, as `egokeras.device.frame_stream.begin` gives it.
    """

    def __init__(self, anticipator, recogniser):
        """`anticipator`: an `Artifact` of the kind `anticipation_step`; `recogniser`: one of frames, of the kind `clip` or `stream`.

        Raises:
            InputError: the recogniser does not make what the anticipator observes.
        """
        self.anticipator = Anticipator(anticipator)
        self.stream = begin(recogniser, self.anticipator.seconds)
        apart = recogniser.clip_seconds / recogniser.manifest["sampling"]["frames"]
        if recogniser.kind == STREAM and apart > self.anticipator.seconds + ROUNDING:
            found = f"{recogniser.folder} takes a frame every {apart:g} s, and {anticipator.folder} observes every"
            raise InputError(f"{found} {self.anticipator.seconds:g} s; give a recogniser of the kind 'clip'.")
        inputs = anticipator.manifest["inputs"]
        self._vectors = [name for name in inputs if name != LABELS]
        self._check_vectors(anticipator, recogniser)
        if LABELS in inputs:
            self._known = _told(inputs[LABELS], "observed", "known") or "start"
            self._ids = _ids(anticipator, recogniser)
            self._detector = Detector(recogniser.classes, Smoothing.of(recogniser.manifest))
        self._state = self.anticipator.open_stream()

    def _check_vectors(self, anticipator, recogniser):
        """There is at most one, and it is what this recogniser gives."""
        inputs, width = anticipator.manifest["inputs"], recogniser.manifest.get(EMBEDDING)
        if len(self._vectors) > 1:
            raise InputError(f"{anticipator.folder} observes {', '.join(self._vectors)}; one recogniser gives one of them.")
        for name in self._vectors:
            if width is None:
                raise InputError(f"{recogniser.folder} does not give the {name} that are observed; export it with --embedding.")
            if inputs[name]["shape"] != [1, width]:
                found = (
                    f"{recogniser.folder} gives {width} numbers, and {anticipator.folder} observes {name} of {inputs[name]['shape'][-1]}"
                )
                raise InputError(f"{found}; give the recogniser that its features are of.")
            made_by = _told(inputs[name], "observed", "source", "made_from", "model")
            if made_by not in (None, _told(recogniser.manifest, "parent", "model_sha256")):
                found = f"{anticipator.folder} learned from {name} of another model than that of {recogniser.folder}"
                raise InputError(f"{found}; give the recogniser that its features are of.")

    def add(self, time, picture):
        """Take the next frame.

        Args:
            time: seconds, larger than that of the frame before.
            picture: as for `egokeras.device.stream.Stream.add`.

        Returns:
            Head to logits (8, classes), see `Anticipator.step`, where an observation is due; else None.
        """
        seen = self.stream.add(time, picture)
        return None if seen is None else self._observe(time, seen)

    def finish(self, time):
        """The same of a stream that ended at `time` before its first observation was due; None if it had one, or no frame at all."""
        seen = self.stream.finish()
        return None if seen is None else self._observe(time, seen)

    def _observe(self, time, seen):
        observation = dict.fromkeys(self._vectors, seen.get(EMBEDDING))
        if LABELS in self.anticipator.artifact.manifest["inputs"]:
            observation[LABELS] = self._news(time, seen)
        logits, self._state = self.anticipator.step(observation, self._state)
        return logits

    def _news(self, time, seen):
        """The action that became known with the newest prediction: [(verb id, noun id, seconds since)], or nothing."""
        before = self._detector.current
        ended = self._detector.add(time, seen)
        going = self._detector.current
        begun = going if before is None or ended else None
        event, since = (begun, "start") if self._known == "start" else (ended, "stop")
        if event is None:
            return []
        verb, noun = (self._ids[space][number] for space, number in zip(self._detector.heads, event.label, strict=True))
        return [(verb, noun, time - getattr(event, since))]


def _told(record, *names):
    """What a description says there, or None."""
    for name in names:
        record = record.get(name) if isinstance(record, dict) else None
    return record


def _ids(anticipator, recogniser):
    """Space to the anticipator's id of each of the recogniser's classes, which are called alike."""
    if set(answer(recogniser.classes)) != set(SPACES):
        found = f"{anticipator.folder} observes past verbs and nouns, and {recogniser.folder} answers with"
        raise InputError(f"{found} {', '.join(recogniser.classes)}; give a recogniser of verbs and nouns.")
    ids = {}
    for space in SPACES:
        known = {name: number for number, name in enumerate(anticipator.manifest["vocabulary"][space])}
        strange = [name for name in recogniser.classes[space] if name not in known and name != BACKGROUND]
        if strange:
            found = f"{recogniser.folder} knows the {space} {strange[0]!r}, which {anticipator.folder} does not"
            raise InputError(f"{found}; give a recogniser of the same classes.")
        ids[space] = [known.get(name) for name in recogniser.classes[space]]
    return ids
