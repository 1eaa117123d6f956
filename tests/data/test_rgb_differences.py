"""RGB differences: the values by hand, the order of a stack, and the start of a video."""

import numpy as np
import pytest

from egokeras.data.rgb_differences import RGBDifference
from egokeras.errors import InputError


def frames(*values):
    """Function of frame numbers to pictures (1, width, 3) of which the row holds these values of each frame."""
    return lambda numbers: (np.repeat(np.array(values, np.uint8)[number][None, :, None], 3, axis=2) for number in numbers)


def test_a_change_is_stored_as_half_of_it_around_128():
    """By hand: 128 + d / 2, halves to the even number, within 0 to 255."""
    decode = frames([0, 255, 100, 100, 100, 10], [255, 0, 100, 101, 97, 14])
    before, after = RGBDifference(stack=1).along(np.array([0, 0.04]), [0, 1], decode)
    assert after.shape == (1, 6, 3) and after.dtype == np.uint8
    assert after[0, :, 0].tolist() == [255, 0, 128, 128, 126, 130] and (after == after[..., :1]).all()
    assert (before == 128).all()  # the first frame has changed from nothing


def test_a_stack_ends_with_the_latest_change():
    values = 10 * np.arange(12)[:, None] ** 2 // 6
    found = list(RGBDifference(stack=3, seconds=0.1).along(np.arange(12) / 20, [3, 11], frames(*values)))
    assert [picture.shape for picture in found] == [(1, 1, 9)] * 2
    for number, picture in zip((3, 11), found, strict=True):
        for place in range(3):
            later = number - 2 * (2 - place)
            change = (values[max(later, 0)] - values[max(later - 2, 0)]).item()
            assert np.abs(picture[0, 0, 3 * place : 3 * place + 3] - (128 + change / 2)).max() <= 0.5


@pytest.mark.parametrize(("fields", "said"), [({"stack": 0}, "difference stack is 0"), ({"seconds": 0.0}, "difference seconds is 0")])
def test_what_cannot_be(fields, said):
    with pytest.raises(InputError, match=said):
        RGBDifference(**fields)
