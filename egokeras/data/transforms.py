"""Random changes to training clips, and crops of stored ones, the same for all frames of a clip, in TensorFlow ops.

What a clip draws depends on its own key alone: `(batch, k)` int64, k at least 3, such as seed, epoch, row number and, where a clip is
seen twice in a step, the number of the view. Equal keys draw equal numbers, and `Crop` draws others than `Augment`.
"""

import dataclasses
import functools
import math

import numpy as np
import tensorflow as tf

from egokeras.data import clip_sampling, pixels
from egokeras.errors import InputError

# Modalities of clips that can be changed: light; motion to the right and down in turn, around 128; and changes of light.
LIGHT, MOTION, CHANGES_OF_LIGHT = ("rgb", "iframe"), ("flow", "motion_vector"), ("residual", "rgb_difference")
PICTURES = (*LIGHT, *MOTION, *CHANGES_OF_LIGHT)
# What `Augment` draws from 0 to 1 for a clip: whether things happen, by the fields that are their probabilities, then how.
CHANCES = ("brightness_chance", "contrast_chance", "hue_chance", "blur_chance", "noise_chance", "channel_split", "invert")
DRAWN = (*CHANCES, "turn", "sigma", "target", "source")
# Folded into a key's seed, one for each independent stream of numbers; unlike any view or row.
CHANGES, NOISE, CROP, SEGMENTS = 0x6368616E676573, 0x6E6F697365, 0x63726F70, 0x7365676D656E7473

YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])  # rows of I and Q add up to 0: grey has no hue
# What the rotation by an angle of the plane of I and Q does to RGB is 1 + (cos - 1) * PLANE + sin * TURN; against the clock, as the hue
# of HSV goes from red through green to blue.
PLANE = (np.linalg.inv(YIQ) @ np.diag([0, 1, 1]) @ YIQ).astype("float32")
TURN = (np.linalg.inv(YIQ) @ [[0, 0, 0], [0, 0, 1], [0, -1, 0]] @ YIQ).astype("float32")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augment:
    """What may change; the parameters are drawn once for a clip.

    Order: mirror image and move; then the colours as inversion, channel split, contrast with brightness, hue; then blur and noise. The
    changes of colour are one affine map of a pixel's RGB, so they are clipped to 0..255 and rounded once, after the last of them; blur and
    noise round once each. The authors of SKD-SRL turn the hue last and clip after every change; as weights that add up to 1 commute with
    affine maps, the blur is theirs where nothing is clipped, but their turn goes over the noise too.

    Attributes:
        flip: probability of a mirror image; where a label knows left from right it is unsafe: say `data.augment.flip=0`.
        shift: largest move in either direction, as a share of the frame; what comes in repeats the border.
        brightness: largest change, as a share of the full range.
        contrast: largest relative change about the middle grey.
        hue: largest turn of the hue, as a share of the full circle; turns are drawn from 0 to it, as rotations in YIQ.
        blur: least and largest standard deviation of a Gaussian of 7x7 pixels, in pixels; None is none. The border is mirrored.
        channel_split: probability that one of the three channels takes the values of another or (one time in three) its own.
        invert: probability of the negative, 255 - x.
        noise: standard deviation of Gaussian noise, drawn for every value of every frame, as a share of the full range.
        brightness_chance, contrast_chance, hue_chance, blur_chance, noise_chance: probability that a clip has the change at all.
        together: brightness changes in the clips in which contrast does, by `contrast_chance`.
    """

    flip: float = 0.0
    shift: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    hue: float = 0.0
    blur: tuple[float, float] | None = None
    channel_split: float = 0.0
    invert: float = 0.0
    noise: float = 0.0
    brightness_chance: float = 1.0
    contrast_chance: float = 1.0
    hue_chance: float = 1.0
    blur_chance: float = 1.0
    noise_chance: float = 1.0
    together: bool = False

    def __post_init__(self):
        for name, value in vars(self).items():
            if name not in ("blur", "together") and not 0 <= value <= 1:
                raise InputError(f"data.augment.{name} is {value}; give 0 to 1.")
        if self.blur is not None and not (len(self.blur) == 2 and 0 < self.blur[0] <= self.blur[1] < math.inf):
            raise InputError(f"data.augment.blur is {self.blur}; give the least and the largest standard deviation in pixels, above 0.")
        if self.together and self.brightness_chance != 1:
            found = f"data.augment.brightness_chance is {self.brightness_chance}, but with together contrast_chance decides"
            raise InputError(f"{found}; leave one of them out.")

    @classmethod
    def skd_srl(cls):
        """SKD-SRL's: each of six changes in every other clip, with the ranges of `self_kd`, for the paper gives none."""
        return cls(
            flip=0.5,
            contrast=0.5,
            contrast_chance=0.5,
            brightness=0.25,
            brightness_chance=0.5,
            hue=0.1,
            hue_chance=0.5,
            blur=(0.1, 2.0),
            blur_chance=0.5,
            channel_split=0.5,
        )

    @classmethod
    def self_kd(cls):
        """Those in the code of SKD-SRL's authors for Self-KD, where pixels are from -1 to 1: shares of the range are half its numbers."""
        own = dataclasses.replace(cls.skd_srl(), brightness_chance=1.0, together=True)
        return dataclasses.replace(own, invert=0.2, noise=0.05, noise_chance=0.5)

    @property
    def recolours(self):
        """Names of the fields that are set and do more than move the picture: clips of which the values are no light cannot have them."""
        names = ("flip", "brightness", "contrast", "hue", "blur", "channel_split", "invert", "noise")
        return tuple(name for name in names if getattr(self, name))

    def __call__(self, clips, keys):
        """Changed copies of clips, each decided by its own key and pixels alone.

        Args:
            clips: `(batch, time, height, width, 3)` uint8.
            keys: `(batch, k)` int64, k at least 3, such as seed, epoch and row number; equal keys give equal changes.
        """
        signed, drawn = _draws(keys)
        mirrored = signed[0] < 2 * self.flip - 1 if self.flip else None
        if self.shift:
            clips, mirrored = self._moved(clips, mirrored, signed), None
        clips = pixels.coloured(clips, mirrored, *self._light(signed, drawn), self._mix(drawn))
        if not (self.blur or self.noise):
            return clips
        return _roughened(clips, *self._roughness(drawn), keys)

    def of(self, modality):
        """Function as this, for clips of a modality in PICTURES: motion and changes go with their pictures, and have no colours."""
        return self if modality in LIGHT else functools.partial(self._gone_with, turned=modality in MOTION)

    def _gone_with(self, clips, keys, turned):
        """Mirrored and moved as pictures with the same keys; where `turned`, what goes to the right then goes to the left."""
        signed, _ = _draws(keys)
        mirrored = signed[0] < 2 * self.flip - 1
        clips = self._moved(clips, mirrored, signed)
        if not turned:
            return clips
        sideways = mirrored[:, None] & (tf.range(clips.shape[-1]) % 2 == 0)
        opposite = tf.cast(tf.minimum(256 - tf.cast(clips, tf.int16), 255), clips.dtype)
        return tf.where(sideways[:, None, None, None], opposite, clips)

    def _happens(self, name, drawn, value):
        return tf.where(drawn[name] < getattr(self, name), value, 0.0)

    def _moved(self, clips, mirrored, signed):
        height, width = clips.shape[2:4]
        rows = _sources(height, signed[1] * self.shift)
        columns = _sources(width, signed[2] * self.shift)
        if mirrored is not None:
            columns = tf.where(mirrored[:, None], width - 1 - columns, columns)
        return pixels.gathered(clips, rows, columns)

    def _light(self, signed, drawn):
        """Gain and offset of every clip: (batch,) and (batch,)."""
        gain = 1 + self.contrast * self._happens("contrast_chance", drawn, signed[3])
        gain *= 1 - 2 * self._happens("invert", drawn, 1.0)
        brightness = self._happens("contrast_chance" if self.together else "brightness_chance", drawn, signed[4])
        return gain, 127.5 * (1 - gain) + 255 * self.brightness * brightness

    def _mix(self, drawn):
        """Channel split, then hue, as matrices of which the rows add up to 1, (batch, 3, 3); None if there are no such changes."""
        if not (self.hue or self.channel_split):
            return None
        target, source = tf.floor(3 * drawn["target"]), tf.floor(3 * drawn["source"])
        source = tf.where(drawn["channel_split"] < self.channel_split, source, target)[:, None]
        channels = tf.range(3.0)
        taken = tf.where(channels == target[:, None], source, channels)  # where each channel's values come from
        split = tf.cast(taken[:, :, None] == channels, tf.float32)
        angle = 2 * math.pi * self.hue * self._happens("hue_chance", drawn, drawn["turn"])[:, None, None]
        return (tf.eye(3) + (tf.cos(angle) - 1) * PLANE + tf.sin(angle) * TURN) @ split

    def _roughness(self, drawn):
        """Standard deviations of blur, in pixels, and of noise, in grey levels; 0 is none: (batch,) and (batch,)."""
        low, high = self.blur or (0.0, 0.0)
        sigma = self._happens("blur_chance", drawn, low + (high - low) * drawn["sigma"])
        return sigma, self._happens("noise_chance", drawn, 255 * self.noise)


def _seed(key, *purpose):
    """The first two numbers of a key with all others, and what the numbers are for, folded in: (2,) int64."""
    seed = key[:2]
    for number in [*tf.unstack(key[2:]), *purpose]:
        seed = tf.random.experimental.stateless_fold_in(seed, number, alg="philox")
    return seed


@tf.function(autograph=False)  # for callers outside of a graph, where every step of a map takes milliseconds
def _draws(keys):
    """Five numbers from -1 to 1 (mirror, moves down and right, contrast, brightness), (5, batch), and (batch,) from 0 to 1 for `DRAWN`."""

    def one(key):
        signed = tf.random.stateless_uniform((5,), _seed(key), -1.0, 1.0, alg="philox")
        return signed, tf.random.stateless_uniform((len(DRAWN),), _seed(key, CHANGES), alg="philox")

    signature = (tf.TensorSpec((5,), tf.float32), tf.TensorSpec((len(DRAWN),), tf.float32))
    signed, shares = tf.map_fn(one, keys, fn_output_signature=signature)
    return tf.transpose(signed), dict(zip(DRAWN, tf.unstack(shares, axis=1), strict=True))


@tf.function(autograph=False)
def _roughened(clips, sigma, noise, keys):
    """Blurred and noisy copies of the clips that are to be, one at a time, so that the others cost nothing."""

    def one(given):
        clip, sigma, noise, key = given
        clip = tf.cond(sigma > 0, lambda: pixels.blurred(clip, sigma), lambda: clip)
        return tf.cond(noise > 0, lambda: pixels.noisy(clip, noise, _seed(key, NOISE)), lambda: clip)

    return tf.map_fn(one, (clips, sigma, noise, keys), fn_output_signature=tf.TensorSpec(clips.shape[1:], tf.uint8))


def _sources(size, shares):
    """For every clip, where each of `size` rows or columns of the moved picture comes from: (batch, size)."""
    steps = tf.cast(tf.round(shares * size), tf.int32)
    return tf.clip_by_value(tf.range(size) + steps[:, None], 0, size - 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Crop:
    """The clip that a model sees, cut out of a stored, longer or larger one, of any kind of values and number of channels.

    Where `sides` make it resize, values are sampled between neighbours, never scaled: vectors of motion stay as long as they are.

    Attributes:
        frames: of the clip, in a row; None is all.
        segments: in the place of `frames`, one frame of each of so many equal parts of the stored clip (TSN, Wang et al., 2016, arXiv
            1608.00859): a random one in training, else the middle one.
        size: height and width of the clip in pixels; None is those of the stored clips, which must then be square.
        sides: of squares that are cut and resized to `size` (bilinear, as `cv2.INTER_LINEAR`), of which `random` draws one; the authors
            of SKD-SRL cut (129, 112, 96, 84) for 112 pixels; empty is `size` alone.
    """

    frames: int | None = None
    segments: int | None = None
    size: int | None = None
    sides: tuple[int, ...] = ()

    def __post_init__(self):
        for name in ("frames", "segments", "size", "sides"):
            value = getattr(self, name)
            if value is not None and min((value,) if name != "sides" else (1, *value)) < 1:
                raise InputError(f"data.crop.{name} is {value}; give at least 1.")
        if self.frames and self.segments:
            raise InputError("data.crop cuts frames in a row or one of each of the segments; leave frames or segments out.")

    def check(self, shape):
        """`(frames, size, size, channels)`, cut from stored clips of `shape`, `(time, height, width, channels)`.

        Raises:
            InputError: the stored clips are too short, too small, or not square where `size` is None.
        """
        time, height, width, channels = shape
        for name in ("frames", "segments"):
            if (getattr(self, name) or 0) > time:
                raise InputError(f"data.crop.{name} is {getattr(self, name)}, the clips have {time} frames; give at most {time}.")
        least = min(height, width)
        for name, side in (("size", self.size), ("sides", max(self.sides, default=0))):
            if (side or 0) > least:
                raise InputError(
                    f"data.crop.{name} is {getattr(self, name)}, the clips have {height}x{width} pixels; give at most {least}."
                )
        if self.size is None and height != width:
            raise InputError(f"data.crop.size is not given, the clips have {height}x{width} pixels; give at most {least}.")
        return self.frames or self.segments or time, self.size or least, self.size or least, channels

    def random(self, clips, keys):
        """Random frames and a random square of every clip, by its own key: `(batch, frames, size, size, channels)`.

        Clips of one size and equal keys are cut at the same places, whatever they hold.

        Args:
            clips: `(batch, stored time, stored height, stored width, channels)`.
            keys: `(batch, k)` int64, k at least 3.
        """
        shape = self.check(clips.shape[1:])
        return _cut(_one_of_each(clips, keys, self.segments) if self.segments else clips, keys, shape, self.sides)

    def centre(self, clips):
        """The middle frames and the middle square, of side `size`: `(batch, frames, size, size, channels)`."""
        frames, size, _, _ = self.check(clips.shape[1:])
        if self.segments:
            clips = clips[:, clip_sampling.uniform(clips.shape[1], frames)]
        first, top, left = ((stored - own) // 2 for stored, own in zip(clips.shape[1:4], (frames, size, size), strict=True))
        return clips[:, first : first + frames, top : top + size, left : left + size]

    def spread(self, clips, count):
        """Middle squares of `count` windows, evenly spaced from the first frames to the last, of the clip or of each segment.

        One alone is in the middle.

        Returns:
            `(batch, count, frames, size, size, channels)`.
        """
        if count == 1:
            return self.centre(clips)[:, None]
        frames = self.check(clips.shape[1:])[0]
        part = clips.shape[1] // self.segments if self.segments else 1
        starts = np.round(np.linspace(0, part - 1 if self.segments else clips.shape[1] - frames, count)).astype(int)
        squares = dataclasses.replace(self, frames=None, segments=None).centre(clips)
        return tf.gather(squares, starts[:, None] + part * np.arange(frames), axis=1)


@tf.function(autograph=False)
def _one_of_each(clips, keys, segments):
    """A random frame of each of `segments` equal parts, by the clip's own key: `(batch, segments, ...)`; frames left over come last."""
    part = clips.shape[1] // segments

    def one(given):
        clip, key = given
        draws = tf.random.stateless_uniform((segments,), _seed(key, SEGMENTS), maxval=part, dtype=tf.int32, alg="philox")
        return tf.gather(clip, part * tf.range(segments) + draws)

    signature = tf.TensorSpec((segments, *clips.shape[2:]), clips.dtype)
    return tf.map_fn(one, (clips, keys), fn_output_signature=signature)


@tf.function(autograph=False)
def _cut(clips, keys, shape, sides):
    """Random cuts of the `shape` of a clip, from squares of one of the sides, or of its own."""
    frames, size, _, channels = shape

    def one(given):
        row, key = given
        draws = tf.random.stateless_uniform((4,), _seed(key, CROP), alg="philox")
        side = tf.gather(sides, tf.cast(draws[3] * len(sides), tf.int32)) if sides else size
        room = clips.shape[1:4] - tf.stack([frames, side, side])
        start = tf.cast(draws[:3] * tf.cast(room + 1, tf.float32), tf.int32)
        cut = tf.slice(clips, tf.concat([[row], start, [0]], 0), tf.stack([1, frames, side, side, channels]))[0]
        return tf.ensure_shape(tf.cond(side == size, lambda: cut, lambda: pixels.resized(cut, size)) if sides else cut, shape)

    return tf.map_fn(one, (tf.range(tf.shape(clips)[0]), keys), fn_output_signature=tf.TensorSpec(shape, clips.dtype))
