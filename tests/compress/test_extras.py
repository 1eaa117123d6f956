"""A missing library is named with the way to install it."""

import pytest

from egokeras.compress.extras import need
from egokeras.errors import InputError


def test_what_is_missing_is_named():
    need("this", "that", "numpy")
    with pytest.raises(InputError, match=r"^training needs no_such and nor_this; run `pip install 'egokeras\[compress\]'`"):
        need("training", "compress", "no_such", "numpy", "nor_this")
