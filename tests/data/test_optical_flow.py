"""Flow pictures: known shifts come back at every frame rate, and a stack holds them one after another."""

import cv2
import numpy as np
import pytest

from egokeras.data import optical_flow
from egokeras.data.optical_flow import Flow
from egokeras.errors import InputError


@pytest.fixture(scope="module")
def texture():
    """Function of a displacement to a view, 48 pixels square, of a soft random pattern that has moved right and down by it."""
    noise = np.random.default_rng(0).integers(0, 256, (120, 120)).astype(np.uint8)
    pattern = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)
    return lambda right=0, down=0: cv2.getRectSubPix(pattern, (48, 48), (60 - right, 60 - down))


@pytest.mark.parametrize("method", ["dis", "farneback"])
@pytest.mark.parametrize(("right", "down"), [(2, -1), (-3, 2), (0, 3)])
def test_a_shift_is_found(method, right, down, texture):
    """Pixels move `right` and `down` in as long as the flow is for; the borders, where others come in, do not count."""
    flow = Flow(method=method, bound=8.0)
    inner = flow.picture(texture(), texture(right, down), 0.1)[12:-12, 12:-12]
    found = optical_flow.pixels(inner, 8.0)
    assert np.abs(found[..., 0] - right).mean() < 0.15 and np.abs(found[..., 1] - down).mean() < 0.15
    assert np.abs(found[..., 2] - np.hypot(right, down)).mean() < 0.15
    twice_as_slow = optical_flow.pixels(flow.picture(texture(), texture(right, down), 0.2)[12:-12, 12:-12], 8.0)
    assert np.abs(twice_as_slow[..., 0] - right / 2).mean() < 0.1


@pytest.mark.parametrize("method", ["dis", "farneback"])
def test_no_motion_is_grey(method, texture):
    picture = Flow(method=method).picture(texture(), texture(), 0.1)
    assert (np.abs(picture.astype(int) - 128) <= (method == "farneback")).all()  # which finds up to 0.08 pixels at the border


def test_equal_pictures_give_equal_flow(texture):
    """Whatever came before; below 46 pixels OpenCV's solver would remember the first picture's size."""
    flow, small = Flow(), [np.ascontiguousarray(texture(shift)[:40, :40]) for shift in (0, 3)]
    first = flow.picture(*small, 0.1)
    flow.picture(texture(), texture(4), 0.1)
    assert (flow.picture(*small, 0.1) == first).all() and (first != 128).any()


def test_values_of_the_channels():
    """By hand, bound 20: 127 values are 20 pixels, so 3 pixels are 19.05 values and 4 are 25.4, their length 5 is 31.75."""
    displacement = np.array([[[0, 0], [3, -4], [20, 0]], [[-20, 5], [30, -30], [0.05, 0]]], np.float32)
    picture = optical_flow.quantised(displacement, 20.0)
    expected = [
        [[128, 128, 128], [147, 103, 160], [255, 128, 255]],
        [[1, 160, 255], [255, 1, 255], [128, 128, 128]],
    ]
    assert picture.dtype == np.uint8 and picture.tolist() == expected
    inside = displacement[0]
    assert np.abs(optical_flow.pixels(picture[0], 20.0)[:, :2] - inside).max() <= 10 / 127


@pytest.mark.parametrize(("fps", "before"), [(25, 3), (30, 3), (50, 5), (60, 6)])
def test_rates_give_the_same_flow(fps, before, texture):
    """A pattern that moves by 20 pixels a second has 2 pixels of flow at every frame rate, and 0 at the first frame."""
    seconds, asked = np.arange(30) / fps, []

    def decode(numbers):
        asked.extend(numbers)
        for number in numbers:
            yield np.dstack([texture(20 * number / fps - 8)] * 3)

    first, *others = Flow(bound=8.0).along(seconds, [0, 15, 16], decode)
    assert (first == 128).all() and asked == sorted({0, 15, 16, 15 - before, 16 - before})
    for picture in others:
        assert abs(np.median(optical_flow.pixels(picture[12:-12, 12:-12, 0], 8.0)) - 2) < 0.1


def test_frames_of_a_moment_before_count_as_well(texture):
    """A frame asked for may be the one that another is measured from; neither is decoded twice, nor let go too early."""
    seconds, asked = np.arange(40) / 10, []

    def decode(numbers):
        asked.extend(numbers)
        return (np.dstack([texture(number % 7)] * 3) for number in numbers)

    flow = Flow(bound=8.0, seconds=0.3)
    numbers = [3, 4, 6, 7, 9, 30]
    found = list(flow.along(seconds, numbers, decode))
    assert asked == [0, 1, 3, 4, 6, 7, 9, 27, 30]
    for number, picture in zip(numbers, found, strict=True):
        assert (picture == flow.picture(texture((number - 3) % 7), texture(number % 7), seconds[number] - seconds[number - 3])).all()


def test_a_stack_holds_the_flows_up_to_the_frame(texture):
    """The pattern moves 1, 2, 3 ... pixels from frame to frame; of the second frame only the first flow is not still."""
    places, seconds = [0, 1, 3, 6, 10], np.arange(5) / 10

    def decode(numbers):
        return (np.dstack([texture(places[number], -places[number])] * 3) for number in numbers)

    flow = Flow(bound=8.0, stack=3)
    early, late = flow.along(seconds, [1, 4], decode)
    assert (flow.modality, flow.channels) == ("flow", 6) and late.shape == (48, 48, 6)
    found = np.median(optical_flow.pixels(late[12:-12, 12:-12], 8.0), axis=(0, 1))
    np.testing.assert_allclose(found, [2, -2, 3, -3, 4, -4], atol=0.15)
    assert (early[..., :4] == 128).all()
    single = next(Flow(bound=8.0).along(seconds, [1], decode))
    np.testing.assert_array_equal(early[..., 4:], single[..., :2])


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"method": "raft"}, "'raft' is unknown; there are dis"),
        ({"bound": 0.0}, "bound is 0"),
        ({"seconds": float("nan")}, "seconds is nan"),
        ({"stack": 0}, "stack is 0"),
    ],
)
def test_what_cannot_be(given_, said):
    with pytest.raises(InputError, match=said):
        Flow(**given_)


def test_tvl1_is_there_or_says_what_it_needs(texture):
    if not hasattr(cv2, "optflow"):
        with pytest.raises(InputError, match="opencv-contrib"):
            Flow(method="tvl1")
        return
    found = optical_flow.pixels(Flow(method="tvl1", bound=8.0).picture(texture(), texture(2, 1), 0.1)[12:-12, 12:-12], 8.0)
    assert np.abs(found[..., 0] - 2).mean() < 0.2 and np.abs(found[..., 1] - 1).mean() < 0.2
