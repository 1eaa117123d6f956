"""Film strips of clips beside what the model says: clips drawn at random, and clips that are probably mislabelled."""

import numpy as np

from egokeras.report import page
from egokeras.scores import DENIED, SURE, heads, mislabelled, samples, softmax

FRAMES, HEIGHT, QUALITY = 6, 96, 72
GAP, WHITE = 2, 255
WITHOUT_PICTURES = 12  # clips listed where no picture can be shown
NOT_EVALUATED = "This run has no predictions of held-out clips yet."
NO_PICTURES = "The pictures are left out, because the shards of this run cannot be read here any more."


def clips(predictions, classes, shards, count):
    """Film strips of clips drawn at random, right and wrong."""
    if not heads(predictions):
        return [page.paragraph(NOT_EVALUATED)]
    if shards is None or not count:
        return [page.paragraph(NO_PICTURES)]
    right, wrong = samples(predictions, count)
    return [
        page.paragraph("Drawn at random from the held-out clips. Time runs from left to right.", kind="note"),
        *_strips("Every head right", right, predictions, classes, shards),
        *_strips("A head wrong", wrong, predictions, classes, shards),
    ]


def _strips(title, rows, predictions, classes, shards):
    if not len(rows):
        return [page.element("h3", title), page.paragraph("None.")]
    return [page.element("h3", title), page.element("div", *(_clip(predictions, row, classes, shards) for row in rows), kind="clips")]


def _clip(predictions, row, classes, shards):
    lines = [_prediction(predictions, head, row, classes[head]) for head in heads(predictions)]
    uid = str(predictions["uid"][row])
    caption = page.join(*lines, uid, between=page.BREAK)
    picture = _picture(shards, uid)
    return page.figure(picture, caption, kind="clip")


def _picture(shards, uid):
    """The film strip of a clip, or nothing where the shards are not pixels or do not have it."""
    rows = np.flatnonzero(shards.clips["uid"] == uid) if shards is not None else ()
    if not len(rows) or "rgb" not in shards.modalities:
        return ""
    jpeg, width, height = strip(shards.inputs(rows[:1])["rgb"][0])
    return page.picture(jpeg, width, height, f"frames of clip {uid}")


def _prediction(predictions, head, row, names):
    """One line: what the model says with which probability, and the label where it is another."""
    p, label = softmax(predictions[f"logits_{head}"][row]), int(predictions[f"label_{head}"][row])
    guess = int(p.argmax())
    said = page.join(f"{head} ", page.strong(names[guess]), f" {100 * p[guess]:.0f}%")
    if label < 0:
        return page.join(said, ", no label")
    if label == guess:
        return page.join(page.element("span", "✓ ", kind="good"), said)
    return page.join(page.element("span", "✗ ", kind="bad"), said, ", label ", page.strong(names[label]), f" {100 * p[label]:.0f}%")


def labels(held_out, trained, classes, shards, count):
    """Clips that are probably mislabelled, in held-out and in training clips."""
    if not heads(held_out) and not heads(trained):
        return [page.paragraph(NOT_EVALUATED)]
    parts = [
        page.paragraph(
            f"Clips where the model is sure of one class (at least {SURE:.0%}) and all but rules out the label (at most {DENIED:.0%}). ",
            "Each is a wrong label or a sure mistake: look at them before you trust the scores. The surest come first.",
            kind="note",
        )
    ]
    for title, predictions in (("Held-out clips", held_out), ("Training clips, each by a fold that has not seen it", trained)):
        if heads(predictions):
            parts += [page.element("h3", title), *_suspects(predictions, classes, shards, count)]
    return parts


def _suspects(predictions, classes, shards, count):
    rows = list(dict.fromkeys(row for row, *_ in mislabelled(predictions)))
    if not rows:
        return [page.paragraph("None.")]
    shown = rows[: count or WITHOUT_PICTURES]
    note = page.paragraph(f"{len(rows)} of {len(predictions['uid'])} clips; the first {len(shown)}:", kind="note")
    return [note, page.element("div", *(_clip(predictions, row, classes, shards if count else None) for row in shown), kind="clips")]


def strip(clip):
    """A clip (time, height, width, 3) uint8 RGB as one JPEG of at most 6 of its frames from left to right.

    Returns:
        The JPEG's bytes, width and height in pixels.
    """
    import cv2

    frames = clip[np.linspace(0, len(clip) - 1, min(FRAMES, len(clip))).round().astype(int)]
    scale = min(1.0, HEIGHT / clip.shape[1])
    size = max(1, round(clip.shape[2] * scale)), max(1, round(clip.shape[1] * scale))
    border = np.full((size[1], GAP, 3), WHITE, np.uint8)
    pieces = [piece for frame in frames for piece in (border, cv2.resize(frame, size, interpolation=cv2.INTER_AREA))]
    wide = np.concatenate(pieces[1:], axis=1)
    picture = cv2.imencode(".jpg", cv2.cvtColor(wide, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    return picture.tobytes(), wide.shape[1], wide.shape[0]
