"""Small videos that carry the number of each frame in the picture."""

from fractions import Fraction

import av
import numpy as np
import pytest

BITS = 10


def _picture(number, height, width):
    """`number` as black and white columns, grey at the bottom, so that which way is up shows too."""
    bits = (number >> np.arange(BITS)) & 1
    picture = np.full((height, width, 3), 128, np.uint8)
    picture[: height * 2 // 3] = np.repeat(bits * 255, width // BITS)[None, :, None]
    return picture


def _number(picture):
    """The number in an upright picture of any size."""
    height, width = picture.shape[:2]
    centres = ((np.arange(BITS) + 0.5) * width / BITS).astype(int)
    bits = picture[height // 8 : height // 2, centres].mean((0, 2)) > 128
    return int((bits << np.arange(BITS)).sum())


@pytest.fixture(scope="session")
def number_of():
    """Function that reads the frame number out of a picture."""
    return _number


@pytest.fixture(scope="session")
def make_video():
    """Function that renders a video file: (path, count, rate, codec, seconds per frame, size, encoder options, sound only)."""

    def make(path, count=50, rate=25, codec="libx264", times=None, size=(80, 48), options=None):
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=Fraction(rate).limit_denominator(1001), options=options or {})
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            stream.codec_context.thread_count = 1
            if times is not None:
                stream.codec_context.time_base = Fraction(1, 1000)
            for number in range(count):
                frame = av.VideoFrame.from_ndarray(_picture(number, size[1], size[0]), format="rgb24")
                if times is not None:
                    frame.pts, frame.time_base = round(times[number] * 1000), Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path

    return make


@pytest.fixture(scope="session")
def make_sound():
    """Function that writes a file with sound and no picture."""

    def make(path):
        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=16000)
            for _ in range(20):
                frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
                frame.sample_rate = 16000
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path

    return make
