"""The sheet: colours and arrows say what the motion is, nothing narrow is lost on the strip, and pixels stand where they should."""

import cv2
import numpy as np
import pytest

from egokeras import sheet
from egokeras.data.inspection import File, Inspection, View
from egokeras.data.motion_vectors import Motion

FILE = File(
    container="mov",
    codec="mpeg4",
    profile="",
    width=160,
    height=96,
    turns=0,
    fps=25.0,
    steps=(0.04, 0.04),
    frames=50,
    seconds=2.0,
    untold="",
)


def test_directions_are_hues_and_speed_is_colour():
    motion = np.array([[[0, 0], [4, 0], [0, 4], [-4, 0], [0, -4], [2, 0], [40, 0]]], np.float32)
    expected = [(255, 255, 255), (255, 0, 0), (128, 255, 0), (0, 255, 255), (128, 0, 255), (255, 128, 128), (255, 0, 0)]
    np.testing.assert_allclose(sheet.coloured(motion, 4.0)[0].astype(int), expected, atol=1)


def view(number, **given):
    """A picture of 96 x 160 pixels; of its motion the left half came 8 pixels to the right, of the right half nothing is known."""
    cells, inter = np.zeros((12, 20, 2), np.int16), np.zeros((12, 20), bool)
    cells[:, :10], inter[:, :10] = (-16, 0), True
    random = np.random.default_rng(number)
    coded = {
        "motion": Motion(cells=cells, inter=inter, scale=2),
        "residual": random.integers(-9, 10, (96, 160, 3)).astype(np.int16),
        "traced_motion": np.full((96, 160, 2), (0, -3), np.float32),
        "traced_residual": random.integers(-60, 61, (96, 160, 3)).astype(np.int16),
        "flow": np.full((96, 160, 2), (4, 0), np.float32),
        "whole": 0,
    }
    picture = random.integers(0, 256, (96, 160, 3)).astype(np.uint8)
    return View(number=number, seconds=number / 25, kind="P", shape=(96, 160), picture=picture, **(given or coded))


def test_vectors_are_drawn_on_their_cells():
    drawn = sheet.vectors_drawn(view(3), full=16.0)
    half = drawn[2, 2]  # 8 of 16 pixels to the right: half the colour
    assert np.abs(half.astype(int) - (255, 128, 128)).max() <= 1 and (drawn[:, 79] == half).all()
    stripes = {tuple(pixel) for pixel in drawn[:, 80:].reshape(-1, 3).tolist()}
    assert stripes == set(sheet.STRIPES)
    dark = np.argwhere(drawn[:, :80].sum(axis=2) < 250)  # arrows, from 5 pixels before to 5 behind every twentieth pixel from the tenth
    assert set(np.unique(np.rint((dark[:, 1] - 10) / 20))) == {0, 1, 2, 3} and np.abs((dark[:, 1] - 10 + 10) % 20 - 10).max() <= 6
    darker = (drawn[:20, :20] != half).any(axis=2).sum(axis=0)
    assert darker[11:15].max() > darker[5:9].max() > 0 == darker[:4].max() == darker[17:].max()  # the head is at the right
    larger = sheet.vectors_drawn(View(**{**vars(view(3)), "picture": np.zeros((192, 320, 3), np.uint8)}), full=16.0)
    assert (larger[:, 159] == half).all() and (larger[0, 160] != half).any()
    still = view(3)
    still.motion.cells[:] = 0
    assert (sheet.vectors_drawn(still, 16.0)[:, :80] == 255).all()


def test_the_strip_shows_what_is_narrow():
    few = sheet.strip_drawn("IPBx", 80)
    assert few.shape == (sheet.STRIP, 80, 3)
    for at, kind in zip((2, 22, 42, 62), "IPBx", strict=True):
        colour, share = sheet.KINDS[kind]
        assert (few[:, at] == colour).all(axis=1).sum() == round(share * sheet.STRIP) and few[-1, at].tolist() == list(colour)
    kinds = ["P"] * 1000
    kinds[501], kinds[777] = "I", "x"
    many = sheet.strip_drawn("".join(kinds), 100)
    tall = [x for x in range(100) if (many[0, x] != sheet.EMPTY).any()]
    assert tall == [50, 77] and many[0, 50].tolist() == list(sheet.KINDS["I"][0])


def test_pixels_stand_where_they_should(tmp_path):
    views = (view(0, whole=0), view(11), view(30))
    kinds = ("I" + "P" * 11) * 4 + "IP"
    figure = sheet.draw(Inspection(file=FILE, first=0, seconds=np.arange(50) / 25, kinds=kinds, views=views), "a $title$", ["one", "two"])
    sheet.save(tmp_path / "a.png", figure)
    drawn = cv2.imread(str(tmp_path / "a.png"))[:, :, ::-1]
    left, pitch = sheet.MARGIN + sheet.LABELS, 160 + sheet.GAP
    assert drawn.shape[1] == max(sheet.LEAST_WIDTH, left + 3 * pitch - sheet.GAP + sheet.MARGIN)
    tops = [place(drawn[:, left + number * pitch :][:, :160], one.picture) for number, one in enumerate(views)]
    assert len(set(tops)) == 1
    row = sheet.LEAST_ROW + sheet.GAP
    expected = [
        lambda one: sheet.vectors_drawn(one, 8.0),  # the fastest vector
        lambda one: (128 + 8 * one.residual).astype(np.uint8),
        lambda one: sheet.coloured(one.traced_motion, 3.0),
        lambda one: (128 + 2 * one.traced_residual).astype(np.uint8),
        lambda one: sheet.coloured(one.flow, 8.0),
    ]
    for number, one in enumerate(views):
        for line, picture in enumerate(expected, 1):
            found = drawn[tops[0] + line * row :][:96, left + number * pitch :][:, :160]
            if number:
                np.testing.assert_array_equal(found, picture(one))
            else:  # a whole picture has words there
                assert (found == sheet.EMPTY).all(axis=2).mean() > 0.9 and (found != sheet.EMPTY).any()
    strip = place(drawn, np.array(sheet.KINDS["I"][0], np.uint8) * np.ones((sheet.STRIP, 6, 1), np.uint8), left)
    width = drawn.shape[1] - sheet.MARGIN - left
    np.testing.assert_array_equal(drawn[strip : strip + sheet.STRIP, left:][:, :width], sheet.strip_drawn(kinds, width))
    assert strip < tops[0] and (drawn[:, : sheet.MARGIN - 1] == 255).all()


def place(column, picture, x=0):
    """The row at which a picture stands in a column of pixels."""
    height, width = picture.shape[:2]
    return next(y for y in range(len(column) - height) if (column[y : y + height, x : x + width] == picture).all())


@pytest.mark.parametrize("count", [1, 16])
def test_letters_stay_apart(count):
    """No two texts overlap, whatever the widths; none leaves the sheet."""
    views = tuple(view(number) for number in range(1, count + 1))
    kinds = "IPB?x" * 10
    inspection = Inspection(file=FILE, first=0, seconds=np.arange(50) / 25, kinds=kinds, views=views)
    figure = sheet.draw(inspection, "n" * 400, ["word " * 60])
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [text.get_window_extent(renderer) for text in figure.texts]
    width, height = figure.get_size_inches() * sheet.DPI
    assert len(boxes) > 20 and all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height for box in boxes)
    for number, box in enumerate(boxes):
        for other in boxes[:number]:
            assert min(box.x1, other.x1) - max(box.x0, other.x0) <= 1 or min(box.y1, other.y1) - max(box.y0, other.y0) <= 2
