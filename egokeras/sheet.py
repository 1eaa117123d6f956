"""The sheet of `egokeras inspect`: frames of a video, and below each its motion vectors, residuals and optical flow.

Pixels are drawn here, one panel pixel for one of the PNG; matplotlib sets the letters.
"""

import textwrap
import warnings

import cv2
import numpy as np

from egokeras.data import motion_vectors
from egokeras.data.frame_types import BROKEN, NAMES, OTHER
from egokeras.data.motion_vectors import CELL
from egokeras.errors import plain
from egokeras.files import atomic

DPI = 100
MARGIN, GAP, LABELS = 24, 10, 216  # pixels; the labels stand at the left
LEAST_WIDTH, LEAST_COLUMN, LEAST_ROW = 880, 150, 112  # pixels that the letters need
LETTER, LINE = 7.0, 17  # width and height, pixels
STRIP, LEAD, BADGE, WHEEL = 40, 34, 16, 20  # pixels: strip of types, lines from there to the columns, signs
INK, QUIET, PALE, EMPTY = (31, 41, 55), (100, 108, 122), (203, 208, 216), (241, 243, 245)
KINDS = {  # colour, share of the strip's height; where there is no room for all, the last ones show
    OTHER: ((156, 163, 175), 0.6),
    "P": ((147, 197, 253), 0.6),
    "B": ((253, 186, 116), 0.35),
    "I": ((29, 78, 216), 1.0),
    BROKEN: ((220, 38, 38), 1.0),
}
FLOW = "optical flow"
GAINS = (8, 4, 2, 1)
SPACING = 20  # pixels from one arrow to the next
STRIPES = ((75, 85, 99), (148, 158, 172))  # where a block was coded by itself
TICK_ROOM = 80  # pixels from one time to the next
STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600)


def draw(inspection, title, about):
    """The sheet of an `Inspection`: a matplotlib `Figure` of which every pixel is one of the PNG.

    Args:
        inspection: see `egokeras.data.inspection`.
        title: of the sheet.
        about: sentences below it.
    """
    views = inspection.views
    pitch = GAP + max(LEAST_COLUMN, max(view.picture.shape[1] for view in views))
    row = GAP + max(LEAST_ROW, max(view.picture.shape[0] for view in views))
    lefts = [MARGIN + LABELS + number * pitch for number in range(len(views))]
    page = _Page(max(LEAST_WIDTH, lefts[-1] + pitch - GAP + MARGIN))
    page.header(title, about)
    page.strip(inspection, lefts)
    for view, left in zip(views, lefts, strict=True):
        page.heading(view, left)
    page.down += 2 * LINE + GAP
    for name, words, pictures in _rows(views, inspection.file.untold):
        page.label(name, words)
        for view, picture, left in zip(views, pictures, lefts, strict=True):
            missing = "no frame before" if name == FLOW else "cannot be had" if view.whole is None else "whole picture"
            page.panel(picture, view, left, missing)
        page.down += row
    return page.figure()


def save(path, figure):
    """Write the sheet as a PNG, whole or not at all."""
    with atomic(path) as file, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of a title that the font has not got all letters of
        figure.savefig(file, format="png", dpi=DPI)


def _rows(views, untold):
    """(name, what it is, a picture or None for each view) of each row of the sheet."""
    vectors = [view.motion and -view.motion.cells[view.motion.inter] / view.motion.scale for view in views]
    fastest = _full(vectors) or _full([view.flow for view in views]) or 1.0
    farthest = _full([view.traced_motion for view in views]) or 1.0
    gains = [_gain([getattr(view, name) for view in views]) for name in ("residual", "traced_residual")]
    near, far = ((gain, f", {gain} times as strong" if gain > 1 else "") for gain in gains)
    source = "of prepare's copy: " if untold else ""
    yield "frame", "as it is decoded", [view.picture for view in views]
    words = f"{source}from the frame before; full colour: {fastest:.3g} pixels; striped: coded by itself, without a vector"
    yield "motion vectors", words, [vectors_drawn(view, fastest) for view in views]
    yield "residual", f"{source}what these vectors leave over{near[1]}", [residual_drawn(view.residual, near[0]) for view in views]
    words = f"{source}since the whole picture that the frame goes back to, as in CoViAR; full colour: {farthest:.3g} pixels"
    yield "motion, traced", words, [coloured(view.traced_motion, farthest) for view in views]
    words = f"{source}what this leaves over{far[1]}"
    yield "residual, traced", words, [residual_drawn(view.traced_residual, far[0]) for view in views]
    words = f"DIS, from the frame before; full colour: {fastest:.3g} pixels"
    yield FLOW, words, [coloured(view.flow, fastest) for view in views]


def _full(motions):
    """The length in pixels that has the full colour, at least 1: all but the longest half percent are within; None without any motion."""
    lengths = [np.hypot(*np.moveaxis(motion, -1, 0)).ravel() for motion in motions if motion is not None and motion.size]
    return max(1.0, float(np.percentile(np.concatenate(lengths), 99.5))) if lengths else None


def _gain(residuals):
    """How many times a residual can be drawn without leaving the range for more than half a percent of it."""
    values = [np.abs(residual).ravel() for residual in residuals if residual is not None]
    most = float(np.percentile(np.concatenate(values), 99.5)) if values else 0.0
    return next((gain for gain in GAINS if gain * most <= 127), 1)


def coloured(motion, full):
    """Directions as hues, from white at rest to the full colour: (height, width, 3) uint8.

    Args:
        motion: (height, width, 2) pixels to the right and down; None gives None.
        full: length that has the full colour.
    """
    if motion is None:
        return None
    x, y = motion[..., 0].astype(np.float32), motion[..., 1].astype(np.float32)
    length, angle = cv2.cartToPolar(x, y, angleInDegrees=True)
    hsv = np.dstack([angle, np.minimum(length / full, 1), np.ones_like(length)])
    return np.rint(255 * cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)).astype(np.uint8)


def residual_drawn(residual, gain):
    """Grey where nothing is left over: (height, width, 3) uint8."""
    return None if residual is None else motion_vectors.as_bytes(residual=gain * residual)


def vectors_drawn(view, full):
    """The motion vectors of a `View` in colours with arrows; stripes over cells without one; None for a whole picture.

    An arrow begins where a block came from, in the scale in which the full colour is as long as arrows are apart.
    """
    if view.motion is None:
        return None
    height, width = view.picture.shape[:2]
    rows, columns = ((np.arange(side) + 0.5) * whole / side // CELL for side, whole in zip((height, width), view.shape, strict=True))
    at = np.ix_(rows.astype(int), columns.astype(int))
    moved, inter = -view.motion.cells[at] / view.motion.scale, view.motion.inter[at]
    drawn = coloured(moved, full)
    stripes = np.add.outer(np.arange(height), np.arange(width)) // 4 % 2
    drawn[~inter] = np.array(STRIPES, np.uint8)[stripes[~inter]]
    for y in range(SPACING // 2, height, SPACING):
        for x in range(SPACING // 2, width, SPACING):
            step = moved[y, x] * (SPACING / full)
            length = np.hypot(*step)
            if inter[y, x] and length >= 2:
                tip = step * min(1.0, SPACING / length) / 2
                ends = [(round(x + sign * tip[0]), round(y + sign * tip[1])) for sign in (-1, 1)]
                cv2.arrowedLine(drawn, ends[0], ends[1], INK, 1, cv2.LINE_AA, tipLength=0.35)
    return drawn


def strip_drawn(kinds, width):
    """The types of frames as bars side by side, (STRIP, width, 3) uint8; a whole picture and damage show however narrow they are."""
    edges = np.arange(len(kinds) + 1) * width / len(kinds)
    drawn = np.full((STRIP, width, 3), 255, np.uint8)
    drawn[:] = EMPTY
    for kind, (colour, share) in KINDS.items():
        for number in (number for number, own in enumerate(kinds) if own == kind):
            first = min(int(edges[number]), width - 1)
            last = max(first + 1, int(edges[number + 1]) - (width >= 4 * len(kinds)))  # a gap where there is room for one
            drawn[:, first:last] = EMPTY
            drawn[STRIP - round(share * STRIP) :, first:last] = colour
    return drawn


class _Page:
    """What is on the sheet, from the top to `down` pixels below it."""

    def __init__(self, width):
        self.width, self.down = width, MARGIN
        self.pictures, self.texts = [], []

    def paste(self, picture, x, y=None):
        self.pictures.append((picture, x, self.down if y is None else y))

    def write(self, words, x, y, size=9.0, colour=QUIET, **how):
        self.texts.append((plain(words), x, y, {"size": size, "color": np.array(colour) / 255, "va": "top", **how}))

    def header(self, title, about):
        """The title, and sentences below it."""
        title, most = plain(title), int((self.width - 2 * MARGIN) / (2.2 * LETTER))
        self.write(title if len(title) <= most else f"…{title[1 - most :]}", MARGIN, self.down, 14, INK, weight="bold")
        self.down += 2 * LINE
        for sentence in about:
            for line in textwrap.wrap(sentence, int((self.width - 2 * MARGIN) / LETTER)):
                self.write(line, MARGIN, self.down, colour=INK)
                self.down += LINE
        self.down += GAP

    def strip(self, inspection, columns):
        """The types of the frames, and lines from those that are shown to their columns, whose left edges are given."""
        left, kinds, seconds = MARGIN + LABELS, inspection.kinds, inspection.seconds
        width = self.width - MARGIN - left
        self._legend(kinds, left)
        self.label("types of frames", f"{len(kinds)} frames, {seconds[0]:.2f} to {seconds[-1]:.2f} s")
        self.paste(strip_drawn(kinds, width), left)
        self.down += STRIP
        places = {view.number: left + (view.number - inspection.first + 0.5) * width / len(kinds) for view in inspection.views}
        lines = np.full((LEAD + LINE, self.width, 3), 255, np.uint8)
        for place, column in zip(places.values(), columns, strict=True):
            ends = np.array([(place, 0), (place, LINE + 4), (column + BADGE / 2, LEAD + LINE)])
            cv2.polylines(lines, [np.rint(ends).astype(np.int32)], False, PALE, 1, cv2.LINE_AA)
        self.paste(lines, 0)
        self._times(seconds, left, width)
        self.down += LEAD + LINE

    def _legend(self, kinds, left):
        """Colours, counts and shares of the types that there are."""
        for kind in (kind for kind in NAMES if kind in kinds):
            self.paste(np.full((10, 10, 3), KINDS[kind][0], np.uint8), left, self.down + 2)
            words = f"{NAMES[kind]} {kinds.count(kind)} ({100 * kinds.count(kind) / len(kinds):.0f} %)"
            self.write(words, left + 15, self.down, 8.5)
            left += 36 + round(LETTER * len(words))
        self.down += LINE + 4

    def _times(self, seconds, left, width):
        """Times below the strip."""
        lasting = float(seconds[-1] - seconds[0]) * len(seconds) / max(1, len(seconds) - 1)
        step = next((step for step in STEPS if step * width >= TICK_ROOM * lasting), 2 * STEPS[-1])
        for time in np.arange(np.ceil(seconds[0] / step), seconds[-1] / step + 1e-9) * step:
            x = left + (np.searchsorted(seconds, time - 1e-6) + 0.5) * width / len(seconds)
            self.write(f"{time:g} s", x, self.down + 4, 7.5, ha="center", bbox={"color": "white", "pad": 1})

    def heading(self, view, left):
        """Type, time and number of a frame."""
        self.paste(np.full((BADGE, BADGE, 3), KINDS[view.kind][0], np.uint8), left)
        letter = (255, 255, 255) if view.kind == "I" else INK
        self.write(view.kind, left + BADGE / 2, self.down + BADGE / 2, 9, letter, weight="bold", ha="center", va="center_baseline")
        self.write(f"{view.seconds:.3f} s", left + BADGE + 6, self.down + 1, 9.5, INK, weight="bold")
        back = "" if view.whole is None else ", whole" if view.whole == view.number else f", back to {view.whole}"
        self.write(f"frame {view.number}{back}", left, self.down + BADGE + 4, 8.5)

    def label(self, name, words):
        """What stands in a row, and the wheel of colours where these are directions."""
        self.write(name, MARGIN, self.down, 10, INK, weight="bold")
        if "colour" in words:
            y, x = np.mgrid[:WHEEL, :WHEEL] - (WHEEL - 1) / 2
            wheel = coloured(np.dstack([x, y]), WHEEL / 2)
            wheel[np.hypot(x, y) > WHEEL / 2] = 255
            self.paste(wheel, MARGIN + LABELS - 16 - WHEEL, self.down - 2)
        for number, line in enumerate(textwrap.wrap(words, int((LABELS - 16) / (0.94 * LETTER))), 1):
            self.write(line, MARGIN, self.down + 6 + LINE * number - 2 * number, 8.5)

    def panel(self, picture, view, left, otherwise):
        """A picture, or why there is none."""
        shape = view.picture.shape
        self.paste(np.full((shape[0] + 2, shape[1] + 2, 3), PALE, np.uint8), left - 1, self.down - 1)
        if picture is None:
            self.paste(np.full(shape, EMPTY, np.uint8), left)
            self.write(otherwise, left + shape[1] / 2, self.down + shape[0] / 2, 8.5, ha="center", va="center")
        else:
            self.paste(picture, left)

    def figure(self):
        """All of it."""
        from matplotlib.figure import Figure

        height = self.down + MARGIN - GAP
        canvas = np.full((height, self.width, 3), 255, np.uint8)
        for picture, x, y in self.pictures:
            canvas[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
        figure = Figure(figsize=(self.width / DPI, height / DPI), dpi=DPI)
        figure.figimage(canvas)
        for words, x, y, how in self.texts:
            figure.text(x / self.width, 1 - y / height, words, parse_math=False, **how)
        return figure
