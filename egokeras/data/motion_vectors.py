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
    rows, columns = (-(-side // 16) * 16 // CELL for side in (height, width))
    cells, inter = np.zeros((rows, columns, 2), np.int16), np.zeros((rows, columns), bool)
    if vectors is None or not len(vectors):
        return Motion(cells=cells, inter=inter, scale=1)
    vectors = vectors[vectors["source"] < 0]
    for width, height in BLOCKS:
        of_size = vectors[(vectors["w"] == width) & (vectors["h"] == height)]
        left, top = ((of_size[f"dst_{axis}"].astype(np.int64) - side // 2) // CELL for axis, side in (("x", width), ("y", height)))
        inside = (left >= 0) & (top >= 0) & (left + width // CELL <= columns) & (top + height // CELL <= rows)
        left, top, of_size = left[inside], top[inside], of_size[inside]
        motion = np.stack([of_size["motion_x"], of_size["motion_y"]], 1)
        for down in range(height // CELL):
            for right in range(width // CELL):
                cells[top + down, left + right] = motion
                inter[top + down, left + right] = True
    return Motion(cells=cells, inter=inter, scale=int(vectors["motion_scale"][0]) if len(vectors) else 1)


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
        self.source = cv2.remap(self.source, back, None, cv2.INTER_NEAREST)

    @property
    def motion(self):
        """p - A_t(p): (height, width, 2) int16, how far every pixel has come since the whole picture."""
        return _identity(*self.source.shape[:2]) - self.source

    def prediction(self, whole):
        """I_0(A_t(p)): the whole picture (height, width, 3) uint8, each pixel moved to where it has come."""
        return cv2.remap(whole, self.source, None, cv2.INTER_NEAREST)


def _back(motion, height, width):
    """(height, width, 2) int16: where every pixel was copied from, within the picture."""
    small = motion.cells // motion.scale + ((motion.cells < 0) & (motion.cells % motion.scale != 0))  # towards zero
    back = cv2.resize(small, (small.shape[1] * CELL, small.shape[0] * CELL), interpolation=cv2.INTER_NEAREST)[:height, :width]
    back = back + _identity(height, width)
    np.clip(back, 0, (width - 1, height - 1), out=back)
    return back


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
    wide = cv2.copyMakeBorder(reference, MARGIN, MARGIN, MARGIN, MARGIN, cv2.BORDER_REPLICATE)
    whole = dense // motion.scale + _identity(height, width) + MARGIN
    np.clip(whole, 0, (width + 2 * MARGIN - 2, height + 2 * MARGIN - 2), out=whole)
    x, y = whole[..., 0], whole[..., 1]
    result = wide[y, x]
    for right, down in ((1, 0), (0, 1), (1, 1)) if motion.scale == 2 else ():
        rows, columns = np.nonzero((dense[..., 0] % 2 == right) & (dense[..., 1] % 2 == down))
        at = y[rows, columns], x[rows, columns]
        taps = [wide[at[0] + j, at[1] + i].astype(np.int16) for i in range(right + 1) for j in range(down + 1)]
        half = len(taps) // 2 - rounding
        result[rows, columns] = (sum(taps) + half) >> (len(taps) // 2)
    return result


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
    return picture.astype(np.int16) - prediction


def as_bytes(motion=None, residual=None):
    """CoViAR's 8 bits: of motion 128 + trunc(127.5 / 20 m) for pixels m, of a residual 128 + r, both cut to 0..255."""
    values = np.trunc(motion * (127.5 / BOUND)) if residual is None else residual
    return np.clip(values + 128, 0, 255).astype(np.uint8)
