"""What `prepare` may be told."""

import numpy as np
import pytest

from egokeras.data import shards
from egokeras.data.optical_flow import Flow
from egokeras.data.preparation import JPEG_LIMIT, Preparation
from egokeras.data.rgb_differences import RGBDifference
from egokeras.errors import InputError


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("rule", "x", "rule 'x' is unknown"),
        ("frames", 0, "frames is 0"),
        ("windows", -1, "windows is -1"),
        ("quality", 101, "at most 100"),
        ("timeout", 0, "timeout is 0 s"),
        ("timeout", float("nan"), "timeout is nan s"),
        ("resize", "stretch", "squash, crop, pad"),
    ],
)
def test_settings_are_checked(field, value, message):
    with pytest.raises(InputError, match=message):
        Preparation(**{field: value})
    with pytest.raises(InputError, match="do not fit one tall JPEG"):
        Preparation(frames=300, encoding="jpeg")
    assert Preparation(frames=29, size=224, encoding="jpeg", flow=Flow(stack=5)).shape == (29, 224, 224, 10)  # 64,960 rows
    with pytest.raises(InputError, match="30 frames of 224 pixels and 10 channels do not fit one tall JPEG of 65500 rows"):
        Preparation(frames=30, size=224, encoding="jpeg", flow=Flow(stack=5))
    with pytest.raises(InputError, match="clips show one kind of thing, not flow and difference"):
        Preparation(flow=Flow(), difference=RGBDifference())


def test_the_tallest_jpeg_is_one():
    """libjpeg ends at 65,500 rows, before the format does."""
    clip = np.zeros((JPEG_LIMIT, 1, 1, 3), np.uint8)
    assert len(shards.encode_jpeg(clip, 90)) > 0
