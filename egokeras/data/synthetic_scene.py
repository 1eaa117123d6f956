"""What the small kitchen looks like: things, hands, walls; one unit of the scene is the height of the view."""

import colorsys

import cv2
import numpy as np

from egokeras.data.synthetic_motion import Pose, handle, lights, perform, views

FIXTURES = ("fridge", "cupboard", "drawer")
NOUNS = (*FIXTURES, "cup", "bowl", "pan", "bottle", "jar", "knife", "sponge", "bread", "tomato")
SPOTS = ("sink", *NOUNS)
PITCH = 2.0
"""Distance between two spots: more than the width of a view, so that the neighbours of an action stay out of sight."""
HEIGHT = 2.4
"""Of the backdrop: more than a view that is shifted, turned and zoomed out."""

_WATER = (120, 205, 250)
_CIRCLE = np.stack([np.cos(np.arange(20) * np.pi / 10), np.sin(np.arange(20) * np.pi / 10)], axis=1)
_SUBPIXEL_BITS = 4


class Canvas:
    """An RGB image (height, width, 3) uint8 and the affine map (2, 3) from scene units to its pixels."""

    def __init__(self, image, matrix):
        self.image, self.matrix = image, matrix

    def at(self, x, y, scale=1.0, turn=0.0, mirror=False):
        """The same image with the origin at (x, y), turned by `turn` radians."""
        cos, sin, flip = scale * np.cos(turn), scale * np.sin(turn), -1 if mirror else 1
        linear = self.matrix[:, :2]
        return Canvas(self.image, np.column_stack([linear @ ((flip * cos, -sin), (flip * sin, cos)), linear @ (x, y) + self.matrix[:, 2]]))

    def shape(self, points, colour):
        """Fill a convex polygon, with a darker edge."""
        pixels = self._pixels(points)
        cv2.fillConvexPoly(self.image, pixels, colour, cv2.LINE_AA, _SUBPIXEL_BITS)
        cv2.polylines(self.image, [pixels], True, _shade(colour, 0.6), 1, cv2.LINE_AA, _SUBPIXEL_BITS)

    def box(self, left, top, right, bottom, colour):
        """Fill a rectangle, with a darker edge."""
        self.shape(((left, top), (right, top), (right, bottom), (left, bottom)), colour)

    def disc(self, x, y, rx, ry, colour):
        """Fill an ellipse."""
        cv2.fillConvexPoly(self.image, self._pixels(_CIRCLE * (rx, ry) + (x, y)), colour, cv2.LINE_AA, _SUBPIXEL_BITS)

    def bar(self, x0, y0, x1, y1, width, colour):
        """Draw a line with round ends."""
        start, stop = self._pixels(((x0, y0), (x1, y1))).tolist()
        thickness = max(1, round(width * float(np.hypot(*self.matrix[:, 1]))))
        cv2.line(self.image, start, stop, colour, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)

    def _pixels(self, points):
        pixels = np.asarray(points, float) @ self.matrix[:, :2].T + self.matrix[:, 2]
        return np.rint(pixels * (1 << _SUBPIXEL_BITS)).astype(np.int32)


class Kitchen:
    """One participant's kitchen and body, drawn from a seed: colours, order of the spots, skin, sleeve, handedness."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.order = tuple(rng.permutation(SPOTS).tolist())
        self.wall = _hsv(rng.uniform(), rng.uniform(0.03, 0.25), rng.uniform(0.55, 0.95))
        self.counter = _hsv(rng.choice([0.08, 0.6, 0.3]), rng.uniform(0.05, 0.3), rng.uniform(0.4, 0.85))
        self.tile = rng.uniform(0.16, 0.4)
        self.colours = {noun: _hsv(*(_COLOURS[noun] + rng.uniform(-1, 1, 3) * (0.025, 0.12, 0.12))) for noun in NOUNS}
        self.skin = _hsv(rng.uniform(0.04, 0.075), rng.uniform(0.3, 0.6), rng.uniform(0.4, 0.98))
        self.sleeve = _hsv(rng.uniform(), rng.uniform(0.2, 0.8), rng.uniform(0.25, 0.8))
        self.left_handed = bool(rng.uniform() < 0.3)

    def place(self, spot):
        """Scene x of a spot's centre."""
        return PITCH * (1 + self.order.index(spot))

    def backdrop(self, scale, rng):
        """Wall, counter and clutter (from `rng`), RGB at `scale` pixels per unit; pixel (0, 0) shows (0, -HEIGHT / 2)."""
        right, bottom = PITCH * (len(SPOTS) + 1), HEIGHT / 2
        width, height = round(right * scale), round(HEIGHT * scale)
        canvas = Canvas(np.full((height, width, 3), self.wall, np.uint8), np.array([[scale, 0, 0], [0, scale, bottom * scale]], float))
        for y in np.arange(-bottom, 0, self.tile):
            canvas.bar(0, y, right, y, 0.012, _shade(self.wall, 0.85))
        for x in np.arange(0, right, self.tile * 1.4):
            canvas.bar(x, -bottom, x, 0, 0.012, _shade(self.wall, 0.85))
        canvas.box(-1, -0.1, right + 1, 0.55, self.counter)
        canvas.box(-1, 0.55, right + 1, bottom + 1, _shade(self.counter, 0.7))
        for _ in range(6 * len(SPOTS)):
            _clutter(canvas.at(rng.uniform(0, right), rng.choice([-0.5, -0.06, 0.5]) + rng.uniform(-0.06, 0.06)), rng)
        grain = cv2.resize(rng.normal(0, 8, (height // 3, width // 3)).astype(np.float32), (width, height))
        return np.clip(canvas.image + grain[..., None], 0, 255).astype(np.uint8)


def _clutter(canvas, rng):
    """A small box of any colour."""
    width, height = rng.uniform(0.04, 0.13), rng.uniform(0.06, 0.28)
    colour = _hsv(rng.uniform(), rng.uniform(0.0, 0.5), rng.uniform(0.3, 0.9))
    canvas.box(-width, -height, width, 0, colour)
    canvas.box(-width * 0.7, -height * 0.7, width * 0.7, -height * 0.4, _shade(colour, 1.3))


def _hsv(hue, saturation, value):
    return tuple(round(255 * channel) for channel in colorsys.hsv_to_rgb(hue % 1, min(1, max(0, saturation)), min(1, max(0, value))))


def _shade(colour, factor):
    return tuple(min(255, round(channel * factor)) for channel in colour)


def frames(video, still=False):
    """Yield the frames of a `synthetic.Video`, (height, width, 3) uint8 RGB; `still`: the head at rest in actions, constant light."""
    rng = np.random.default_rng((*video.seed, 1))
    kitchen = Kitchen(video.seed[:2])
    times = np.arange(round(video.seconds * video.fps)) / float(video.fps)
    scale = 1.1 * video.size[1]
    backdrop = kitchen.backdrop(scale, rng)
    to_scene = np.array([[1 / scale, 0, 0], [0, 1 / scale, -HEIGHT / 2], [0, 0, 1]])
    seen = views(video.actions, [kitchen.place(action.spot) for action in video.actions], video.size, times, rng, still)
    for time, view, light in zip(times, seen, lights(times, rng, still), strict=True):
        image = cv2.warpAffine(backdrop, view @ to_scene, video.size, borderMode=cv2.BORDER_REFLECT)
        _draw_spots(Canvas(image, view), kitchen, video.actions, time)
        yield cv2.multiply(image, np.array((*light, 0.0)))


def _draw_spots(canvas, kitchen, actions, time):
    """Draw all spots in view as they are at `time`; between actions the last one is over and its hands are out of sight."""
    action = actions[max(0, sum(action.start <= time for action in actions) - 1)]
    moment = min(1.0, max(0.0, (time - action.start) / (action.stop - action.start)))
    height, width, _ = canvas.image.shape
    middle = np.linalg.solve(canvas.matrix[:, :2], (width / 2, height / 2) - canvas.matrix[:, 2])[0]
    for spot in kitchen.order:
        here = canvas.at(kitchen.place(spot), 0)
        if abs(kitchen.place(spot) - middle) > 1.5:
            continue
        if spot == action.spot:
            _draw_spot(here, kitchen, spot, action.noun, perform(action.verb, action.noun, moment, action.amounts[action.noun]))
        elif spot == "sink" or spot in action.away:
            _draw_spot(here, kitchen, spot, None, None)
        else:
            _draw_spot(here, kitchen, spot, spot, Pose(amount=action.amounts[spot]))


def _draw_spot(canvas, kitchen, spot, noun, pose):
    """Draw onto a canvas, whose origin is the spot's centre, what is there; `noun` None is nothing but the spot itself."""
    canvas = canvas.at(0, 0, mirror=kitchen.left_handed)
    if spot == "sink":
        _parts(canvas, "sink")
    if noun is None:
        return
    if pose.stream and pose.stream[2] > 0:
        x, y, width = pose.stream
        canvas.bar(x, y, x, 0.3, width, _WATER)
        canvas.disc(x, 0.3, 0.16, 0.06, (235, 245, 255))
    thing = canvas.at(*pose.at)
    draw = _door if noun in ("fridge", "cupboard") else _drawer if noun == "drawer" else _parts
    draw(thing, noun, kitchen.colours[noun], pose.amount)
    for x, y in _CIRCLE[::3] if pose.foam > 0 else ():
        thing.disc(0.26 * x, 0.22 * y, 0.055 * pose.foam, 0.055 * pose.foam, (245, 248, 252))
    if pose.other:
        _hand(canvas.at(0, 0, mirror=True), kitchen, (-pose.other[0], *pose.other[1:]))
    if pose.hand:
        _hand(canvas, kitchen, pose.hand, pose.tool)


def _hand(canvas, kitchen, hand, tool=""):
    """Tool, arm, palm and fingers of a right hand that comes from below."""
    x, y, grip = hand
    if tool:
        _parts(canvas.at(x, y), tool)
    here = canvas.at(x, y, turn=np.arctan2(0.6 * x - 0.35, 1.4 - y))
    here.shape(((-0.07, 0.2), (0.07, 0.2), (0.14, 1.2), (-0.14, 1.2)), kitchen.sleeve)
    here.shape(((-0.05, 0.1), (0.05, 0.1), (0.06, 0.26), (-0.06, 0.26)), kitchen.skin)
    here.disc(0, 0.1, 0.085, 0.09, kitchen.skin)
    for finger in (-1.5, -0.5, 0.5, 1.5):
        here.bar(0.045 * finger, 0.05, (0.07 - 0.025 * grip) * finger, 0.08 * grip - 0.1, 0.042, _shade(kitchen.skin, 0.93))
    here.bar(-0.07, 0.12, -0.15 + 0.05 * grip, 0.03, 0.045, kitchen.skin)


def _door(canvas, noun, colour, amount):
    """A cabinet whose door turns on its left edge towards the viewer."""
    fridge = noun == "fridge"
    top, inside = (0.56, (225, 242, 255)) if fridge else (0.42, _shade(colour, 0.35))
    width, grow = 0.84 * np.cos(0.65 * np.pi * amount), 0.16 * np.sin(0.65 * np.pi * amount)
    canvas.box(-0.44, -top, 0.44, top, _shade(colour, 0.85))
    if amount > 0:
        canvas.box(-0.4, 0.04 - top, 0.4, top - 0.04, inside)
        for x, y in ((-0.22, -0.15), (0.0, -0.15), (0.22, -0.15), (-0.22, 0.2), (0.0, 0.2), (0.22, 0.2)):
            canvas.box(x - 0.07, y - 0.16, x + 0.07, y, _hsv(x + y, 0.6, 0.8))
            canvas.bar(x - 0.1, y, x + 0.1, y, 0.025, _shade(inside, 0.7))
    canvas.shape(((-0.42, -top), (width - 0.42, -top - grow), (width - 0.42, top + grow), (-0.42, top)), colour)
    left, right, grip = (share * width - 0.42 for share in (0.15, 0.82, 0.92))
    if fridge:
        canvas.bar(-0.42, -0.24, width - 0.42, -0.24, 0.025, _shade(colour, 0.55))
        canvas.bar(grip, -0.14, grip, 0.2, 0.045, (70, 74, 80))
    else:
        canvas.shape(((left, -0.3), (right, -0.3), (right, 0.3), (left, 0.3)), _shade(colour, 1.2))
        canvas.disc(grip, 0.05, 0.035, 0.035, (240, 215, 120))


def _drawer(canvas, _, colour, amount):
    canvas.box(-0.6, -0.45, 0.6, 0.5, _shade(colour, 0.9))
    canvas.box(-0.52, -0.4, 0.52, -0.16, colour)
    y, wide = 0.42 * amount, 0.52 + 0.08 * amount
    if amount > 0:
        canvas.shape(((-0.48, -0.1), (0.48, -0.1), (wide, y - 0.08), (-wide, y - 0.08)), (214, 196, 160))
        for x in (-0.3, -0.1, 0.1, 0.3):
            canvas.bar(x, -0.05, 2 * x * wide, max(-0.05, y - 0.14), 0.045, (130, 140, 150))
    canvas.box(-wide, y - 0.12, wide, y + 0.17, colour)
    canvas.bar(-0.16, y + 0.03, 0.16, y + 0.03, 0.05, (70, 74, 80))


def _parts(canvas, name, colour=None, amount=0.0):
    """Draw a thing, a tool or the sink from its line in `_DRAWINGS`."""
    for kind, tint, numbers in _PARSED[name]:
        paint = tint if isinstance(tint, tuple) else _shade(colour, tint)
        if kind == "shape":
            canvas.shape(np.reshape(numbers, (-1, 2)), paint)
        elif kind == "mouth":
            y, rx, ry = numbers
            for share, fill in ((1.0, paint), (0.88, (40, 34, 34)), (0.86 * amount**0.5, _WATER)):
                canvas.disc(0, y, rx * share, ry * share, fill)
        elif kind == "water":
            left, top, right, bottom = numbers
            canvas.box(left, bottom + (top - bottom) * amount, right, bottom, _WATER)
        elif kind == "lid":
            canvas.at(*handle(name, amount)).box(*numbers, paint)
        else:
            getattr(canvas, kind)(*numbers, paint)


def _parsed(drawing):
    """(kind, RGB or shade of the thing's own colour, numbers in units) of each part."""
    for kind, tint, *numbers in map(str.split, drawing.split(";")):
        yield kind, tuple(bytes.fromhex(tint[1:])) if tint[0] == "#" else float(tint), [float(number) / 100 for number in numbers]


_COLOURS = {  # hue, saturation, value
    "fridge": (0.58, 0.05, 0.9),
    "cupboard": (0.09, 0.6, 0.62),
    "drawer": (0.05, 0.7, 0.45),
    "cup": (0.84, 0.75, 0.8),
    "bowl": (0.63, 0.8, 0.8),
    "pan": (0.6, 0.15, 0.25),
    "bottle": (0.36, 0.8, 0.6),
    "jar": (0.1, 0.9, 0.85),
    "knife": (0.58, 0.06, 0.85),
    "sponge": (0.16, 0.8, 0.9),
    "bread": (0.085, 0.65, 0.65),
    "tomato": (0.0, 0.9, 0.85),
}
_DRAWINGS = {  # parts from back to front: kind, #rrggbb or shade, hundredths of a unit
    "cup": "bar .8 -9 -11 -31 -10 5; bar .8 -31 -10 -28 10 5; bar .8 -28 10 -9 12 5; "
    "shape 1 -20 -20 20 -20 15 22 -15 22; mouth 1.2 -20 20 8",
    "bowl": "shape 1 -40 -10 40 -10 35 8 22 19 0 23 -22 19 -35 8; mouth 1.25 -10 40 13",
    "pan": "bar #1e1c1c -25 -2 -62 -8 7; shape 1 -34 -8 34 -8 29 16 -29 16; mouth 1.25 -8 34 12",
    "bottle": "shape 1 -6 -42 6 -42 14 -16 14 30 -14 30 -14 -16; box .5 -7 -46 7 -38; box #28302c -10 -14 10 27; water 1 -10 -14 10 27",
    "jar": "box #c8dce1 -20 -20 20 26; box 1 -17 -6 17 24; disc #3c281e 0 -20 19 6; lid #c4283c -21 -5 21 6",
    "knife": "shape 1 -42 3 -30 -7 8 -7 8 5; bar #231e20 10 -1 38 -1 10",
    "sponge": "box 1 -26 -14 26 8; box #28783c -26 7 26 17; disc .65 -16 -6 3 2.5; disc .65 0 0 3 2.5; disc .65 14 -7 3 2.5",
    "bread": "shape 1 -42 16 -44 -6 -30 -20 30 -20 44 -6 42 16; bar 1.45 -27 -15 -17 2 4; bar 1.45 -5 -15 5 2 4; bar 1.45 17 -15 27 2 4",
    "tomato": "disc 1 0 0 24 21; disc #ffaa96 -9 -8 5 4; bar #328228 0 -16 -10 -20 4; bar #328228 0 -16 0 -26 4; bar #328228 0 -16 9 -20 4",
    "sink": "box #afb4ba -56 0 56 52; disc #606870 0 27 48 20; disc #468cbe 0 30 42 15; bar #c8cdd2 -35 0 -35 -42 7; "
    "bar #c8cdd2 -35 -42 -5 -42 7",
    "spoon": "bar #966432 4 -8 -27 12 4; disc #966432 -28 13 6 5",
    "blade": "shape #d7dee6 5 -5 -50 -6 -56 2 5 6",
    "cloth": "shape #f0f0f5 -20 -14 17 -17 21 12 -16 16; bar #c84646 -15 8 17 5 3",
}
_PARSED = {name: tuple(_parsed(drawing)) for name, drawing in _DRAWINGS.items()}
