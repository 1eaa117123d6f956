"""What an anticipator observes of frames: the recogniser's embedding at every moment, and its events when they become known."""

import types

import numpy as np
import pytest

from egokeras.device import frame_anticipation
from egokeras.device.frame_anticipation import FrameAnticipator
from egokeras.errors import InputError

SURE = 8.0  # a logit
RECOGNISED = {"verb": ["open", "background", "pour"], "noun": ["cup", "background"]}
VOCABULARY = {"verb": ["pour", "cut", "open"], "noun": ["fridge", "cup"]}
MODEL = "a" * 64


def recogniser(classes=RECOGNISED, **fields):
    """An artifact of frames, as far as it is asked; its pictures are (verb, noun, number)."""
    smoothing = {"kind": "mean", "seconds": 0.0, "on": 0.5, "off": 0.3, "lag": 0.5}
    about = {"sampling": {"frames": 4}, "events": smoothing, "parent": {"model_sha256": MODEL}, "embedding": 2, **fields}
    return types.SimpleNamespace(kind="clip", folder="recogniser", classes=classes, clip_seconds=1.0, manifest=about)


def anticipator(*inputs, **fields):
    """An artifact that anticipates, as far as it is asked, of `inputs`."""
    described = {
        "labels": {"shape": [1, 10, 3], "dtype": "int32", "observed": {"known": "stop"}},
        "rgb_features": {"shape": [1, 2], "dtype": "float32", "observed": {"source": {"made_from": {"model": MODEL}}}},
        "flow_features": {"shape": [1, 2], "dtype": "float32"},
    }
    inputs = {name: {**described[name], **fields.get(name, {})} for name in inputs}
    return types.SimpleNamespace(folder="anticipator", manifest={"inputs": inputs, "vocabulary": VOCABULARY})


@pytest.fixture(autouse=True)
def observed(monkeypatch):
    """What anticipators observe, in the place of running one; a stream gives an answer to every frame from 1 s on."""
    found = []

    class Recorder:
        seconds = 0.25

        def __init__(self, artifact):
            self.artifact = artifact

        def open_stream(self):
            return 0

        def step(self, observation, state):
            found.append(observation)
            return {"action": np.zeros((8, 1))}, state + 1

    class Answers:
        def __init__(self, artifact, stride):
            self.classes = artifact.classes
            assert stride == 0.25

        def add(self, time, picture):
            verb, noun, number = picture
            logits = {
                head: np.where(np.arange(len(names)) == names.index(name), SURE, 0.0)
                for (head, names), name in zip(self.classes.items(), (verb, noun), strict=True)
            }
            return {**logits, "embedding": np.array([number, -number])} if time >= 1 else None

    monkeypatch.setattr(frame_anticipation, "Anticipator", Recorder)
    monkeypatch.setattr(frame_anticipation, "begin", Answers)
    return found


SCENE = [("open", "cup")] * 6 + [("background", "background")] * 2 + [("pour", "cup")] * 2 + [("open", "cup")] * 2


@pytest.mark.parametrize(
    ("known", "news"),
    [
        # by moment, from 1 s on; ids are those of the vocabulary, seconds those since the moment half a second (the lag) before
        ("start", {1.0: (2, 1, 0.5), 2.0: (0, 1, 0.5), 2.5: (2, 1, 0.5)}),
        ("stop", {1.5: (2, 1, 0.5), 2.5: (0, 1, 0.5)}),
    ],
)
def test_embeddings_at_every_moment_and_events_when_they_become_known(observed, known, news):
    stream = FrameAnticipator(anticipator("labels", "rgb_features", labels={"observed": {"known": known}}), recogniser())
    times = [0.25 * number for number in range(len(SCENE))]
    found = [stream.add(time, (*what, number)) for number, (time, what) in enumerate(zip(times, SCENE, strict=True))]
    assert [each is None for each in found] == [time < 1 for time in times]
    assert [each["rgb_features"].tolist() for each in observed] == [[number, -number] for number in range(4, len(SCENE))]
    seen = {time: each["labels"][0] for time, each in zip(times[4:], observed, strict=True) if each["labels"]}
    assert seen == {time: pytest.approx(action) for time, action in news.items()}
    assert all(len(each["labels"]) <= 1 for each in observed)


def test_past_actions_alone_need_no_embedding(observed):
    plain = recogniser()
    del plain.manifest["embedding"]
    stream = FrameAnticipator(anticipator("labels"), plain)
    stream.add(1.0, ("open", "cup", 0))
    assert observed == [{"labels": []}]


def test_what_does_not_fit_is_refused():
    cases = [
        (("rgb_features", "flow_features"), {}, "observes rgb_features, flow_features; one recogniser"),
        (("rgb_features",), {"embedding": None}, "does not give the rgb_features .* export it with --embedding"),
        (("rgb_features",), {"embedding": 3}, "gives 3 numbers, and anticipator observes rgb_features of 2"),
        (("rgb_features",), {"parent": {"model_sha256": "b" * 64}}, "learned from rgb_features of another model"),
        (("rgb_features",), {"parent": "nonsense"}, "learned from rgb_features of another model"),
        (("labels",), {"classes": {"action": ["open cup"]}}, "answers with action; give a recogniser of verbs and nouns"),
        (("labels",), {"classes": {**RECOGNISED, "noun": ["cup", "spoon"]}}, "knows the noun 'spoon', which anticipator does not"),
    ]
    for inputs, fields, said in cases:
        with pytest.raises(InputError, match=said):
            FrameAnticipator(anticipator(*inputs), recogniser(**fields))
    slow = recogniser(sampling={"frames": 2})
    slow.kind = "stream"
    with pytest.raises(InputError, match=r"takes a frame every 0.5 s, and anticipator observes every 0.25 s"):
        FrameAnticipator(anticipator("rgb_features"), slow)
    unknown = {"rgb_features": {"observed": "features of others"}}
    FrameAnticipator(anticipator("rgb_features", **unknown), recogniser())  # nothing says whose they are
