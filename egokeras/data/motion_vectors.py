"""What compressed video says of motion: vectors on a grid of 8x8 pixels, traced back to the last whole picture, and what they leave over.

Wu et al., "Compressed Video Action Recognition" (CoViAR, CVPR 2018), https://arxiv.org/abs/1712.00636. Displacements are those of the
decoder: from a block of the picture to where in the reference it was copied from, (x, y), x to the right and y down, in 1/scale pixels.
"""

import dataclasses
import functools

import cv2
import numpy as np

CELL = 8  # pixels; larger blocks are several cells
BLOCKS = ((16, 16), (16, 8), (8, 16), (8, 8))
BOUND = 20.0  # pixels of motion at which CoViAR's 8 bits end
NO_MAP = np.zeros(0, np.uint16)  # whole pixels have nothing between them
MARGIN = 64  # pixels that a vector may point beyond the border


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Motion:
    """How a picture was made from the one before.

    Attributes:
        cells: (rows, columns, 2) int16 displacements, 0 where there is none.
        inter: (rows, columns) bool: copied; the others were coded by themselves.
        scale: steps in a pixel: 2 in MPEG-4, 4 in H.264.
    """

    cells: np.ndarray
    inter: np.ndarray
    scale: int

    def dense(self, height, width):
        """(height, width, 2) int16, the displacement of every pixel."""
        rows, columns = self.inter.shape
        whole = cv2.resize(self.cells, (columns * CELL, rows * CELL), interpolation=cv2.INTER_NEAREST)
        return whole[:height, :width]


def on_grid(vectors, height, width):
    """The `Motion` of a picture.

    Args:
        vectors: what the decoder exports: structured array with `source`, `w`, `h`, `dst_x`, `dst_y` (middles of blocks), `motion_x`,
            `motion_y` and `motion_scale`; None for a picture that was coded by itself. Vectors to later pictures (`source` > 0) are
            left out.
        height, width: of the picture.
    """
    rows, columns = (-(-side // 16) * 2 for side in (height, width))
    cells, inter = np.zeros((rows, columns, 2), np.int16), np.zeros((rows, columns), np.uint8)
    if vectors is not None and (vectors["source"] > 0).any():
        vectors = vectors[vectors["source"] < 0]
    if vectors is None or not len(vectors):
        return Motion(cells=cells, inter=inter.view(bool), scale=1)
    sizes = vectors["w"].astype(np.int16) << 5 | vectors["h"]
    for width, height in BLOCKS:
        chosen = sizes == (width << 5 | height)
        if chosen.all():
            _put(cells, inter, vectors, width // CELL, height // CELL)
        elif chosen.any():
            _put(cells, inter, vectors[chosen], width // CELL, height // CELL)
    return Motion(cells=cells, inter=inter.view(bool), scale=int(vectors["motion_scale"][0]))


def _put(cells, inter, vectors, width, height):
    """Fill in the cells of blocks of one size, given in cells."""
    columns = cells.shape[1]
    first = ((vectors["dst_y"] >> 3) - height // 2).astype(np.intp) * columns + ((vectors["dst_x"] >> 3) - width // 2)
    x, y = vectors["motion_x"], vectors["motion_y"]
    cells, inter = cells.reshape(-1, 2), inter.reshape(-1)
    for offset in (down * columns + right for down in range(height) for right in range(width)):
        at = first + offset
        cells[at, 0], cells[at, 1], inter[at] = x, y, 1


class Trace:
    """A_t: for every pixel the one of the whole picture that it goes back to, A_0(p) = p, A_t(p) = A_{t-1}(p + d) (CoViAR, equation 3).

    Displacements are taken as whole pixels, cut towards zero, and a pixel that was coded by itself keeps its trace, both as in CoViAR.

    Attributes:
        source: A_t, (height, width, 2) int16, (x, y).
    """

    def __init__(self, height, width):
        self.source = _identity(height, width).copy()

    def step(self, motion):
        """Go on to the next picture, made by `motion`."""
        height, width = self.source.shape[:2]
        back = _back(motion, height, width)
        self.source = _picked(self.source, back)

    @property
    def motion(self):
        """p - A_t(p): (height, width, 2) int16, how far every pixel has come since the whole picture."""
        return cv2.subtract(_identity(*self.source.shape[:2]), self.source)

    def prediction(self, whole):
        """I_0(A_t(p)): the whole picture (height, width, 3) uint8, each pixel moved to where it has come."""
        return _picked(whole, self.source)


def _picked(picture, at):
    """The values of a picture at the pixels `at`, (height, width, 2) int16; beyond the border those of the border."""
    return cv2.remap(picture, at, NO_MAP, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)


def _back(motion, height, width):
    """(height, width, 2) int16: where every pixel was copied from; beyond the border it is that of the border."""
    small = motion.cells // motion.scale + ((motion.cells < 0) & (motion.cells % motion.scale != 0))  # towards zero
    rows, columns = motion.inter.shape
    back = cv2.resize(small.astype(np.int16), (columns * CELL, rows * CELL), interpolation=cv2.INTER_NEAREST)[:height, :width]
    return cv2.add(back, _identity(height, width))


@functools.lru_cache(maxsize=4)
def _identity(height, width):
    found = np.stack(np.meshgrid(np.arange(width, dtype=np.int16), np.arange(height, dtype=np.int16)), axis=-1)
    found.flags.writeable = False
    return found


def predicted(reference, motion, rounding=0):
    """The prediction of a picture from the one before; where it was coded by itself, the pixel of the reference.

    In steps of half a pixel it is MPEG-4's, to the bit; quarters (H.264) are interpolated between neighbours, which is not what H.264
    does: its six taps and its deblocking count as residual.

    Args:
        reference: (height, width) or (height, width, channels) uint8.
        motion: a `Motion`.
        rounding: MPEG-4's rounding type of this picture, 0 or 1 (see `rounding_type`).
    """
    height, width = reference.shape[:2]
    dense = motion.dense(height, width).astype(np.int32)
    if motion.scale > 2:
        x, y = ((dense[..., axis] / motion.scale + _identity(height, width)[..., axis]).astype(np.float32) for axis in (0, 1))
        return cv2.remap(reference, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    wide = cv2.copyMakeBorder(reference, MARGIN, MARGIN + 1, MARGIN, MARGIN + 1, cv2.BORDER_REPLICATE)
    at = dense // motion.scale + _identity(height, width) + MARGIN
    np.clip(at, 0, (width + 2 * MARGIN - 1, height + 2 * MARGIN - 1), out=at)
    phases = _half_pixels(wide, rounding) if motion.scale == 2 else wide[None]
    phase = (dense % motion.scale) @ np.array([1, 2], np.int32)
    return phases[phase, at[..., 1], at[..., 0]]


def _half_pixels(wide, rounding):
    """The picture, between columns, between rows, and between both: (4, height - 1, width - 1, ...) uint8."""
    wide = wide.astype(np.uint16)
    left, right, below = wide[:-1, :-1], wide[:-1, 1:], wide[1:, :-1]
    both = left + right + below + wide[1:, 1:]
    found = left, (left + right + 1 - rounding) >> 1, (left + below + 1 - rounding) >> 1, (both + 2 - rounding) >> 2
    return np.stack(found).astype(np.uint8)


def rounding_type(reference, picture, motion):
    """MPEG-4's rounding type of a picture, which decoders do not tell: of 0 and 1 the one whose prediction is nearer.

    Args:
        reference, picture: (height, width) uint8, luma of the picture before and of this one.
        motion: a `Motion`.
    """
    if motion.scale != 2 or not (motion.cells % 2).any():
        return 0
    errors = [np.count_nonzero(predicted(reference, motion, rounding) != picture) for rounding in (0, 1)]
    return int(errors[1] < errors[0])


def residual(picture, prediction):
    """What the prediction leaves over: int16, from -255 to 255."""
    return cv2.subtract(picture, prediction, dtype=cv2.CV_16S)


def as_bytes(motion=None, residual=None):
    """CoViAR's 8 bits: of motion 128 + trunc(127.5 / 20 m) for pixels m, of a residual 128 + r, both cut to 0..255."""
    values = np.trunc(motion * (127.5 / BOUND)) if residual is None else residual
    return np.clip(values + 128, 0, 255).astype(np.uint8)
